// Where the tables of an agent's layer live: dense, CSR or blocks, all made from CSR rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "agent_kernels.hpp"

namespace mast_edge {

// Heap memory of floats on 64-byte boundaries.
template <typename T> struct Aligned {
    using value_type = T;
    Aligned() = default;
    template <typename U> Aligned(const Aligned<U> &) {}
    T *allocate(std::size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T *p, std::size_t) { ::operator delete(p, std::align_val_t(64)); }
    template <typename U> bool operator==(const Aligned<U> &) const { return true; }
    template <typename U> bool operator!=(const Aligned<U> &) const { return false; }
};
using Floats = std::vector<float, Aligned<float>>;

// A matrix row by row: columns rise inside a row; borrowed.
struct CsrRows {
    const float *values;
    const std::uint32_t *indices, *indptr;
};

class LayerTable {
  public:
    LayerTable() = default;
    // rows x (cols + tails) weights, and the bias of every row. Only entries of `matrix` are kept, padding is zero.
    LayerTable(int rows, int cols, int tails, Table table, const CsrRows &matrix, const float *bias);

    // Valid while this lives and stays where it is.
    AgentLayer view() const;

  private:
    void fill_dense(const CsrRows &matrix);
    void fill_csr(const CsrRows &matrix);
    void fill_blocks(const CsrRows &matrix, int height);
    void fill_tails(const CsrRows &matrix);

    int rows_ = 0, cols_ = 0, tails_ = 0;
    Table table_ = Table::kDense;
    Floats bias_, weights_, tail_weights_;
    std::vector<std::uint16_t> columns_;
    std::vector<std::uint32_t> indptr_;
};

}  // namespace mast_edge
