#include "gru.hpp"

#include <algorithm>
#include <vector>

#include "tiles.hpp"

namespace mast_edge {

void gru_forward(const PackedShape &shape, const float *from_input, const float *w_hh, const float *b_hh,
                 float *hidden, float *gates) {
    const std::int64_t h = shape.hidden, widest = shape.alive[0];
    std::vector<float> transposed(static_cast<std::size_t>(3 * h * h)), recurrent(static_cast<std::size_t>(widest * 3 * h));
    for (std::int64_t o = 0; o < 3 * h; o++)
        for (std::int64_t q = 0; q < h; q++) transposed[static_cast<std::size_t>(q * 3 * h + o)] = w_hh[o * h + q];
    const float *prev = nullptr;
    std::int64_t row = 0;
    for (std::int64_t t = 0; t < shape.steps; t++) {
        const std::int64_t rows = shape.alive[t];
        if (prev) {
            multiply({prev, h, rows, row_major(transposed.data(), 3 * h), h, 3 * h, b_hh, 0, recurrent.data(), 3 * h});
        } else {
            for (std::int64_t i = 0; i < rows; i++) std::copy_n(b_hh, 3 * h, recurrent.data() + i * 3 * h);
        }
        gates_forward(rows, h, from_input + row * 3 * h, recurrent.data(), prev, hidden + row * h,
                      gates ? gates + row * 4 * h : nullptr);
        prev = hidden + row * h;
        row += rows;
    }
}

void gru_backward(const PackedShape &shape, const float *w_hh, const float *hidden, const float *gates,
                  const float *d_hidden, float *d_input, float *d_recurrent) {
    const std::int64_t h = shape.hidden, widest = shape.alive[0];
    std::vector<float> carry(static_cast<std::size_t>(widest * h), 0.0f);
    std::int64_t row = 0;
    for (std::int64_t t = 0; t < shape.steps; t++) row += shape.alive[t];
    for (std::int64_t t = shape.steps - 1; t >= 0; t--) {
        const std::int64_t rows = shape.alive[t];
        row -= rows;
        const float *prev = t > 0 ? hidden + (row - shape.alive[t - 1]) * h : nullptr;
        float *du = d_recurrent + row * 3 * h;
        gates_backward(rows, h, d_hidden + row * h, gates + row * 4 * h, prev, carry.data(), d_input + row * 3 * h, du);
        if (prev)
            multiply({du, 3 * h, rows, row_major(w_hh, h), 3 * h, h, carry.data(), h, carry.data(), h});
    }
}

}  // namespace mast_edge
