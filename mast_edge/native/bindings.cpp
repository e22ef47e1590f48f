// The one binding file: what Python sees of the native core.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>

#include "gru.hpp"

namespace nb = nanobind;
using namespace mast_edge;

// --- simulator (skirmish.hpp) -------------------------------------------------------------------------------

static void bind_simulator(nb::module_ &m) {
    (void)m;
}

// --- agent kernels (agent.hpp) ------------------------------------------------------------------------------

static void bind_agent(nb::module_ &m) {
    (void)m;
}

// --- training kernels (gru.hpp) -----------------------------------------------------------------------------

using Matrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ConstVector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstCounts = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

static PackedShape packed_shape(const ConstCounts &alive, const ConstMatrix &w_hh, std::size_t rows) {
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

static void bind_training(nb::module_ &m) {
    m.def("gru_forward",
          [](ConstCounts alive, ConstMatrix from_input, ConstMatrix w_hh, ConstVector b_hh, Matrix hidden,
             std::optional<Matrix> gates) {
              const std::size_t rows = from_input.shape(0), h = w_hh.shape(1);
              const PackedShape shape = packed_shape(alive, w_hh, rows);
              expect(from_input, rows, 3 * h, "gru: from_input must be (P, 3H)");
              expect(hidden, rows, h, "gru: hidden must be (P, H)");
              if (gates) expect(*gates, rows, 4 * h, "gru: gates must be (P, 4H)");
              if (b_hh.shape(0) != 3 * h) throw nb::value_error("gru: b_hh must be (3H,)");
              nb::gil_scoped_release release;
              gru_forward(shape, from_input.data(), w_hh.data(), b_hh.data(), hidden.data(),
                          gates ? gates->data() : nullptr);
          },
          nb::arg("alive"), nb::arg("from_input"), nb::arg("w_hh"), nb::arg("b_hh"), nb::arg("hidden"),
          nb::arg("gates").none());
    m.def("gru_backward",
          [](ConstCounts alive, ConstMatrix w_hh, ConstMatrix hidden, ConstMatrix gates, ConstMatrix d_hidden,
             Matrix d_input, Matrix d_recurrent) {
              const std::size_t rows = hidden.shape(0), h = w_hh.shape(1);
              const PackedShape shape = packed_shape(alive, w_hh, rows);
              expect(hidden, rows, h, "gru: hidden must be (P, H)");
              expect(gates, rows, 4 * h, "gru: gates must be (P, 4H)");
              expect(d_hidden, rows, h, "gru: d_hidden must be (P, H)");
              expect(d_input, rows, 3 * h, "gru: d_input must be (P, 3H)");
              expect(d_recurrent, rows, 3 * h, "gru: d_recurrent must be (P, 3H)");
              nb::gil_scoped_release release;
              gru_backward(shape, w_hh.data(), hidden.data(), gates.data(), d_hidden.data(), d_input.data(),
                           d_recurrent.data());
          });
}

NB_MODULE(_core, m) {
    m.doc() = "Native core of mast-edge: the skirmish simulator and the agent kernels.";
    bind_simulator(m);
    bind_agent(m);
    bind_training(m);
}
