// Observations, state and visibility (smac.md 4, 5). Arithmetic in double, cast to float at the end.
#include <algorithm>
#include <cmath>

#include "interface.hpp"

namespace mast {

namespace {

struct Fractions {
    double health[kMaxUnits], shield[kMaxUnits];
};

Fractions fractions_of(const Interface &face, const Unit *units) {
    Fractions f;
    for (int i = 0; i < face.n_units(); ++i) {
        const UnitFace &unit = face.units[i];
        f.health[i] = units[i].health / unit.health_max;
        f.shield[i] = unit.shield_max > 0 ? units[i].shield / unit.shield_max : 0.0;
    }
    return f;
}

// Obs and state are cleared before they are written: zeros are skipped.
float *one_hot(float *out, int n, int at) {
    if (at >= 0) out[at] = 1.0f;
    return out + n;
}

bool inside(int x, int y) { return x >= 0 && x < kMapSize && y >= 0 && y < kMapSize; }

// The walkable and height values around a unit; outside the map both give 1.
float *write_terrain(const Interface &face, const Unit &unit, float *out) {
    const int x = static_cast<int>(unit.x), y = static_cast<int>(unit.y);
    const double m = face.move_amount;
    const int x_near[2] = {static_cast<int>(x + m), static_cast<int>(x - m)};
    const int y_near[2] = {static_cast<int>(y + m), static_cast<int>(y - m)};
    const int cells[9][2] = {{x, static_cast<int>(y + 2 * m)}, {x, static_cast<int>(y - 2 * m)},
                             {static_cast<int>(x + 2 * m), y}, {static_cast<int>(x - 2 * m), y},
                             {x_near[0], y_near[0]},           {x_near[1], y_near[1]},
                             {x_near[0], y_near[1]},           {x_near[1], y_near[0]},
                             {x, y}};
    if (face.obs_pathing_grid)
        for (int c = 0; c < 8; ++c) {
            const int cx = cells[c][0], cy = cells[c][1];
            *out++ = inside(cx, cy) ? static_cast<float>((face.walkable[cy] >> cx) & 1u) : 1.0f;
        }
    if (face.obs_terrain_height)
        for (int c = 0; c < 9; ++c) {
            const int cx = cells[c][0], cy = cells[c][1];
            *out++ = inside(cx, cy) ? static_cast<float>(face.height[cx * kMapSize + cy] / 255.0) : 1.0f;
        }
    return out;
}

// One row of the enemies' or allies' part, `first` being its first entry; zero when out of sight.
struct RowWriter {
    const Interface &face;
    const Fractions &fractions;
    bool shields;
    int width;

    float *write(const Unit &own, const Unit &other, int j, float first, float *out) const {
        const double dx = other.x - own.x, dy = other.y - own.y;
        const double sq = dx * dx + dy * dy;
        if (!other.alive || !(sq < kSight * kSight)) return out + width;
        *out++ = first;
        *out++ = static_cast<float>(std::sqrt(sq) / kSight);
        *out++ = static_cast<float>(dx / kSight);
        *out++ = static_cast<float>(dy / kSight);
        if (face.obs_all_health) {
            *out++ = static_cast<float>(fractions.health[j]);
            if (shields) *out++ = static_cast<float>(fractions.shield[j]);
        }
        return face.type_bits ? one_hot(out, face.type_bits, face.units[j].type_slot) : out;
    }
};

void write_agent_obs(const Interface &face, const Unit *units, const Fractions &fractions, const std::uint8_t *avail,
                     int step, int i, float *out) {
    float *const end = out + face.obs_dim;
    const float progress = static_cast<float>(static_cast<double>(step) / face.limit);
    const Unit &own = units[i];
    if (!own.alive) {
        if (face.obs_timestep_number) end[-1] = progress;
        return;
    }
    for (int d = 0; d < 4; ++d) *out++ = avail[2 + d];
    if (face.obs_pathing_grid || face.obs_terrain_height) out = write_terrain(face, own, out);
    const int health_bits = face.obs_all_health ? 1 : 0;
    const RowWriter enemy{face, fractions, face.enemy_shields,
                          4 + health_bits * (1 + face.enemy_shields) + face.type_bits};
    for (int k = 0; k < face.n_enemies; ++k)
        out = enemy.write(own, units[face.n_agents + k], face.n_agents + k, avail[6 + k], out);
    const RowWriter ally{face, fractions, face.ally_shields,
                         4 + health_bits * (1 + face.ally_shields) + face.type_bits};
    for (int j = 0; j < face.n_agents; ++j) {
        if (j == i) continue;
        out = ally.write(own, units[j], j, 1.0f, out);
        if (!face.obs_last_action) continue;
        const bool seen = out[-ally.width] != 0.0f;    // the first entry of a visible ally is 1
        out = one_hot(out, face.n_actions, seen ? units[j].last_action : -1);
    }
    if (face.obs_own_health) {
        *out++ = static_cast<float>(fractions.health[i]);
        if (face.ally_shields) *out++ = static_cast<float>(fractions.shield[i]);
    }
    if (face.type_bits) out = one_hot(out, face.type_bits, face.units[i].type_slot);
    if (face.obs_timestep_number) {    // SMAC declares one slot, leaves it 0 and appends another (smac.md 4)
        ++out;
        *out = progress;
    }
}

float *write_state_row(const Interface &face, const Unit *units, const Fractions &fractions, int i, float *out) {
    const bool agent = i < face.n_agents;
    const bool shields = agent ? face.ally_shields : face.enemy_shields;
    const Unit &unit = units[i];
    if (!unit.alive) return out + (agent ? 4 : 3) + shields + face.type_bits;
    *out++ = static_cast<float>(fractions.health[i]);
    if (agent)
        *out++ = static_cast<float>(face.heals(i) ? unit.energy / 200.0
                                                  : std::max(unit.cooldown, 0.0) / face.units[i].cooldown_scale);
    *out++ = static_cast<float>((unit.x - kMapSize / 2) / kMapSize);
    *out++ = static_cast<float>((unit.y - kMapSize / 2) / kMapSize);
    if (shields) *out++ = static_cast<float>(fractions.shield[i]);
    return face.type_bits ? one_hot(out, face.type_bits, face.units[i].type_slot) : out;
}

}  // namespace

void write_obs(const Interface &face, const Unit *units, const std::uint8_t *avail, int step, float *obs) {
    const Fractions fractions = fractions_of(face, units);
    std::fill(obs, obs + face.n_agents * face.obs_dim, 0.0f);
    for (int i = 0; i < face.n_agents; ++i)
        write_agent_obs(face, units, fractions, avail + i * face.n_actions, step, i, obs + i * face.obs_dim);
}

void write_state(const Interface &face, const Unit *units, int step, const float *obs, float *state) {
    if (face.obs_instead_of_state) {
        std::copy(obs, obs + face.n_agents * face.obs_dim, state);
        return;
    }
    const Fractions fractions = fractions_of(face, units);
    std::fill(state, state + face.state_dim, 0.0f);
    for (int i = 0; i < face.n_units(); ++i) state = write_state_row(face, units, fractions, i, state);
    if (face.state_last_action)
        for (int i = 0; i < face.n_agents; ++i) state = one_hot(state, face.n_actions, units[i].last_action);
    if (face.state_timestep_number) *state = static_cast<float>(static_cast<double>(step) / face.limit);
}

void write_visibility(const Interface &face, const Unit *units, std::uint8_t *visible) {
    for (int i = 0; i < face.n_agents; ++i)
        for (int j = 0; j < face.n_units(); ++j) {
            const double dx = units[j].x - units[i].x, dy = units[j].y - units[i].y;
            *visible++ = i != j && units[i].alive && units[j].alive && dx * dx + dy * dy < kSight * kSight;
        }
}

}  // namespace mast
