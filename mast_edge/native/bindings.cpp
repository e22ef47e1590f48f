// The one binding file: what Python sees of the native core.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

// --- simulator (skirmish.hpp) -------------------------------------------------------------------------------

static void bind_simulator(nb::module_ &m) {
    (void)m;
}

// --- agent kernels (agent.hpp) ------------------------------------------------------------------------------

static void bind_agent(nb::module_ &m) {
    (void)m;
}

NB_MODULE(_core, m) {
    m.doc() = "Native core of mast-edge: the skirmish simulator and the agent kernels.";
    bind_simulator(m);
    bind_agent(m);
}
