#include "layer.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace mast_edge {
namespace {

// Densities above which single weights cost more than a dense product (benchmarks/learner_profile.py measures it).
constexpr double kDenseForward = 0.6, kDenseGradient = 0.4;

std::vector<int> groups_of(int height, int rows) {
    std::vector<int> heights(static_cast<std::size_t>(rows / height), height);
    if (rows % height) heights.push_back(rows % height);
    return heights;
}

}  // namespace

Blocks PanelLayer::Part::blocks() const {
    return {height, static_cast<int>(row.size()), row.data(), bias.data(), start.data(), column.data(), value.data()};
}

PanelLayer::PanelLayer(const LayerShape &s) : shape(s), bias_(static_cast<std::size_t>(s.out)) { set_mask(nullptr, {}); }

// One part for each height; inside it groups are ordered by their number of blocks, and blocks by column. `heights`
// begins at the cut's first row.
std::vector<PanelLayer::Part> PanelLayer::build(const std::vector<std::uint8_t> &mask, const std::vector<int> &heights, Cut cut) {
    struct Group {
        int row;
        std::vector<int> columns;
    };
    std::array<std::vector<Group>, kMaxHeight + 1> by_height;
    int row = cut.first;
    for (const int height : heights) {
        if (row >= cut.first + cut.count) break;
        Group group{row, {}};
        for (int c = 0; c < cut.columns; c++)
            if (mask[static_cast<std::size_t>(row) * cut.columns + c]) group.columns.push_back(c);
        by_height[static_cast<std::size_t>(height)].push_back(std::move(group));
        row += height;
    }
    std::vector<Part> parts;
    for (int height = kMaxHeight; height >= 1; height--) {
        auto &groups = by_height[static_cast<std::size_t>(height)];
        if (groups.empty()) continue;
        std::stable_sort(groups.begin(), groups.end(),
                         [](const Group &a, const Group &b) { return a.columns.size() < b.columns.size(); });
        Part part;
        part.height = height;
        part.start.push_back(0);
        for (const Group &group : groups) {
            part.row.push_back(group.row - cut.first + cut.to);
            part.bias.push_back(group.row);
            for (const int c : group.columns) {
                part.column.push_back(c * kColumns);
                for (int h = 0; h < height; h++) part.position.push_back((group.row + h) * cut.columns + c);
            }
            part.start.push_back(static_cast<std::int32_t>(part.column.size()));
        }
        part.value.resize(part.position.size());
        parts.push_back(std::move(part));
    }
    return parts;
}

void PanelLayer::set_mask(const std::uint8_t *mask, const std::vector<int> &heights) {
    const std::size_t size = static_cast<std::size_t>(shape.out) * static_cast<std::size_t>(shape.in);
    std::vector<std::uint8_t> own(size, 1);
    if (mask) own.assign(mask, mask + size);
    kept_ = std::accumulate(own.begin(), own.end(), std::int64_t{0});
    const double density = static_cast<double>(kept_) / static_cast<double>(size);
    const bool blocks = std::any_of(heights.begin(), heights.end(), [](int h) { return h > 1; });
    const bool dense = !mask || (density > kDenseForward && !blocks);
    const std::vector<std::uint8_t> every(size, 1);

    rows_.clear();
    const int split = shape.split < 0 ? shape.out : shape.split;
    auto group = heights.begin();
    for (const auto &[first, end, to] : {std::array{0, split, 0}, std::array{split, shape.out, split + shape.moved}}) {
        if (first == end) continue;
        std::vector<int> kept_groups;
        for (int row = first; row < end && group != heights.end(); row += *group++) kept_groups.push_back(*group);
        if (kept_groups.empty()) kept_groups = groups_of(1, end - first);
        const Cut cut{first, end - first, to, shape.in};
        Rows rows{first, end - first, to, {}, {}};
        rows.forward = dense ? build(every, groups_of(kMaxHeight, end - first), cut) : build(own, kept_groups, cut);
        if (mask && (blocks || density <= kDenseGradient)) rows.gradient = build(own, kept_groups, cut);
        rows_.push_back(std::move(rows));
    }

    // The transposed layer: its rows are our inputs, its columns our rows as they lie in the product.
    const int inputs = shape.in - shape.first_input;
    std::vector<std::uint8_t> turned(static_cast<std::size_t>(inputs) * static_cast<std::size_t>(shape.out));
    for (int i = 0; i < inputs; i++)
        for (int r = 0; r < shape.out; r++)
            turned[static_cast<std::size_t>(i) * shape.out + r] =
                dense || own[static_cast<std::size_t>(r) * shape.in + shape.first_input + i];
    backward_ = build(turned, groups_of(dense ? kMaxHeight : 1, inputs), {0, inputs, 0, shape.out});
    for (Part &part : backward_) {
        for (std::int32_t &c : part.column)
            if (shape.split >= 0 && c >= shape.split * kColumns) c += shape.moved * kColumns;
        for (std::int32_t &p : part.position) p = p % shape.out * shape.in + shape.first_input + p / shape.out;
    }
}

void PanelLayer::refresh(const float *flat) {
    std::copy_n(flat + shape.bias, shape.out, bias_.begin());
    const float *weight = flat + shape.weight;
    const auto take = [weight](std::vector<Part> &parts) {
        for (Part &part : parts)
            for (std::size_t i = 0; i < part.position.size(); i++) part.value[i] = weight[part.position[i]];
    };
    for (Rows &rows : rows_) take(rows.forward);
    take(backward_);
}

void PanelLayer::forward(const float *x, float *y, int vectors, int mode) const {
    for (const Rows &rows : rows_)
        for (const Part &part : rows.forward) kernels().forward(part.blocks(), x, y, bias_.data(), vectors, mode);
}

void PanelLayer::forward_split(const float *x, float *y, int vectors) const {
    for (const Rows &rows : rows_)
        for (const Part &part : rows.forward)
            kernels().forward(part.blocks(), x, y, bias_.data(), vectors, rows.first == 0 ? kAccumulate : kPlain);
}

void PanelLayer::backward(const float *dy, float *dx, int vectors, int mode) const {
    for (const Part &part : backward_) kernels().forward(part.blocks(), dy, dx, nullptr, vectors, mode);
}

std::int64_t PanelLayer::size_of(const Rows &rows, bool every) const {
    if (every || rows.gradient.empty()) return rows.count * width();
    std::int64_t size = 0;
    for (const Part &part : rows.gradient) size += static_cast<std::int64_t>(part.position.size()) * kLanes;
    return size;
}

void PanelLayer::begin(Buffer &sums, bool every) const {
    std::int64_t size = static_cast<std::int64_t>(shape.out) * kLanes;
    for (const Rows &rows : rows_) size += size_of(rows, every);
    std::memset(sums.need(static_cast<std::size_t>(size)), 0, static_cast<std::size_t>(size) * sizeof(float));
}

void PanelLayer::collect(Buffer &sums, bool every, const float *const *dy, const float *const *x, const int *vectors,
                    int count, float *scratch) const {
    float *at = sums.data(), *bias = at;
    at += static_cast<std::int64_t>(shape.out) * kLanes;
    for (const Rows &rows : rows_) {
        for (int c = 0; c < count; c++)
            kernels().row_sums(dy[c] + rows.to * kColumns, rows.count, vectors[c],
                               bias + static_cast<std::int64_t>(rows.first) * kLanes);
        if (every || rows.gradient.empty()) {
            for (int c = 0; c < count; c++)
                kernels().dense_gradient(dy[c] + rows.to * kColumns, rows.count, x[c], shape.in, vectors[c], scratch, at);
        } else {
            float *to = at;
            for (const Part &part : rows.gradient) {
                kernels().gradient(part.blocks(), dy, x, vectors, count, to);
                to += static_cast<std::int64_t>(part.position.size()) * kLanes;
            }
        }
        at += size_of(rows, every);
    }
}

void PanelLayer::add_to(const Buffer &sums, bool every, float *grad) const {
    std::vector<float> totals(static_cast<std::size_t>(std::max<std::int64_t>(kept_, shape.out)));
    const float *at = sums.data();
    kernels().reduce(at, shape.out, totals.data());
    for (int r = 0; r < shape.out; r++) grad[shape.bias + r] += totals[static_cast<std::size_t>(r)];
    at += static_cast<std::int64_t>(shape.out) * kLanes;
    float *weight = grad + shape.weight;
    for (const Rows &rows : rows_) {
        if (every || rows.gradient.empty()) {
            for (int r = 0; r < rows.count; r++)
                for (int c = 0; c < shape.in; c++) weight[(rows.first + r) * shape.in + c] += at[r * width() + c];
        } else {
            const float *from = at;
            for (const Part &part : rows.gradient) {
                kernels().reduce(from, static_cast<std::int64_t>(part.position.size()), totals.data());
                for (std::size_t i = 0; i < part.position.size(); i++) weight[part.position[i]] += totals[i];
                from += static_cast<std::int64_t>(part.position.size()) * kLanes;
            }
        }
        at += size_of(rows, every);
    }
}

}  // namespace mast_edge
