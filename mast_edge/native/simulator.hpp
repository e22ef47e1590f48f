// A batch of independent battles of one map, stepped together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "battle.hpp"
#include "interface.hpp"
#include "workers.hpp"
#include "world.hpp"

namespace mast {

// Buffers of one call, each with a leading axis over environments. A null `which` means all of them.
struct Views {
    float *obs, *state;
    std::uint8_t *avail;
    const bool *which;
};

struct StepResults {
    double *reward;
    bool *terminated, *timed_out, *battle_won;
    std::int32_t *dead_allies, *dead_enemies;
};

class Simulator {
  public:
    Simulator(World world, Interface face, int n_envs, std::uint64_t seed, int step_mul, int threads = 1);

    void reset(const Views &views);
    // The next reset of every environment begins episode `episode`; until then no step is possible.
    void begin_at(std::uint32_t episode);
    // Throws std::invalid_argument before anything has changed. With heuristic_ai, `actions` are overwritten by those
    // the heuristic took instead.
    void step(std::int64_t *actions, const Views &views, const StepResults &results);
    void refresh(const Views &views);

    // Commands besides the stepping interface (raw.cpp). All throw std::invalid_argument for an index out of range.
    void restart(int env);                                  // as reset, without showing anything
    void order(int env, int agent, const Order &wanted);    // the dead, and targets that are dead, are passed over
    void play_loops(int env, int loops);                    // plays loops; counts no step and ends no episode
    void kill(int env, int unit_number);                    // dies at once, without a blast

    // Fills visible [E * nA * (nA + nE)].
    void show_visibility(std::uint8_t *visible) const;

    std::size_t block_size() const { return stride_; }
    void save(std::uint8_t *out) const;
    void restore(const std::uint8_t *blocks);    // throws std::invalid_argument, nothing changed

    const Battle &battle(int env) const;
    const World &world() const { return world_; }
    const Interface &face() const { return face_; }
    int n_envs() const { return n_envs_; }

  private:
    // Calls job(env) for the marked environments, all when `which` is null; shared by the threads.
    template <typename Job>
    void for_each(const bool *which, const Job &job) {
        workers_->run(n_envs_, [&](int env) {
            if (!which || which[env]) job(env);
        });
    }
    Battle &battle(int env);
    void check_actions(int env, const std::int64_t *actions) const;
    void play(Battle &battle, std::int64_t *actions) const;
    void show(int env, const Views &views) const;

    World world_;
    Interface face_;
    int n_envs_, step_mul_;
    std::size_t stride_;
    std::unique_ptr<Workers> workers_;
    std::vector<std::uint64_t> memory_;    // 64-bit words: the blocks hold doubles
};

}  // namespace mast
