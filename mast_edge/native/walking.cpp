// Where units walk to, and what they do when others are in the way (smac.md 9.3, 9.8).
#include <cmath>

#include "loop.hpp"

namespace mast {

namespace {

constexpr double kArrived = 1.0 / 16.0;
constexpr double kProgress = 1.0 / 32.0;
constexpr int kPatience = 8;
constexpr int kBlockedLoops = 4, kSidestepLoops = 6;

// The displacement, in this loop, of a unit that walks to a point (dx, dy) away.
void walk(Loop &loop, int i, double dx, double dy) {
    const Unit &unit = loop.units[i];
    const double speed = loop.kind[i]->speed;
    const double sq = dx * dx + dy * dy;
    const double share = sq > speed * speed ? speed / std::sqrt(sq) : 1.0;
    if (unit.sidestep > 0) {
        const double east = dx;
        dx = unit.sidestep_right ? dy : -dy;
        dy = unit.sidestep_right ? -east : east;
    }
    loop.step_x[i] = quantise(dx * share);
    loop.step_y[i] = quantise(dy * share);
    loop.walker[loop.n_walkers++] = i;
    loop.crowd.mobility[i] = speed > 0.0 ? kMoving : kStanding;
}

// Walks to a point, round walls.
void walk_round(Loop &loop, int i, Point goal) {
    const Point from{loop.crowd.x[i], loop.crowd.y[i]};
    const auto &paths = loop.world.paths[loop.world.terrain[loop.units[i].kind]];
    if (paths) goal = paths->heading(from, goal);
    walk(loop, i, goal.x - from.x, goal.y - from.y);
}

}  // namespace

void pursue(Loop &loop, int i) {
    const int target = loop.units[i].target;
    loop.pursued[i] = target;
    walk_round(loop, i, {loop.crowd.x[target], loop.crowd.y[target]});
}

void walk_to_goal(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    Point goal{unit.goal_x, unit.goal_y};
    if (unit.order == OrderKind::attack_move && loop.world.goal_kind == GoalKind::agents) {
        if (unit.goal_unit < 0) return forget_block(unit);
        loop.pursued[i] = unit.goal_unit;
        goal = {loop.crowd.x[unit.goal_unit], loop.crowd.y[unit.goal_unit]};
    }
    const double dx = goal.x - loop.crowd.x[i], dy = goal.y - loop.crowd.y[i];
    const double sq = dx * dx + dy * dy;
    bool ends = sq <= kArrived * kArrived;
    if (unit.order == OrderKind::attack_move) return ends ? forget_block(unit) : walk_round(loop, i, goal);
    const double distance = std::sqrt(sq);
    unit.stalled = unit.goal_distance - distance < kProgress ? unit.stalled + 1 : 0;
    unit.goal_distance = distance;
    if (ends || unit.stalled >= kPatience)
        unit.order = OrderKind::stand;
    else
        walk(loop, i, dx, dy);
}

void take_steps(Loop &loop) {
    for (int w = 0; w < loop.n_walkers; ++w) {
        const int i = loop.walker[w];
        loop.from_x[i] = loop.crowd.x[i];
        loop.from_y[i] = loop.crowd.y[i];
        if (loop.units[i].alive) loop.crowd.displace(i, loop.step_x[i], loop.step_y[i]);
    }
    loop.crowd.note_walk();
}

void note_progress(Loop &loop) {
    for (int w = 0; w < loop.n_walkers; ++w) {
        const int i = loop.walker[w];
        Unit &unit = loop.units[i];
        if (unit.order == OrderKind::move || !unit.alive) continue;
        const double wanted_x = loop.step_x[i], wanted_y = loop.step_y[i];
        const double wanted_sq = wanted_x * wanted_x + wanted_y * wanted_y;
        if (wanted_sq == 0.0) {
            forget_block(unit);
        } else if (unit.sidestep > 0) {
            --unit.sidestep;
        } else {
            const double gained = (loop.crowd.x[i] - loop.from_x[i]) * wanted_x + (loop.crowd.y[i] - loop.from_y[i]) * wanted_y;
            unit.blocked = gained < wanted_sq / 4.0 ? unit.blocked + 1 : 0;
            if (unit.blocked < kBlockedLoops) continue;
            unit.blocked = 0;
            unit.sidestep = kSidestepLoops;
            unit.sidestep_right = loop.battle.stream().below(2, Purpose::sidestep, i, 0) == 1;
        }
    }
}

}  // namespace mast
