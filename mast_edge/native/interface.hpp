// What agents see and may do: observations, state, available actions, reward and end of an episode.
//
// Source: smac.md 2 to 6. The simulator and the conformance check call the same functions: all they need is the
// units, agents first, enemies after them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "battle.hpp"
#include "unit.hpp"

namespace mast {

constexpr double kSight = 9.0, kShootRange = 6.0;

// Per unit index: what the features need of its type.
struct UnitFace {
    double health_max = 1, shield_max = 0;
    double cooldown_scale = 1;     // divisor of the state's cooldown entry
    int type_slot = -1;            // position of the 1 in the type one-hot, -1 none
    bool medivac = false;
};

struct Interface {
    int n_agents = 0, n_enemies = 0;
    int type_bits = 0;
    bool ally_shields = false, enemy_shields = false;      // the side's race is Protoss
    bool medivac_rules = false;                            // map_type MMM
    std::vector<UnitFace> units;                           // agents first
    std::array<std::uint32_t, kMapSize> walkable{};        // row y, bit x
    std::vector<std::uint8_t> height;                      // [x * 32 + y]
    int limit = 1;
    double move_amount = 2;
    bool obs_all_health = true, obs_own_health = true, obs_last_action = false;
    bool obs_pathing_grid = false, obs_terrain_height = false, obs_timestep_number = false;
    bool obs_instead_of_state = false, state_last_action = true, state_timestep_number = false;
    bool reward_sparse = false, reward_only_positive = true, reward_scale = true;
    bool heuristic_ai = false, heuristic_rest = false;
    double reward_death_value = 10, reward_win = 200, reward_defeat = 0;
    double reward_negative_scale = 0.5, reward_scale_rate = 20;

    // Derived by prepare().
    int n_actions = 0, obs_dim = 0, state_dim = 0;
    double max_reward = 0;

    int n_units() const { return n_agents + n_enemies; }
    bool heals(int agent) const { return medivac_rules && units[agent].medivac; }

    // Checks the tables, derives sizes and max_reward. Throws std::invalid_argument.
    void prepare();
};

// Fills avail [nA * n_actions] (smac.md 3).
void write_avail(const Interface &face, const Unit *units, std::uint8_t *avail);

// Whether one action may be taken; the same answer as write_avail without the table.
bool is_available(const Interface &face, const Unit *units, int agent, std::int64_t action);

// Fills obs [nA * obs_dim] from units and their avail (smac.md 4).
void write_obs(const Interface &face, const Unit *units, const std::uint8_t *avail, int step, float *obs);

// Fills state [state_dim] (smac.md 5). `obs` is read if the state is made of observations.
void write_state(const Interface &face, const Unit *units, int step, const float *obs, float *state);

// Fills visible [nA * (nA + nE)], agents' columns first (smac.md 5).
void write_visibility(const Interface &face, const Unit *units, std::uint8_t *visible);

// The order that an available action means (smac.md 3). No-op gives OrderKind::stand with target -2.
Order order_of(const Interface &face, const Unit *units, int agent, std::int64_t action);

struct Outcome {
    double reward;
    bool terminated, timed_out, battle_won;
    int dead_allies, dead_enemies;
};

// Reward and end of a step that has just been played: counts it in `battle` and remembers the vitals (smac.md 6).
Outcome conclude_step(const Interface &face, Battle &battle, Unit *units);

}  // namespace mast
