#include "simulator.hpp"

#include "heuristic.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>

namespace mast {

Simulator::Simulator(World world, Interface face, int n_envs, std::uint64_t seed, int step_mul,
                     int threads)
    : world_(std::move(world)), face_(std::move(face)), n_envs_(n_envs), step_mul_(step_mul) {
    if (n_envs < 1) throw std::invalid_argument("skirmish: n_envs must be at least 1; got " + std::to_string(n_envs));
    if (step_mul < 1)
        throw std::invalid_argument("skirmish: step_mul must be at least 1; got " + std::to_string(step_mul));
    if (threads < 1 || threads > 256)
        throw std::invalid_argument("skirmish: threads must be in 1..256; got " + std::to_string(threads));
    world_.prepare();
    face_.prepare();
    if (world_.n_agents != face_.n_agents || world_.n_enemies != face_.n_enemies)
        throw std::invalid_argument("skirmish: spawn groups must hold as many units as the map has.");
    stride_ = sizeof(Battle) + sizeof(Unit) * static_cast<std::size_t>(world_.n_units());
    workers_ = std::make_unique<Workers>(std::min(threads, n_envs));
    memory_.assign(stride_ / sizeof(std::uint64_t) * static_cast<std::size_t>(n_envs), 0);
    for (int env = 0; env < n_envs; ++env) {
        Battle &b = *new (&memory_[stride_ / sizeof(std::uint64_t) * static_cast<std::size_t>(env)]) Battle{};
        b.format = world_.fingerprint;
        b.n_units = world_.n_units();
        b.seed = seed + static_cast<std::uint64_t>(env);
        b.over = true;
        for (int i = 0; i < world_.n_units(); ++i) {
            Unit &unit = *new (b.units() + i) Unit{};
            unit.kind = world_.unit_kind[static_cast<std::size_t>(i)];
        }
    }
}

Battle &Simulator::battle(int env) {
    return *reinterpret_cast<Battle *>(&memory_[stride_ / sizeof(std::uint64_t) * static_cast<std::size_t>(env)]);
}

const Battle &Simulator::battle(int env) const {
    return *reinterpret_cast<const Battle *>(
        &memory_[stride_ / sizeof(std::uint64_t) * static_cast<std::size_t>(env)]);
}

void Simulator::show(int env, const Views &views) const {
    const Battle &b = battle(env);
    const std::size_t e = static_cast<std::size_t>(env);
    const std::size_t n_agents = static_cast<std::size_t>(face_.n_agents);
    float *obs = views.obs + e * n_agents * static_cast<std::size_t>(face_.obs_dim);
    std::uint8_t *avail = views.avail + e * n_agents * static_cast<std::size_t>(face_.n_actions);
    write_avail(face_, b.units(), avail);
    write_obs(face_, b.units(), avail, b.step, obs);
    write_state(face_, b.units(), b.step, obs, views.state + e * static_cast<std::size_t>(face_.state_dim));
}

void Simulator::reset(const Views &views) {
    for_each(views.which, [&](int env) {
        spawn(world_, battle(env));
        show(env, views);
    });
}

void Simulator::begin_at(std::uint32_t episode) {
    for (int env = 0; env < n_envs_; ++env) {
        battle(env).begun = episode;
        battle(env).over = true;
    }
}

void Simulator::refresh(const Views &views) {
    for (int env = 0; env < n_envs_; ++env)
        if (!views.which || views.which[env]) show(env, views);
}

void Simulator::show_visibility(std::uint8_t *visible) const {
    for (int env = 0; env < n_envs_; ++env, visible += face_.n_agents * face_.n_units())
        write_visibility(face_, battle(env).units(), visible);
}

void Simulator::check_actions(int env, const std::int64_t *actions) const {
    const Battle &b = battle(env);
    if (b.over)
        throw std::invalid_argument("skirmish: step must follow a reset; environment " + std::to_string(env) +
                                    (b.begun ? " has ended its episode." : " has not been reset.") +
                                    " Call reset, or leave it out of `which`.");
    for (int i = 0; i < face_.n_agents; ++i) {
        // The heuristic does not play the caller's actions, it only shows them as last actions.
        if (face_.heuristic_ai ? actions[i] >= 0 && actions[i] < face_.n_actions
                               : is_available(face_, b.units(), i, actions[i]))
            continue;
        std::string allowed;
        for (int action = 0; action < face_.n_actions; ++action)
            if (face_.heuristic_ai || is_available(face_, b.units(), i, action))
                allowed += (allowed.empty() ? "" : ", ") + std::to_string(action);
        throw std::invalid_argument("skirmish: action of agent " + std::to_string(i) + " in environment " +
                                    std::to_string(env) + " must be one of [" + allowed + "]; got " +
                                    std::to_string(actions[i]) + ". Choose where avail is 1.");
    }
}

void Simulator::play(Battle &b, std::int64_t *actions) const {
    Unit *units = b.units();
    Order orders[kMaxUnits];
    for (int i = 0; i < face_.n_agents; ++i) {
        units[i].last_action = static_cast<std::int16_t>(actions[i]);
        if (face_.heuristic_ai) actions[i] = choose_by_heuristic(face_, world_, units, i);
        orders[i] = order_of(face_, units, i, actions[i]);
    }
    for (int i = 0; i < face_.n_agents; ++i) {
        // Alive, no-op is the heuristic without a target: whatever the unit was doing goes on.
        if (actions[i] != 0) give_order(world_, b, i, orders[i]);
    }
    advance(world_, b, step_mul_);
}

void Simulator::step(std::int64_t *actions, const Views &views, const StepResults &results) {
    for (int env = 0; env < n_envs_; ++env)
        if (!views.which || views.which[env]) check_actions(env, actions + env * face_.n_agents);
    for_each(views.which, [&](int env) {
        Battle &b = battle(env);
        play(b, actions + env * face_.n_agents);
        const Outcome outcome = conclude_step(face_, b, b.units());
        results.reward[env] = outcome.reward;
        results.terminated[env] = outcome.terminated;
        results.timed_out[env] = outcome.timed_out;
        results.battle_won[env] = outcome.battle_won;
        results.dead_allies[env] = outcome.dead_allies;
        results.dead_enemies[env] = outcome.dead_enemies;
        show(env, views);
    });
}

}  // namespace mast
