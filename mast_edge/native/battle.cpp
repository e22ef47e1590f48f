// Orders, and one game loop phase by phase (smac.md 9.2, 9.3).
#include "battle.hpp"

#include <algorithm>

#include "loop.hpp"

namespace mast {

namespace {

// What the game would refuse leaves the present order in force.
bool is_refused(const World &world, const Unit *units, const Unit &unit, const Order &order) {
    if (order.kind == OrderKind::attack) return !world.pair[unit.kind][units[order.target].kind].can_hit;
    if (order.kind != OrderKind::heal) return false;
    const Unit &patient = units[order.target];
    return !world.pair[unit.kind][patient.kind].can_heal || unit.energy < price_of_loop(world.kinds[unit.kind]) ||
           patient.health >= world.kinds[patient.kind].health_max;
}

bool changes_nothing(const Unit &unit, const Order &order) {
    if (order.kind != unit.order) return false;
    if (order.kind == OrderKind::stand) return true;
    return (order.kind == OrderKind::attack || order.kind == OrderKind::heal) && order.target == unit.target;
}

}  // namespace

void give_order(const World &world, Battle &battle, int agent, const Order &order) {
    Unit &unit = battle.units()[agent];
    if (!unit.alive || changes_nothing(unit, order) || is_refused(world, battle.units(), unit, order)) return;
    call_off(unit);
    forget_block(unit);
    unit.backswing = 0;
    unit.stalled = 0;
    unit.goal_distance = 1e9;
    unit.order = order.kind;
    unit.target = static_cast<std::int16_t>(order.target);
    unit.goal_x = order.x;
    unit.goal_y = order.y;
}

Loop::Loop(const World &w, Battle &b) : world(w), battle(b), units(b.units()), crowd(w, b.units()) {
    for (int i = 0; i < w.n_units(); ++i) {
        kind[i] = &w.kinds[units[i].kind];
        pair[i] = w.pair[units[i].kind].data();
        bursting[i] = false;
    }
}

namespace {

void walk_on(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    if (unit.target >= 0)
        pursue(loop, i);
    else if (unit.order != OrderKind::stand)
        walk_to_goal(loop, i);
    else
        forget_block(unit);
}

void act_as_medivac(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const double target_sq = look_after(loop, i);
    if (unit.target >= 0 && target_sq <= loop.pair[i][loop.units[unit.target].kind].heal_sq) {
        loop.healer[loop.n_healers++] = i;
        forget_block(unit);
    } else {
        walk_on(loop, i);
    }
}

void act_as_fighter(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    double target_sq = 0.0;
    if (unit.order == OrderKind::attack_move)
        target_sq = acquire(loop, i);
    else if (unit.order == OrderKind::attack)
        target_sq = check_target(loop, i);
    bool in_range = false;
    if (unit.target >= 0) {
        in_range = target_sq <= loop.pair[i][loop.units[unit.target].kind].reach_sq;
        use_weapon(loop, i, in_range, target_sq);
    }
    const bool fights = unit.target >= 0 || unit.order == OrderKind::attack_move;
    if (in_range || (fights && (unit.winding >= 0 || unit.backswing > 0))) {
        loop.crowd.mobility[i] = kAttacking;
        forget_block(unit);
    } else {
        walk_on(loop, i);
    }
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
    advance_pending(loop, i);
    if (loop.world.goal_kind == GoalKind::agents && unit.order == OrderKind::attack_move) choose_goal_unit(loop, i);
    if (loop.kind[i]->heals())
        act_as_medivac(loop, i);
    else
        act_as_fighter(loop, i);
    if (loop.kind[i]->structure) loop.crowd.mobility[i] = 0.0;
}

void regenerate(const Loop &loop) {
    for (int i = 0; i < loop.world.n_units(); ++i) {
        Unit &unit = loop.units[i];
        if (!unit.alive || !loop.world.regenerates[unit.kind]) continue;
        const UnitKind &kind = *loop.kind[i];
        if (static_cast<std::int32_t>(loop.battle.loop) - unit.damaged_loop >= kind.shield_delay)
            unit.shield = std::min(unit.shield + kind.shield_regen, kind.shield_max);
        unit.health = std::min(unit.health + kind.life_regen, kind.health_max);
        unit.energy = std::min(unit.energy + kind.energy_regen, kind.energy_max);
    }
}

void play_loop(Loop &loop) {
    const int n = loop.world.n_units();
    loop.n_hits = loop.n_walkers = loop.n_healers = loop.n_bursting = 0;
    for (int i = 0; i < n; ++i) {
        if (loop.units[i].alive)
            act(loop, i);
        else
            advance_pending(loop, i);
    }
    settle(loop);
    take_steps(loop);
    if (loop.crowd.push_apart()) loop.crowd.push_apart();
    note_progress(loop);
    if (loop.world.any_regenerates) regenerate(loop);
    ++loop.battle.loop;
}

}  // namespace

void advance(const World &world, Battle &battle, int loops) {
    Loop loop(world, battle);
    for (int played = 0; played < loops; ++played) play_loop(loop);
    loop.crowd.write_back(loop.units);
}

}  // namespace mast
