// Plays 100 steps with an agent, from each kind of table. Prints what those steps allocated, which must be 0, and a digest
// of all Q values, which must be the same for all tables, compilers and processors.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "agent.hpp"
#include "instruction_set.hpp"

// An agent alone: the training kernels are not linked.
const mast_edge::InstructionSet &mast_edge::instruction_set() {
    static char none;
    static const InstructionSet only{"plain", reinterpret_cast<const TileKernels &>(none),
                                     reinterpret_cast<const PanelKernels &>(none), plain::agent};
    return only;
}

static long allocations = 0;

static void *counted(std::size_t n, std::size_t alignment) {
    ++allocations;
    const std::size_t whole = (n + alignment - 1) / alignment * alignment;
    if (void *p = std::aligned_alloc(alignment, whole ? whole : alignment)) return p;
    throw std::bad_alloc();
}
void *operator new(std::size_t n) { return counted(n, 16); }
void *operator new(std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void operator delete(void *p) noexcept { std::free(p); }
void operator delete(void *p, std::size_t) noexcept { std::free(p); }
void operator delete(void *p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void *p, std::size_t, std::align_val_t) noexcept { std::free(p); }

int main() {
    for (const char *table : {"dense", "csr", "8x1", "4x1"}) {
        auto model = std::make_shared<mast_edge::AgentModel>(30, 9, 3, 37);
        for (const char *name : mast_edge::kLayerNames) {
            const auto at = mast_edge::AgentModel::layer_of(name);
            const int rows = model->rows_of(at), cols = model->cols_of(at);
            std::vector<float> values, bias(rows, 0.1f);
            std::vector<std::uint32_t> indices, indptr{0};
            for (int r = 0; r < rows; ++r) {
                for (int c = r % 5; c < cols; c += 5) {
                    values.push_back(0.01f * static_cast<float>(c - r));
                    indices.push_back(static_cast<std::uint32_t>(c));
                }
                indptr.push_back(static_cast<std::uint32_t>(values.size()));
            }
            model->add(name, {values.data(), indices.data(), indptr.data()}, values.size(), indptr.size(), bias.data(),
                       bias.size(), table);
        }
        mast_edge::AgentCell cell(model, 1);
        std::vector<float> obs(30, 0.5f), q(9);
        std::vector<std::uint8_t> avail(9, 1);
        if (allocations == 0) return 1;  // the counter does not count
        const long before = allocations;
        std::uint64_t digest = 1469598103934665603u;  // FNV-1a
        for (int t = 0; t < 100; ++t) {
            obs[t % 30] = t % 3 ? 0.01f * static_cast<float>(t - 40) : 0.0f;
            avail[1 + t % 8] ^= 1;
            cell.peek(obs.data(), q.data());
            cell.act(obs.data(), avail.data());
            for (int a = 0; a < 9; ++a) {
                std::uint32_t bits;
                std::memcpy(&bits, &cell.q[a], sizeof bits);
                digest = (digest ^ bits) * 1099511628211u;
                if (cell.q[a] != q[a]) return 2;  // peek sees what act sees
            }
        }
        cell.reset();
        std::printf("%s %ld %016llx\n", table, allocations - before, static_cast<unsigned long long>(digest));
    }
}
