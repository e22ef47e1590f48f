// Walls and pushing (smac.md 9.3 and 9.6).
#include <algorithm>
#include <cmath>

#include "battle.hpp"

namespace mast {

static bool may_stand(const World &world, bool air, double x, double y) {
    if (!(x >= 0.0 && x < kMapSize && y >= 0.0 && y < kMapSize)) return false;
    return air || world.is_walkable(x, y);
}

void displace(const World &world, Unit &unit, double dx, double dy) {
    const bool air = world.kinds[unit.kind].air;
    const double x = unit.x + dx, y = unit.y + dy;
    if (may_stand(world, air, x, y)) {
        unit.x = x;
        unit.y = y;
    } else if (may_stand(world, air, x, unit.y)) {
        unit.x = x;
    } else if (may_stand(world, air, unit.x, y)) {
        unit.y = y;
    }
}

namespace {

struct Crowd {
    int n = 0;
    double x[kMaxUnits], y[kMaxUnits];
    int unit[kMaxUnits];
};

// Adds what the pair (a, b), closer than their touch distance, moves each other to the sums.
void push_pair(const World::Pair &pair, double dx, double dy, double mobility_a, double mobility_b, double *sum_a,
               double *sum_b) {
    const double total = mobility_a + mobility_b;
    if (total <= 0.0) return;
    const double distance = std::sqrt(dx * dx + dy * dy);
    double east = 1.0, north = 0.0;    // from a to b; units on the same spot: the lower index goes west
    if (distance > 0.0) {
        east = dx / distance;
        north = dy / distance;
    }
    const double overlap = pair.touch - distance;
    const double move_a = overlap * mobility_a / total, move_b = overlap * mobility_b / total;
    sum_a[0] -= quantise(east * move_a);
    sum_a[1] -= quantise(north * move_a);
    sum_b[0] += quantise(east * move_b);
    sum_b[1] += quantise(north * move_b);
}

}  // namespace

bool push_apart(const World &world, Unit *units, const double *mobility) {
    Crowd crowd;
    for (int i = 0; i < world.n_units(); ++i) {
        if (!units[i].alive) continue;
        crowd.x[crowd.n] = units[i].x;
        crowd.y[crowd.n] = units[i].y;
        crowd.unit[crowd.n++] = i;
    }
    double sum[kMaxUnits][2];
    bool any = false;
    for (int a = 0; a < crowd.n; ++a) {
        const int i = crowd.unit[a];
        const auto &row = world.pair[units[i].kind];
        for (int b = a + 1; b < crowd.n; ++b) {
            const double dx = crowd.x[b] - crowd.x[a], dy = crowd.y[b] - crowd.y[a];
            const int j = crowd.unit[b];
            const World::Pair &pair = row[units[j].kind];
            if (!(dx * dx + dy * dy < pair.touch_sq)) continue;
            if (!any) {
                any = true;
                for (int c = 0; c < crowd.n; ++c) sum[crowd.unit[c]][0] = sum[crowd.unit[c]][1] = 0.0;
            }
            push_pair(pair, dx, dy, mobility[i], mobility[j], sum[i], sum[j]);
        }
    }
    if (!any) return false;
    for (int a = 0; a < crowd.n; ++a) {
        const int i = crowd.unit[a];
        if (sum[i][0] == 0.0 && sum[i][1] == 0.0) continue;
        displace(world, units[i], std::clamp(sum[i][0], -0.25, 0.25), std::clamp(sum[i][1], -0.25, 0.25));
    }
    return true;
}

}  // namespace mast
