// Sizes, available actions and orders (smac.md 2, 3).
#include "interface.hpp"

#include <stdexcept>
#include <string>

namespace mast {

void Interface::prepare() {
    if (n_agents < 1 || n_enemies < 1 || n_units() > kMaxUnits)
        throw std::invalid_argument("skirmish: number of units must be in 2..80; got " + std::to_string(n_units()));
    if (static_cast<int>(units.size()) != n_units() || height.size() != kMapSize * kMapSize)
        throw std::invalid_argument("skirmish: unit and height tables must fit the map.");
    for (const UnitFace &unit : units)
        if (unit.type_slot >= type_bits || !(unit.health_max > 0))
            throw std::invalid_argument("skirmish: unit type must have health and a place in the type one-hot.");
    if (limit < 1) throw std::invalid_argument("skirmish: limit must be at least 1.");
    obs_own_health = obs_own_health || obs_all_health;
    n_actions = 6 + n_enemies;
    const int move = 4 + (obs_pathing_grid ? 8 : 0) + (obs_terrain_height ? 9 : 0);
    const int enemy = 4 + (obs_all_health ? 1 + enemy_shields : 0) + type_bits;
    const int ally = 4 + (obs_all_health ? 1 + ally_shields : 0) + type_bits + (obs_last_action ? n_actions : 0);
    const int own = (obs_own_health ? 1 + ally_shields : 0) + type_bits;
    obs_dim = move + n_enemies * enemy + (n_agents - 1) * ally + own + (obs_timestep_number ? 2 : 0);
    state_dim = n_agents * (4 + ally_shields + type_bits) + n_enemies * (3 + enemy_shields + type_bits) +
                (state_last_action ? n_agents * n_actions : 0) + (state_timestep_number ? 1 : 0);
    if (obs_instead_of_state) state_dim = n_agents * obs_dim;
    max_reward = n_enemies * reward_death_value + reward_win;
    for (int k = n_agents; k < n_units(); ++k) max_reward += units[k].health_max + units[k].shield_max;
}

namespace {

constexpr int kStop = 1, kFirstMove = 2, kFirstTarget = 6;
constexpr double kEast[4] = {0, 0, 1, -1}, kNorth[4] = {1, -1, 0, 0};    // actions 2..5: north, south, east, west

double distance_sq(const Unit &a, const Unit &b) {
    const double dx = b.x - a.x, dy = b.y - a.y;
    return dx * dx + dy * dy;
}

bool can_move(const Interface &face, const Unit &unit, int direction) {
    // Truncation toward zero, as SMAC does it: just west of the border is still column 0.
    const int x = static_cast<int>(unit.x + kEast[direction] * (face.move_amount / 2));
    const int y = static_cast<int>(unit.y + kNorth[direction] * (face.move_amount / 2));
    return x >= 0 && x < kMapSize && y >= 0 && y < kMapSize && ((face.walkable[y] >> x) & 1u);
}

bool can_target(const Interface &face, const Unit *units, int agent, int k) {
    const bool heals = face.heals(agent);
    if (heals && (k >= face.n_agents || face.units[k].medivac)) return false;
    const Unit &other = units[heals ? k : face.n_agents + k];
    return other.alive && distance_sq(units[agent], other) <= kShootRange * kShootRange;
}

}  // namespace

void write_avail(const Interface &face, const Unit *units, std::uint8_t *avail) {
    for (int i = 0; i < face.n_agents; ++i, avail += face.n_actions) {
        if (!units[i].alive) {
            avail[0] = 1;
            for (int action = 1; action < face.n_actions; ++action) avail[action] = 0;
            continue;
        }
        avail[0] = 0;
        avail[kStop] = 1;
        for (int d = 0; d < 4; ++d) avail[kFirstMove + d] = can_move(face, units[i], d);
        for (int k = 0; k < face.n_enemies; ++k) avail[kFirstTarget + k] = can_target(face, units, i, k);
    }
}

bool is_available(const Interface &face, const Unit *units, int agent, std::int64_t action) {
    if (action < 0 || action >= face.n_actions) return false;
    if (!units[agent].alive) return action == 0;
    if (action == 0) return false;
    if (action == kStop) return true;
    if (action < kFirstTarget) return can_move(face, units[agent], static_cast<int>(action) - kFirstMove);
    return can_target(face, units, agent, static_cast<int>(action) - kFirstTarget);
}

Order order_of(const Interface &face, const Unit *units, int agent, std::int64_t action) {
    const Unit &unit = units[agent];
    if (action == 0) return {OrderKind::stand, -2, 0, 0};
    if (action == kStop) return {OrderKind::stand, -1, 0, 0};
    if (action < kFirstTarget) {
        const int d = static_cast<int>(action) - kFirstMove;
        return {OrderKind::move, -1, unit.x + kEast[d] * face.move_amount, unit.y + kNorth[d] * face.move_amount};
    }
    const int k = static_cast<int>(action) - kFirstTarget;
    if (face.heals(agent)) return {OrderKind::heal, k, 0, 0};
    return {OrderKind::attack, face.n_agents + k, 0, 0};
}

}  // namespace mast
