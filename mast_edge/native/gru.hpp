// Recurrence of a GRU over packed, ragged sequences: forward and backward through time on one CPU thread.
#pragma once

#include <cstdint>

namespace mast_edge {

// Sizes of a packed batch: `alive[t]` sequences have a row at step t, non-increasing; rows are ordered by time, then
// sequence, so the row before row i of step t is row i of step t - 1. H (`hidden`) must be a multiple of 16.
struct PackedShape {
    const std::int64_t *alive;
    std::int64_t steps;
    std::int64_t hidden;
};

// h' = (1 - z) n + z h with gates r, z, n in this order (algorithms.md 2.1).
//   from_input (P, 3H)   W_ih x + b_ih
//   w_hh (3H, H), b_hh (3H)
//   hidden (P, H)        out: the state after each row
//   gates (P, 4H)        out: r, z, n and W_hn h + b_hn; null when no backward pass follows
void gru_forward(const PackedShape &shape, const float *from_input, const float *w_hh, const float *b_hh,
                 float *hidden, float *gates);

// d_hidden (P, H): gradient of every row's state. Out: d_input, d_recurrent (P, 3H), gradients of the two biased
// products W_ih x + b_ih and W_hh h + b_hh.
void gru_backward(const PackedShape &shape, const float *w_hh, const float *hidden, const float *gates,
                  const float *d_hidden, float *d_input, float *d_recurrent);

}  // namespace mast_edge
