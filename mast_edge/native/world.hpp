// What is fixed for all battles of a map: unit kinds, pair tables, walls, spawn groups, the enemies' goal.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "unit.hpp"

namespace mast {

struct SpawnGroup {
    int kind;    // index into World::kinds
    int count;
    double x, y;
};

struct World {
    int n_agents = 0, n_enemies = 0;
    std::vector<UnitKind> kinds;
    std::vector<SpawnGroup> spawn_agents, spawn_enemies;    // in creation order
    std::vector<int> agent_kind_order;                      // kinds in the order in which agents are indexed
    std::array<std::uint32_t, kMapSize> walkable{};         // row y, bit x
    std::vector<std::array<double, 2>> goal;                // one point, or the two ends of a segment
    bool spawn_jitter = true;

    // Derived by prepare(): what unit of kind a does to one of kind b.
    struct Pair {
        double reach_sq;       // may fire, centre distance squared
        double keep_sq;        // keeps its target, or goes on winding up
        double scan_sq;        // takes it as a target
        double alert_sq;       // answers its fire
        double touch;          // sum of the separation radii
        double radii;          // sum of the radii
        double damage;         // of one hit, before armor
        bool can_hit, collides;
    };
    std::array<std::array<Pair, kMaxKinds>, kMaxKinds> pair{};
    std::array<bool, kMaxKinds> regenerates{};
    bool any_regenerates = false;
    double longest_step = 0;       // bound on the walk of any unit in one loop
    double widest_touch = 0;       // of any pair that collides

    int n_units() const { return n_agents + n_enemies; }

    bool is_walkable(double x, double y) const {
        return (walkable[static_cast<int>(y)] >> static_cast<int>(x)) & 1u;
    }

    // Checks the tables and derives the pair tables. Throws std::invalid_argument.
    void prepare();
};

}  // namespace mast
