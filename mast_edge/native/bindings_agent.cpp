// What Python sees of agents: the runtime's kernels, the GRU of the torch learner, and acting during training.
#include "bindings.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <tuple>

#include "actor.hpp"
#include "agent.hpp"
#include "borrowed_row.hpp"
#include "gru.hpp"
#include "instruction_set.hpp"
#include "rollout.hpp"

// --- agent kernels (agent.hpp) ------------------------------------------------------------------------------

template <typename T> using Row = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T> using Rows = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

static void expect_shape(bool holds, const char *what) {
    if (!holds) throw nb::value_error(what);
}

// -1 whenever the inputs are not exactly what a step takes; the caller then finds out why and says so.
static int cell_act(mast_edge::AgentCell &cell, nb::handle obs, nb::handle avail, bool check) {
    const mast_edge::BorrowedRow seen(obs, cell.model->obs_dim, "f"), may(avail, cell.model->n_actions, "?B");
    if (!seen.data || !may.data) return -1;
    const auto *x = static_cast<const float *>(seen.data);
    if (check && !mast_edge::all_finite(x, cell.model->obs_dim)) return -1;
    return cell.act(x, static_cast<const std::uint8_t *>(may.data));
}

static void step_many(const mast_edge::AgentModel &model, Rows<const float> obs, Row<const std::int64_t> last,
                      Row<const std::int64_t> ids, Rows<float> hidden, Rows<float> q) {
    model.expect_complete();
    const std::size_t n = obs.shape(0), o = model.obs_dim, a = model.n_actions, h = model.hidden_dim;
    expect_shape(obs.shape(1) == o && last.shape(0) == n && ids.shape(0) == n && hidden.shape(0) == n &&
                     hidden.shape(1) == h && q.shape(0) == n && q.shape(1) == a,
                 "step_many: shapes must be obs (N, O), last and ids (N,), hidden (N, H), q (N, A).");
    for (std::size_t i = 0; i < n; ++i)
        expect_shape(last.data()[i] >= -1 && last.data()[i] < model.n_actions && ids.data()[i] >= 0 &&
                         ids.data()[i] < model.n_agents,
                     "step_many: last actions must be in -1..A-1 and ids in 0..N-1.");
    mast_edge::Scratch scratch = model.scratch();
    nb::gil_scoped_release unlocked;
    for (std::size_t i = 0; i < n; ++i)
        model.step(obs.data() + i * o, static_cast<int>(last.data()[i]), static_cast<int>(ids.data()[i]),
                   hidden.data() + i * h, q.data() + i * a, scratch);
    model.report(scratch.work);
}

static void layer_many(const mast_edge::AgentModel &model, const std::string &name, Rows<const float> x, Rows<float> y) {
    model.expect_complete();
    const mast_edge::LayerName at = mast_edge::AgentModel::layer_of(name);
    const std::size_t n = x.shape(0), cols = at == mast_edge::kFc1 ? model.obs_dim : model.cols_of(at),
                      rows = model.rows_of(at);
    expect_shape(x.shape(1) == cols && y.shape(0) == n && y.shape(1) == rows,
                 "layer_many: shapes must be x (N, columns before one-hots), y (N, rows).");
    mast_edge::Scratch scratch = model.scratch();
    mast_edge::Floats padded_y(mast_edge::padded(model.rows_of(at)));
    nb::gil_scoped_release unlocked;
    for (std::size_t i = 0; i < n; ++i) {
        model.product(at, x.data() + i * cols, padded_y.data(), scratch);
        std::copy_n(padded_y.data(), rows, y.data() + i * rows);
    }
    model.report(scratch.work);
}

// Layer after layer as in a step, so that each finds in the caches what it finds there when agents act.
static nb::list layer_times(const mast_edge::AgentModel &model, Rows<const float> obs, Rows<const float> x,
                            Rows<const float> hidden) {
    model.expect_complete();
    const std::size_t n = obs.shape(0), o = model.obs_dim, h = model.hidden_dim;
    expect_shape(n > 0 && obs.shape(1) == o && x.shape(0) == n && x.shape(1) == h && hidden.shape(0) == n &&
                     hidden.shape(1) == h,
                 "layer_times: shapes must be obs (N, O), x (N, H), hidden (N, H), N at least 1.");
    mast_edge::Scratch scratch = model.scratch();
    std::array<double, mast_edge::kLayers> taken{};
    for (std::size_t i = 0; i < n; ++i) {
        const float *inputs[] = {obs.data() + i * o, x.data() + i * h, hidden.data() + i * h, hidden.data() + i * h};
        float *outputs[] = {scratch.x.data(), scratch.from_input.data(), scratch.from_hidden.data(), scratch.q.data()};
        for (int at = 0; at < mast_edge::kLayers; ++at) {
            const auto begin = std::chrono::steady_clock::now();
            model.product(static_cast<mast_edge::LayerName>(at), inputs[at], outputs[at], scratch);
            const std::chrono::duration<double, std::nano> passed = std::chrono::steady_clock::now() - begin;
            taken[at] += passed.count();
        }
    }
    nb::list result;
    for (const double sum : taken) result.append(sum / static_cast<double>(n));
    return result;
}

static nb::dict work_dict(const mast_edge::Work &work) {
    nb::dict result;
    result["steps"] = work.steps;
    for (int at = 0; at < mast_edge::kLayers; ++at) result[mast_edge::kLayerNames[at]] = work.macs[at];
    result["one_hot_adds"] = work.one_hot_adds;
    result["relus"] = work.relus;
    result["activations"] = work.activations;
    return result;
}

void bind_agent(nb::module_ &m) {
    using mast_edge::AgentCell;
    using mast_edge::AgentModel;
    nb::class_<AgentModel>(m, "AgentModel")
        .def(nb::init<int, int, int, int>(), nb::arg("obs_dim"), nb::arg("n_actions"), nb::arg("n_agents"),
             nb::arg("hidden_dim"))
        .def(
            "add",
            [](AgentModel &model, const std::string &name, Row<const float> values, Row<const std::uint32_t> indices,
               Row<const std::uint32_t> indptr, Row<const float> bias, const std::string &table) {
                expect_shape(indices.shape(0) == values.shape(0), "add: indices must be as many as values.");
                model.add(name, {values.data(), indices.data(), indptr.data()}, values.shape(0), indptr.shape(0),
                          bias.data(), bias.shape(0), table);
            },
            nb::arg("name"), nb::arg("values"), nb::arg("indices"), nb::arg("indptr"), nb::arg("bias"),
            nb::arg("table"))
        .def("step_many", &step_many, nb::arg("obs"), nb::arg("last_actions"), nb::arg("agent_ids"),
             nb::arg("hidden").noconvert(), nb::arg("q").noconvert())
        .def("layer_many", &layer_many, nb::arg("name"), nb::arg("x"), nb::arg("y").noconvert())
        .def("layer_times", &layer_times, nb::arg("obs"), nb::arg("x"), nb::arg("hidden"))
        .def_prop_ro("work", [](const AgentModel &model) { return work_dict(model.reported()); });
    m.def("agent_compiler", &mast_edge::agent_compiler);
    nb::class_<AgentCell>(m, "AgentCell")
        .def("__init__",
             [](AgentCell *self, std::shared_ptr<AgentModel> model, int agent_id) {
                 new (self) AgentCell(std::move(model), agent_id);
             },
             nb::arg("model"), nb::arg("agent_id"))
        .def("act", &cell_act, nb::arg("obs").none(), nb::arg("avail").none(), nb::arg("check"))
        .def("peek",
             [](AgentCell &cell, Row<const float> obs, Row<float> q) {
                 expect_shape(obs.shape(0) == static_cast<std::size_t>(cell.model->obs_dim) &&
                                  q.shape(0) == static_cast<std::size_t>(cell.model->n_actions),
                              "peek: shapes must be obs (O,), q (A,).");
                 cell.peek(obs.data(), q.data());
             },
             nb::arg("obs"), nb::arg("q").noconvert())
        .def("read",
             [](const AgentCell &cell, Row<float> hidden, Row<float> q) {
                 expect_shape(hidden.shape(0) == static_cast<std::size_t>(cell.model->hidden_dim) &&
                                  q.shape(0) == static_cast<std::size_t>(cell.model->n_actions),
                              "read: shapes must be hidden (H,), q (A,).");
                 std::copy_n(cell.hidden.data(), hidden.shape(0), hidden.data());
                 std::copy_n(cell.q.data(), q.shape(0), q.data());
             },
             nb::arg("hidden").noconvert(), nb::arg("q").noconvert())
        .def("write",
             [](AgentCell &cell, Row<const float> hidden) {
                 expect_shape(hidden.shape(0) == static_cast<std::size_t>(cell.model->hidden_dim),
                              "write: shape must be hidden (H,).");
                 std::copy_n(hidden.data(), hidden.shape(0), cell.hidden.data());
             },
             nb::arg("hidden"))
        .def("reset", &AgentCell::reset)
        .def_prop_ro("work", [](const AgentCell &cell) { return work_dict(cell.scratch.work); })
        .def_prop_rw(
            "last_action", [](const AgentCell &cell) { return cell.last_action; },
            [](AgentCell &cell, int action) {
                expect_shape(action >= -1 && action < cell.model->n_actions,
                             "last_action: must be -1 or an action.");
                cell.last_action = action;
            })
        .def_prop_rw(
            "agent_id", [](const AgentCell &cell) { return cell.agent_id; },
            [](AgentCell &cell, int id) {
                expect_shape(id >= 0 && id < cell.model->n_agents, "agent_id: must be an agent of the team.");
                cell.agent_id = id;
            });
}

// --- training kernels (gru.hpp) -----------------------------------------------------------------------------

using Matrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstVector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstCounts = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

static mast_edge::PackedShape packed_shape(const ConstCounts &alive, const ConstMatrix &w_hh, std::size_t rows) {
    const std::size_t hidden = w_hh.shape(1);
    std::int64_t total = 0;
    for (std::size_t t = 0; t < alive.shape(0); t++) {
        if (alive.data()[t] < 1 || (t > 0 && alive.data()[t] > alive.data()[t - 1]))
            throw nb::value_error("gru: alive must be positive and never increase");
        total += alive.data()[t];
    }
    if (static_cast<std::size_t>(total) != rows) throw nb::value_error("gru: alive must sum to the number of rows");
    if (hidden == 0 || hidden % 16 || w_hh.shape(0) != 3 * hidden)
        throw nb::value_error("gru: w_hh must be (3H, H) with H a multiple of 16");
    return {alive.data(), static_cast<std::int64_t>(alive.shape(0)), static_cast<std::int64_t>(hidden)};
}

template <class Array>
static void expect(const Array &array, std::size_t rows, std::size_t columns, const char *message) {
    if (array.shape(0) != rows || array.shape(1) != columns) throw nb::value_error(message);
}

void bind_training(nb::module_ &m) {
    m.def("gru_forward",
          [](ConstCounts alive, ConstMatrix from_input, ConstMatrix w_hh, ConstVector b_hh, Matrix hidden,
             std::optional<Matrix> gates) {
              const std::size_t rows = from_input.shape(0), h = w_hh.shape(1);
              const mast_edge::PackedShape shape = packed_shape(alive, w_hh, rows);
              expect(from_input, rows, 3 * h, "gru: from_input must be (P, 3H)");
              expect(hidden, rows, h, "gru: hidden must be (P, H)");
              if (gates) expect(*gates, rows, 4 * h, "gru: gates must be (P, 4H)");
              if (b_hh.shape(0) != 3 * h) throw nb::value_error("gru: b_hh must be (3H,)");
              nb::gil_scoped_release release;
              mast_edge::gru_forward(shape, from_input.data(), w_hh.data(), b_hh.data(), hidden.data(),
                                     gates ? gates->data() : nullptr);
          },
          nb::arg("alive"), nb::arg("from_input"), nb::arg("w_hh"), nb::arg("b_hh"), nb::arg("hidden"),
          nb::arg("gates").none());
    m.def("gru_backward",
          [](ConstCounts alive, ConstMatrix w_hh, ConstMatrix hidden, ConstMatrix gates, ConstMatrix d_hidden,
             Matrix d_input, Matrix d_recurrent) {
              const std::size_t rows = hidden.shape(0), h = w_hh.shape(1);
              const mast_edge::PackedShape shape = packed_shape(alive, w_hh, rows);
              expect(hidden, rows, h, "gru: hidden must be (P, H)");
              expect(gates, rows, 4 * h, "gru: gates must be (P, 4H)");
              expect(d_hidden, rows, h, "gru: d_hidden must be (P, H)");
              expect(d_input, rows, 3 * h, "gru: d_input must be (P, 3H)");
              expect(d_recurrent, rows, 3 * h, "gru: d_recurrent must be (P, 3H)");
              nb::gil_scoped_release release;
              mast_edge::gru_backward(shape, w_hh.data(), hidden.data(), gates.data(), d_hidden.data(), d_input.data(),
                           d_recurrent.data());
          });
}

// --- acting during training (actor.hpp, rollout.hpp, instruction_set.hpp) ---------------------------------------------

using Capsule = std::optional<nb::capsule>;

// Of a numpy generator's `bit_generator.capsule`; null without one.
static const mast_edge::BitGenerator *generator_of(const Capsule &capsule) {
    if (!capsule) return nullptr;
    void *found = PyCapsule_GetPointer(capsule->ptr(), "BitGenerator");
    if (!found) throw nb::python_error();
    return static_cast<const mast_edge::BitGenerator *>(found);
}

static mast_edge::LayerView layer_view(const char *name, const Rows<const float> &weight, const Row<const float> &bias,
                                       int out, int in) {
    return {checked(name, weight, {out, in}, "actor"), checked(name, bias, {out}, "actor")};
}

static void load_actor(mast_edge::BatchActor &actor, Rows<const float> fc1, Row<const float> fc1_bias,
                       Rows<const float> ih, Row<const float> ih_bias, Rows<const float> hh, Row<const float> hh_bias,
                       Rows<const float> fc2, Row<const float> fc2_bias) {
    const int h = actor.hidden_dim, inputs = actor.obs_dim + actor.n_actions + actor.n_agents;
    const mast_edge::LayerView first = layer_view("fc1", fc1, fc1_bias, h, inputs);
    const mast_edge::LayerView input = layer_view("gru_ih", ih, ih_bias, 3 * h, h);
    const mast_edge::LayerView recurrent = layer_view("gru_hh", hh, hh_bias, 3 * h, h);
    actor.load(first, input, recurrent, layer_view("fc2", fc2, fc2_bias, actor.n_actions, h));
}

static void act(mast_edge::BatchActor &actor, Buffer<const float, 3> obs, Buffer<const std::uint8_t, 3> avail,
                const Which &which, double epsilon, const Capsule &random, Buffer<std::int64_t, 2> actions) {
    const int e = actor.n_envs, n = actor.n_agents;
    const float *seen = checked("obs", obs, {e, n, actor.obs_dim}, "actor");
    const std::uint8_t *may = checked("avail", avail, {e, n, actor.n_actions}, "actor");
    const bool *marked = which ? checked("which", *which, {e}, "actor") : nullptr;
    actor.act(seen, may, marked, epsilon, generator_of(random), checked("actions", actions, {e, n}, "actor"));
}

using Shown = std::tuple<Buffer<float, 3>, Buffer<float, 2>, Buffer<std::uint8_t, 3>>;
using RecordRows = std::tuple<Buffer<float, 4>, Buffer<float, 3>, Buffer<std::uint8_t, 4>, Buffer<std::uint8_t, 3>,
                              Buffer<float, 2>>;

static nb::tuple play_natively(mast::Simulator &sim, mast_edge::BatchActor &actor, double epsilon,
                               const Capsule &random, const Shown &shown, const RecordRows &record,
                               Buffer<std::int64_t, 1> length, Buffer<bool, 2> ends,
                               Buffer<std::int64_t, 2> played) {
    const mast::Interface &f = sim.face();
    const auto &[obs, state, avail, actions, reward] = record;
    const int e = sim.n_envs(), n = f.n_agents, rows = static_cast<int>(obs.shape(0));
    if (rows <= f.limit) throw nb::value_error("actor: rows must be more than an episode has steps.");
    if (actor.n_envs != e || actor.n_agents != n || actor.obs_dim != f.obs_dim || actor.n_actions != f.n_actions)
        throw nb::value_error("actor: sizes must be those of the battles.");
    const mast::Views views = views_of(sim, std::get<0>(shown), std::get<1>(shown), std::get<2>(shown), std::nullopt);
    const mast_edge::Record filled{checked("obs", obs, {rows, e, n, f.obs_dim}),
                                   checked("state", state, {rows, e, f.state_dim}),
                                   checked("avail", avail, {rows, e, n, f.n_actions}),
                                   checked("actions", actions, {rows, e, n}), checked("reward", reward, {rows, e})};
    bool *flags = checked("ends", ends, {2, e});
    const mast_edge::Endings endings{checked("length", length, {e}), flags, flags + e};
    std::int64_t *done = checked("played", played, {e, n});
    const mast_edge::BitGenerator *generator = generator_of(random);
    mast_edge::Times times{};
    {
        nb::gil_scoped_release release;
        times = mast_edge::play_episodes(sim, actor, epsilon, generator, views, filled, endings, done);
    }
    return nb::make_tuple(times.env_seconds, times.act_seconds);
}

void bind_acting(nb::module_ &m) {
    using mast_edge::BatchActor;
    nb::class_<BatchActor>(m, "BatchActor")
        .def("__init__",
             [](BatchActor *self, int envs, int agents, int obs, int actions, int hidden) {
                 expect_shape(envs > 0 && agents > 0 && obs > 0 && actions > 0 && hidden > 0,
                              "actor: sizes must be at least 1.");
                 new (self) BatchActor(envs, agents, obs, actions, hidden);
             },
             "n_envs"_a, "n_agents"_a, "obs_dim"_a, "n_actions"_a, "hidden_dim"_a)
        .def("load", &load_actor, "fc1_weight"_a, "fc1_bias"_a, "gru_ih_weight"_a, "gru_ih_bias"_a, "gru_hh_weight"_a,
             "gru_hh_bias"_a, "fc2_weight"_a, "fc2_bias"_a)
        .def("reset", &BatchActor::reset)
        .def("act", &act, "obs"_a, "avail"_a, "which"_a.none(), "epsilon"_a, "random"_a.none(), "actions"_a)
        .def("read_q", [](const BatchActor &actor, Buffer<float, 3> q) {
                 actor.read_q(checked("q", q, {actor.n_envs, actor.n_agents, actor.n_actions}, "actor"));
             }, "q"_a);
    m.def("instruction_sets", &mast_edge::instruction_sets);
    m.def("use_instruction_set", &mast_edge::use_instruction_set, "name"_a);
    m.def("kernel_path", [] { return std::string(mast_edge::instruction_set().name); });
    m.def("play_episodes", &play_natively, "simulator"_a, "actor"_a, "epsilon"_a, "random"_a.none(), "shown"_a,
          "record"_a, "length"_a, "ends"_a, "played"_a);
}
