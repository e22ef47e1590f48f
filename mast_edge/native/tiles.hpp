// Dense products and GRU gates on one CPU thread, for training and for acting.
//
// Every kernel is compiled for several instruction sets (instruction_set.hpp). On each of them an element of a product
// has the same bits however many rows are computed with it.
#pragma once

#include <cstdint>

namespace mast_edge {

constexpr int kBlock = 16;  // columns side by side

// The right-hand side of a product: k rows of n columns, n a multiple of kBlock. Column kBlock * i + j of row q is at
// data[q * row + i * block + j].
struct Columns {
    const float *data;
    std::int64_t row, block;
};

// A row-major (k, n) matrix.
inline Columns row_major(const float *data, std::int64_t n) { return {data, n, kBlock}; }
// Blocks of columns one after the other.
inline Columns blocked(const float *data, std::int64_t k) { return {data, kBlock, k * kBlock}; }

// C = start + A B: A (rows, k), B (k, n), C (rows, n); row i of them is at a + i * lda, c + i * ldc. Row i of start is
// at start + i * ld_start: 0 for one bias row; null is zero. start may be C.
struct Product {
    const float *a;
    std::int64_t lda, rows;
    Columns b;
    std::int64_t k, n;
    const float *start;
    std::int64_t ld_start;
    float *c;
    std::int64_t ldc;
};
void multiply(const Product &product);

// h' = (1 - z) n + z h, gates in order r, z, n (algorithms.md 2.1); h a multiple of kBlock.
//   x, u (rows, 3h)   W_ih x + b_ih, W_hh h + b_hh
//   prev (rows, h)    null is zero
//   out (rows, h)     may be prev itself
//   gates (rows, 4h)  out: r, z, n and W_hn h + b_hn; null when not wanted
void gates_forward(std::int64_t rows, std::int64_t h, const float *x, const float *u, const float *prev, float *out,
                   float *gates);

// Gradients of the gates. carry (rows, h): in, what reached this state from the next step; out, its share that goes on
// directly. d_out (rows, h), gates and prev as above; d_input, d_recurrent (rows, 3h).
void gates_backward(std::int64_t rows, std::int64_t h, const float *d_out, const float *gates, const float *prev,
                    float *carry, float *d_input, float *d_recurrent);

// The three above, on one instruction set.
struct TileKernels {
    decltype(&mast_edge::multiply) multiply;
    decltype(&mast_edge::gates_forward) gates_forward;
    decltype(&mast_edge::gates_backward) gates_backward;
};
namespace avx512 { extern const TileKernels tiles; }
namespace avx2 { extern const TileKernels tiles; }
namespace plain { extern const TileKernels tiles; }

}  // namespace mast_edge
