// What is fixed for all battles of a map: unit kinds, pair tables, walls, spawn groups, the enemies' goal.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "paths.hpp"
#include "unit.hpp"

namespace mast {

struct SpawnGroup {
    int kind;    // index into World::kinds
    int count;
    double x, y;
};

// Where the enemies' attack-move leads: to a point, to one drawn on a segment, to the agents, or nowhere.
enum class GoalKind : std::uint8_t { point = 0, segment = 1, agents = 2, none = 3 };

// Which cells a kind may enter.
enum Terrain : int { kGround = 0, kCliffWalk = 1, kAir = 2 };

struct World {
    int n_agents = 0, n_enemies = 0;
    std::vector<UnitKind> kinds;
    std::vector<SpawnGroup> spawn_agents, spawn_enemies;    // in creation order
    std::vector<int> agent_kind_order;                      // kinds in the order in which agents are indexed
    Rows walkable{};                                        // row y, bit x
    Rows cliff{};                                           // cells that a cliff walker may enter as well
    GoalKind goal_kind = GoalKind::point;
    std::vector<std::array<double, 2>> goal;                // one point, or the two ends of a segment
    bool spawn_jitter = true;

    // Derived by prepare(): what unit of kind a does to one of kind b.
    struct Pair {
        double reach_sq;       // may fire, centre distance squared
        double keep_sq;        // keeps its target, or goes on winding up
        double scan_sq;        // takes it as a target
        double alert_sq;       // answers its fire
        double blast_sq;       // is caught in its blast
        double heal_sq;        // may heal
        double heal_scan_sq;   // takes it as a patient
        double touch;          // sum of the separation radii
        double radii;          // sum of the radii
        double damage;         // of one hit, before armor
        bool can_hit, can_heal, collides;
    };
    std::array<std::array<Pair, kMaxKinds>, kMaxKinds> pair{};
    std::array<Terrain, kMaxKinds> terrain{};
    std::array<Rows, 3> floor{};                            // by terrain
    std::array<std::shared_ptr<const Paths>, 3> paths{};    // by terrain; empty where every way is straight
    std::array<std::shared_ptr<const Paths>, 3> to_agents{};    // for path distances to them; none for air units
    std::array<bool, kMaxKinds> regenerates{};
    bool any_regenerates = false;
    double longest_step = 0;       // bound on the walk of any unit in one loop
    double widest_touch = 0;       // of any pair that collides
    std::vector<std::uint8_t> unit_kind;    // by unit number
    std::uint32_t fingerprint = 0;          // of all of it: whose snapshots can be restored here

    // Changes whenever the layout of Battle or Unit does.
    static constexpr std::uint32_t kFormat = 0x534B3034;

    int n_units() const { return n_agents + n_enemies; }

    bool may_stand(int kind, double x, double y) const {
        // Shifted by one, so that truncation sends everything west or south of the border below 0.
        const int column = static_cast<int>(x + 1.0) - 1, row = static_cast<int>(y + 1.0) - 1;
        if (static_cast<unsigned>(column | row) >= kMapSize) return false;
        return (floor[terrain[static_cast<std::size_t>(kind)]][static_cast<std::size_t>(row)] >> column) & 1u;
    }

    // Checks the tables and derives the rest. Throws std::invalid_argument.
    void prepare();

  private:
    void check() const;
    void lay_floors();
    void list_kinds();
    std::uint32_t digest() const;
};

}  // namespace mast
