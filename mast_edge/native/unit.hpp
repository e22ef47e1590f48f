// One unit: what changes during a battle (Unit) and what its type fixes (UnitKind).
//
// Every position, health, shield, energy and cooldown is a double holding a multiple of 1/4096 (smac.md 9.1): such
// values are exact in float32, so interface and physics see the same numbers.
#pragma once

#include <array>
#include <cstdint>

namespace mast {

constexpr int kMaxUnits = 80;      // 2c_vs_64zg has 66
constexpr int kMaxKinds = 12;
constexpr int kMapSize = 32;
constexpr int kAttributes = 6;     // light, armored, biological, mechanical, massive, structure
constexpr int kBiological = 2;     // bit of that attribute

// Nearest multiple of 1/4096, half to even: the sum has no bits left below 1/4096. |value| < 2^39.
inline double quantise(double value) {
    constexpr double shift = 1.5 * 1099511627776.0;  // 1.5 * 2^40: one unit in its last place is 2^-12
    return (value + shift) - shift;
}

enum class OrderKind : std::uint8_t { stand = 0, move = 1, attack = 2, attack_move = 3, heal = 4 };

struct Unit {
    double x, y, health, shield, energy, cooldown;
    double goal_x, goal_y;            // of a move or an attack-move
    double goal_distance;             // when it was last walked, to notice a stalled move
    double previous_vitals;           // health + shield at the end of the last step
    double beam_x, beam_y;            // middle of a beam that is under way
    double beam_half_x, beam_half_y;  // from there to one of its ends
    std::int32_t damaged_loop;        // loop of the last damage
    std::int16_t target = -1;              // unit that is attacked or healed, -1 none
    std::int16_t goal_unit = -1;           // agent that an attack-move goes for, -1 none
    std::int16_t hurt_by = -1;             // first source of damage since the last look for a target, -1 none
    std::int16_t pending_target = -1;      // of the hit that is under way
    std::int16_t last_action = -1;         // -1 before the first step
    std::int16_t heuristic_target = -1;    // unit that an agent's built-in heuristic holds on to, -1 none
    std::int8_t winding = -1;              // loops until the weapon fires, -1 not winding up
    std::uint8_t backswing;           // loops to stand after firing
    std::uint8_t pending_loops;       // until a missile, a beam or the second hit lands, 0 none
    std::uint8_t stalled;             // loops in a row with hardly any progress on a move
    std::uint8_t blocked;             // loops in a row in which others were in the way
    std::uint8_t sidestep;            // loops of walking sideways that are left
    bool sidestep_right;
    OrderKind order;
    std::uint8_t kind;                // index into World::kinds
    bool alive;
    bool counted_dead;                // by the reward
};

enum class WeaponKind : std::uint8_t { none = 0, instant = 1, missile = 2, beam = 3, suicide = 4 };

// Times in loops, speeds and rates per loop, rounded to 1/4096 where smac.md 9.1 says so.
struct UnitKind {
    double health_max = 1, shield_max = 0, armor = 0;
    double energy_start = 0, energy_max = 0, energy_regen = 0;
    double shield_regen = 0, life_regen = 0;
    int shield_delay = 160;
    double speed = 0, radius = 0, separation = 0;
    bool air = false, structure = false, cliff_walk = false;
    int collision_group = 0;          // 0 ground, 1 colossus, 2 air
    std::uint32_t attributes = 0;     // bit per attribute
    WeaponKind weapon = WeaponKind::none;
    bool hits_ground = false, hits_air = false;
    double damage = 0, range = 0, scan = 0, slop = 0, period = 0;
    std::array<double, kAttributes> bonus{};
    int hits = 1, windup = 0, backswing = 0;
    int hit_delay = 0;                // from the first to the second hit, or from firing to a beam's landing
    double missile_speed = 0;         // not rounded
    double beam_half_length = 0, beam_half_width = 0;
    double blast_radius = 0;          // of a unit that bursts when it attacks or dies
    double heal_rate = 0, heal_price = 0, heal_range = 0, heal_scan = 0, heal_min_energy = 0;

    bool armed() const { return weapon != WeaponKind::none; }
    bool heals() const { return heal_rate > 0; }
};

}  // namespace mast
