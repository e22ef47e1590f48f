// What the binding files share: arrays from Python, refused where their shape does not fit.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>

#include "simulator.hpp"

namespace nb = nanobind;
using namespace nb::literals;

template <typename T, int Dimensions>
using Buffer = nb::ndarray<T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using Which = std::optional<Buffer<const bool, 1>>;

// Buffers reach the native core by address: a shape that does not fit is refused here.
template <typename Array>
auto *checked(const char *name, const Array &array, std::initializer_list<int> shape,
                     const char *who = "skirmish") {
    std::size_t axis = 0;
    bool fits = true;
    std::string expected, got;
    for (const int length : shape) {
        fits = fits && array.shape(axis) == static_cast<std::size_t>(length);
        expected += (axis ? ", " : "") + std::to_string(length);
        got += (axis ? ", " : "") + std::to_string(array.shape(axis));
        ++axis;
    }
    if (!fits)
        throw std::invalid_argument(std::string(who) + ": shape of " + name + " must be (" + expected + "); got (" + got +
                                    ").");
    return array.data();
}

// Where the simulator writes what it shows, shapes checked.
mast::Views views_of(const mast::Simulator &sim, const Buffer<float, 3> &obs, const Buffer<float, 2> &state,
                     const Buffer<std::uint8_t, 3> &avail, const Which &which);

void bind_agent(nb::module_ &m);     // bindings_agent.cpp
void bind_training(nb::module_ &m);  // bindings_agent.cpp
void bind_acting(nb::module_ &m);    // bindings_agent.cpp
void bind_learner(nb::module_ &m);   // bindings_learner.cpp
