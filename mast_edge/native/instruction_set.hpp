// The instruction sets that kernels are compiled for, and the one in use.
//
// The training kernels of tiles.hpp and panels.hpp are compiled once per set, in kernels_<set>.cpp, those of an exported
// agent (agent_kernels.hpp) in agent_kernels_<set>.cpp, with the flags of CMakeLists.txt. The best one that this CPU has
// is taken when the module is loaded; the environment variable MAST_EDGE_KERNELS asks for another. Training is
// reproducible on one set; between sets it differs in the last bits. An agent's bits are the same on all.
#pragma once

#include <string>
#include <vector>

namespace mast_edge {

struct AgentKernels;
struct PanelKernels;
struct TileKernels;

struct InstructionSet {
    const char *name;
    const TileKernels &tiles;
    const PanelKernels &panels;
    const AgentKernels &agent;
};

// The one in use. Throws std::runtime_error where MAST_EDGE_KERNELS asks for one that there is not.
const InstructionSet &instruction_set();

// Those that this CPU has, the best one first, "plain" last.
std::vector<std::string> instruction_sets();

// Takes another one, for tests and benchmarks; not while anything computes. Throws std::invalid_argument.
void use_instruction_set(const std::string &name);

}  // namespace mast_edge
