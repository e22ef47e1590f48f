#include "agent.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "instruction_set.hpp"

namespace mast_edge {

const char *const kLayerNames[kLayers] = {"fc1", "gru_ih", "gru_hh", "fc2"};

namespace {

constexpr int kMaxDim = 65536;

void expect(bool holds, const std::string &message) {
    if (!holds) throw std::invalid_argument("AgentModel: " + message);
}

Table table_of(const std::string &name) {
    if (name == "dense") return Table::kDense;
    if (name == "csr") return Table::kCsr;
    if (name == "8x1") return Table::kBlocks8;
    expect(name == "4x1", "table must be dense, csr, 8x1 or 4x1; got " + name + ".");
    return Table::kBlocks4;
}

void expect_rows(const std::string &name, const CsrRows &matrix, std::size_t n_values, int rows, int cols) {
    const std::uint32_t *indptr = matrix.indptr, *indices = matrix.indices;
    expect(indptr[0] == 0 && indptr[rows] == n_values, name + " pointers must run from 0 to the number of values.");
    // Every pointer before any index: a pointer that falls later must not lead beyond the values now.
    for (int r = 0; r < rows; ++r) expect(indptr[r] <= indptr[r + 1], name + " pointers must not fall.");
    for (int r = 0; r < rows; ++r)
        for (std::uint32_t k = indptr[r]; k < indptr[r + 1]; ++k)
            expect(indices[k] < static_cast<std::uint32_t>(cols) && (k == indptr[r] || indices[k] > indices[k - 1]),
                   name + " indices must rise inside a row and stay below " + std::to_string(cols) + ".");
}

}  // namespace

Work &operator+=(Work &sum, const Work &other) {
    sum.steps += other.steps;
    for (int at = 0; at < kLayers; ++at) sum.macs[at] += other.macs[at];
    sum.one_hot_adds += other.one_hot_adds;
    sum.relus += other.relus;
    sum.activations += other.activations;
    return sum;
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

void AgentModel::add(const std::string &name, const CsrRows &matrix, std::size_t n_values, std::size_t n_indptr,
                     const float *bias, std::size_t n_bias, const std::string &table) {
    const LayerName at = layer_of(name);
    const Table kind = table_of(table);
    const int rows = rows_of(at), cols = cols_of(at), tails = at == kFc1 ? n_actions + n_agents : 0;
    expect(n_bias == static_cast<std::size_t>(rows) && n_indptr == n_bias + 1,
           name + " must have " + std::to_string(rows) + " rows; got " + std::to_string(n_bias) + ".");
    expect_rows(name, matrix, n_values, rows, cols);
    tables_[at] = LayerTable(rows, cols - tails, tails, kind, matrix, bias);
    views_[at] = tables_[at].view();
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

void AgentModel::product(LayerName at, const float *x, float *y, Scratch &scratch) const {
    instruction_set().agent.product(views_[at], at, x, y, scratch.buffers());
}

void AgentModel::step(const float *obs, int last_action, int agent_id, float *hidden, float *q,
                      Scratch &scratch) const {
    instruction_set().agent.step(views_, {obs, last_action, agent_id, hidden, q}, scratch.buffers());
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
