#include "instruction_set.hpp"

#include <cstdlib>
#include <stdexcept>

#include "agent_kernels.hpp"
#include "panels.hpp"
#include "tiles.hpp"

namespace mast_edge {
namespace {

// A set is present where the CPU has all that CMakeLists.txt lets its kernels use.
const std::vector<InstructionSet> &present() {
    static const std::vector<InstructionSet> sets = [] {
        std::vector<InstructionSet> found;
#ifdef MAST_EDGE_X86
        __builtin_cpu_init();
        const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                              __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
        const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        if (has_avx512) found.push_back({"avx512", avx512::tiles, avx512::panels, avx512::agent});
        if (has_avx2) found.push_back({"avx2", avx2::tiles, avx2::panels, avx2::agent});
#endif
        found.push_back({"plain", plain::tiles, plain::panels, plain::agent});
        return found;
    }();
    return sets;
}

const InstructionSet *named(const std::string &name) {
    for (const InstructionSet &set : present())
        if (set.name == name) return &set;
    return nullptr;
}

std::string refusal(const std::string &what, const std::string &got) {
    std::string names;
    for (const InstructionSet &set : present()) names += (names.empty() ? "" : ", ") + std::string(set.name);
    return "kernels: " + what + " must be an instruction set that this CPU has, of " + names + "; got " + got + ".";
}

std::string wish() {
    const char *value = std::getenv("MAST_EDGE_KERNELS");
    return value ? value : "";
}

const std::string asked = wish();
const InstructionSet *in_use = asked.empty() ? &present().front() : named(asked);

}  // namespace

const InstructionSet &instruction_set() {
    if (!in_use) throw std::runtime_error(refusal("MAST_EDGE_KERNELS", asked) + " Change or unset it.");
    return *in_use;
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const InstructionSet &set : present()) names.emplace_back(set.name);
    return names;
}

void use_instruction_set(const std::string &name) {
    const InstructionSet *set = named(name);
    if (!set) throw std::invalid_argument(refusal("name", name));
    in_use = set;
}

// --- the kernels of the one in use ---

void multiply(const Product &product) { instruction_set().tiles.multiply(product); }

void gates_forward(std::int64_t rows, std::int64_t h, const float *x, const float *u, const float *prev, float *out,
                   float *gates) {
    instruction_set().tiles.gates_forward(rows, h, x, u, prev, out, gates);
}

void gates_backward(std::int64_t rows, std::int64_t h, const float *d_out, const float *gates, const float *prev,
                    float *carry, float *d_input, float *d_recurrent) {
    instruction_set().tiles.gates_backward(rows, h, d_out, gates, prev, carry, d_input, d_recurrent);
}

const PanelKernels &kernels() { return instruction_set().panels; }

}  // namespace mast_edge
