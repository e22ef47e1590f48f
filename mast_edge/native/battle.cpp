// One game loop: timers, targets, attacks, deaths, movement, regeneration (smac.md 9.2 to 9.6).
#include "battle.hpp"

#include <algorithm>
#include <cmath>

#include "collision.hpp"

namespace mast {

void give_order(Unit &unit, const Order &order) {
    if (order.kind == unit.order) {
        if (order.kind == OrderKind::stand) return;
        if (order.kind == OrderKind::attack && order.target == unit.target) return;
    }
    if (unit.winding >= 0) {
        unit.winding = -1;
        unit.cooldown = 0.0;
    }
    unit.backswing = 0;
    unit.stalled = 0;
    unit.goal_distance = 1e9;
    unit.order = order.kind;
    unit.target = static_cast<std::int16_t>(order.target);
    unit.goal_x = order.x;
    unit.goal_y = order.y;
}

namespace {

constexpr double kArrived = 1.0 / 16.0;
constexpr double kProgress = 1.0 / 32.0;
constexpr int kPatience = 8;
constexpr double kAttacking = 0.125, kStanding = 0.5, kMoving = 1.0;

struct Hit {
    int source, target;
};

// What the units of one loop do to each other, collected before anything is applied.
struct Loop {
    const World &world;
    Battle &battle;
    Unit *units;
    Crowd crowd;                   // holds the positions while loops are played
    int n_hits = 0;
    Hit hits[kMaxUnits * kMaxHits];
    const UnitKind *kind[kMaxUnits];
    const World::Pair *pair[kMaxUnits];    // row of the pair table
    int pursued[kMaxUnits];        // unit that i walks toward, -1 none
    int n_walkers = 0;
    int walker[kMaxUnits];
    double step_x[kMaxUnits], step_y[kMaxUnits];    // of the walkers

    Loop(const World &w, Battle &b) : world(w), battle(b), units(b.units()), crowd(w, b.units()) {
        for (int i = 0; i < w.n_units(); ++i) {
            kind[i] = &w.kinds[units[i].kind];
            pair[i] = w.pair[units[i].kind].data();
        }
    }

    double distance_sq(int i, int j) const {
        const double dx = crowd.x[j] - crowd.x[i], dy = crowd.y[j] - crowd.y[i];
        return dx * dx + dy * dy;
    }
};

void call_off(Unit &unit) {
    if (unit.winding < 0) return;
    unit.winding = -1;
    unit.cooldown = 0.0;
}

// The living opponent that an enemy takes: armed ones first, then the least edge distance, then the lowest index.
int best_candidate(const Loop &loop, int i, double &target_sq) {
    int best = -1, best_class = 2;
    double best_edge = 0.0;
    const World::Pair *row = loop.pair[i];
    for (int j = 0; j < loop.world.n_agents; ++j) {
        const Unit &other = loop.units[j];
        if (!other.alive) continue;
        const World::Pair &pair = row[other.kind];
        const double sq = loop.distance_sq(i, j);
        if (!pair.can_hit || sq > pair.scan_sq) continue;
        const int rank = loop.kind[j]->armed ? 0 : 1;
        if (rank > best_class) continue;
        const double edge = std::sqrt(sq) - pair.radii;
        if (rank == best_class && edge >= best_edge) continue;
        best = j;
        best_class = rank;
        best_edge = edge;
        target_sq = sq;
    }
    return best;
}

// Keeps, drops or finds the target of an enemy (smac.md 9.4). Returns the squared distance to it.
double acquire(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    double target_sq = 0.0;
    if (unit.target >= 0) {
        const Unit &target = loop.units[unit.target];
        if (target.alive) {
            target_sq = loop.distance_sq(i, unit.target);
            if (target_sq <= loop.pair[i][target.kind].keep_sq) return target_sq;
        }
        call_off(unit);
    }
    unit.target = static_cast<std::int16_t>(best_candidate(loop, i, target_sq));
    if (unit.target < 0 && unit.hurt_by >= 0 && loop.units[unit.hurt_by].alive) {
        const Unit &attacker = loop.units[unit.hurt_by];
        const World::Pair &pair = loop.pair[i][attacker.kind];
        target_sq = loop.distance_sq(i, unit.hurt_by);
        if (pair.can_hit && target_sq <= pair.alert_sq) unit.target = unit.hurt_by;
    }
    return target_sq;
}

// Checks the target that an agent was ordered to attack. Returns the squared distance to it.
double check_target(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const Unit &target = loop.units[unit.target];
    if (!target.alive) {
        call_off(unit);
        unit.order = OrderKind::stand;
        unit.target = -1;
        return 0.0;
    }
    const double target_sq = loop.distance_sq(i, unit.target);
    if (unit.winding >= 0 && target_sq > loop.pair[i][target.kind].keep_sq) call_off(unit);
    return target_sq;
}

void fire(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const UnitKind &kind = *loop.kind[i];
    unit.winding = -1;
    unit.backswing = static_cast<std::uint8_t>(
        std::min(static_cast<double>(kind.backswing), std::ceil(std::max(unit.cooldown, 0.0))));
    const int at_once = kind.hit_delay > 0 ? 1 : kind.hits;
    for (int h = 0; h < at_once; ++h) loop.hits[loop.n_hits++] = {i, unit.target};
    if (kind.hits > at_once) {
        unit.second_hit_loops = static_cast<std::uint8_t>(kind.hit_delay);
        unit.second_hit_target = unit.target;
    }
}

void start_attack(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const UnitKind &kind = *loop.kind[i];
    const std::uint32_t draw = loop.battle.stream().below(3 * 4096, Purpose::weapon_delay, i, 0);
    unit.cooldown = quantise(unit.cooldown + kind.period + (static_cast<double>(draw) / 4096.0 - 1.0));
    unit.winding = static_cast<std::int8_t>(kind.windup);
}

// The displacement, in this loop, of a unit that walks to a point (dx, dy) away.
void walk(Loop &loop, int i, double dx, double dy) {
    const double speed = loop.kind[i]->speed;
    const double sq = dx * dx + dy * dy;
    const double share = sq > speed * speed ? speed / std::sqrt(sq) : 1.0;
    loop.step_x[i] = quantise(dx * share);
    loop.step_y[i] = quantise(dy * share);
    loop.walker[loop.n_walkers++] = i;
    loop.crowd.mobility[i] = speed > 0.0 ? kMoving : kStanding;
}

// Walks toward the goal of a move or attack-move; ends a move that has arrived or makes no progress.
void walk_to_goal(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const double dx = unit.goal_x - loop.crowd.x[i], dy = unit.goal_y - loop.crowd.y[i];
    const double sq = dx * dx + dy * dy;
    bool ends = sq <= kArrived * kArrived;
    if (unit.order == OrderKind::move) {
        const double distance = std::sqrt(sq);
        unit.stalled = unit.goal_distance - distance < kProgress ? unit.stalled + 1 : 0;
        unit.goal_distance = distance;
        ends = ends || unit.stalled >= kPatience;
        if (ends) unit.order = OrderKind::stand;
    }
    if (!ends) walk(loop, i, dx, dy);
}

// Timers, target, weapon and intended displacement of one unit (phases 2, 3, 4 and the start of 6): all of it
// looks at other units only as they were when the loop began.
void act(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    loop.pursued[i] = -1;
    loop.crowd.mobility[i] = kStanding;
    if (unit.cooldown > 0.0) unit.cooldown -= 1.0;
    if (unit.winding > 0) --unit.winding;
    if (unit.backswing > 0) --unit.backswing;
    if (unit.second_hit_loops > 0 && --unit.second_hit_loops == 0) {
        if (loop.units[unit.second_hit_target].alive) loop.hits[loop.n_hits++] = {i, unit.second_hit_target};
    }
    double target_sq = 0.0;
    if (unit.order == OrderKind::attack_move) {
        target_sq = acquire(loop, i);
        unit.hurt_by = -1;
    } else if (unit.order == OrderKind::attack) {
        target_sq = check_target(loop, i);
    }
    bool in_range = false;
    if (unit.target >= 0) {
        in_range = target_sq <= loop.pair[i][loop.units[unit.target].kind].reach_sq;
        if (in_range && unit.winding < 0 && unit.backswing == 0 && unit.cooldown <= 0.0) start_attack(loop, i);
        if (unit.winding == 0) fire(loop, i);
    }
    const bool fights = unit.target >= 0 || unit.order == OrderKind::attack_move;
    if (in_range || (fights && (unit.winding >= 0 || unit.backswing > 0))) {
        loop.crowd.mobility[i] = kAttacking;
    } else if (unit.target >= 0) {
        loop.pursued[i] = unit.target;
        walk(loop, i, loop.crowd.x[unit.target] - loop.crowd.x[i], loop.crowd.y[unit.target] - loop.crowd.y[i]);
    } else if (unit.order == OrderKind::move || unit.order == OrderKind::attack_move) {
        walk_to_goal(loop, i);
    }
    if (loop.kind[i]->structure) loop.crowd.mobility[i] = 0.0;
}

void apply_hit(Loop &loop, const Hit &hit) {
    Unit &target = loop.units[hit.target];
    const UnitKind &kind = loop.world.kinds[target.kind];
    double damage = loop.world.pair[loop.units[hit.source].kind][target.kind].damage;
    const double absorbed = std::min(target.shield, damage);
    target.shield -= absorbed;
    damage -= absorbed;
    if (damage > 0.0) target.health -= std::max(damage - kind.armor, 0.5);
    target.damaged_loop = static_cast<std::int32_t>(loop.battle.loop);
    if (target.hurt_by < 0) target.hurt_by = static_cast<std::int16_t>(hit.source);
}

// Hits, then deaths. The dead leave the world at once: nobody walks toward them in this loop.
void settle(Loop &loop) {
    for (int h = 0; h < loop.n_hits; ++h) apply_hit(loop, loop.hits[h]);
    bool anyone_died = false;
    for (int h = 0; h < loop.n_hits; ++h) {
        Unit &unit = loop.units[loop.hits[h].target];
        if (!unit.alive || unit.health > 0.0) continue;
        unit.alive = false;
        unit.health = unit.shield = unit.energy = unit.cooldown = 0.0;
        unit.order = OrderKind::stand;
        unit.target = -1;
        unit.winding = -1;
        unit.second_hit_loops = 0;
        unit.x = loop.crowd.x[loop.hits[h].target];
        unit.y = loop.crowd.y[loop.hits[h].target];
        loop.crowd.remove(loop.hits[h].target);
        anyone_died = true;
    }
    if (!anyone_died) return;
    for (int w = 0; w < loop.n_walkers; ++w) {
        const int i = loop.walker[w];
        if (loop.units[i].alive && (loop.pursued[i] < 0 || loop.units[loop.pursued[i]].alive)) continue;
        loop.step_x[i] = loop.step_y[i] = 0.0;
        loop.crowd.mobility[i] = kStanding;
    }
}

void regenerate(const Loop &loop) {
    for (int i = 0; i < loop.world.n_units(); ++i) {
        Unit &unit = loop.units[i];
        if (!unit.alive || !loop.world.regenerates[unit.kind]) continue;
        const UnitKind &kind = loop.world.kinds[unit.kind];
        if (static_cast<std::int32_t>(loop.battle.loop) - unit.damaged_loop >= kind.shield_delay)
            unit.shield = std::min(unit.shield + kind.shield_regen, kind.shield_max);
        unit.health = std::min(unit.health + kind.life_regen, kind.health_max);
        unit.energy = std::min(unit.energy + kind.energy_regen, kind.energy_max);
    }
}

}  // namespace

static void play_loop(Loop &loop) {
    const int n = loop.world.n_units();
    loop.n_hits = loop.n_walkers = 0;
    for (int i = 0; i < n; ++i)
        if (loop.units[i].alive) act(loop, i);
    if (loop.n_hits > 0) settle(loop);
    for (int w = 0; w < loop.n_walkers; ++w) {
        const int i = loop.walker[w];
        if (loop.units[i].alive) loop.crowd.displace(i, loop.step_x[i], loop.step_y[i]);
    }
    loop.crowd.note_walk();
    if (loop.crowd.push_apart()) loop.crowd.push_apart();
    if (loop.world.any_regenerates) regenerate(loop);
    ++loop.battle.loop;
}

void advance(const World &world, Battle &battle, int loops) {
    Loop loop(world, battle);
    for (int played = 0; played < loops; ++played) play_loop(loop);
    loop.crowd.write_back(loop.units);
}

}  // namespace mast
