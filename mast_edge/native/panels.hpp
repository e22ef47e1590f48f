// Panels: 64 columns side by side, feature-major, and the kernels that work on them.
//
// A panel tensor is (features, 64): what the paper's networks see as rows are columns here, so that one weight meets
// 64 of them in a few vector instructions and a zero weight costs nothing. A column is one (episode, agent) for the
// agents, one (episode, time) for the mixers. Only the first `vectors` * 16 columns are worked on.
//
// The kernels are compiled for several instruction sets (instruction_set.hpp). Sums have a fixed order on each of them:
// results do not depend on threads or load, only on the set.
// Source: training_speed.md, section 4.
#pragma once

#include <cstdint>

namespace mast_edge {

constexpr int kColumns = 64;
constexpr int kLanes = 16;
constexpr int kVectors = kColumns / kLanes;
constexpr int kMaxHeight = 8;

// Rows of a matrix in groups of `height`; each group keeps some columns, a block is one column of one group.
// Groups are sorted by their number of blocks, so that loops over them are predictable.
struct Blocks {
    int height;
    int groups;
    const std::int32_t *row;     // (groups) first row of the product
    const std::int32_t *bias;    // (groups) first entry of the bias
    const std::int32_t *start;   // (groups + 1) into `column`
    const std::int32_t *column;  // (blocks) row of x that the block reads, times kColumns
    const float *value;          // (blocks, height)
};

enum ForwardMode { kPlain = 0, kAccumulate = 1, kRelu = 2 };

// How one agent's utilities become one value (algorithms.md 4.1).
enum class Operator { max_double, max, softmax, soft_mellowmax };

struct Mixing {  // one panel of states (algorithms.md 2.2); all (rows, 64)
    int agents, embed;
    const float *w1;  // (agents * embed) before the absolute value
    const float *b1;  // (embed)
    const float *wf;  // (embed) before the absolute value
    const float *v;   // (1)
};

struct PanelKernels {
    // y = bias + W x; accumulate: y += W x; relu: y = max(0, y), NaN stays. `bias` may be null.
    void (*forward)(const Blocks &, const float *x, float *y, const float *bias, int vectors, int mode);
    // sums (blocks, height, 16) += dy x^T at the blocks, lane by lane, over `count` panels.
    void (*gradient)(const Blocks &, const float *const *dy, const float *const *x, const int *vectors, int count,
                     float *sums);
    // sums (rows, width) += dy x^T, width = columns rounded up to 16; scratch holds 64 * 64 floats.
    void (*dense_gradient)(const float *dy, int rows, const float *x, int columns, int vectors, float *scratch,
                           float *sums);
    // out[i] = sum of 16 lanes.
    void (*reduce)(const float *sums, std::int64_t count, float *out);
    // sums (rows, 16) += dy, lane by lane.
    void (*row_sums)(const float *dy, int rows, int vectors, float *sums);
    // gates (4H): in r, z, i_n (all products added) and h_n; out r, z, n, h_n. h = n + z (before - n).
    void (*gates_forward)(float *gates, const float *before, float *h, int hidden, int vectors);
    // carry: in gradient of h, out its direct share in `before`. d (4H): gradients of r, z, i_n, h_n before gates.
    void (*gates_backward)(const float *gates, const float *before, float *carry, float *d, int hidden, int vectors);
    // d = 0 where x is 0.
    void (*relu_backward)(float *d, const float *x, int rows, int vectors);
    // y (features, 64) from 64 rows of `features` floats.
    void (*transpose)(const float *const *rows, int features, float *y, int vectors);
    // hidden (embed): out, before ELU. q_tot (64).
    void (*mix_forward)(const Mixing &, const float *q, float *hidden, float *q_tot);
    // Gradients of everything in Mixing and of q, from that of q_tot.
    void (*mix_backward)(const Mixing &, const float *q, const float *hidden, const float *d_q_tot, float *d_q,
                         float *d_w1, float *d_b1, float *d_wf);
    // out (agents, actions): q_tot with one agent's action replaced (algorithms.md 12).
    void (*alternatives)(const Mixing &, const float *chosen, const float *q, const float *hidden, int actions,
                         float *out);
    // value (64) = sum softmax(scale * score) * value over candidates with avail != 0, or over all if avail is null.
    void (*softmax_mean)(const float *score, const float *values, const std::uint8_t *avail, int candidates,
                         float scale, float *out);
    // One agent's utilities (actions, 64) as one value; best: action index of the largest available `online`.
    void (*value)(Operator, const float *online, const float *target, const std::uint8_t *avail, int actions,
                  float first, float second, int vectors, float *out, std::int32_t *best);
    bool (*all_finite)(const float *x, std::int64_t count);
    double (*sum_of_squares)(const float *x, std::int64_t count);
    // v = alpha v + (1 - alpha) (scale g)^2; w -= lr scale g / (sqrt(v) + eps)
    void (*rmsprop)(float *w, const float *g, float *v, std::int64_t count, float scale, float lr, float alpha,
                    float eps);
};

// Those of the instruction set in use.
const PanelKernels &kernels();

namespace avx512 { extern const PanelKernels panels; }
namespace avx2 { extern const PanelKernels panels; }
namespace plain { extern const PanelKernels panels; }

}  // namespace mast_edge
