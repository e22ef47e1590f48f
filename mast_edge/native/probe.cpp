#include "probe.hpp"

#include <stdexcept>
#include <string>

namespace mast {

Probe::Probe(Interface face) : face_(std::move(face)) {
    face_.prepare();
    units_.resize(static_cast<std::size_t>(face_.n_units()));
    battle_.over = true;
}

void Probe::load(const float *allies, const float *enemies) {
    for (int i = 0; i < face_.n_units(); ++i) {
        const float *row = i < face_.n_agents ? allies + i * kColumns : enemies + (i - face_.n_agents) * kColumns;
        Unit &unit = units_[static_cast<std::size_t>(i)];
        unit.x = row[0];
        unit.y = row[1];
        unit.health = row[2];
        unit.shield = row[3];
        unit.energy = row[4];
        unit.cooldown = row[5];
        unit.alive = unit.health > 0;
    }
}

void Probe::begin(const float *allies, const float *enemies) {
    load(allies, enemies);
    battle_.step = 0;
    battle_.over = false;
    for (Unit &unit : units_) {
        unit.last_action = -1;
        unit.previous_vitals = unit.health + unit.shield;
        unit.counted_dead = false;
    }
}

Outcome Probe::step(const std::int64_t *actions, const float *allies, const float *enemies) {
    if (battle_.over) throw std::invalid_argument("conform: step must follow a reset.");
    for (int i = 0; i < face_.n_agents; ++i)
        if (!is_available(face_, units_.data(), i, actions[i]))
            throw std::invalid_argument("conform: action of agent " + std::to_string(i) + " must be available; got " +
                                        std::to_string(actions[i]) + ".");
    for (int i = 0; i < face_.n_agents; ++i)
        units_[static_cast<std::size_t>(i)].last_action = static_cast<std::int16_t>(actions[i]);
    load(allies, enemies);
    return conclude_step(face_, battle_, units_.data());
}

void Probe::pose(const float *allies, const float *enemies, const std::int64_t *last_actions, int step) {
    for (int i = 0; i < face_.n_agents; ++i)
        if (last_actions[i] < -1 || last_actions[i] >= face_.n_actions)
            throw std::invalid_argument("conform: last action must be -1 or an action; got " +
                                        std::to_string(last_actions[i]) + ".");
    begin(allies, enemies);
    battle_.step = step;
    for (int i = 0; i < face_.n_agents; ++i)
        units_[static_cast<std::size_t>(i)].last_action = static_cast<std::int16_t>(last_actions[i]);
}

void Probe::observe(float *obs, float *state, std::uint8_t *avail, std::uint8_t *visible) const {
    write_avail(face_, units_.data(), avail);
    write_obs(face_, units_.data(), avail, battle_.step, obs);
    write_state(face_, units_.data(), battle_.step, obs, state);
    write_visibility(face_, units_.data(), visible);
}

void Probe::orders(const std::int64_t *actions, float *out) const {
    constexpr float kStopAbility = 4, kMoveAbility = 16, kAttackAbility = 23, kHealAbility = 386;
    for (int i = 0; i < face_.n_agents; ++i, out += 4) {
        out[0] = out[1] = out[2] = out[3] = 0;
        if (!is_available(face_, units_.data(), i, actions[i]))
            throw std::invalid_argument("conform: action of agent " + std::to_string(i) + " must be available; got " +
                                        std::to_string(actions[i]) + ".");
        const Order order = order_of(face_, units_.data(), i, actions[i]);
        if (order.kind == OrderKind::stand) {
            out[0] = order.target == -2 ? 0 : kStopAbility;
        } else if (order.kind == OrderKind::move) {
            out[0] = kMoveAbility;
            out[1] = 1;
            out[2] = static_cast<float>(order.x);
            out[3] = static_cast<float>(order.y);
        } else {
            const bool heals = order.kind == OrderKind::heal;
            out[0] = heals ? kHealAbility : kAttackAbility;
            out[1] = heals ? 2 : 3;
            out[2] = static_cast<float>(heals ? order.target : order.target - face_.n_agents);
        }
    }
}

}  // namespace mast
