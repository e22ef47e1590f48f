// The recurrent agent in native code: tables built once from CSR rows (agent_tables.hpp), then steps that allocate
// nothing (agent_kernels.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent_tables.hpp"

namespace mast_edge {

Work &operator+=(Work &sum, const Work &other);

// What one step needs besides its state, and what was done with it. One per thread of control.
struct Scratch {
    Floats x, from_input, from_hidden, q;
    std::vector<std::uint16_t> active;
    Work work;
    Buffers buffers() { return {x.data(), from_input.data(), from_hidden.data(), q.data(), active.data(), &work}; }
};

class AgentModel {
  public:
    // Sizes in 1..65536; throws std::invalid_argument otherwise.
    AgentModel(int obs_dim, int n_actions, int n_agents, int hidden_dim);

    // Adds layer `name` ("fc1", "gru_ih", "gru_hh", "fc2") from CSR tables, all bounds checked here once more.
    // table: "dense", "csr", "8x1" or "4x1", what it is run from. Throws std::invalid_argument.
    void add(const std::string &name, const CsrRows &rows, std::size_t n_values, std::size_t n_indptr,
             const float *bias, std::size_t n_bias, const std::string &table);

    // Throws std::invalid_argument unless all four layers were added.
    void expect_complete() const;

    Scratch scratch() const;

    // One step. obs (obs_dim), last_action -1 or below n_actions, agent_id below n_agents, hidden (hidden_dim) is
    // advanced in place, q (n_actions) is written.
    void step(const float *obs, int last_action, int agent_id, float *hidden, float *q, Scratch &scratch) const;

    // One layer's product alone, by the kernel that a step takes for it: x (columns before the one-hots) to
    // y (padded rows).
    void product(LayerName name, const float *x, float *y, Scratch &scratch) const;

    // Throws std::invalid_argument unless `name` is one of the four.
    static LayerName layer_of(const std::string &name);
    int rows_of(LayerName layer) const;
    int cols_of(LayerName layer) const;

    // What is reported here, by any thread, and its sum so far.
    void report(const Work &work) const;
    Work reported() const;

    int obs_dim, n_actions, n_agents, hidden_dim;

  private:
    LayerTable tables_[kLayers];
    AgentLayer views_[kLayers] = {};
    bool added_[kLayers] = {};
    mutable std::mutex reporting_;
    mutable Work reported_;
};

extern const char *const kLayerNames[kLayers];

// The compiler of this file.
std::string agent_compiler();

// Largest available Q, lowest index on ties; -1 when nothing is available.
int masked_argmax(const float *q, const std::uint8_t *avail, int n);

// Whether all n values are finite.
bool all_finite(const float *x, int n);

// One agent's private state on a shared model.
struct AgentCell {
    AgentCell(std::shared_ptr<const AgentModel> model, int agent_id);
    void reset();
    // Advances and returns the action; -1 and no change when nothing is available.
    int act(const float *obs, const std::uint8_t *avail);
    // Q of the next step without taking it.
    void peek(const float *obs, float *q);

    std::shared_ptr<const AgentModel> model;
    int agent_id, last_action = -1;
    Floats hidden, q, ahead;
    Scratch scratch;
};

}  // namespace mast_edge
