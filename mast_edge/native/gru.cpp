#include "gru.hpp"

#include <cstring>
#include <vector>

// Each kernel is compiled for several instruction sets and the best one is taken at load time. Results are
// reproducible on one kind of CPU; between kinds they differ in the last bits (fused multiply-add).
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MULTIVERSION __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define MULTIVERSION
#endif
#define INLINE static inline __attribute__((always_inline))

namespace mast_edge {
namespace {

typedef float vec __attribute__((vector_size(32), aligned(4)));
typedef std::int32_t ivec __attribute__((vector_size(32)));
constexpr int kLanes = 8;
constexpr int kRows = 6;  // 6 x 16 tile: 12 accumulators, 2 columns, 1 broadcast fit 16 registers

INLINE vec load(const float *p) {
    vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
INLINE void store(float *p, vec v) { std::memcpy(p, &v, sizeof v); }
INLINE vec splat(float x) { return vec{x, x, x, x, x, x, x, x}; }

// exp(x), about 1 ulp on [-87, 87]: 2^k times a polynomial on [-ln2/2, ln2/2] (Cephes expf coefficients).
INLINE vec exponential(vec x) {
    x = x < splat(-87.0f) ? splat(-87.0f) : x;
    x = x > splat(87.0f) ? splat(87.0f) : x;
    const vec magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const vec k = (x * splat(1.44269504088896341f) + magic) - magic;
    const vec r = x - k * splat(0.693359375f) - k * splat(-2.12194440e-4f);
    vec p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * r * r + r + splat(1.0f);
    const ivec bits = (__builtin_convertvector(k, ivec) + 127) << 23;
    vec scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}
INLINE vec sigmoid(vec x) { return splat(1.0f) / (splat(1.0f) + exponential(-x)); }
INLINE vec tanh_of(vec x) { return splat(1.0f) - splat(2.0f) / (exponential(x + x) + splat(1.0f)); }

// C (rows, n) = bias + A (rows, k) B (k, n) for up to kRows rows; n a multiple of 16.
template <int R>
INLINE void tile(const float *a, std::int64_t lda, const float *b, std::int64_t k, std::int64_t n,
                 const float *bias, float *c, std::int64_t ldc) {
    for (std::int64_t j = 0; j < n; j += 2 * kLanes) {
        vec acc[R][2];
        for (int i = 0; i < R; i++) {
            acc[i][0] = bias ? load(bias + j) : splat(0.0f);
            acc[i][1] = bias ? load(bias + j + kLanes) : splat(0.0f);
        }
        for (std::int64_t q = 0; q < k; q++) {
            const vec b0 = load(b + q * n + j), b1 = load(b + q * n + j + kLanes);
            for (int i = 0; i < R; i++) {
                const vec x = splat(a[i * lda + q]);
                acc[i][0] += x * b0;
                acc[i][1] += x * b1;
            }
        }
        for (int i = 0; i < R; i++) {
            store(c + i * ldc + j, acc[i][0]);
            store(c + i * ldc + j + kLanes, acc[i][1]);
        }
    }
}

MULTIVERSION void product(const float *a, std::int64_t lda, std::int64_t rows, const float *b, std::int64_t k,
                          std::int64_t n, const float *bias, float *c, std::int64_t ldc) {
    std::int64_t i = 0;
    for (; i + kRows <= rows; i += kRows) tile<kRows>(a + i * lda, lda, b, k, n, bias, c + i * ldc, ldc);
    for (; i + 2 <= rows; i += 2) tile<2>(a + i * lda, lda, b, k, n, bias, c + i * ldc, ldc);
    for (; i < rows; i++) tile<1>(a + i * lda, lda, b, k, n, bias, c + i * ldc, ldc);
}

MULTIVERSION void gates_forward(std::int64_t rows, std::int64_t h, const float *x, const float *u, const float *prev,
                                float *out, float *gates) {
    for (std::int64_t i = 0; i < rows; i++, x += 3 * h, u += 3 * h, out += h) {
        for (std::int64_t j = 0; j < h; j += kLanes) {
            const vec r = sigmoid(load(x + j) + load(u + j));
            const vec z = sigmoid(load(x + h + j) + load(u + h + j));
            const vec hn = load(u + 2 * h + j);
            const vec n = tanh_of(load(x + 2 * h + j) + r * hn);
            const vec before = prev ? load(prev + i * h + j) : splat(0.0f);
            store(out + j, n + z * (before - n));
            if (gates) {
                float *g = gates + i * 4 * h + j;
                store(g, r);
                store(g + h, z);
                store(g + 2 * h, n);
                store(g + 3 * h, hn);
            }
        }
    }
}

// carry (rows, H): in, gradient that reached this state from the next step; out, its share that goes on directly.
MULTIVERSION void gates_backward(std::int64_t rows, std::int64_t h, const float *d_out, const float *gates,
                                 const float *prev, float *carry, float *d_input, float *d_recurrent) {
    const vec one = splat(1.0f);
    for (std::int64_t i = 0; i < rows; i++) {
        const float *g = gates + i * 4 * h;
        float *dx = d_input + i * 3 * h, *du = d_recurrent + i * 3 * h;
        for (std::int64_t j = 0; j < h; j += kLanes) {
            const vec r = load(g + j), z = load(g + h + j), n = load(g + 2 * h + j), hn = load(g + 3 * h + j);
            const vec before = prev ? load(prev + i * h + j) : splat(0.0f);
            const vec dh = load(d_out + i * h + j) + load(carry + i * h + j);
            const vec dn = dh * (one - z) * (one - n * n);
            const vec dz = dh * (before - n) * z * (one - z);
            const vec dr = dn * hn * r * (one - r);
            store(dx + j, dr);
            store(dx + h + j, dz);
            store(dx + 2 * h + j, dn);
            store(du + j, dr);
            store(du + h + j, dz);
            store(du + 2 * h + j, dn * r);
            store(carry + i * h + j, dh * z);
        }
    }
}

MULTIVERSION void add(float *to, const float *from, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i++) to[i] += from[i];
}

}  // namespace

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
            product(prev, h, rows, transposed.data(), h, 3 * h, b_hh, recurrent.data(), 3 * h);
        } else {
            for (std::int64_t i = 0; i < rows; i++)
                std::memcpy(recurrent.data() + i * 3 * h, b_hh, static_cast<std::size_t>(3 * h) * sizeof(float));
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
    std::vector<float> carry(static_cast<std::size_t>(widest * h), 0.0f), through(static_cast<std::size_t>(widest * h));
    std::int64_t row = 0;
    for (std::int64_t t = 0; t < shape.steps; t++) row += shape.alive[t];
    for (std::int64_t t = shape.steps - 1; t >= 0; t--) {
        const std::int64_t rows = shape.alive[t];
        row -= rows;
        const float *prev = t > 0 ? hidden + (row - shape.alive[t - 1]) * h : nullptr;
        float *du = d_recurrent + row * 3 * h;
        gates_backward(rows, h, d_hidden + row * h, gates + row * 4 * h, prev, carry.data(), d_input + row * 3 * h, du);
        if (prev) {
            product(du, 3 * h, rows, w_hh, 3 * h, h, nullptr, through.data(), h);
            add(carry.data(), through.data(), rows * h);
        }
    }
}

}  // namespace mast_edge
