#include "panel_batch.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>

namespace mast_edge {

void PanelBatch::load(std::vector<EpisodeView> episodes) {
    static std::atomic<std::uint64_t> loads{0};
    serial = ++loads;
    episodes_ = std::move(episodes);
    const int count = static_cast<int>(episodes_.size());
    order.resize(episodes_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [this](int a, int b) { return episodes_[a].length > episodes_[b].length; });
    lengths.clear();
    for (int e = 0; e < count; e++) lengths.push_back(episode(e).length);
    nothing_.assign(static_cast<std::size_t>(std::max(shape.obs, shape.state)), 0.0f);

    panels.clear();
    vectors.clear();
    steps = 0;
    const int together = kColumns / shape.agents;
    for (int first = 0; first < count; first += together) {
        const int n = std::min(together, count - first), longest = static_cast<int>(lengths[first]) + 1;
        panels.push_back({steps, longest, first, n});
        int alive = n;
        for (int t = 0; t < longest; t++) {
            while (lengths[first + alive - 1] < t) alive--;
            vectors.push_back((alive * shape.agents + kLanes - 1) / kLanes);
        }
        steps += longest;
    }

    offsets.assign(1, 0);
    int alive = count;
    for (std::int64_t t = 0; t <= lengths[0]; t++) {
        while (lengths[alive - 1] < t) alive--;
        offsets.push_back(offsets.back() + alive);
    }
    rows = offsets.back();
    row_panels = (rows + kColumns - 1) / kColumns;
    pack_choices();
    pack_states();

    reward.assign(static_cast<std::size_t>(rows), 0.0f);
    terminated.clear();
    for (int e = 0; e < count; e++) {
        terminated.push_back(episode(e).terminated);
        for (std::int64_t t = 0; t < lengths[e]; t++) reward[offsets[t] + e] = episode(e).reward[t];
    }
}

void PanelBatch::pack_choices() {
    const int n = shape.agents, a = shape.actions;
    avail.assign(static_cast<std::size_t>(steps) * a * kColumns, 0);
    actions.assign(static_cast<std::size_t>(steps) * kColumns, 0);
    acted.assign(static_cast<std::size_t>(steps) * kColumns, 0);
    for (const Panel &panel : panels)
        for (int e = 0; e < panel.count; e++) {
            const EpisodeView &from = episode(panel.first_episode + e);
            for (std::int64_t t = 0; t <= from.length; t++) {
                const std::size_t step = static_cast<std::size_t>(panel.first_step + t);
                for (int i = 0; i < n; i++) {
                    const std::size_t column = static_cast<std::size_t>(e * n + i);
                    const std::uint8_t *may = from.avail + (t * n + i) * a;
                    std::uint8_t *to = avail.data() + step * a * kColumns + column;
                    for (int u = 0; u < a; u++) to[u * kColumns] = may[u];
                    if (t == from.length) continue;
                    actions[step * kColumns + column] = from.actions[t * n + i];
                    acted[step * kColumns + column] = 1;
                }
            }
        }
}

void PanelBatch::pack_inputs(int index, int t, float *x) const {
    const int n = shape.agents, a = shape.actions, o = shape.obs;
    const Panel &panel = panels[static_cast<std::size_t>(index)];
    float *one_hot = x + o * kColumns;
    std::memset(one_hot, 0, static_cast<std::size_t>(a + n) * kColumns * sizeof(float));
    const float *from[kColumns];
    std::fill_n(from, kColumns, nothing_.data());
    for (int e = 0; e < panel.count; e++) {
        const EpisodeView &view = episode(panel.first_episode + e);
        if (t > view.length) break;
        for (int i = 0; i < n; i++) {
            const int column = e * n + i;
            from[column] = view.obs + (static_cast<std::int64_t>(t) * n + i) * o;
            if (t > 0) one_hot[view.actions[(t - 1) * n + i] * kColumns + column] = 1.0f;
            one_hot[(a + i) * kColumns + column] = 1.0f;
        }
    }
    kernels().transpose(from, o, x, vectors[static_cast<std::size_t>(panel.first_step + t)]);
}

void PanelBatch::pack_states() {
    const std::int64_t stride = static_cast<std::int64_t>(shape.state + shape.agents) * kColumns;
    states.need(static_cast<std::size_t>(row_panels * stride));
    std::vector<const float *> from(static_cast<std::size_t>(row_panels * kColumns), nothing_.data());
    for (std::int64_t t = 0; t <= lengths[0]; t++)
        for (std::int64_t r = offsets[t]; r < offsets[t + 1]; r++)
            from[r] = episode(static_cast<int>(r - offsets[t])).state + t * shape.state;
    for (std::int64_t p = 0; p < row_panels; p++)
        kernels().transpose(from.data() + p * kColumns, shape.state, states.data() + p * stride, kVectors);
}

template <typename Visit>
void PanelBatch::each(const Visit &visit) const {
    for (const Panel &panel : panels)
        for (int e = 0; e < panel.count; e++)
            for (std::int64_t t = 0; t <= lengths[panel.first_episode + e]; t++)
                for (int i = 0; i < shape.agents; i++)
                    visit(offsets[t] + panel.first_episode + e, i, panel.first_step + t, e * shape.agents + i);
}

namespace {
std::int64_t place(std::int64_t row, std::int64_t height, std::int64_t at) {  // in (row panels, height, 64)
    return (row / kColumns * height + at) * kColumns + row % kColumns;
}
}  // namespace

void PanelBatch::taken(const float *q, float *out) const {
    std::memset(out, 0, static_cast<std::size_t>(row_panels * shape.agents * kColumns) * sizeof(float));
    each([&](std::int64_t row, int agent, std::int64_t step, int column) {
        const std::int64_t at = step * kColumns + column;
        if (acted[at]) out[place(row, shape.agents, agent)] = q[(step * shape.actions + actions[at]) * kColumns + column];
    });
}

void PanelBatch::to_rows(const float *values, float *out) const {
    std::memset(out, 0, static_cast<std::size_t>(row_panels * shape.agents * kColumns) * sizeof(float));
    each([&](std::int64_t row, int agent, std::int64_t step, int column) {
        out[place(row, shape.agents, agent)] = values[step * kColumns + column];
    });
}

void PanelBatch::to_columns(const float *rows_, float *out) const {
    std::memset(out, 0, static_cast<std::size_t>(steps) * kColumns * sizeof(float));
    each([&](std::int64_t row, int agent, std::int64_t step, int column) {
        out[step * kColumns + column] = rows_[place(row, shape.agents, agent)];
    });
}

void PanelBatch::actions_to_rows(const float *q, float *out) const {
    const std::int64_t a = shape.actions, height = shape.agents * a;
    std::memset(out, 0, static_cast<std::size_t>(row_panels * height * kColumns) * sizeof(float));
    each([&](std::int64_t row, int agent, std::int64_t step, int column) {
        for (std::int64_t u = 0; u < a; u++) out[place(row, height, agent * a + u)] = q[(step * a + u) * kColumns + column];
    });
}

void PanelBatch::avail_to_rows(std::uint8_t *out) const {
    const std::int64_t a = shape.actions, height = shape.agents * a;
    std::memset(out, 0, static_cast<std::size_t>(row_panels * height * kColumns));
    each([&](std::int64_t row, int agent, std::int64_t step, int column) {
        for (std::int64_t u = 0; u < a; u++)
            out[place(row, height, agent * a + u)] = avail[(step * a + u) * kColumns + column];
    });
}

void PanelBatch::n_step(const float *values, int n, double gamma, float *out) const {
    std::fill_n(out, rows, 0.0f);
    for (std::size_t e = 0; e < lengths.size(); e++) {
        const auto row = [&](std::int64_t t) { return offsets[t] + static_cast<std::int64_t>(e); };
        for (std::int64_t t = 0; t < lengths[e]; t++) {
            const std::int64_t end = std::min(t + n, lengths[e]);
            double sum = end == lengths[e] && terminated[e] ? 0.0 : values[row(end)];
            for (std::int64_t k = end - 1; k >= t; k--) sum = reward[row(k)] + gamma * sum;
            out[row(t)] = static_cast<float>(sum);
        }
    }
}

void PanelBatch::td_lambda(const float *values, double gamma, double lambda, float *out) const {
    std::fill_n(out, rows, 0.0f);
    for (std::size_t e = 0; e < lengths.size(); e++) {
        const auto row = [&](std::int64_t t) { return offsets[t] + static_cast<std::int64_t>(e); };
        double following = values[row(lengths[e])];
        for (std::int64_t t = lengths[e] - 1; t >= 0; t--) {
            const bool ends = terminated[e] && t == lengths[e] - 1;
            const double next = (1.0 - lambda) * values[row(t + 1)] + lambda * following;
            following = reward[row(t)] + (ends ? 0.0 : gamma * next);
            out[row(t)] = static_cast<float>(following);
        }
    }
}

void PanelBatch::realised(double gamma, float *out) const {
    const std::vector<float> nothing(static_cast<std::size_t>(rows), 0.0f);
    td_lambda(nothing.data(), gamma, 1.0, out);
}

void PanelBatch::mask(float *out) const {
    std::fill_n(out, rows, 0.0f);
    for (std::size_t e = 0; e < lengths.size(); e++)
        for (std::int64_t t = 0; t < lengths[e]; t++) out[offsets[t] + static_cast<std::int64_t>(e)] = 1.0f;
}

}  // namespace mast_edge
