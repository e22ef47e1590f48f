// The one binding file: what Python sees of the native core.
#include <nanobind/nanobind.h>

#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>

#include "agent.hpp"

namespace nb = nanobind;

// --- simulator (skirmish.hpp) -------------------------------------------------------------------------------

static void bind_simulator(nb::module_ &m) {
    (void)m;
}

// --- agent kernels (agent.hpp) ------------------------------------------------------------------------------

template <typename T> using Row = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T> using Rows = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

static void expect_shape(bool holds, const char *what) {
    if (!holds) throw nb::value_error(what);
}

// A contiguous row of n items of one of the given buffer formats, borrowed while this lives; null otherwise.
class Borrowed {
  public:
    Borrowed(nb::handle source, Py_ssize_t n, const char *formats) {
        held_ = PyObject_GetBuffer(source.ptr(), &view_, PyBUF_FORMAT | PyBUF_ND) == 0;
        if (!held_) {
            PyErr_Clear();
            return;
        }
        const char *format = view_.format ? view_.format : "B";
        const bool fits = view_.ndim == 1 && view_.shape[0] == n && format[0] && !format[1] &&
                          std::strchr(formats, format[0]) && reinterpret_cast<std::uintptr_t>(view_.buf) % view_.itemsize == 0;
        if (fits) data = view_.buf;
    }
    ~Borrowed() {
        if (held_) PyBuffer_Release(&view_);
    }
    Borrowed(const Borrowed &) = delete;
    Borrowed &operator=(const Borrowed &) = delete;
    const void *data = nullptr;

  private:
    Py_buffer view_{};
    bool held_ = false;
};

// -1 whenever the inputs are not exactly what a step takes; the caller then finds out why and says so.
static int cell_act(mast_edge::AgentCell &cell, nb::handle obs, nb::handle avail, bool check) {
    const Borrowed seen(obs, cell.model->obs_dim, "f"), may(avail, cell.model->n_actions, "?B");
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
}

static void bind_agent(nb::module_ &m) {
    using mast_edge::AgentCell;
    using mast_edge::AgentModel;
    nb::class_<AgentModel>(m, "AgentModel")
        .def(nb::init<int, int, int, int>(), nb::arg("obs_dim"), nb::arg("n_actions"), nb::arg("n_agents"),
             nb::arg("hidden_dim"))
        .def(
            "add",
            [](AgentModel &model, const std::string &name, Row<const float> values, Row<const std::uint32_t> indices,
               Row<const std::uint32_t> indptr, Row<const float> bias, bool sparse) {
                expect_shape(indices.shape(0) == values.shape(0), "add: indices must be as many as values.");
                model.add(name, values.data(), indices.data(), values.shape(0), indptr.data(), indptr.shape(0),
                          bias.data(), bias.shape(0), sparse);
            },
            nb::arg("name"), nb::arg("values"), nb::arg("indices"), nb::arg("indptr"), nb::arg("bias"),
            nb::arg("sparse"))
        .def("step_many", &step_many, nb::arg("obs"), nb::arg("last_actions"), nb::arg("agent_ids"),
             nb::arg("hidden"), nb::arg("q"));
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
             nb::arg("obs"), nb::arg("q"))
        .def("read",
             [](const AgentCell &cell, Row<float> hidden, Row<float> q) {
                 expect_shape(hidden.shape(0) == static_cast<std::size_t>(cell.model->hidden_dim) &&
                                  q.shape(0) == static_cast<std::size_t>(cell.model->n_actions),
                              "read: shapes must be hidden (H,), q (A,).");
                 std::copy_n(cell.hidden.data(), hidden.shape(0), hidden.data());
                 std::copy_n(cell.q.data(), q.shape(0), q.data());
             },
             nb::arg("hidden"), nb::arg("q"))
        .def("write",
             [](AgentCell &cell, Row<const float> hidden) {
                 expect_shape(hidden.shape(0) == static_cast<std::size_t>(cell.model->hidden_dim),
                              "write: shape must be hidden (H,).");
                 std::copy_n(hidden.data(), hidden.shape(0), cell.hidden.data());
             },
             nb::arg("hidden"))
        .def("reset", &AgentCell::reset)
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

NB_MODULE(_core, m) {
    m.doc() = "Native core of mast-edge: the skirmish simulator and the agent kernels.";
    bind_simulator(m);
    bind_agent(m);
}
