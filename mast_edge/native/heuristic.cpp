#include "heuristic.hpp"

#include <cmath>
#include <limits>

namespace mast {

namespace {

constexpr std::int64_t kNorth = 2, kSouth = 3, kEast = 4, kWest = 5, kFirstTarget = 6;

// The nearest of units[first, last) that `fits`; the lowest index wins ties. -1 none.
template <typename Fits>
std::int16_t nearest(const Unit &own, const Unit *units, int first, int last, const Fits &fits) {
    double least = std::numeric_limits<double>::infinity();
    int found = -1;
    for (int k = first; k < last; ++k) {
        if (!units[k].alive || !fits(k)) continue;
        const double dx = units[k].x - own.x, dy = units[k].y - own.y;
        const double sq = dx * dx + dy * dy;    // exact: both are multiples of 1/4096 within the map
        if (sq < least) {
            least = sq;
            found = k;
        }
    }
    return static_cast<std::int16_t>(found);
}

std::int16_t choose_target(const Interface &face, const World &world, const Unit *units, int agent) {
    const Unit &own = units[agent];
    const int kept = own.heuristic_target;
    if (face.heals(agent)) {
        const auto hurt = [&](int k) { return units[k].health != face.units[k].health_max; };
        if (kept >= 0 && units[kept].alive && hurt(kept)) return own.heuristic_target;
        return nearest(own, units, 0, face.n_agents, [&](int k) { return !face.units[k].medivac && hurt(k); });
    }
    if (kept >= 0 && units[kept].alive) return own.heuristic_target;
    // Of the units that fight beside medivacs only the marauder cannot hit what flies.
    const bool skips_medivacs = !world.kinds[own.kind].hits_air;
    return nearest(own, units, face.n_agents, face.n_units(),
                   [&](int k) { return !(skips_medivacs && face.units[k].medivac); });
}

}  // namespace

std::int64_t choose_by_heuristic(const Interface &face, const World &world, Unit *units, int agent) {
    Unit &own = units[agent];
    own.heuristic_target = choose_target(face, world, units, agent);
    if (own.heuristic_target < 0) return 0;
    const int first = face.heals(agent) ? 0 : face.n_agents;
    const std::int64_t action = kFirstTarget + own.heuristic_target - first;
    if (!face.heuristic_rest || is_available(face, units, agent, action)) return action;
    const Unit &target = units[own.heuristic_target];
    const double dx = target.x - own.x, dy = target.y - own.y;
    if (std::abs(dx) > std::abs(dy)) return dx > 0 ? kEast : kWest;
    return dy > 0 ? kNorth : kSouth;
}

bool is_sound_choice(const Interface &face, int unit, int target) {
    if (target == -1) return true;
    if (unit >= face.n_agents) return false;
    return face.heals(unit) ? target >= 0 && target < face.n_agents
                            : target >= face.n_agents && target < face.n_units();
}

}  // namespace mast
