// The kernels of tiles.hpp, included once per instruction set: kLanes floats in a vector, tiles of at most kRows rows.
// Everything is spelled out in here, because a function is compiled for the instruction set it is written under, even
// when it is inlined elsewhere.

typedef float vec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef std::int32_t ivec __attribute__((vector_size(4 * kLanes)));

INLINE vec load(const float *p) { return *reinterpret_cast<const vec *>(p); }
INLINE void store(float *p, const vec &v) { *reinterpret_cast<vec *>(p) = v; }

// exp(x), about 1 ulp on [-87, 87]: 2^k times a polynomial on [-ln2/2, ln2/2] (Cephes expf coefficients).
INLINE vec exponential(vec x) {
    x = x < -87.0f ? vec{} - 87.0f : x;
    x = x > 87.0f ? vec{} + 87.0f : x;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const vec k = (x * 1.44269504088896341f + magic) - magic;
    const vec r = x - k * 0.693359375f - k * -2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const ivec bits = (__builtin_convertvector(k, ivec) + 127) << 23;
    return p * reinterpret_cast<const vec &>(bits);
}
INLINE vec sigmoid(const vec &x) { return 1.0f / (1.0f + exponential(-x)); }
INLINE vec tanh_of(const vec &x) { return 1.0f - 2.0f / (exponential(x + x) + 1.0f); }

// R rows from row i on, V vectors of columns from vector j on.
template <int R, int V>
INLINE void tile(const Product &p, std::int64_t i, std::int64_t j) {
    constexpr int per_block = kBlock / kLanes;
    const float *a = p.a + i * p.lda, *b[V];
    for (int v = 0; v < V; v++) b[v] = p.b.data + (j + v) / per_block * p.b.block + (j + v) % per_block * kLanes;
    vec acc[R][V];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            acc[r][v] = p.start ? load(p.start + (i + r) * p.ld_start + (j + v) * kLanes) : vec{};
    for (std::int64_t q = 0; q < p.k; q++) {
        vec column[V];
        for (int v = 0; v < V; v++) column[v] = load(b[v] + q * p.b.row);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) acc[r][v] += a[r * p.lda + q] * column[v];
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) store(p.c + (i + r) * p.ldc + (j + v) * kLanes, acc[r][v]);
}

// Few rows take more columns: independent sums hide each other's latency.
template <int R>
INLINE void rows_of(const Product &p, std::int64_t i) {
    constexpr int wide = wide_of(R);
    const std::int64_t vectors = p.n / kLanes;
    std::int64_t j = 0;
    for (; j + wide <= vectors; j += wide) tile<R, wide>(p, i, j);
    for (; j < vectors; j++) tile<R, 1>(p, i, j);
}

void multiply(const Product &p) {
    std::int64_t i = 0;
    for (; i + kRows <= p.rows; i += kRows) rows_of<kRows>(p, i);
    switch (p.rows - i) {
        case 7: return rows_of<7>(p, i);
        case 6: return rows_of<6>(p, i);
        case 5: return rows_of<5>(p, i);
        case 4: return rows_of<4>(p, i);
        case 3: return rows_of<3>(p, i);
        case 2: return rows_of<2>(p, i);
        case 1: return rows_of<1>(p, i);
    }
}

void gates_forward(std::int64_t rows, std::int64_t h, const float *x, const float *u, const float *prev, float *out,
                   float *gates) {
    for (std::int64_t i = 0; i < rows; i++, x += 3 * h, u += 3 * h, out += h) {
        for (std::int64_t j = 0; j < h; j += kLanes) {
            const vec r = sigmoid(load(x + j) + load(u + j));
            const vec z = sigmoid(load(x + h + j) + load(u + h + j));
            const vec hn = load(u + 2 * h + j);
            const vec n = tanh_of(load(x + 2 * h + j) + r * hn);
            const vec before = prev ? load(prev + i * h + j) : vec{};
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

void gates_backward(std::int64_t rows, std::int64_t h, const float *d_out, const float *gates, const float *prev,
                    float *carry, float *d_input, float *d_recurrent) {
    for (std::int64_t i = 0; i < rows; i++) {
        const float *g = gates + i * 4 * h;
        float *dx = d_input + i * 3 * h, *du = d_recurrent + i * 3 * h;
        for (std::int64_t j = 0; j < h; j += kLanes) {
            const vec r = load(g + j), z = load(g + h + j), n = load(g + 2 * h + j), hn = load(g + 3 * h + j);
            const vec before = prev ? load(prev + i * h + j) : vec{};
            const vec dh = load(d_out + i * h + j) + load(carry + i * h + j);
            const vec dn = dh * (1.0f - z) * (1.0f - n * n);
            const vec dz = dh * (before - n) * z * (1.0f - z);
            const vec dr = dn * hn * r * (1.0f - r);
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
