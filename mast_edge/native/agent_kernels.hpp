// One step of the recurrent agent, from tables built once, allocating nothing.
//
// The kernels are compiled once per instruction set (agent_kernels_<set>.cpp; instruction_set.hpp takes the best). No
// copy may fuse or reorder: every output is bias + sum over columns in rising order, one rounded product at a time,
// whichever table a layer uses and however wide the machine's vectors are. So dense, CSR and block tables, one agent
// or many, every x86 and ARM give the same bits (the sign of a zero aside).
//
// Source: runtime.md 1, 2, 5; parity_and_safety.md 2.
#pragma once

#include <stdint.h>

namespace mast_edge {

enum LayerName { kFc1, kGruIh, kGruHh, kFc2, kLayers };

enum class Table : uint8_t { kDense, kCsr, kBlocks8, kBlocks4 };

// Rows that every buffer is padded to, so that kernels need no remainder loop.
constexpr int kWide = 64;
constexpr int kNarrow = 16;
constexpr int padded(int rows) { return (rows + kNarrow - 1) / kNarrow * kNarrow; }

// y = W x + b for the first `cols` columns of a layer; `tails` are the columns behind them, chosen by a one-hot.
//
// Dense: columns of kWide rows one after the other, then of kNarrow rows for what is left. CSR: row by row.
// Blocks: group by group of 8 or 4 rows, a block being the part of a column that lies in a group.
struct AgentLayer {
    int rows, cols, tails;
    Table table;
    const float *bias;          // padded(rows)
    const float *weights;       // 64-byte aligned
    const uint16_t *columns;    // CSR: of each value, blocks: of each block
    const uint32_t *indptr;     // CSR: where each row begins, rows + 1; blocks: where each group does
    const float *tail_weights;  // tails x padded(rows)
};

// Operations executed, counted by the kernels that execute them. Padding is included; a sum starts from its bias,
// which costs nothing. Source: accounting.md 7.3.
struct Work {
    uint64_t steps = 0;
    uint64_t macs[kLayers] = {};  // multiplications, each added to a sum
    uint64_t one_hot_adds = 0;    // additions of fc1's columns that a one-hot chooses
    uint64_t relus = 0;
    uint64_t activations = 0;  // tanh and sigmoid, three per hidden unit
};

// What a step needs besides its state; 64-byte aligned rows, padded.
struct Buffers {
    float *x, *from_input, *from_hidden, *q;
    uint16_t *active;  // one more than the widest input has values
    Work *work;
};

// What an agent sees and remembers: hidden (hidden_dim) is advanced in place, q (n_actions) is written.
struct StepInput {
    const float *obs;
    int last_action, agent_id;  // -1: none yet
    float *hidden, *q;
};

struct AgentKernels {
    void (*step)(const AgentLayer *layers, const StepInput &input, const Buffers &buffers);
    // One layer's product alone, by the kernel that a step takes for it: x (columns before the one-hots) to
    // y (padded rows).
    void (*product)(const AgentLayer &layer, LayerName at, const float *x, float *y, const Buffers &buffers);
};

namespace plain {
extern const AgentKernels agent;
}
#ifdef MAST_EDGE_X86
namespace avx2 {
extern const AgentKernels agent;
}
namespace avx512 {
extern const AgentKernels agent;
}
#endif

}  // namespace mast_edge
