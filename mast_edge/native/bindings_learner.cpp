// What Python sees of the sparse learner: panel_batch.hpp, networks.hpp, and the optimiser of panels.hpp.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "networks.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace mast_edge;

template <typename T, int Dimensions>
using Array = nb::ndarray<T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using Flat = Array<float, 1>;

// Arrays reach the kernels by address: what does not fit is refused here.
template <typename Any>
static auto *sized(const char *name, const Any &array, std::int64_t size) {
    if (static_cast<std::int64_t>(array.size()) != size)
        throw std::invalid_argument(std::string("learner: ") + name + " must have " + std::to_string(size) +
                                    " entries; got " + std::to_string(array.size()) + ".");
    return array.data();
}

static std::int64_t per_agent(const PanelBatch &b) { return b.row_panels * b.shape.agents * kColumns; }
static std::int64_t per_row(const PanelBatch &b) { return b.row_panels * kColumns; }
static std::int64_t per_action(const PanelBatch &b) { return per_agent(b) * b.shape.actions; }

using Episode = std::tuple<Array<const float, 3>, Array<const float, 2>, Array<const std::uint8_t, 3>,
                           Array<const std::uint8_t, 2>, Array<const float, 1>, bool>;

static void load(PanelBatch &batch, const std::vector<Episode> &episodes) {
    std::vector<EpisodeView> views;
    const BatchShape &s = batch.shape;
    if (episodes.empty()) throw std::invalid_argument("learner: a batch must hold at least one episode; got none.");
    for (const auto &[obs, state, avail, actions, reward, terminated] : episodes) {
        const std::int64_t length = static_cast<std::int64_t>(reward.shape(0)), agents = (length + 1) * s.agents;
        views.push_back({length, sized("obs", obs, agents * s.obs), sized("state", state, (length + 1) * s.state),
                         sized("avail", avail, agents * s.actions), sized("actions", actions, length * s.agents),
                         reward.data(), terminated});
        for (std::int64_t i = 0; i < length * s.agents; i++)
            if (actions.data()[i] >= s.actions) throw std::invalid_argument("learner: actions must be below n_actions.");
    }
    batch.load(std::move(views));
}

static void bind_batch(nb::module_ &m) {
    nb::class_<PanelBatch>(m, "PanelBatch")
        .def("__init__",
             [](PanelBatch *self, int agents, int actions, int obs, int state) {
                 if (agents < 1 || agents > kColumns)
                     throw std::invalid_argument("learner: agents must be 1 to 64; got " + std::to_string(agents) + ".");
                 new (self) PanelBatch(BatchShape{agents, actions, obs, state});
             },
             "n_agents"_a, "n_actions"_a, "obs_dim"_a, "state_dim"_a)
        .def("load", &load, "episodes"_a.noconvert())  // a converted copy would not outlive the call
        .def_prop_ro("n_agents", [](const PanelBatch &b) { return b.shape.agents; })
        .def_prop_ro("n_actions", [](const PanelBatch &b) { return b.shape.actions; })
        .def_prop_ro("transitions",
                     [](const PanelBatch &b) { return b.rows - static_cast<std::int64_t>(b.lengths.size()); })
        .def_prop_ro("panels",
                     [](const PanelBatch &b) {
                         std::vector<std::tuple<int, int, int, int>> panels;
                         for (const auto &p : b.panels) panels.emplace_back(p.first_step, p.steps, p.first_episode, p.count);
                         return panels;
                     })
        .def_prop_ro("rows", [](const PanelBatch &b) { return b.rows; })
        .def_prop_ro("row_panels", [](const PanelBatch &b) { return b.row_panels; })
        .def_prop_ro("steps", [](const PanelBatch &b) { return b.steps; })
        .def_prop_ro("vectors", [](const PanelBatch &b) { return b.vectors; })
        .def_prop_ro("order", [](const PanelBatch &b) { return b.order; })
        .def_prop_ro("offsets", [](const PanelBatch &b) { return b.offsets; })
        .def("taken",
             [](const PanelBatch &b, const AgentNetwork &agent, Array<float, 3> out) {
                 b.taken(agent.q(b), sized("out", out, per_agent(b)));
             },
             "agent"_a, "out"_a.noconvert())
        .def("to_rows",
             [](const PanelBatch &b, Array<const float, 2> values, Array<float, 3> out) {
                 b.to_rows(sized("values", values, std::int64_t{b.steps} * kColumns), sized("out", out, per_agent(b)));
             },
             "values"_a, "out"_a.noconvert())
        .def("actions_to_rows",
             [](const PanelBatch &b, const AgentNetwork &agent, Array<float, 3> out) {
                 b.actions_to_rows(agent.q(b), sized("out", out, per_action(b)));
             },
             "agent"_a, "out"_a.noconvert())
        .def("avail_to_rows",
             [](const PanelBatch &b, Array<std::uint8_t, 3> out) { b.avail_to_rows(sized("out", out, per_action(b))); },
             "out"_a.noconvert())
        .def("mask", [](const PanelBatch &b, Flat out) { b.mask(sized("out", out, b.rows)); }, "out"_a.noconvert())
        .def("n_step",
             [](const PanelBatch &b, Array<const float, 1> values, int n, double gamma, Flat out) {
                 if (n < 1) throw std::invalid_argument("learner: n must be at least 1; got " + std::to_string(n) + ".");
                 b.n_step(sized("values", values, b.rows), n, gamma, sized("out", out, b.rows));
             },
             "values"_a, "n"_a, "gamma"_a, "out"_a.noconvert())
        .def("td_lambda",
             [](const PanelBatch &b, Array<const float, 1> values, double gamma, double lambda, Flat out) {
                 b.td_lambda(sized("values", values, b.rows), gamma, lambda, sized("out", out, b.rows));
             },
             "values"_a, "gamma"_a, "lambda_"_a, "out"_a.noconvert())
        .def("realised",
             [](const PanelBatch &b, double gamma, Flat out) { b.realised(gamma, sized("out", out, b.rows)); },
             "gamma"_a, "out"_a.noconvert());
}

using Shape = std::tuple<int, int, std::int64_t, std::int64_t>;

static std::vector<LayerShape> shapes_of(const std::vector<Shape> &given, std::size_t layers) {
    if (given.size() != layers) throw std::invalid_argument("learner: wrong number of layers.");
    std::vector<LayerShape> shapes;
    for (const auto &[out, in, weight, bias] : given) shapes.push_back({out, in, weight, bias});
    return shapes;
}

static std::int64_t end_of(const Network &network) {
    std::int64_t end = 0;
    for (const PanelLayer &layer : network.layers)
        end = std::max<std::int64_t>({end, layer.shape.weight + std::int64_t{layer.shape.out} * layer.shape.in,
                                      layer.shape.bias + layer.shape.out});
    return end;
}

template <typename Any>
static auto *parameters(const Network &network, const Any &array) {
    if (static_cast<std::int64_t>(array.size()) < end_of(network))
        throw std::invalid_argument("learner: the flat parameters are too short for this network.");
    return array.data();
}

static void bind_networks(nb::module_ &m) {
    nb::class_<mast::Workers>(m, "Workers").def(nb::init<int>(), "threads"_a);
    nb::class_<Network>(m, "Network")
        .def("set_mask",
             [](Network &n, int layer, std::optional<Array<const std::uint8_t, 2>> mask, const std::vector<int> &heights) {
                 const LayerShape &shape = n.layers.at(static_cast<std::size_t>(layer)).shape;
                 std::int64_t rows = 0;
                 for (const int height : heights) {
                     if (height < 1 || height > kMaxHeight)
                         throw std::invalid_argument("learner: heights must be 1 to 8; got " + std::to_string(height) + ".");
                     rows += height;
                 }
                 if (!heights.empty() && rows != shape.out)
                     throw std::invalid_argument("learner: heights must add up to the rows of the layer.");
                 if (mask && (mask->shape(0) != static_cast<std::size_t>(shape.out) ||
                              mask->shape(1) != static_cast<std::size_t>(shape.in)))
                     throw std::invalid_argument("learner: mask must have the shape of the layer.");
                 n.set_mask(layer, mask ? sized("mask", *mask, std::int64_t{shape.out} * shape.in) : nullptr, heights);
             },
             "layer"_a, "mask"_a.none(), "heights"_a)
        .def("refresh", [](Network &n, Array<const float, 1> flat) { n.refresh(parameters(n, flat)); }, "flat"_a)
        .def_prop_ro("kept", [](const Network &n) {
            std::vector<std::int64_t> kept;
            for (const PanelLayer &layer : n.layers) kept.push_back(layer.kept());
            return kept;
        });
    nb::class_<AgentNetwork, Network>(m, "AgentNetwork")
        .def("__init__",
             [](AgentNetwork *self, const std::vector<Shape> &shapes, Threads threads) {
                 new (self) AgentNetwork(shapes_of(shapes, 4), std::move(threads));
             },
             "shapes"_a, "threads"_a)
        .def("backward",
             [](AgentNetwork &n, const PanelBatch &b, Array<const float, 3> d_taken, bool every, Flat grad) {
                 const float *rows = sized("d_taken", d_taken, per_agent(b));
                 float *to = parameters(n, grad);
                 nb::gil_scoped_release release;
                 std::vector<float> columns(static_cast<std::size_t>(b.steps) * kColumns);
                 b.to_columns(rows, columns.data());
                 n.backward(b, columns.data(), every, to);
             },
             "batch"_a, "d_taken"_a, "every"_a, "grad"_a.noconvert())
        .def("finite", &AgentNetwork::finite, "batch"_a)
        .def("dead_units", &AgentNetwork::dead_units, "batch"_a);
    nb::class_<MixerNetwork, Network>(m, "MixerNetwork")
        .def("__init__",
             [](MixerNetwork *self, const std::vector<Shape> &shapes, int agents, Threads threads) {
                 new (self) MixerNetwork(shapes_of(shapes, 7), agents, std::move(threads));
             },
             "shapes"_a, "agents"_a, "threads"_a)
        .def("forward",
             [](MixerNetwork &n, const PanelBatch &b, Array<const float, 3> q, Flat q_tot, bool keep) {
                 const float *in = sized("q", q, per_agent(b));
                 float *out = sized("q_tot", q_tot, per_row(b));
                 nb::gil_scoped_release release;
                 n.forward(b, in, out, keep);
             },
             "batch"_a, "q"_a, "q_tot"_a.noconvert(), "keep"_a)
        .def("backward",
             [](MixerNetwork &n, const PanelBatch &b, Array<const float, 3> q, Array<const float, 1> d_q_tot,
                Array<float, 3> d_q, bool every, Flat grad) {
                 const float *in = sized("q", q, per_agent(b)), *d = sized("d_q_tot", d_q_tot, per_row(b));
                 float *out = sized("d_q", d_q, per_agent(b)), *to = parameters(n, grad);
                 nb::gil_scoped_release release;
                 n.backward(b, in, d, out, every, to);
             },
             "batch"_a, "q"_a, "d_q_tot"_a, "d_q"_a.noconvert(), "every"_a, "grad"_a.noconvert())
        .def("alternatives",
             [](MixerNetwork &n, const PanelBatch &b, Array<const float, 3> chosen, Array<const float, 3> q,
                Array<float, 3> out) {
                 const float *base = sized("chosen", chosen, per_agent(b)), *in = sized("q", q, per_action(b));
                 float *to = sized("out", out, per_action(b));
                 nb::gil_scoped_release release;
                 n.alternatives(b, base, in, to);
             },
             "batch"_a, "chosen"_a, "q"_a, "out"_a.noconvert());
    nb::class_<CentralNetwork, Network>(m, "CentralNetwork")
        .def("__init__",
             [](CentralNetwork *self, const std::vector<Shape> &shapes, int agents, Threads threads) {
                 new (self) CentralNetwork(shapes_of(shapes, 6), agents, std::move(threads));
             },
             "shapes"_a, "agents"_a, "threads"_a)
        .def("forward",
             [](CentralNetwork &n, PanelBatch &b, Array<const float, 3> q, Flat q_star) {
                 const float *in = sized("q", q, per_agent(b));
                 float *out = sized("q_star", q_star, per_row(b));
                 nb::gil_scoped_release release;
                 n.forward(b, in, out);
             },
             "batch"_a, "q"_a, "q_star"_a.noconvert())
        .def("backward",
             [](CentralNetwork &n, PanelBatch &b, Array<const float, 3> q, Array<const float, 1> d_q_star,
                Array<float, 3> d_q, bool every, Flat grad) {
                 const float *in = sized("q", q, per_agent(b)), *d = sized("d_q_star", d_q_star, per_row(b));
                 float *out = sized("d_q", d_q, per_agent(b)), *to = parameters(n, grad);
                 nb::gil_scoped_release release;
                 n.backward(b, in, d, out, every, to);
             },
             "batch"_a, "q"_a, "d_q_star"_a, "d_q"_a.noconvert(), "every"_a, "grad"_a.noconvert());
}

// One layer on full panels of ones, for benchmarks: each call works on `panels` of them.
class LayerProbe {
  public:
    LayerProbe(int out, int in, const std::uint8_t *mask, const std::vector<int> &heights)
        : layer_(LayerShape{out, in, 0, std::int64_t{out} * in}) {
        if (mask) layer_.set_mask(mask, heights);
        const std::vector<float> flat(static_cast<std::size_t>(out) * in + out, 0.01f);
        layer_.refresh(flat.data());
        x_ = ones(space_x_, in), y_ = ones(space_y_, out), turned_ = ones(space_turned_, kColumns);
        layer_.begin(sums_, false);
    }
    void forward(int panels) const {
        for (int i = 0; i < panels; i++) layer_.forward(x_, y_, kVectors, kPlain);
    }
    void backward(int panels) const {
        for (int i = 0; i < panels; i++) layer_.backward(y_, x_, kVectors, kPlain);
    }
    void gradient(int panels) {
        const float *dy[2] = {y_, y_}, *x[2] = {x_, x_};
        constexpr int wide[2] = {kVectors, kVectors};
        for (int i = 0; i < panels; i += 2) layer_.collect(sums_, false, dy, x, wide, 2, turned_);
    }

  private:
    static float *ones(Buffer &space, int rows) {
        float *at = space.need(static_cast<std::size_t>(rows) * kColumns);
        std::fill_n(at, rows * kColumns, 1.0f);
        return at;
    }
    PanelLayer layer_;
    Buffer space_x_, space_y_, space_turned_, sums_;
    float *x_, *y_, *turned_;
};

static Operator operator_named(const std::string &name) {
    if (name == "max_double") return Operator::max_double;
    if (name == "max") return Operator::max;
    if (name == "softmax") return Operator::softmax;
    if (name == "soft_mellowmax") return Operator::soft_mellowmax;
    throw std::invalid_argument("learner: operator must be max_double, max, softmax or soft_mellowmax; got " + name +
                                ".");
}

void bind_learner(nb::module_ &m) {
    bind_batch(m);
    bind_networks(m);
    nb::class_<LayerProbe>(m, "LayerProbe")
        .def("__init__",
             [](LayerProbe *self, int out, int in, std::optional<Array<const std::uint8_t, 2>> mask,
                const std::vector<int> &heights) {
                 new (self) LayerProbe(out, in, mask ? sized("mask", *mask, std::int64_t{out} * in) : nullptr, heights);
             },
             "out"_a.noconvert(), "in_"_a, "mask"_a.none(), "heights"_a)
        .def("forward", &LayerProbe::forward, "panels"_a)
        .def("backward", &LayerProbe::backward, "panels"_a)
        .def("gradient", &LayerProbe::gradient, "panels"_a);
    m.def("forward_agents",
          [](const PanelBatch &b, const std::vector<std::tuple<AgentNetwork *, bool>> &networks) {
              std::vector<AgentNetwork::Pass> passes;
              for (const auto &[network, keep] : networks) {
                  if (!network) throw std::invalid_argument("learner: networks must be agents; got None.");
                  passes.push_back({network, keep});
              }
              if (passes.empty()) return;
              nb::gil_scoped_release release;
              AgentNetwork::forward(b, passes);
          },
          "batch"_a, "networks"_a);
    m.def("agent_values",
          [](const PanelBatch &b, const std::string &how, const AgentNetwork *online, const AgentNetwork &target,
             float first, float second, Array<float, 3> out) {
              if (how == "max_double" && !online) throw std::invalid_argument("learner: max_double needs online.");
              std::vector<float> columns(static_cast<std::size_t>(b.steps) * kColumns);
              AgentNetwork::values(b, operator_named(how), online, target, first, second, columns.data(), nullptr);
              b.to_rows(columns.data(), sized("out", out, per_agent(b)));
          },
          "batch"_a, "operator"_a, "online"_a.none(), "target"_a, "first"_a, "second"_a, "out"_a.noconvert());
    m.def("greedy_actions",
          [](const PanelBatch &b, const AgentNetwork &agent, Array<std::int32_t, 2> out) {
              std::vector<float> columns(static_cast<std::size_t>(b.steps) * kColumns);
              AgentNetwork::values(b, Operator::max_double, &agent, agent, 0.0f, 0.0f, columns.data(),
                                   sized("out", out, std::int64_t{b.steps} * kColumns));
          },
          "batch"_a, "agent"_a, "out"_a.noconvert());
    m.def("softmax_mean",
          [](const PanelBatch &b, Array<const float, 3> score, Array<const float, 3> values,
             std::optional<Array<const std::uint8_t, 3>> avail, float beta, Flat out) {
              if (b.serial == 0) throw std::invalid_argument("learner: the batch must hold episodes; it was never loaded.");
              const std::int64_t size = per_action(b), one = size / b.row_panels;
              const float *s = sized("score", score, size), *v = sized("values", values, size);
              const std::uint8_t *may = avail ? sized("avail", *avail, size) : nullptr;
              float *to = sized("out", out, per_row(b));
              for (std::int64_t p = 0; p < b.row_panels; p++)
                  kernels().softmax_mean(s + p * one, v + p * one, may ? may + p * one : nullptr,
                                         b.shape.agents * b.shape.actions, beta, to + p * kColumns);
          },
          "batch"_a, "score"_a, "values"_a, "avail"_a.none(), "beta"_a, "out"_a.noconvert());
    m.def("all_finite", [](Array<const float, 1> x) {
        return kernels().all_finite(x.data(), static_cast<std::int64_t>(x.size()));
    }, "x"_a);
    m.def("norm", [](Array<const float, 1> x) {
        return std::sqrt(kernels().sum_of_squares(x.data(), static_cast<std::int64_t>(x.size())));
    }, "x"_a);
    m.def("rmsprop",
          [](Flat w, Array<const float, 1> g, Flat v, float scale, float lr, float alpha, float eps) {
              const std::int64_t n = static_cast<std::int64_t>(w.size());
              kernels().rmsprop(w.data(), sized("gradient", g, n), sized("square_avg", v, n), n, scale, lr, alpha, eps);
          },
          "weights"_a.noconvert(), "gradient"_a, "square_avg"_a.noconvert(), "scale"_a, "lr"_a, "alpha"_a, "eps"_a);
}
