#include "agent.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

// One copy of the kernels per vector width, chosen once at load. No copy may fuse or reorder (-ffp-contract=off, no
// fast-math), so the choice changes speed, never a bit.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define MAST_EDGE_CLONES __attribute__((target_clones("default", "avx2")))
#else
#define MAST_EDGE_CLONES
#endif
#if defined(__GNUC__)
#define MAST_EDGE_INLINE static inline __attribute__((always_inline))
#else
#define MAST_EDGE_INLINE static inline
#endif

namespace mast_edge {

const char *const kLayerNames[kLayers] = {"fc1", "gru_ih", "gru_hh", "fc2"};

namespace {

constexpr int kMaxDim = 65536;
using Count = std::uint64_t;

// Eight floats side by side. Spelled out, because compilers do not reliably vectorise the loops below: a clamp is
// a branch to them. Without vector extensions the same operations run one by one, to the same bits.
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wpsabi"  // lanes are passed between inlined functions only
typedef float Lanes __attribute__((vector_size(32), may_alias));
MAST_EDGE_INLINE Lanes larger(const Lanes &a, const Lanes &b) { return a > b ? a : b; }
MAST_EDGE_INLINE Lanes smaller(const Lanes &a, const Lanes &b) { return a < b ? a : b; }
#else
struct Lanes {
    float at[8];
};
#define MAST_EDGE_EACH(expression) \
    Lanes result; \
    for (int i = 0; i < 8; ++i) result.at[i] = expression; \
    return result
static inline Lanes operator+(Lanes a, Lanes b) { MAST_EDGE_EACH(a.at[i] + b.at[i]); }
static inline Lanes operator-(Lanes a, Lanes b) { MAST_EDGE_EACH(a.at[i] - b.at[i]); }
static inline Lanes operator*(Lanes a, Lanes b) { MAST_EDGE_EACH(a.at[i] * b.at[i]); }
static inline Lanes operator/(Lanes a, Lanes b) { MAST_EDGE_EACH(a.at[i] / b.at[i]); }
static inline Lanes operator+(Lanes a, float b) { MAST_EDGE_EACH(a.at[i] + b); }
static inline Lanes operator*(Lanes a, float b) { MAST_EDGE_EACH(a.at[i] * b); }
static inline Lanes larger(Lanes a, Lanes b) { MAST_EDGE_EACH(a.at[i] > b.at[i] ? a.at[i] : b.at[i]); }
static inline Lanes smaller(Lanes a, Lanes b) { MAST_EDGE_EACH(a.at[i] < b.at[i] ? a.at[i] : b.at[i]); }
#undef MAST_EDGE_EACH
#endif

// The n <= 8 floats at `source`, which need no alignment; the other lanes are zero.
MAST_EDGE_INLINE Lanes load(const float *source, int n) {
    Lanes lanes{};
    if (n == 8)
        std::memcpy(&lanes, source, sizeof lanes);
    else
        std::memcpy(&lanes, source, n * sizeof(float));
    return lanes;
}

// tanh(x) = x P(x^2) / Q(x^2) with |x| clamped; largest error 3.4e-7, of the sigmoid built on it 1.9e-7.
// Coefficients: benchmarks/fit_activation.py.
MAST_EDGE_INLINE Lanes rational_tanh(const Lanes &input) {
    const Lanes zero{}, clamp = zero + 7.9f;
    const Lanes x = smaller(larger(input, zero - clamp), clamp);
    const Lanes u = x * x;
    Lanes p = u * -1.1676054e-13f + 6.3932346e-11f;
    p = p * u + -2.2348603e-08f;
    p = p * u + 1.1647021e-05f;
    p = p * u + 0.0031496137f;
    p = p * u + 0.13124521f;
    p = p * u + 1.0f;
    Lanes q = u * 0.00026134454f + 0.024675827f;
    q = q * u + 0.4645785f;
    q = q * u + 1.0f;
    return x * p / q;
}

MAST_EDGE_INLINE Lanes rational_sigmoid(const Lanes &x) { return rational_tanh(x * 0.5f) * 0.5f + 0.5f; }

// R rows of a dense block: y = bias + sum over columns, R sums side by side. All pointers are 32-byte aligned but x.
// Only the n columns listed in `active` are visited; null stands for all n. Returns multiply-adds, as all below.
template <int R>
MAST_EDGE_INLINE Count dense_block(const float *w, const float *bias, const float *x, const std::uint16_t *active,
                                   int n, float *y) {
    constexpr int lanes = R / 8;
    const Lanes *table = reinterpret_cast<const Lanes *>(w), *start = reinterpret_cast<const Lanes *>(bias);
    Lanes sum[lanes];
    for (int i = 0; i < lanes; ++i) sum[i] = start[i];
    for (int k = 0; k < n; ++k) {
        const int c = active ? active[k] : k;
        const Lanes *column = table + static_cast<std::size_t>(c) * lanes;
        for (int i = 0; i < lanes; ++i) sum[i] = sum[i] + column[i] * x[c];
    }
    for (int i = 0; i < lanes; ++i) reinterpret_cast<Lanes *>(y)[i] = sum[i];
    return static_cast<Count>(n) * R;
}

MAST_EDGE_CLONES
Count dense_affine(const Layer &layer, const float *x, const std::uint16_t *active, int n, float *y) {
    const float *w = layer.weights.data(), *bias = layer.bias.data();
    const int rows = padded(layer.rows);
    int r = 0;
    Count macs = 0;
    for (; r + kWide <= rows; r += kWide, w += static_cast<std::size_t>(layer.cols) * kWide)
        macs += dense_block<kWide>(w, bias + r, x, active, n, y + r);
    for (; r < rows; r += kNarrow, w += static_cast<std::size_t>(layer.cols) * kNarrow)
        macs += dense_block<kNarrow>(w, bias + r, x, active, n, y + r);
    return macs;
}

// Inlined wherever it is called: the branches of each layer's rows are then predicted apart.
MAST_EDGE_INLINE Count csr_affine(const Layer &layer, const float *x, float *y) {
    const float *values = layer.values.data();
    const std::uint16_t *indices = layer.indices.data();
    const std::uint32_t *indptr = layer.indptr.data();
    std::uint32_t k = 0;
    for (int r = 0; r < layer.rows; ++r) {
        float sum = layer.bias[r];
        for (const std::uint32_t end = indptr[r + 1]; k < end; ++k) sum += values[k] * x[indices[k]];
        y[r] = sum;
    }
    return k;
}

// The columns whose input is not zero; a zero input adds nothing, so leaving it out changes no sum.
int list_active(const float *x, int cols, std::uint16_t *active) {
    int n = 0;
    for (int c = 0; c < cols; ++c) {
        active[n] = static_cast<std::uint16_t>(c);
        n += x[c] != 0.0f;
    }
    return n;
}

MAST_EDGE_INLINE Count affine(const Layer &layer, const float *x, float *y) {
    return layer.sparse ? csr_affine(layer, x, y) : dense_affine(layer, x, nullptr, layer.cols, y);
}

// As affine, for inputs that are often zero: observations, and what is left behind a ReLU.
MAST_EDGE_INLINE Count affine_of_few(const Layer &layer, const float *x, std::uint16_t *active, float *y) {
    return layer.sparse ? csr_affine(layer, x, y)
                        : dense_affine(layer, x, active, list_active(x, layer.cols, active), y);
}

// Inputs of fc1 and gru_ih are often zero, hidden states are not.
MAST_EDGE_INLINE void counted_product(const Layer &layer, LayerName at, const float *x, float *y, Scratch &s) {
    const bool few = at == kFc1 || at == kGruIh;
    s.work.macs[at] += few ? affine_of_few(layer, x, s.active.data(), y) : affine(layer, x, y);
}

// Returns additions.
MAST_EDGE_CLONES
Count add_column(const float *column, int rows, float *y) {
    for (int r = 0; r < rows; ++r) y[r] += column[r];
    return static_cast<Count>(rows);
}

// Returns how many.
MAST_EDGE_CLONES
Count relu(int n, float *x) {
    for (int i = 0; i < n; ++i) x[i] = x[i] > 0.0f ? x[i] : 0.0f;
    return static_cast<Count>(n);
}

// Returns activations: three in each of eight lanes, used or not.
MAST_EDGE_INLINE Count eight_gates(int h, const float *in, const float *rec, float *hidden, int n) {
    const Lanes reset = rational_sigmoid(load(in, n) + load(rec, n));
    const Lanes update = rational_sigmoid(load(in + h, n) + load(rec + h, n));
    const Lanes fresh = rational_tanh(load(in + 2 * h, n) + reset * load(rec + 2 * h, n));
    const Lanes next = fresh + update * (load(hidden, n) - fresh);
    std::memcpy(hidden, &next, n * sizeof(float));
    return 3 * 8;
}

// Gates r, z, n as torch orders them; the reset gate multiplies the recurrent product with its bias already added.
MAST_EDGE_CLONES
Count gru_gates(int h, const float *from_input, const float *from_hidden, float *hidden) {
    int i = 0;
    Count activations = 0;
    for (; i + 8 <= h; i += 8) activations += eight_gates(h, from_input + i, from_hidden + i, hidden + i, 8);
    if (i < h) activations += eight_gates(h, from_input + i, from_hidden + i, hidden + i, h - i);
    return activations;
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

Work &Work::operator+=(const Work &other) {
    steps += other.steps;
    for (int at = 0; at < kLayers; ++at) macs[at] += other.macs[at];
    one_hot_adds += other.one_hot_adds;
    relus += other.relus;
    activations += other.activations;
    return *this;
}

AgentModel::AgentModel(int obs, int actions, int agents, int hidden)
    : obs_dim(obs), n_actions(actions), n_agents(agents), hidden_dim(hidden) {
    for (const int size : {obs, actions, agents, hidden})
        expect(size >= 1 && size <= kMaxDim, "sizes must be in 1..65536; got " + std::to_string(size) + ".");
}

LayerName AgentModel::layer_of(const std::string &name) {
    int at = 0;
    while (at < kLayers && name != kLayerNames[at]) ++at;
    expect(at < kLayers, "layer must be fc1, gru_ih, gru_hh or fc2; got " + name + ".");
    return static_cast<LayerName>(at);
}

int AgentModel::rows_of(LayerName layer) const {
    return layer == kFc1 ? hidden_dim : layer == kFc2 ? n_actions : 3 * hidden_dim;
}

int AgentModel::cols_of(LayerName layer) const {
    return layer == kFc1 ? obs_dim + n_actions + n_agents : hidden_dim;
}

void AgentModel::add(const std::string &name, const float *values, const std::uint32_t *indices, std::size_t nnz,
                     const std::uint32_t *indptr, std::size_t n_indptr, const float *bias, std::size_t n_bias,
                     bool sparse) {
    const LayerName at = layer_of(name);
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
    for (int at = 0; at < kLayers; ++at) expect(added_[at], std::string(kLayerNames[at]) + " must be added first.");
}

Scratch AgentModel::scratch() const {
    const std::size_t gates = padded(3 * hidden_dim), h = padded(hidden_dim);
    return {Floats(h), Floats(gates), Floats(gates), Floats(padded(n_actions)),
            std::vector<std::uint16_t>(std::max(obs_dim, hidden_dim) + 1), Work()};
}

void AgentModel::product(LayerName at, const float *x, float *y, Scratch &s) const {
    counted_product(layers_[at], at, x, y, s);
}

void AgentModel::step(const float *obs, int last_action, int agent_id, float *hidden, float *q, Scratch &s) const {
    const int rows = padded(hidden_dim);
    Work &work = s.work;
    ++work.steps;
    counted_product(layers_[kFc1], kFc1, obs, s.x.data(), s);
    const float *tails = layers_[kFc1].tail_weights.data();
    if (last_action >= 0)
        work.one_hot_adds += add_column(tails + static_cast<std::size_t>(last_action) * rows, rows, s.x.data());
    work.one_hot_adds +=
        add_column(tails + static_cast<std::size_t>(n_actions + agent_id) * rows, rows, s.x.data());
    work.relus += relu(rows, s.x.data());
    counted_product(layers_[kGruIh], kGruIh, s.x.data(), s.from_input.data(), s);
    counted_product(layers_[kGruHh], kGruHh, hidden, s.from_hidden.data(), s);
    work.activations += gru_gates(hidden_dim, s.from_input.data(), s.from_hidden.data(), hidden);
    counted_product(layers_[kFc2], kFc2, hidden, s.q.data(), s);
    std::memcpy(q, s.q.data(), sizeof(float) * n_actions);
}

void AgentModel::report(const Work &work) const {
    const std::lock_guard<std::mutex> held(reporting_);
    reported_ += work;
}

Work AgentModel::reported() const {
    const std::lock_guard<std::mutex> held(reporting_);
    return reported_;
}

std::string agent_compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "another compiler";
#endif
}

std::string agent_vectors() {
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
    return __builtin_cpu_supports("avx2") ? "avx2" : "default";
#else
    return "default";
#endif
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
