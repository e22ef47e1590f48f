// The recurrent agent for E environments by N agents at once, playing while it is being trained (algorithms.md 2.1).
#pragma once

#include <cstdint>
#include <vector>

#include "agent.hpp"

namespace mast_edge {

// numpy's bitgen_t (numpy/random/bitgen.h), which `Generator.bit_generator.capsule` points to.
struct BitGenerator {
    void *state;
    std::uint64_t (*next_uint64)(void *);
    std::uint32_t (*next_uint32)(void *);
    double (*next_double)(void *);
    std::uint64_t (*next_raw)(void *);
};

// One layer as numpy keeps it: weight (out, in), bias (out).
struct LayerView {
    const float *weight, *bias;
};

class BatchActor {
  public:
    // All sizes at least 1.
    BatchActor(int n_envs, int n_agents, int obs_dim, int n_actions, int hidden_dim);

    // Copies a snapshot of the weights, transposed. The hidden state stays as it is.
    void load(const LayerView &fc1, const LayerView &gru_ih, const LayerView &gru_hh, const LayerView &fc2);

    // Hidden state zero and no last action, everywhere.
    void reset();

    // One step of the environments marked by `which` (E), all when null; the others keep their state.
    //   obs (E, N, O), avail (E, N, A), actions (E, N): out, rows of other environments are left alone
    //   epsilon, random   chance of a uniformly random available action; null never explores. Numbers are drawn as
    //                     numpy's `random((E, N))`, and `random((E, N, A))` if any agent explores, other
    //                     environments included: who plays does not change what is drawn.
    // An agent takes its available action of largest Q, the lowest on ties. NaN counts as largest, as in numpy;
    // nothing available gives 0.
    void act(const float *obs, const std::uint8_t *avail, const bool *which, double epsilon,
             const BitGenerator *random, std::int64_t *actions);

    // Q of the last step (E, N, A).
    void read_q(float *q) const;

    const int n_envs, n_agents, obs_dim, n_actions, hidden_dim;

  private:
    void step(const float *obs, int row, int rows);
    void explore(const std::uint8_t *avail, const bool *which, double epsilon, const BitGenerator &random,
                 std::int64_t *actions);

    int width_, outputs_;  // hidden_dim and n_actions, padded
    Floats obs_weights_, action_columns_, agent_columns_, ih_, ih_bias_, hh_, hh_bias_, out_, out_bias_;
    Floats hidden_, q_;                       // (E N, width_), (E N, outputs_)
    std::vector<std::int32_t> last_actions_;  // (E N), -1 none
    Floats x_, from_input_, from_hidden_;     // a few rows at a time
    std::vector<double> chances_;             // (E N)
};

}  // namespace mast_edge
