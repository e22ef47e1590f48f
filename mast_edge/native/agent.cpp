#include "agent.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

// One copy of the kernels per vector width, chosen once at load. No copy may fuse or reorder (-ffp-contract=off, no
// fast-math), so the choice changes speed, never a bit.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define MAST_EDGE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define MAST_EDGE_CLONES
#endif
#if defined(__GNUC__)
#define MAST_EDGE_INLINE static inline __attribute__((always_inline))
#else
#define MAST_EDGE_INLINE static inline
#endif

namespace mast_edge {
namespace {

constexpr int kMaxDim = 65536;
const char *const kNames[kLayers] = {"fc1", "gru_ih", "gru_hh", "fc2"};

// tanh(x) = x P(x^2) / Q(x^2) with |x| clamped; largest error 3.4e-7, of the sigmoid built on it 1.9e-7.
// Coefficients: benchmarks/fit_activation.py.
MAST_EDGE_INLINE float rational_tanh(float x) {
    constexpr float clamp = 7.9f;
    x = x < -clamp ? -clamp : x;
    x = x > clamp ? clamp : x;
    const float u = x * x;
    float p = -1.1676054e-13f;
    p = p * u + 6.3932346e-11f;
    p = p * u + -2.2348603e-08f;
    p = p * u + 1.1647021e-05f;
    p = p * u + 0.0031496137f;
    p = p * u + 0.13124521f;
    p = p * u + 1.0f;
    float q = 0.00026134454f;
    q = q * u + 0.024675827f;
    q = q * u + 0.4645785f;
    q = q * u + 1.0f;
    return x * p / q;
}

MAST_EDGE_INLINE float rational_sigmoid(float x) { return 0.5f + 0.5f * rational_tanh(0.5f * x); }

// R rows of a dense block: y = bias + sum over columns, R sums side by side.
template <int R>
MAST_EDGE_INLINE void dense_block(const float *w, const float *bias, const float *x, int cols, float *y) {
    float sum[R];
    for (int i = 0; i < R; ++i) sum[i] = bias[i];
    for (int c = 0; c < cols; ++c) {
        const float xc = x[c];
        for (int i = 0; i < R; ++i) sum[i] += w[static_cast<std::size_t>(c) * R + i] * xc;
    }
    for (int i = 0; i < R; ++i) y[i] = sum[i];
}

MAST_EDGE_CLONES
void dense_affine(const float *w, const float *bias, const float *x, int rows, int cols, float *y) {
    int r = 0;
    for (; r + kWide <= rows; r += kWide, w += static_cast<std::size_t>(cols) * kWide)
        dense_block<kWide>(w, bias + r, x, cols, y + r);
    for (; r < rows; r += kNarrow, w += static_cast<std::size_t>(cols) * kNarrow)
        dense_block<kNarrow>(w, bias + r, x, cols, y + r);
}

void csr_affine(const Layer &layer, const float *x, float *y) {
    const float *values = layer.values.data();
    const std::uint16_t *indices = layer.indices.data();
    const std::uint32_t *indptr = layer.indptr.data();
    std::uint32_t k = 0;
    for (int r = 0; r < layer.rows; ++r) {
        float sum = layer.bias[r];
        for (const std::uint32_t end = indptr[r + 1]; k < end; ++k) sum += values[k] * x[indices[k]];
        y[r] = sum;
    }
}

void affine(const Layer &layer, const float *x, float *y) {
    if (layer.sparse)
        csr_affine(layer, x, y);
    else
        dense_affine(layer.weights.data(), layer.bias.data(), x, padded(layer.rows), layer.cols, y);
}

MAST_EDGE_CLONES
void add_column(const float *column, int rows, float *y) {
    for (int r = 0; r < rows; ++r) y[r] += column[r];
}

MAST_EDGE_CLONES
void relu(int n, float *x) {
    for (int i = 0; i < n; ++i) x[i] = x[i] > 0.0f ? x[i] : 0.0f;
}

// Gates r, z, n as torch orders them; the reset gate multiplies the recurrent product with its bias already added.
MAST_EDGE_CLONES
void gru_gates(int h, float *__restrict from_input, const float *__restrict from_hidden, float *__restrict hidden) {
    for (int i = 0; i < 2 * h; ++i) from_input[i] = rational_sigmoid(from_input[i] + from_hidden[i]);
    const float *reset = from_input, *update = from_input + h;
    const float *in = from_input + 2 * h, *rec = from_hidden + 2 * h;
    for (int i = 0; i < h; ++i) {
        const float n = rational_tanh(in[i] + reset[i] * rec[i]);
        hidden[i] = n + update[i] * (hidden[i] - n);
    }
}

void expect(bool holds, const std::string &message) {
    if (!holds) throw std::invalid_argument("AgentModel: " + message);
}

void fill_dense(Layer &layer, const float *values, const std::uint32_t *indices, const std::uint32_t *indptr) {
    const int rows = padded(layer.rows), wide = rows / kWide * kWide;
    layer.weights.assign(static_cast<std::size_t>(rows) * layer.cols, 0.0f);
    for (int r = 0; r < layer.rows; ++r) {
        const int block = r < wide ? kWide : kNarrow;
        const std::size_t first = static_cast<std::size_t>(r / block * block) * layer.cols;
        for (std::uint32_t k = indptr[r]; k < indptr[r + 1]; ++k)
            if (indices[k] < static_cast<std::uint32_t>(layer.cols))
                layer.weights[first + static_cast<std::size_t>(indices[k]) * block + r % block] = values[k];
    }
}

void fill_csr(Layer &layer, const float *values, const std::uint32_t *indices, const std::uint32_t *indptr) {
    layer.indptr.assign(1, 0);
    for (int r = 0; r < layer.rows; ++r) {
        for (std::uint32_t k = indptr[r]; k < indptr[r + 1]; ++k)
            if (indices[k] < static_cast<std::uint32_t>(layer.cols)) {
                layer.values.push_back(values[k]);
                layer.indices.push_back(static_cast<std::uint16_t>(indices[k]));
            }
        layer.indptr.push_back(static_cast<std::uint32_t>(layer.values.size()));
    }
}

void fill_tails(Layer &layer, const float *values, const std::uint32_t *indices, const std::uint32_t *indptr) {
    const std::size_t rows = padded(layer.rows);
    layer.tail_weights.assign(rows * layer.tails, 0.0f);
    for (int r = 0; r < layer.rows; ++r)
        for (std::uint32_t k = indptr[r]; k < indptr[r + 1]; ++k)
            if (indices[k] >= static_cast<std::uint32_t>(layer.cols))
                layer.tail_weights[(indices[k] - layer.cols) * rows + r] = values[k];
}

}  // namespace

AgentModel::AgentModel(int obs, int actions, int agents, int hidden)
    : obs_dim(obs), n_actions(actions), n_agents(agents), hidden_dim(hidden) {
    for (const int size : {obs, actions, agents, hidden})
        expect(size >= 1 && size <= kMaxDim, "sizes must be in 1..65536; got " + std::to_string(size) + ".");
}

int AgentModel::rows_of(int layer) const {
    return layer == kFc1 ? hidden_dim : layer == kFc2 ? n_actions : 3 * hidden_dim;
}

int AgentModel::cols_of(int layer) const { return layer == kFc1 ? obs_dim + n_actions + n_agents : hidden_dim; }

void AgentModel::add(const std::string &name, const float *values, const std::uint32_t *indices, std::size_t nnz,
                     const std::uint32_t *indptr, std::size_t n_indptr, const float *bias, std::size_t n_bias,
                     bool sparse) {
    int at = 0;
    while (at < kLayers && name != kNames[at]) ++at;
    expect(at < kLayers, "layer must be fc1, gru_ih, gru_hh or fc2; got " + name + ".");
    const int rows = rows_of(at), cols = cols_of(at);
    expect(n_bias == static_cast<std::size_t>(rows) && n_indptr == n_bias + 1,
           name + " must have " + std::to_string(rows) + " rows; got " + std::to_string(n_bias) + ".");
    expect(indptr[0] == 0 && indptr[rows] == nnz, name + " pointers must run from 0 to the number of values.");
    for (int r = 0; r < rows; ++r) {
        expect(indptr[r] <= indptr[r + 1], name + " pointers must not fall.");
        for (std::uint32_t k = indptr[r]; k < indptr[r + 1]; ++k)
            expect(indices[k] < static_cast<std::uint32_t>(cols) && (k == indptr[r] || indices[k] > indices[k - 1]),
                   name + " indices must rise inside a row and stay below " + std::to_string(cols) + ".");
    }
    Layer layer;
    layer.rows = rows;
    layer.tails = at == kFc1 ? n_actions + n_agents : 0;
    layer.cols = cols - layer.tails;
    layer.sparse = sparse;
    layer.bias.assign(padded(rows), 0.0f);
    std::copy(bias, bias + rows, layer.bias.begin());
    if (sparse)
        fill_csr(layer, values, indices, indptr);
    else
        fill_dense(layer, values, indices, indptr);
    if (layer.tails) fill_tails(layer, values, indices, indptr);
    layers_[at] = std::move(layer);
    added_[at] = true;
}

void AgentModel::expect_complete() const {
    for (int at = 0; at < kLayers; ++at) expect(added_[at], std::string(kNames[at]) + " must be added first.");
}

Scratch AgentModel::scratch() const {
    const std::size_t gates = padded(3 * hidden_dim), h = padded(hidden_dim);
    return {Floats(h), Floats(gates), Floats(gates), Floats(h), Floats(padded(n_actions))};
}

void AgentModel::step(const float *obs, int last_action, int agent_id, float *hidden, float *q, Scratch &s) const {
    const Layer &fc1 = layers_[kFc1];
    const int rows = padded(hidden_dim);
    affine(fc1, obs, s.x.data());
    const float *tails = fc1.tail_weights.data();
    if (last_action >= 0) add_column(tails + static_cast<std::size_t>(last_action) * rows, rows, s.x.data());
    add_column(tails + static_cast<std::size_t>(n_actions + agent_id) * rows, rows, s.x.data());
    relu(rows, s.x.data());
    affine(layers_[kGruIh], s.x.data(), s.from_input.data());
    affine(layers_[kGruHh], hidden, s.from_hidden.data());
    gru_gates(hidden_dim, s.from_input.data(), s.from_hidden.data(), hidden);
    affine(layers_[kFc2], hidden, s.q.data());
    std::memcpy(q, s.q.data(), sizeof(float) * n_actions);
}

int masked_argmax(const float *q, const std::uint8_t *avail, int n) {
    int best = -1;
    for (int a = 0; a < n; ++a)
        if (avail[a] && (best < 0 || q[a] > q[best])) best = a;
    return best;
}

bool all_finite(const float *x, int n) {
    constexpr std::uint32_t exponent = 0x7f800000u;
    std::uint32_t bad = 0;
    for (int i = 0; i < n; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        bad |= static_cast<std::uint32_t>((bits & exponent) == exponent);
    }
    return bad == 0;
}

AgentCell::AgentCell(std::shared_ptr<const AgentModel> shared, int id)
    : model(std::move(shared)), agent_id(id), hidden(padded(model->hidden_dim)), q(padded(model->n_actions)),
      ahead(padded(model->hidden_dim)), scratch(model->scratch()) {
    model->expect_complete();
    expect(id >= 0 && id < model->n_agents, "agent_id must be in 0.." + std::to_string(model->n_agents - 1) +
                                                "; got " + std::to_string(id) + ".");
}

void AgentCell::reset() {
    std::fill(hidden.begin(), hidden.end(), 0.0f);
    std::fill(q.begin(), q.end(), 0.0f);
    last_action = -1;
}

int AgentCell::act(const float *obs, const std::uint8_t *avail) {
    if (std::all_of(avail, avail + model->n_actions, [](std::uint8_t a) { return a == 0; })) return -1;
    model->step(obs, last_action, agent_id, hidden.data(), q.data(), scratch);
    last_action = masked_argmax(q.data(), avail, model->n_actions);
    return last_action;
}

void AgentCell::peek(const float *obs, float *out) {
    ahead = hidden;
    model->step(obs, last_action, agent_id, ahead.data(), out, scratch);
}

}  // namespace mast_edge
