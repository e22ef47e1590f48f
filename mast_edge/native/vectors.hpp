// Vectors of floats as wide as a register, and elementary functions of them, for tiles_kernels.inc and
// panels_kernels.inc: what they are depends on the flags of the including kernels_<set>.cpp.
//
// No inline function of the standard library is used here or there: the linker might share it with other code, and
// another machine may not know its instructions.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

namespace mast_edge {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float vec __attribute__((vector_size(4 * kWidth)));
typedef int32_t ivec __attribute__((vector_size(4 * kWidth)));
typedef float anywhere __attribute__((vector_size(4 * kWidth), aligned(4), may_alias));  // not copied: GCC would do
                                                                                         // that in halves
INLINE vec load(const float *p) { return *reinterpret_cast<const anywhere *>(p); }
INLINE void store(float *p, vec v) { *reinterpret_cast<anywhere *>(p) = v; }
INLINE vec splat(float x) { return x - vec{}; }
INLINE vec bits(ivec i) { return (vec)i; }
INLINE ivec bits(vec v) { return (ivec)v; }

// 2^x for x <= 126, larger x as 126; NaN stays. 2^k times a polynomial on [-1/2, 1/2] of relative error 2e-9.
INLINE vec power_of_two(vec x) {
    x = x > 126.0f ? splat(126.0f) : x;
#if defined(__AVX512F__)
    const vec k = (vec)_mm512_roundscale_ps((__m512)x, 8);  // to the nearest integer
#else
    x = x < -126.0f ? splat(-126.0f) : x;
    const vec shifted = x + 12582912.0f, k = shifted - 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
#endif
    const vec r = x - k;
    vec p = splat(1.5345812425e-4f);
    p = p * r + 1.3399930904e-3f;
    p = p * r + 9.6184890717e-3f;
    p = p * r + 5.5503286421e-2f;
    p = p * r + 2.4022646248e-1f;
    p = p * r + 6.9314718246e-1f;
    p = p * r + 1.0f;
#if defined(__AVX512F__)
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
    return p * bits((bits(shifted) + (127 - 0x4b400000)) << 23);
#endif
}

constexpr float kLog2E = 1.44269504088896341f;
INLINE vec exponential(vec x) { return power_of_two(x * kLog2E); }

#if defined(__AVX512F__)
INLINE vec reciprocal(vec x) {  // of x in [1, 2^126]: 14 bits and a Newton step
    const vec r = (vec)_mm512_rcp14_ps((__m512)x);
    return r + r * (1.0f - x * r);
}
#else
INLINE vec reciprocal(vec x) { return 1.0f / x; }
#endif
INLINE vec sigmoid(vec x) { return reciprocal(1.0f + power_of_two(x * -kLog2E)); }
INLINE vec tanh_of(vec x) { return 1.0f - 2.0f * reciprocal(1.0f + power_of_two(x * (2.0f * kLog2E))); }

}  // namespace
}  // namespace mast_edge
