// The recurrent agent in native code: tables built once, then steps that allocate nothing.
//
// Every output is bias + sum over columns in rising order, one rounded product at a time, whichever table a layer
// uses and however wide the machine's vectors are. So dense and CSR tables, one agent or many, every x86 and ARM
// give the same bits (the sign of a zero aside). Source: runtime.md 1, 2, 5; parity_and_safety.md 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

namespace mast_edge {

// Heap memory of floats on 64-byte boundaries.
template <typename T> struct Aligned {
    using value_type = T;
    Aligned() = default;
    template <typename U> Aligned(const Aligned<U> &) {}
    T *allocate(std::size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T *p, std::size_t) { ::operator delete(p, std::align_val_t(64)); }
    template <typename U> bool operator==(const Aligned<U> &) const { return true; }
    template <typename U> bool operator!=(const Aligned<U> &) const { return false; }
};
using Floats = std::vector<float, Aligned<float>>;

// Rows that every buffer is padded to, so that kernels need no remainder loop.
constexpr int kWide = 64;
constexpr int kNarrow = 16;
inline int padded(int rows) { return (rows + kNarrow - 1) / kNarrow * kNarrow; }

// y = W x + b for the first `cols` columns of a layer; `tails` are the columns behind them, chosen by a one-hot.
struct Layer {
    int rows = 0, cols = 0, tails = 0;
    bool sparse = false;
    Floats bias;                         // padded(rows)
    Floats weights;                      // dense: blocks of kWide or kNarrow rows, column after column inside
    Floats values;                       // CSR
    std::vector<std::uint16_t> indices;  // CSR, below 65536
    std::vector<std::uint32_t> indptr;   // CSR, rows + 1
    Floats tail_weights;                 // tails x padded(rows)
};

enum LayerName { kFc1, kGruIh, kGruHh, kFc2, kLayers };

// Operations executed, counted by the kernels that execute them. Padding is included; a sum starts from its bias,
// which costs nothing. Source: accounting.md 7.3.
struct Work {
    std::uint64_t steps = 0;
    std::uint64_t macs[kLayers] = {};  // multiplications, each added to a sum
    std::uint64_t one_hot_adds = 0;    // additions of fc1's columns that a one-hot chooses
    std::uint64_t relus = 0;
    std::uint64_t activations = 0;  // tanh and sigmoid, three per hidden unit
    Work &operator+=(const Work &other);
};

// What one step needs besides its state, and what was done with it. One per thread of control.
struct Scratch {
    Floats x, from_input, from_hidden, q;
    std::vector<std::uint16_t> active;
    Work work;
};

class AgentModel {
  public:
    // Sizes in 1..65536; throws std::invalid_argument otherwise.
    AgentModel(int obs_dim, int n_actions, int n_agents, int hidden_dim);

    // Adds layer `name` ("fc1", "gru_ih", "gru_hh", "fc2") from CSR tables, all bounds checked here once more.
    // sparse: run it from CSR; otherwise it is written out densely. Throws std::invalid_argument.
    void add(const std::string &name, const float *values, const std::uint32_t *indices, std::size_t nnz,
             const std::uint32_t *indptr, std::size_t n_indptr, const float *bias, std::size_t n_bias, bool sparse);

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
    Layer layers_[kLayers];
    bool added_[kLayers] = {};
    mutable std::mutex reporting_;
    mutable Work reported_;
};

extern const char *const kLayerNames[kLayers];

// The compiler of this file, and the vectors that its kernels use on this CPU: "avx2" or "default".
std::string agent_compiler();
std::string agent_vectors();

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
