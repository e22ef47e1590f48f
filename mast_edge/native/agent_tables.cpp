#include "agent_tables.hpp"

#include <algorithm>

namespace mast_edge {

LayerTable::LayerTable(int rows, int cols, int tails, Table table, const CsrRows &matrix, const float *bias)
    : rows_(rows), cols_(cols), tails_(tails), table_(table) {
    bias_.assign(padded(rows), 0.0f);
    std::copy(bias, bias + rows, bias_.begin());
    if (table == Table::kDense) fill_dense(matrix);
    if (table == Table::kCsr) fill_csr(matrix);
    if (table == Table::kBlocks8) fill_blocks(matrix, 8);
    if (table == Table::kBlocks4) fill_blocks(matrix, 4);
    if (tails) fill_tails(matrix);
}

AgentLayer LayerTable::view() const {
    return {rows_,           cols_,           tails_,         table_, bias_.data(), weights_.data(),
            columns_.data(), indptr_.data(), tail_weights_.data()};
}

void LayerTable::fill_dense(const CsrRows &matrix) {
    const int rows = padded(rows_), wide = rows / kWide * kWide;
    weights_.assign(static_cast<std::size_t>(rows) * cols_, 0.0f);
    for (int r = 0; r < rows_; ++r) {
        const int block = r < wide ? kWide : kNarrow;
        const std::size_t first = static_cast<std::size_t>(r / block * block) * cols_;
        for (std::uint32_t k = matrix.indptr[r]; k < matrix.indptr[r + 1]; ++k)
            if (matrix.indices[k] < static_cast<std::uint32_t>(cols_))
                weights_[first + static_cast<std::size_t>(matrix.indices[k]) * block + r % block] = matrix.values[k];
    }
}

void LayerTable::fill_csr(const CsrRows &matrix) {
    indptr_.assign(1, 0);
    weights_.reserve(matrix.indptr[rows_]);
    columns_.reserve(matrix.indptr[rows_]);
    for (int r = 0; r < rows_; ++r) {
        for (std::uint32_t k = matrix.indptr[r]; k < matrix.indptr[r + 1]; ++k)
            if (matrix.indices[k] < static_cast<std::uint32_t>(cols_)) {
                weights_.push_back(matrix.values[k]);
                columns_.push_back(static_cast<std::uint16_t>(matrix.indices[k]));
            }
        indptr_.push_back(static_cast<std::uint32_t>(weights_.size()));
    }
}

void LayerTable::fill_blocks(const CsrRows &matrix, int height) {
    indptr_.assign(1, 0);
    std::vector<std::uint16_t> group;
    for (int begin = 0; begin < rows_; begin += height) {
        const int end = std::min(begin + height, rows_);
        group.clear();
        for (std::uint32_t k = matrix.indptr[begin]; k < matrix.indptr[end]; ++k)
            if (matrix.indices[k] < static_cast<std::uint32_t>(cols_))
                group.push_back(static_cast<std::uint16_t>(matrix.indices[k]));
        std::sort(group.begin(), group.end());
        group.erase(std::unique(group.begin(), group.end()), group.end());
        const std::size_t first = weights_.size();
        weights_.resize(first + group.size() * height, 0.0f);
        for (int r = begin; r < end; ++r)
            for (std::uint32_t k = matrix.indptr[r]; k < matrix.indptr[r + 1]; ++k)
                if (matrix.indices[k] < static_cast<std::uint32_t>(cols_)) {
                    const auto block = std::lower_bound(group.begin(), group.end(), matrix.indices[k]) - group.begin();
                    weights_[first + block * height + (r - begin)] = matrix.values[k];
                }
        columns_.insert(columns_.end(), group.begin(), group.end());
        indptr_.push_back(static_cast<std::uint32_t>(columns_.size()));
    }
}

void LayerTable::fill_tails(const CsrRows &matrix) {
    const std::size_t rows = padded(rows_);
    tail_weights_.assign(rows * tails_, 0.0f);
    for (int r = 0; r < rows_; ++r)
        for (std::uint32_t k = matrix.indptr[r]; k < matrix.indptr[r + 1]; ++k)
            if (matrix.indices[k] >= static_cast<std::uint32_t>(cols_))
                tail_weights_[(matrix.indices[k] - cols_) * rows + r] = matrix.values[k];
}

}  // namespace mast_edge
