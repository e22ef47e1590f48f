#include "networks.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace mast_edge {
namespace {

constexpr int kTogether = 2;      // panels whose gradients are collected at once: what the first cache holds
constexpr double kRepeatBelow = 0.5;  // density of a network
constexpr int kRowPanels = 8;     // of a unit of the mixers
constexpr int kDenseScratch = kColumns * kColumns;

void clear(float *at, std::int64_t rows) { std::memset(at, 0, static_cast<std::size_t>(rows) * kColumns * sizeof(float)); }

int units_of(std::int64_t row_panels) { return static_cast<int>((row_panels + kRowPanels - 1) / kRowPanels); }

// Calls work(first panel, count) for runs of at most kTogether row panels of a unit.
template <typename Work>
void runs_of(int unit, std::int64_t row_panels, const Work &work) {
    const std::int64_t end = std::min<std::int64_t>(row_panels, (unit + 1) * std::int64_t{kRowPanels});
    for (std::int64_t p = unit * std::int64_t{kRowPanels}; p < end; p += kTogether)
        work(p, static_cast<int>(std::min<std::int64_t>(kTogether, end - p)));
}

template <typename Work>
void panels_of(int unit, std::int64_t row_panels, const Work &work) {
    runs_of(unit, row_panels, [&](std::int64_t first, int count) {
        for (int i = 0; i < count; i++) work(first + i);
    });
}

constexpr int kAllVectors[kTogether] = {kVectors, kVectors};

}  // namespace

Network::Network(std::vector<LayerShape> shapes, Threads threads) : threads_(std::move(threads)) {
    for (const LayerShape &shape : shapes) layers.emplace_back(shape);
}

void Network::set_mask(int layer, const std::uint8_t *mask, const std::vector<int> &heights) {
    layers.at(static_cast<std::size_t>(layer)).set_mask(mask, heights);
}

void Network::refresh(const float *flat) {
    for (PanelLayer &layer : layers) layer.refresh(flat);
}

void Network::expect_fit(const PanelBatch &batch, int inputs, int first_layer) const {
    if (batch.serial == 0) throw std::invalid_argument("learner: the batch must hold episodes; it was never loaded.");
    if (layers[static_cast<std::size_t>(first_layer)].shape.in != inputs)
        throw std::invalid_argument("learner: the network must have the batch's sizes.");
}

void Network::expect_kept(const PanelBatch &batch) const {
    if (batch.serial == 0 || kept_ != batch.serial)
        throw std::logic_error("learner: backward must follow a forward pass with keep.");
}

bool Network::repeats() const {
    std::int64_t kept = 0, all = 0;
    for (const PanelLayer &layer : layers) {
        kept += layer.kept();
        all += static_cast<std::int64_t>(layer.shape.out) * layer.shape.in;
    }
    return static_cast<double>(kept) < kRepeatBelow * static_cast<double>(all);
}

template <typename Work>
void Network::gradients(int units, bool every, float *grad, const Work &work) {
    if (sums_.size() < static_cast<std::size_t>(units)) sums_.resize(static_cast<std::size_t>(units));
    threads_->run(units, [&](int unit) {
        auto &sums = sums_[static_cast<std::size_t>(unit)];
        sums.resize(layers.size());
        for (std::size_t l = 0; l < layers.size(); l++) layers[l].begin(sums[l], every);
        work(unit, sums);
    });
    threads_->run(static_cast<int>(layers.size()), [&](int l) {
        for (int unit = 0; unit < units; unit++)
            layers[static_cast<std::size_t>(l)].add_to(sums_[static_cast<std::size_t>(unit)][static_cast<std::size_t>(l)],
                                                       every, grad);
    });
}

// --- agent --------------------------------------------------------------------------------------------------

enum { kFc1, kIh, kHh, kFc2 };

static std::vector<LayerShape> with_split(std::vector<LayerShape> shapes) {
    // Gates lie in four parts, r, z, i_n, h_n: the recurrent n is kept apart from the other.
    shapes[kHh].split = shapes[kHh].out / 3 * 2;
    shapes[kHh].moved = shapes[kHh].out / 3;
    return shapes;
}

AgentNetwork::AgentNetwork(const std::vector<LayerShape> &shapes, Threads threads)
    : Network(with_split(shapes), std::move(threads)), hidden_(shapes[kFc1].out), actions_(shapes[kFc2].out) {}

void AgentNetwork::prepare(const PanelBatch &batch, bool keep) {
    expect_fit(batch, batch.shape.inputs(), kFc1);
    if (actions_ != batch.shape.actions) throw std::invalid_argument("learner: the network must have the batch's actions.");
    const std::size_t column = static_cast<std::size_t>(batch.steps) * kColumns, h = static_cast<std::size_t>(hidden_);
    q_.need(column * static_cast<std::size_t>(actions_));
    seen_ = batch.serial;
    kept_ = keep ? batch.serial : 0;
    if (keep) h_.need(column * h);
    if (keep && !repeats()) {
        x_.need(column * h);
        gates_.need(column * 4 * h);
    }
    if (scratch_.size() < batch.panels.size()) scratch_.resize(batch.panels.size());
}

void AgentNetwork::forward(const PanelBatch &batch, const std::vector<Pass> &passes) {
    for (const Pass &pass : passes) pass.network->prepare(batch, pass.keep);
    const std::int64_t inputs = batch.shape.inputs() * kColumns;
    std::vector<Buffer> packed(batch.panels.size());
    passes.at(0).network->threads_->run(static_cast<int>(batch.panels.size()), [&](int panel) {
        float *x = packed[static_cast<std::size_t>(panel)].need(static_cast<std::size_t>(inputs));
        for (int t = 0; t < batch.panels[static_cast<std::size_t>(panel)].steps; t++) {
            batch.pack_inputs(panel, t, x);
            for (const Pass &pass : passes) pass.network->forward_step(batch, panel, t, x, pass.keep);
        }
    });
}

void AgentNetwork::forward_step(const PanelBatch &batch, int panel, int t, const float *inputs, bool keep) {
    const std::int64_t h = hidden_ * kColumns, step = batch.panels[static_cast<std::size_t>(panel)].first_step + t;
    const int wide = batch.vectors[static_cast<std::size_t>(step)];
    const bool save = keep && !repeats();
    float *own = scratch(panel, 8 * h);
    float *x = save ? x_.data() + step * h : own, *gates = save ? gates_.data() + step * 4 * h : own + h;
    float *now = keep ? h_.data() + step * h : own + (5 + t % 2) * h;
    const float *before = keep ? now - h : own + (6 - t % 2) * h;
    if (t == 0) {
        clear(own + 7 * h, hidden_);
        before = own + 7 * h;
    }
    repeat_step(inputs, before, x, gates, now, wide);
    layers[kFc2].forward(now, q_.data() + step * actions_ * kColumns, wide, kPlain);
}

void AgentNetwork::repeat_step(const float *inputs, const float *before, float *x, float *gates, float *h,
                               int vectors) const {
    layers[kFc1].forward(inputs, x, vectors, kRelu);
    layers[kIh].forward(x, gates, vectors, kPlain);
    layers[kHh].forward_split(before, gates, vectors);
    kernels().gates_forward(gates, before, h, hidden_, vectors);
}

void AgentNetwork::backward(const PanelBatch &batch, const float *d_taken, bool every, float *grad) {
    expect_kept(batch);
    gradients(static_cast<int>(batch.panels.size()), every, grad, [&](int panel, std::vector<Buffer> &sums) {
        backward_panel(batch, panel, d_taken, every, sums);
    });
}

void AgentNetwork::backward_panel(const PanelBatch &batch, int index, const float *d_taken, bool every,
                                  std::vector<Buffer> &sums) {
    const PanelBatch::Panel &panel = batch.panels[static_cast<std::size_t>(index)];
    const std::int64_t h = hidden_ * kColumns, a = actions_ * kColumns, f = batch.shape.inputs() * kColumns;
    const std::int64_t one = 10 * h + a + f;  // of a step: d_gates, dx, x, gates, dq, inputs
    float *own = scratch(index, 3 * h + kTogether * one + kDenseScratch);
    float *carry = own, *nothing = own + h, *unused = own + 2 * h, *slots = own + 3 * h, *turned = slots + kTogether * one;
    clear(own, 2 * hidden_);
    const bool repeat = repeats();
    const float *d_gates[kTogether], *d_q[kTogether], *d_x[kTogether], *inputs[kTogether], *x[kTogether], *now[kTogether],
        *before[kTogether];
    int wide[kTogether], held = 0;
    for (int t = panel.steps - 1; t >= 0; t--) {
        const std::int64_t step = panel.first_step + t;
        const int v = wide[held] = batch.vectors[static_cast<std::size_t>(step)];
        float *d = slots + held * one, *dx = d + 4 * h, *own_x = dx + h, *own_gates = own_x + h, *dq = own_gates + 4 * h,
              *in = dq + a;
        batch.pack_inputs(index, t, in);
        d_gates[held] = d, d_x[held] = dx, d_q[held] = dq, inputs[held] = in;
        x[held] = repeat ? own_x : x_.data() + step * h;
        now[held] = h_.data() + step * h;
        before[held] = t > 0 ? h_.data() + (step - 1) * h : nothing;
        const float *gates = repeat ? own_gates : gates_.data() + step * 4 * h;
        if (repeat) repeat_step(in, before[held], own_x, own_gates, unused, v);

        clear(dq, actions_);
        for (int c = 0; c < v * kLanes; c++) {
            const std::int64_t at = step * kColumns + c;
            if (batch.acted[static_cast<std::size_t>(at)])
                dq[batch.actions[static_cast<std::size_t>(at)] * kColumns + c] = d_taken[at];
        }
        layers[kFc2].backward(dq, carry, v, kAccumulate);
        kernels().gates_backward(gates, before[held], carry, d, hidden_, v);
        layers[kHh].backward(d, carry, v, kAccumulate);
        layers[kIh].backward(d, dx, v, kPlain);
        kernels().relu_backward(dx, x[held], hidden_, v);

        if (++held == kTogether || t == 0) {
            layers[kFc1].collect(sums[kFc1], every, d_x, inputs, wide, held, turned);
            layers[kIh].collect(sums[kIh], every, d_gates, x, wide, held, turned);
            layers[kHh].collect(sums[kHh], every, d_gates, before, wide, held, turned);
            layers[kFc2].collect(sums[kFc2], every, d_q, now, wide, held, turned);
            held = 0;
        }
    }
}

const float *AgentNetwork::q(const PanelBatch &batch) const {
    if (batch.serial == 0 || seen_ != batch.serial)
        throw std::logic_error("learner: utilities must be made by a forward pass over this batch first.");
    return q_.data();
}

void AgentNetwork::values(const PanelBatch &batch, Operator how, const AgentNetwork *online, const AgentNetwork &target,
                          float first, float second, float *out, std::int32_t *best) {
    const std::int64_t a = batch.shape.actions * kColumns;
    const float *q = online ? online->q(batch) : nullptr, *target_q = target.q(batch);
    for (std::int64_t step = 0; step < batch.steps; step++)
        kernels().value(how, q ? q + step * a : nullptr, target_q + step * a,
                        batch.avail.data() + step * a, batch.shape.actions, first, second,
                        batch.vectors[static_cast<std::size_t>(step)], out + step * kColumns,
                        best ? best + step * kColumns : nullptr);
}

bool AgentNetwork::finite(const PanelBatch &batch) const {
    for (std::int64_t step = 0; step < batch.steps; step++)
        for (int u = 0; u < actions_; u++)
            if (!kernels().all_finite(q(batch) + (step * actions_ + u) * kColumns,
                                      batch.vectors[static_cast<std::size_t>(step)] * kLanes))
                return false;
    return true;
}

int AgentNetwork::dead_units(const PanelBatch &batch) {
    std::vector<bool> alive(static_cast<std::size_t>(hidden_));
    Buffer packed, out;
    float *inputs = packed.need(static_cast<std::size_t>(batch.shape.inputs() * kColumns));
    float *x = out.need(static_cast<std::size_t>(hidden_ * kColumns));
    for (std::size_t p = 0; p < batch.panels.size(); p++) {
        const PanelBatch::Panel &panel = batch.panels[p];
        for (int t = 0; t < panel.steps; t++) {
            batch.pack_inputs(static_cast<int>(p), t, inputs);
            layers[kFc1].forward(inputs, x, batch.vectors[static_cast<std::size_t>(panel.first_step + t)], kRelu);
            for (int e = 0; e < panel.count && t <= batch.lengths[static_cast<std::size_t>(panel.first_episode + e)]; e++)
                for (int unit = 0; unit < hidden_; unit++)
                    for (int i = 0; i < batch.shape.agents; i++)
                        if (x[unit * kColumns + e * batch.shape.agents + i] > 0.0f) alive[static_cast<std::size_t>(unit)] = true;
        }
    }
    return static_cast<int>(std::count(alive.begin(), alive.end(), false));
}

// --- mixer --------------------------------------------------------------------------------------------------

enum { kW1In, kW1, kWfIn, kWf, kB1, kVIn, kV };
enum { kSavedW1In, kSavedWfIn, kSavedVIn, kSavedB1, kSavedW1, kSavedWf, kSavedV, kSavedHidden };

MixerNetwork::MixerNetwork(const std::vector<LayerShape> &shapes, int agents, Threads threads)
    : Network(shapes, std::move(threads)), agents_(agents), embed_(shapes[kVIn].out), hyper_(shapes[kW1In].out) {
    for (const int rows : {hyper_, hyper_, embed_, embed_, agents_ * embed_, embed_, 1, embed_}) {
        start_.push_back(static_cast<int>(height_));
        height_ += rows;
    }
}

Mixing MixerNetwork::mixing(const float *at) const {
    return {agents_, embed_, of(at, kSavedW1), of(at, kSavedB1), of(at, kSavedWf), of(at, kSavedV)};
}

float *MixerNetwork::scratch(int unit, std::int64_t floats) {
    return scratch_[static_cast<std::size_t>(unit)].need(static_cast<std::size_t>(floats));
}

static const float *state_of(const PanelBatch &batch, std::int64_t p) {
    return batch.states.data() + p * (batch.shape.state + batch.shape.agents) * kColumns;
}

void MixerNetwork::mix(const float *state, const float *q, float *at, float *q_tot) const {
    const auto make = [&](int layer, const float *x, int what, int mode) {
        layers[static_cast<std::size_t>(layer)].forward(x, at + start_[static_cast<std::size_t>(what)] * kColumns, kVectors, mode);
    };
    make(kW1In, state, kSavedW1In, kRelu);
    make(kWfIn, state, kSavedWfIn, kRelu);
    make(kVIn, state, kSavedVIn, kRelu);
    make(kB1, state, kSavedB1, kPlain);
    make(kW1, of(at, kSavedW1In), kSavedW1, kPlain);
    make(kWf, of(at, kSavedWfIn), kSavedWf, kPlain);
    make(kV, of(at, kSavedVIn), kSavedV, kPlain);
    kernels().mix_forward(mixing(at), q, at + start_[kSavedHidden] * kColumns, q_tot);
}

void MixerNetwork::forward(const PanelBatch &batch, const float *q, float *q_tot, bool keep) {
    expect_fit(batch, batch.shape.state, kW1In);
    const int units = units_of(batch.row_panels);
    const bool save = keep && !repeats();
    kept_ = keep ? batch.serial : 0;
    if (save) saved_.need(static_cast<std::size_t>(batch.row_panels * height_ * kColumns));
    if (scratch_.size() < static_cast<std::size_t>(units)) scratch_.resize(static_cast<std::size_t>(units));
    threads_->run(units, [&](int unit) {
        float *own = scratch(unit, height_ * kColumns);
        panels_of(unit, batch.row_panels, [&](std::int64_t p) {
            mix(state_of(batch, p), q + p * agents_ * kColumns, save ? saved_.data() + p * height_ * kColumns : own,
                q_tot + p * kColumns);
        });
    });
}

void MixerNetwork::backward(const PanelBatch &batch, const float *q, const float *d_q_tot, float *d_q, bool every,
                            float *grad) {
    expect_kept(batch);
    const int units = units_of(batch.row_panels);
    const bool repeat = repeats();
    const std::int64_t one = (agents_ * embed_ + 3 * embed_ + 2 * hyper_ + height_) * kColumns;
    gradients(units, every, grad, [&](int unit, std::vector<Buffer> &sums) {
        float *own = scratch(unit, kTogether * one + kDenseScratch), ignored[kColumns];
        runs_of(unit, batch.row_panels, [&](std::int64_t first, int count) {
            const float *state[kTogether], *d_w1[kTogether], *d_b1[kTogether], *d_wf[kTogether], *d_v[kTogether],
                *d_w1_in[kTogether], *d_wf_in[kTogether], *d_v_in[kTogether], *w1_in[kTogether], *wf_in[kTogether],
                *v_in[kTogether];
            for (int i = 0; i < count; i++) {
                const std::int64_t p = first + i, rows = p * agents_ * kColumns;
                float *w1 = own + i * one, *b1 = w1 + agents_ * embed_ * kColumns, *wf = b1 + embed_ * kColumns;
                float *vi = wf + embed_ * kColumns, *w1i = vi + embed_ * kColumns, *wfi = w1i + hyper_ * kColumns;
                state[i] = state_of(batch, p);
                float *again = wfi + hyper_ * kColumns;
                const float *at = repeat ? again : saved_.data() + p * height_ * kColumns;
                if (repeat) mix(state[i], q + rows, again, ignored);
                kernels().mix_backward(mixing(at), q + rows, of(at, kSavedHidden), d_q_tot + p * kColumns, d_q + rows, w1,
                                       b1, wf);
                const auto through = [&](int layer, const float *dy, float *dx, int what, int height) {
                    layers[static_cast<std::size_t>(layer)].backward(dy, dx, kVectors, kPlain);
                    kernels().relu_backward(dx, of(at, what), height, kVectors);
                };
                through(kW1, w1, w1i, kSavedW1In, hyper_);
                through(kWf, wf, wfi, kSavedWfIn, hyper_);
                through(kV, d_q_tot + p * kColumns, vi, kSavedVIn, embed_);
                d_w1[i] = w1, d_b1[i] = b1, d_wf[i] = wf, d_v[i] = d_q_tot + p * kColumns;
                d_w1_in[i] = w1i, d_wf_in[i] = wfi, d_v_in[i] = vi;
                w1_in[i] = of(at, kSavedW1In), wf_in[i] = of(at, kSavedWfIn), v_in[i] = of(at, kSavedVIn);
            }
            const auto collect = [&](int layer, const float *const *dy, const float *const *x) {
                layers[static_cast<std::size_t>(layer)].collect(sums[static_cast<std::size_t>(layer)], every, dy, x,
                                                                kAllVectors, count, own + kTogether * one);
            };
            collect(kW1In, d_w1_in, state);
            collect(kW1, d_w1, w1_in);
            collect(kB1, d_b1, state);
            collect(kWfIn, d_wf_in, state);
            collect(kWf, d_wf, wf_in);
            collect(kVIn, d_v_in, state);
            collect(kV, d_v, v_in);
        });
    });
}

void MixerNetwork::alternatives(const PanelBatch &batch, const float *chosen, const float *q, float *out) {
    expect_fit(batch, batch.shape.state, kW1In);
    const int units = units_of(batch.row_panels);
    const std::int64_t a = batch.shape.actions, candidates = agents_ * a * kColumns;
    if (scratch_.size() < static_cast<std::size_t>(units)) scratch_.resize(static_cast<std::size_t>(units));
    threads_->run(units, [&](int unit) {
        float *own = scratch(unit, height_ * kColumns), ignored[kColumns];
        panels_of(unit, batch.row_panels, [&](std::int64_t p) {
            const float *base = chosen + p * agents_ * kColumns;
            mix(state_of(batch, p), base, own, ignored);
            kernels().alternatives(mixing(own), base, q + p * candidates, of(own, kSavedHidden), static_cast<int>(a),
                                   out + p * candidates);
        });
    });
}

// --- central mixer ------------------------------------------------------------------------------------------

enum { kNet0, kNet2, kNet4, kNet6, kState0, kState2 };

static std::vector<LayerShape> for_utilities(std::vector<LayerShape> shapes, int agents) {
    shapes[kNet0].first_input = shapes[kNet0].in - agents;
    return shapes;
}

CentralNetwork::CentralNetwork(const std::vector<LayerShape> &shapes, int agents, Threads threads)
    : Network(for_utilities(shapes, agents), std::move(threads)), agents_(agents), width_(shapes[kNet0].out) {}

void CentralNetwork::put_utilities(PanelBatch &batch, std::int64_t p, const float *q) {
    const std::int64_t n = batch.shape.agents * kColumns;
    std::memcpy(batch.states.data() + p * (batch.shape.state * kColumns + n) + batch.shape.state * kColumns, q + p * n,
                static_cast<std::size_t>(n) * sizeof(float));
}

void CentralNetwork::forward(PanelBatch &batch, const float *q, float *q_star) {
    expect_fit(batch, batch.shape.state + batch.shape.agents, kNet0);
    kept_ = batch.serial;
    saved_.need(static_cast<std::size_t>(batch.row_panels * 4 * width_ * kColumns));
    threads_->run(static_cast<int>(batch.row_panels), [&](int p) {
        put_utilities(batch, p, q);
        const float *state = state_of(batch, p);
        float *out = q_star + static_cast<std::int64_t>(p) * kColumns;
        layers[kNet0].forward(state, of(p, 0), kVectors, kRelu);
        layers[kNet2].forward(of(p, 0), of(p, 1), kVectors, kRelu);
        layers[kNet4].forward(of(p, 1), of(p, 2), kVectors, kRelu);
        layers[kState0].forward(state, of(p, 3), kVectors, kRelu);
        layers[kNet6].forward(of(p, 2), out, kVectors, kPlain);
        layers[kState2].forward(of(p, 3), out, kVectors, kAccumulate);
    });
}

void CentralNetwork::backward(PanelBatch &batch, const float *q, const float *d_q_star, float *d_q, bool every,
                              float *grad) {
    expect_kept(batch);
    const int units = units_of(batch.row_panels);
    if (scratch_.size() < static_cast<std::size_t>(units)) scratch_.resize(static_cast<std::size_t>(units));
    const std::int64_t wide = static_cast<std::int64_t>(width_) * kColumns;
    gradients(units, every, grad, [&](int unit, std::vector<Buffer> &sums) {
        float *own = scratch_[static_cast<std::size_t>(unit)].need(static_cast<std::size_t>(kTogether * 4 * wide + kDenseScratch));
        runs_of(unit, batch.row_panels, [&](std::int64_t first, int count) {
            const float *state[kTogether], *d_out[kTogether], *x[4][kTogether], *d[4][kTogether];
            for (int i = 0; i < count; i++) {
                const std::int64_t p = first + i;
                put_utilities(batch, p, q);
                state[i] = state_of(batch, p);
                d_out[i] = d_q_star + p * kColumns;
                float *to = own + i * 4 * wide;
                for (int k = 0; k < 4; k++) {
                    x[k][i] = of(p, k);
                    d[k][i] = to + k * wide;
                }
                const auto through = [&](int layer, const float *dy, int k) {
                    layers[layer].backward(dy, to + k * wide, kVectors, kPlain);
                    kernels().relu_backward(to + k * wide, of(p, k), width_, kVectors);
                };
                through(kState2, d_out[i], 3);
                through(kNet6, d_out[i], 2);
                through(kNet4, d[2][i], 1);
                through(kNet2, d[1][i], 0);
                layers[kNet0].backward(d[0][i], d_q + p * agents_ * kColumns, kVectors, kPlain);
            }
            const auto collect = [&](int layer, const float *const *dy, const float *const *in) {
                layers[layer].collect(sums[static_cast<std::size_t>(layer)], every, dy, in, kAllVectors, count,
                                      own + kTogether * 4 * wide);
            };
            collect(kNet0, d[0], state);
            collect(kNet2, d[1], x[0]);
            collect(kNet4, d[2], x[1]);
            collect(kNet6, d_out, x[2]);
            collect(kState0, d[3], state);
            collect(kState2, d_out, x[3]);
        });
    });
}

}  // namespace mast_edge
