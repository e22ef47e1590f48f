// The paper's networks over panels, forward and backward: agent, mixer, central mixer.
#pragma once

#include <memory>
#include <vector>

#include "layer.hpp"
#include "panel_batch.hpp"
#include "workers.hpp"

namespace mast_edge {

// Units of work are independent: panels of agents, some row panels of mixers. Each collects gradients for itself.
using Threads = std::shared_ptr<mast::Workers>;

// Layers of one network, in the order of mast_edge.spec, whose parameters lie in flat arrays of the whole learner.
class Network {
  public:
    Network(std::vector<LayerShape> shapes, Threads threads);
    Network(const Network &) = delete;
    Network &operator=(const Network &) = delete;
    virtual ~Network() = default;

    void set_mask(int layer, const std::uint8_t *mask, const std::vector<int> &heights);
    void refresh(const float *flat);

    std::vector<PanelLayer> layers;

  protected:
    // Throw unless this batch fits the network, was the last of its forward passes, and was kept by it.
    void expect_fit(const PanelBatch &batch, int inputs, int first_layer) const;
    void expect_kept(const PanelBatch &batch) const;
    std::uint64_t seen_ = 0, kept_ = 0;  // serials of batches

    // Whether few enough weights are kept that making a forward pass again costs less than keeping it in memory.
    bool repeats() const;
    // Calls work(unit, sums) for each unit, sums holding a buffer for every layer; adds up in the order of units.
    template <typename Work>
    void gradients(int units, bool every, float *grad, const Work &work);

    Threads threads_;

  private:
    std::vector<std::vector<Buffer>> sums_;
};

// fc1, gru_ih, gru_hh, fc2 (algorithms.md 2.1).
class AgentNetwork : public Network {
  public:
    AgentNetwork(const std::vector<LayerShape> &shapes, Threads threads);

    struct Pass {
        AgentNetwork *network;
        bool keep;  // what `backward` needs
    };
    // Makes the utilities of all steps, q() (steps, A, 64), of several networks over the same inputs.
    static void forward(const PanelBatch &batch, const std::vector<Pass> &passes);
    // d_taken (steps, 64): gradient of the utility of the action taken in each column. Adds to `grad`.
    void backward(const PanelBatch &batch, const float *d_taken, bool every, float *grad);
    // Each agent's utilities as one value (steps, 64), by `how`; best: the largest available of `online`, may be null.
    static void values(const PanelBatch &batch, Operator how, const AgentNetwork *online, const AgentNetwork &target,
                       float first, float second, float *out, std::int32_t *best);
    bool finite(const PanelBatch &batch) const;  // all utilities of the last forward pass
    const float *q(const PanelBatch &batch) const;  // throws where that pass was over another batch
    // fc1's units that are zero in every row of the batch.
    int dead_units(const PanelBatch &batch);

  private:
    void prepare(const PanelBatch &batch, bool keep);
    void forward_step(const PanelBatch &batch, int panel, int t, const float *inputs, bool keep);
    void backward_panel(const PanelBatch &batch, int panel, const float *d_taken, bool every,
                        std::vector<Buffer> &sums);
    // fc1's output and the gates of a step that were not kept.
    void repeat_step(const float *inputs, const float *before, float *x, float *gates, float *h, int vectors) const;
    float *scratch(int panel, std::int64_t floats) { return scratch_[static_cast<std::size_t>(panel)].need(static_cast<std::size_t>(floats)); }

    int hidden_, actions_;
    Buffer q_, x_, gates_, h_;
    std::vector<Buffer> scratch_;  // one for each panel
};

// hyper_w_1.0, hyper_w_1.2, hyper_w_final.0, hyper_w_final.2, hyper_b_1, V.0, V.2 (algorithms.md 2.2).
class MixerNetwork : public Network {
  public:
    MixerNetwork(const std::vector<LayerShape> &shapes, int agents, Threads threads);

    // q (row panels, N, 64) -> q_tot (row panels, 64). keep: what `backward` needs.
    void forward(const PanelBatch &batch, const float *q, float *q_tot, bool keep);
    // After forward with keep: d_q (row panels, N, 64) from d_q_tot (row panels, 64). Adds to `grad`.
    void backward(const PanelBatch &batch, const float *q, const float *d_q_tot, float *d_q, bool every, float *grad);
    // q_tot of every joint action that differs from the one of `chosen` in one agent's action at most; q and out
    // (row panels, N * A, 64).
    void alternatives(const PanelBatch &batch, const float *chosen, const float *q, float *out);

  private:
    // All tensors of one row panel, one after another from `at`, and its q_tot.
    void mix(const float *state, const float *q, float *at, float *q_tot) const;
    Mixing mixing(const float *at) const;
    const float *of(const float *at, int what) const { return at + start_[static_cast<std::size_t>(what)] * kColumns; }
    float *scratch(int unit, std::int64_t floats);

    int agents_, embed_, hyper_;
    std::vector<int> start_;  // first row of each tensor in a row panel
    std::int64_t height_ = 0;
    Buffer saved_;            // (row panels, height, 64), unless few products are made again
    std::vector<Buffer> scratch_;
};

// net.0, net.2, net.4, net.6, V.0, V.2 (algorithms.md 2.3).
class CentralNetwork : public Network {
  public:
    CentralNetwork(const std::vector<LayerShape> &shapes, int agents, Threads threads);

    void forward(PanelBatch &batch, const float *q, float *q_star);
    void backward(PanelBatch &batch, const float *q, const float *d_q_star, float *d_q, bool every, float *grad);

  private:
    float *of(std::int64_t panel, int what) const {
        return saved_.data() + (panel * 4 + what) * static_cast<std::int64_t>(width_) * kColumns;
    }

    static void put_utilities(PanelBatch &batch, std::int64_t panel, const float *q);

    int agents_, width_;
    Buffer saved_;
    std::vector<Buffer> scratch_;
};

}  // namespace mast_edge
