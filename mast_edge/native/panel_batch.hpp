// Episodes as panels: agent inputs column by (episode, agent), states column by (time, episode).
#pragma once

#include <cstdint>
#include <vector>

#include "layer.hpp"

namespace mast_edge {

struct EpisodeView {  // arrays of train/replay.py's Episode; they must outlive the use of the batch
    std::int64_t length;        // L
    const float *obs;           // (L + 1, N, O)
    const float *state;         // (L + 1, S)
    const std::uint8_t *avail;  // (L + 1, N, A)
    const std::uint8_t *actions;  // (L, N)
    const float *reward;          // (L)
    bool terminated;              // nothing follows its last state
};

struct BatchShape {
    int agents, actions, obs, state;
    int inputs() const { return obs + actions + agents; }
};

// Agent panels hold whole episodes, longest first; a panel stops at its own longest episode. Step s of all panels is
// numbered through: panel by panel, each from time 0. Row r = (t, e) of the mixers: by time, then episode.
class PanelBatch {
  public:
    explicit PanelBatch(const BatchShape &shape) : shape(shape) {}

    // `order` is how the episodes were given: longest first, ties as they came.
    void load(std::vector<EpisodeView> episodes);

    // Agent inputs of one step (F, 64): observation, last action, agent id. Packed anew wherever they are needed: reading
    // the replay again costs less than keeping them.
    void pack_inputs(int panel, int t, float *x) const;

    // Utilities (steps, A, 64) to (row panels, N, 64): those of the actions that were taken, 0 after the last one.
    void taken(const float *q, float *out) const;
    // values (steps, 64), one for each column, to (row panels, N, 64).
    void to_rows(const float *values, float *out) const;
    // Rows (row panels, N, 64) to columns (steps, 64); the inverse, 0 where no row is.
    void to_columns(const float *rows, float *out) const;
    // (steps, A, 64) to (row panels, N * A, 64).
    void actions_to_rows(const float *q, float *out) const;
    void avail_to_rows(std::uint8_t *out) const;

    // Returns of every row from values V (rows): sum over k < n of gamma^k r, then gamma^n V; or TD(lambda). Rows after
    // which nothing happened get 0 (algorithms.md 4.4).
    void n_step(const float *values, int n, double gamma, float *out) const;
    void td_lambda(const float *values, double gamma, double lambda, float *out) const;
    // Discounted rewards of the rest of each episode, without bootstrap (algorithms.md 4.3).
    void realised(double gamma, float *out) const;
    // 1 where a transition begins, else 0 (rows).
    void mask(float *out) const;

    struct Panel {
        int first_step, steps;     // its steps among all
        int first_episode, count;  // its episodes, in order
    };
    const BatchShape shape;
    std::uint64_t serial = 0;  // of what is loaded, never the same twice; 0: nothing
    std::vector<Panel> panels;
    std::vector<int> order;
    std::vector<std::int64_t> lengths;  // in order
    std::vector<std::int64_t> offsets;  // (T + 2) first row of each time; the last entry is P
    std::vector<int> vectors;           // (steps) of 16 columns that hold a running episode
    int steps = 0;
    std::int64_t rows = 0, row_panels = 0;
    Buffer states;                      // (row panels, S + N, 64): room for utilities behind the state
    std::vector<std::uint8_t> avail;    // (steps, A, 64)
    std::vector<std::uint8_t> actions;  // (steps, 64), 0 where none was taken
    std::vector<std::uint8_t> acted;    // (steps, 64)
    std::vector<float> reward;          // (rows), 0 at the end of an episode
    std::vector<std::uint8_t> terminated;  // (episodes), in order

  private:
    void pack_choices();
    void pack_states();
    const EpisodeView &episode(int place) const { return episodes_[static_cast<std::size_t>(order[static_cast<std::size_t>(place)])]; }
    // visit(row, agent, step, column) for every agent of every row.
    template <typename Visit>
    void each(const Visit &visit) const;

    std::vector<EpisodeView> episodes_;
    std::vector<float> nothing_;  // an observation or state where no row is
};

}  // namespace mast_edge
