#include "panels.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace mast_edge {
namespace {

const Kernels &chosen() {
    const char *asked = std::getenv("MAST_EDGE_KERNELS");
    const std::string name = asked ? asked : "";
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    if (v4 && (name.empty() || name == "v4")) return kernels_v4;
    if (v3 && (name.empty() || name == "v3")) return kernels_v3;
#endif
    if (name.empty() || name == "portable") return kernels_portable;
    throw std::runtime_error("kernels: MAST_EDGE_KERNELS must name instructions that this CPU has, of v4, v3, portable; "
                             "got " + name + ". Unset it.");
}

}  // namespace

const Kernels &kernels() {
    static const Kernels &table = chosen();
    return table;
}

}  // namespace mast_edge
