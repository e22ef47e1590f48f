#include "actor.hpp"

#include <algorithm>
#include <cstring>

#include "tiles.hpp"

namespace mast_edge {
namespace {

static_assert(kNarrow == kBlock);
constexpr int kRowsAtOnce = 24;  // whose gates stay in the nearest cache

std::size_t area(int rows, int columns) { return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns); }

// Columns [0, k) of a (rows, stride) matrix, transposed, as blocks of kNarrow = kBlock columns.
void transpose(const float *weight, int stride, int k, int rows, float *to) {
    for (int block = 0; block < rows; block += kNarrow) {
        const int present = std::min(kNarrow, rows - block);
        for (int q = 0; q < k; ++q, to += kNarrow)
            for (int r = 0; r < present; ++r) to[r] = weight[area(block + r, stride) + static_cast<std::size_t>(q)];
    }
}

// Of one agent; see act().
int best_action(const float *q, const std::uint8_t *avail, int n) {
    int best = -1;
    for (int a = 0; a < n; ++a)
        if (avail[a] && (best < 0 || q[a] > q[best] || (q[a] != q[a] && q[best] == q[best]))) best = a;
    return std::max(best, 0);
}

}  // namespace

BatchActor::BatchActor(int envs, int agents, int obs, int actions, int hidden)
    : n_envs(envs), n_agents(agents), obs_dim(obs), n_actions(actions), hidden_dim(hidden), width_(padded(hidden)),
      outputs_(padded(actions)), obs_weights_(area(obs, width_)), action_columns_(area(actions, width_)),
      agent_columns_(area(agents, width_)), ih_(area(hidden, 3 * width_)), ih_bias_(area(3, width_)),
      hh_(area(hidden, 3 * width_)), hh_bias_(area(3, width_)), out_(area(hidden, outputs_)),
      out_bias_(area(1, outputs_)), hidden_(area(envs * agents, width_)), q_(area(envs * agents, outputs_)),
      last_actions_(area(envs, agents), -1), x_(area(kRowsAtOnce, width_)),
      from_input_(area(kRowsAtOnce, 3 * width_)), from_hidden_(area(kRowsAtOnce, 3 * width_)),
      chances_(area(envs, agents)) {}

void BatchActor::load(const LayerView &fc1, const LayerView &gru_ih, const LayerView &gru_hh, const LayerView &fc2) {
    const int inputs = obs_dim + n_actions + n_agents;
    transpose(fc1.weight, inputs, obs_dim, hidden_dim, obs_weights_.data());
    for (int h = 0; h < hidden_dim; ++h) {
        const float *tail = fc1.weight + area(h, inputs) + obs_dim;
        for (int a = 0; a < n_actions; ++a) action_columns_[area(a, width_) + h] = tail[a];
        for (int i = 0; i < n_agents; ++i) agent_columns_[area(i, width_) + h] = fc1.bias[h] + tail[n_actions + i];
    }
    for (int gate = 0; gate < 3; ++gate) {
        const std::size_t from = area(gate * hidden_dim, hidden_dim), to = area(gate * width_, hidden_dim);
        transpose(gru_ih.weight + from, hidden_dim, hidden_dim, hidden_dim, ih_.data() + to);
        transpose(gru_hh.weight + from, hidden_dim, hidden_dim, hidden_dim, hh_.data() + to);
        std::copy_n(gru_ih.bias + gate * hidden_dim, hidden_dim, ih_bias_.data() + gate * width_);
        std::copy_n(gru_hh.bias + gate * hidden_dim, hidden_dim, hh_bias_.data() + gate * width_);
    }
    transpose(fc2.weight, hidden_dim, hidden_dim, n_actions, out_.data());
    std::copy_n(fc2.bias, n_actions, out_bias_.data());
}

void BatchActor::reset() {
    std::fill(hidden_.begin(), hidden_.end(), 0.0f);
    std::fill(last_actions_.begin(), last_actions_.end(), -1);
}

// Rows [row, row + rows) of all agents of all environments, at most kRowsAtOnce.
void BatchActor::step(const float *obs, int row, int rows) {
    for (int r = 0; r < rows; ++r) {
        float *x = x_.data() + area(r, width_);
        const float *agent = agent_columns_.data() + area((row + r) % n_agents, width_);
        const int last = last_actions_[area(row + r, 1)];
        const float *action = action_columns_.data() + area(std::max(last, 0), width_);
        for (int h = 0; h < width_; ++h) x[h] = last < 0 ? agent[h] : agent[h] + action[h];
    }
    const int h = hidden_dim, w = width_;
    float *x = x_.data(), *in = from_input_.data(), *rec = from_hidden_.data(), *hidden = hidden_.data() + area(row, w);
    float *q = q_.data() + area(row, outputs_);
    const Columns seen = blocked(obs_weights_.data(), obs_dim), out = blocked(out_.data(), h);
    multiply({obs + area(row, obs_dim), obs_dim, rows, seen, obs_dim, w, x, w, x, w});
    for (std::size_t i = 0; i < area(rows, w); ++i) x[i] = x[i] < 0.0f ? 0.0f : x[i];
    multiply({x, w, rows, blocked(ih_.data(), h), h, 3 * w, ih_bias_.data(), 0, in, 3 * w});
    multiply({hidden, w, rows, blocked(hh_.data(), h), h, 3 * w, hh_bias_.data(), 0, rec, 3 * w});
    gates_forward(rows, w, in, rec, hidden, hidden, nullptr);
    multiply({hidden, w, rows, out, h, outputs_, out_bias_.data(), 0, q, outputs_});
}

void BatchActor::act(const float *obs, const std::uint8_t *avail, const bool *which, double epsilon,
                     const BitGenerator *random, std::int64_t *actions) {
    for (int env = 0; env < n_envs;) {
        if (which && !which[env]) {
            ++env;
            continue;
        }
        int end = env + 1;
        while (end < n_envs && (!which || which[end])) ++end;
        for (int row = env * n_agents; row < end * n_agents; row += kRowsAtOnce)
            step(obs, row, std::min(kRowsAtOnce, end * n_agents - row));
        for (int row = env * n_agents; row < end * n_agents; ++row)
            actions[row] = best_action(q_.data() + area(row, outputs_), avail + area(row, n_actions), n_actions);
        env = end;
    }
    if (random && epsilon > 0.0) explore(avail, which, epsilon, *random, actions);
    for (int row = 0; row < n_envs * n_agents; ++row)
        if (!which || which[row / n_agents]) last_actions_[area(row, 1)] = static_cast<std::int32_t>(actions[row]);
}

void BatchActor::explore(const std::uint8_t *avail, const bool *which, double epsilon, const BitGenerator &random,
                         std::int64_t *actions) {
    bool any = false;
    for (double &chance : chances_) {
        chance = random.next_double(random.state);
        any = any || chance < epsilon;
    }
    if (!any) return;
    for (int row = 0; row < n_envs * n_agents; ++row) {
        double highest = -1.0;
        int chosen = 0;
        for (int a = 0; a < n_actions; ++a) {
            const double value = random.next_double(random.state);
            if (avail[area(row, n_actions) + a] && value > highest) {
                highest = value;
                chosen = a;
            }
        }
        if (chances_[area(row, 1)] < epsilon && (!which || which[row / n_agents])) actions[row] = chosen;
    }
}

void BatchActor::read_q(float *q) const {
    for (int row = 0; row < n_envs * n_agents; ++row)
        std::copy_n(q_.data() + area(row, outputs_), n_actions, q + area(row, n_actions));
}

}  // namespace mast_edge
