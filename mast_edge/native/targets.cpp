// Whom units attack, heal and walk to (smac.md 9.4).
#include <cmath>
#include <limits>

#include "loop.hpp"

namespace mast {

namespace {

// The living opponent that a unit takes: armed ones first, then the least edge distance, then the lowest index.
int best_candidate(const Loop &loop, int i, double &target_sq) {
    int best = -1, best_class = 2;
    double best_edge = 0.0;
    const World::Pair *row = loop.pair[i];
    for (int j = loop.first_opponent(i), end = loop.end_of_opponents(i); j < end; ++j) {
        const Unit &other = loop.units[j];
        if (!other.alive) continue;
        const World::Pair &pair = row[other.kind];
        const double sq = loop.distance_sq(i, j);
        if (!pair.can_hit || sq > pair.scan_sq) continue;
        const int rank = loop.kind[j]->armed() ? 0 : 1;
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

// The hurt unit of its own side that a medivac takes: the least health fraction, then distance, then index.
int best_patient(const Loop &loop, int i, double &target_sq) {
    int best = -1;
    double best_fraction = 0.0;
    const World::Pair *row = loop.pair[i];
    for (int j = loop.first_friend(i), end = loop.end_of_friends(i); j < end; ++j) {
        const Unit &other = loop.units[j];
        if (!other.alive || !row[other.kind].can_heal || other.health >= loop.kind[j]->health_max) continue;
        const double sq = loop.distance_sq(i, j);
        if (sq > row[other.kind].heal_scan_sq) continue;
        const double fraction = other.health / loop.kind[j]->health_max;
        if (best >= 0 && (fraction > best_fraction || (fraction == best_fraction && sq >= target_sq))) continue;
        best = j;
        best_fraction = fraction;
        target_sq = sq;
    }
    return best;
}

bool needs_no_healing(const Loop &loop, int patient) {
    return !loop.units[patient].alive || loop.units[patient].health >= loop.kind[patient]->health_max;
}

}  // namespace

double acquire(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    double target_sq = 0.0;
    if (unit.target >= 0) {
        const Unit &target = loop.units[unit.target];
        if (target.alive) {
            target_sq = loop.distance_sq(i, unit.target);
            if (target_sq <= loop.pair[i][target.kind].keep_sq) {
                unit.hurt_by = -1;
                return target_sq;
            }
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
    unit.hurt_by = -1;
    return target_sq;
}

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

double look_after(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const UnitKind &kind = *loop.kind[i];
    double target_sq = 0.0;
    if (unit.order == OrderKind::heal) {
        if (needs_no_healing(loop, unit.target)) {
            unit.order = OrderKind::stand;
            unit.target = -1;
        }
    } else if (unit.order == OrderKind::attack_move) {
        if (unit.target >= 0 && (needs_no_healing(loop, unit.target) || unit.energy < price_of_loop(kind)))
            unit.target = -1;
        if (unit.target < 0 && unit.energy >= kind.heal_min_energy)
            unit.target = static_cast<std::int16_t>(best_patient(loop, i, target_sq));
    }
    return unit.target >= 0 ? loop.distance_sq(i, unit.target) : 0.0;
}

void choose_goal_unit(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    if (loop.battle.loop % 16 != 0 && unit.goal_unit >= 0 && loop.units[unit.goal_unit].alive) return;
    const int from = cell_of({loop.crowd.x[i], loop.crowd.y[i]});
    unit.goal_unit = -1;
    int least = std::numeric_limits<int>::max();
    for (int j = loop.first_opponent(i), end = loop.end_of_opponents(i); j < end; ++j) {
        if (!loop.units[j].alive) continue;
        const FlowField &field = loop.world.ground->toward(cell_of({loop.crowd.x[j], loop.crowd.y[j]}));
        const int cost = field.cost[static_cast<std::size_t>(from)];
        if (cost >= least) continue;
        least = cost;
        unit.goal_unit = static_cast<std::int16_t>(j);
    }
}

}  // namespace mast
