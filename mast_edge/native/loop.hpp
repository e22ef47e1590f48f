// What one game loop needs to know and collects, shared by its phases: targets.cpp, weapons.cpp, walking.cpp and
// battle.cpp, which calls them in order.
#pragma once

#include "battle.hpp"
#include "collision.hpp"
#include "unit.hpp"
#include "world.hpp"

namespace mast {

// m of smac.md 9.6.
constexpr double kAttacking = 0.125, kStanding = 0.5, kMoving = 1.0;

struct Hit {
    std::int16_t source, target, count;
};

struct Loop {
    const World &world;
    Battle &battle;
    Unit *units;
    Crowd crowd;                              // holds the positions while loops are played
    const UnitKind *kind[kMaxUnits];
    const World::Pair *pair[kMaxUnits];       // row of the pair table
    int pursued[kMaxUnits];                   // unit that i walks toward, -1 none
    int n_walkers = 0;
    int walker[kMaxUnits];
    double step_x[kMaxUnits], step_y[kMaxUnits];      // of the walkers: what they want
    double from_x[kMaxUnits], from_y[kMaxUnits];      // where they were
    int n_healers = 0;
    int healer[kMaxUnits];                    // in range of their patient
    int n_bursting = 0;
    bool bursting[kMaxUnits];                 // attack by blowing up; all false between loops
    int n_hits = 0;
    Hit hits[kMaxUnits * (kMaxUnits + 2)];    // a beam may hit every opponent

    Loop(const World &w, Battle &b);

    double distance_sq(int i, int j) const {
        const double dx = crowd.x[j] - crowd.x[i], dy = crowd.y[j] - crowd.y[i];
        return dx * dx + dy * dy;
    }
    bool is_enemy(int i) const { return i >= world.n_agents; }
    int first_opponent(int i) const { return is_enemy(i) ? 0 : world.n_agents; }
    int end_of_opponents(int i) const { return is_enemy(i) ? world.n_agents : world.n_units(); }
    int first_friend(int i) const { return is_enemy(i) ? world.n_agents : 0; }
    int end_of_friends(int i) const { return is_enemy(i) ? world.n_units() : world.n_agents; }
    void add_hit(int source, int target, int count) {
        hits[n_hits++] = {static_cast<std::int16_t>(source), static_cast<std::int16_t>(target),
                          static_cast<std::int16_t>(count)};
    }
};

// --- targets.cpp (smac.md 9.4) ---

// Calls an attack off that is winding up.
inline void call_off(Unit &unit) {
    if (unit.winding < 0) return;
    unit.winding = -1;
    unit.cooldown = 0.0;
}

// Keeps, drops or finds the target of an attack-moving unit. Returns the squared distance to it.
double acquire(Loop &loop, int i);

// Checks the target that a unit was ordered to attack. Returns the squared distance to it.
double check_target(Loop &loop, int i);

// Keeps, drops or finds the patient of a medivac. Returns the squared distance to it.
double look_after(Loop &loop, int i);

// Chooses the agent that an attack-move goes for, where agents are the goal.
void choose_goal_unit(Loop &loop, int i);

// --- weapons.cpp (smac.md 9.5, 9.7) ---

// Energy that a medivac pays for healing one loop at its full rate.
inline double price_of_loop(const UnitKind &kind) { return quantise(kind.heal_rate * kind.heal_price); }

// Advances a missile, a beam or a second hit that is under way, and lands it.
void advance_pending(Loop &loop, int i);

// Starts a weapon whose target is in range and fires it when it is wound up.
void use_weapon(Loop &loop, int i, bool in_range, double target_sq);

// Heals, hits, deaths and blasts of a loop.
void settle(Loop &loop);

// --- walking.cpp (smac.md 9.3, 9.8) ---

// Walks toward the unit's target.
void pursue(Loop &loop, int i);

// Walks toward the goal of a move or attack-move; ends a move that has arrived or makes no progress.
void walk_to_goal(Loop &loop, int i);

// A unit that does not walk forgets who was in its way.
inline void forget_block(Unit &unit) { unit.blocked = unit.sidestep = 0; }

// Missiles and beams that are under way outlive their unit, a second hit does not.
inline void lay_dead(Unit &unit, const UnitKind &kind) {
    unit.alive = false;
    unit.health = unit.shield = unit.energy = unit.cooldown = 0.0;
    unit.order = OrderKind::stand;
    unit.target = unit.goal_unit = -1;
    unit.winding = -1;
    unit.backswing = 0;
    forget_block(unit);
    if (kind.weapon == WeaponKind::instant) unit.pending_loops = 0;
}

// Moves the walkers.
void take_steps(Loop &loop);

// After the pushing: counts loops in which others were in the way, begins and ends sidesteps.
void note_progress(Loop &loop);

}  // namespace mast
