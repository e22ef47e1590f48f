#include "tiles.hpp"

#include <stdexcept>

#define INLINE static inline __attribute__((always_inline))
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors are passed between inlined functions only

namespace mast_edge {
namespace {

// In each: rows x vectors sums, the columns and one element of A are what fits the registers.
namespace plain {
constexpr int kLanes = 4, kRows = 6;
constexpr int wide_of(int rows) { return rows == 1 ? 8 : rows == 2 ? 4 : 2; }
#include "tiles_kernels.hpp"
}  // namespace plain

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define MAST_EDGE_VARIANTS
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
constexpr int kLanes = 8, kRows = 6;
constexpr int wide_of(int rows) { return rows == 1 ? 8 : rows == 2 ? 4 : 2; }
#include "tiles_kernels.hpp"
}  // namespace avx2
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,fma")
namespace avx512 {
constexpr int kLanes = 16, kRows = 8;
constexpr int wide_of(int rows) { return rows <= 4 ? 4 : 2; }
#include "tiles_kernels.hpp"
}  // namespace avx512
#pragma GCC pop_options
#endif

struct Kernels {
    const char *name;
    decltype(&mast_edge::multiply) multiply;
    decltype(&mast_edge::gates_forward) forward;
    decltype(&mast_edge::gates_backward) backward;
};

std::vector<Kernels> present() {
    std::vector<Kernels> found;
#ifdef MAST_EDGE_VARIANTS
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        found.push_back({"avx512", avx512::multiply, avx512::gates_forward, avx512::gates_backward});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found.push_back({"avx2", avx2::multiply, avx2::gates_forward, avx2::gates_backward});
#endif
    found.push_back({"plain", plain::multiply, plain::gates_forward, plain::gates_backward});
    return found;
}

Kernels kernels = present().front();

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const Kernels &set : present()) names.emplace_back(set.name);
    return names;
}

void use_instruction_set(const std::string &name) {
    for (const Kernels &set : present())
        if (set.name == name) {
            kernels = set;
            return;
        }
    throw std::invalid_argument("instruction set must be one that this CPU has; got " + name + ".");
}

void multiply(const Product &product) { kernels.multiply(product); }

void gates_forward(std::int64_t rows, std::int64_t h, const float *x, const float *u, const float *prev, float *out,
                   float *gates) {
    kernels.forward(rows, h, x, u, prev, out, gates);
}

void gates_backward(std::int64_t rows, std::int64_t h, const float *d_out, const float *gates, const float *prev,
                    float *carry, float *d_input, float *d_recurrent) {
    kernels.backward(rows, h, d_out, gates, prev, carry, d_input, d_recurrent);
}

}  // namespace mast_edge
