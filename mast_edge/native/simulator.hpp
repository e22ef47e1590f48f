// A batch of independent battles of one map, stepped together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "battle.hpp"
#include "interface.hpp"
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
    Simulator(World world, Interface face, int n_envs, std::uint64_t seed, int step_mul);

    void reset(const Views &views);
    // Throws std::invalid_argument before anything has changed.
    void step(const std::int64_t *actions, const Views &views, const StepResults &results);
    void refresh(const Views &views);

    // Commands besides the stepping interface (raw.cpp). All throw std::invalid_argument for an index out of range.
    void restart(int env);                                  // as reset, without showing anything
    void order(int env, int agent, const Order &wanted);    // the dead, and targets that are dead, are passed over
    void play_loops(int env, int loops);                    // plays loops; counts no step and ends no episode
    void kill(int env, int unit_number);                    // dies at once, without a blast

    std::size_t block_size() const { return stride_; }
    void save(std::uint8_t *out) const;
    void restore(const std::uint8_t *blocks);    // throws std::invalid_argument, nothing changed

    const Battle &battle(int env) const;
    const World &world() const { return world_; }
    const Interface &face() const { return face_; }
    int n_envs() const { return n_envs_; }

  private:
    Battle &battle(int env);
    void check_actions(int env, const std::int64_t *actions) const;
    void play(Battle &battle, const std::int64_t *actions) const;
    void show(int env, const Views &views) const;

    World world_;
    Interface face_;
    int n_envs_, step_mul_;
    std::size_t stride_;
    std::vector<std::uint64_t> memory_;    // 64-bit words: the blocks hold doubles
};

}  // namespace mast
