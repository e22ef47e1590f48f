#include "rollout.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

namespace mast_edge {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

template <typename T>
void keep(T *rows, std::size_t row, const T *now, std::size_t count) {
    std::memcpy(rows + row * count, now, count * sizeof(T));
}

}  // namespace

Times play_episodes(mast::Simulator &simulator, BatchActor &actor, double epsilon, const BitGenerator *random,
                    mast::Views live, const Record &record, const Endings &endings, std::int64_t *played) {
    const mast::Interface &face = simulator.face();
    const std::size_t envs = static_cast<std::size_t>(simulator.n_envs());
    const std::size_t agents = envs * static_cast<std::size_t>(face.n_agents);
    const std::size_t obs = agents * static_cast<std::size_t>(face.obs_dim);
    const std::size_t state = envs * static_cast<std::size_t>(face.state_dim);
    const std::size_t avail = agents * static_cast<std::size_t>(face.n_actions);
    std::vector<std::int64_t> actions(agents, 0);
    std::vector<double> reward(envs);
    std::vector<std::int32_t> dead(2 * envs);
    const auto flags = std::make_unique<bool[]>(2 * envs);
    bool *running = flags.get(), *terminated = running + envs;
    std::fill(running, running + envs, true);
    live.which = running;
    const mast::StepResults results{reward.data(), terminated,  endings.timed_out,
                                    endings.won,   dead.data(), dead.data() + envs};
    Clock::duration acting{}, playing{};
    std::size_t left = envs;
    keep(record.obs, 0, live.obs, obs);
    keep(record.state, 0, live.state, state);
    keep(record.avail, 0, live.avail, avail);
    for (std::size_t t = 0; left > 0; ++t) {
        const auto began = Clock::now();
        actor.act(live.obs, live.avail, running, epsilon, random, actions.data());
        const auto chosen = Clock::now();
        std::copy(actions.begin(), actions.end(), played);
        simulator.step(played, live, results);
        playing += Clock::now() - chosen;
        acting += chosen - began;
        keep(record.obs, t + 1, live.obs, obs);
        keep(record.state, t + 1, live.state, state);
        keep(record.avail, t + 1, live.avail, avail);
        for (std::size_t i = 0; i < agents; ++i) record.actions[t * agents + i] = static_cast<std::uint8_t>(actions[i]);
        for (std::size_t env = 0; env < envs; ++env) {
            record.reward[t * envs + env] = static_cast<float>(reward[env]);
            if (!running[env] || !terminated[env]) continue;
            endings.length[env] = static_cast<std::int64_t>(t + 1);
            running[env] = false;
            --left;
        }
    }
    return {seconds(playing), seconds(acting)};
}

}  // namespace mast_edge
