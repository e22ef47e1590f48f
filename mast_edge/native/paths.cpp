#include "paths.hpp"

#include <algorithm>
#include <queue>
#include <utility>
#include <vector>

namespace mast {

namespace {

struct Direction {
    int dx, dy, cost;
};
// N, E, S, W, NE, SE, SW, NW: among equals the first one is taken.
constexpr Direction kDirections[8] = {{0, 1, 10},  {1, 0, 10},   {0, -1, 10},  {-1, 0, 10},
                                      {1, 1, 14}, {1, -1, 14}, {-1, -1, 14}, {-1, 1, 14}};
constexpr int kLookAhead = 6;
constexpr std::int64_t kGrain = 4096;    // one cell in units of 1/4096

}  // namespace

Paths::Paths(const Rows &rows) : rows_(rows), columns_{} {
    for (std::size_t y = 0; y < 32; ++y)
        for (std::size_t x = 0; x < 32; ++x) columns_[x] |= ((rows[y] >> x) & 1u) << y;
}

Paths::~Paths() {
    for (auto &field : fields_) delete field.load();
}

bool Paths::all_straight(const Rows &rows) {
    std::uint32_t shape = 0;
    int first = -1, last = -1;
    for (int y = 0; y < 32; ++y) {
        const std::uint32_t row = rows[static_cast<std::size_t>(y)];
        if (row == 0) continue;
        if (first < 0) first = y, shape = row;
        if (row != shape || (last >= 0 && last != y - 1)) return false;
        last = y;
    }
    while (shape && !(shape & 1u)) shape >>= 1;
    return first < 0 || (shape & (shape + 1u)) == 0;    // one run of ones
}

namespace {

std::uint32_t bits(int first, int last) { return (0xFFFFFFFFu >> (31 - (last - first))) << first; }

int ceil_div(int a, int b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// Looks along `lines` (rows, or columns): cell (along a, line u) to cell (b, v). In the band of each line between
// them, the segments stay within the cells from `low` to `high`.
View view_along(const Rows &lines, int a, int u, int b, int v) {
    if (u > v) std::swap(a, b), std::swap(u, v);
    bool clear = true;
    for (int line = u; line <= v; ++line) {
        int low = std::min(a, b), high = std::max(a, b);
        if (line > u && line < v) {
            // At height h above the lower corners the hull of both cells reaches from a + (b - a) h / (v - u), one
            // cell wide at the ends; h runs over [line - u - 1, line - u + 1].
            const int span = v - u, near = (b - a) * (line - u - 1), far = (b - a) * (line - u + 1);
            const int least = std::min(near, far), most = std::max(near, far);
            low = std::max(low, a + ceil_div(least, span) - 1);    // a corner just touched counts
            high = std::min(high, a + ceil_div(most, span));
            if ((lines[static_cast<std::size_t>(line)] & bits(low, high)) == 0) return View::blocked;
        }
        const std::uint32_t mask = bits(low, high);
        clear = clear && (lines[static_cast<std::size_t>(line)] & mask) == mask;
    }
    return clear ? View::clear : View::unknown;
}

}  // namespace

View Paths::view(int from, int to) const {
    const int x0 = from % 32, y0 = from / 32, x1 = to % 32, y1 = to / 32;
    const View by_rows = view_along(rows_, x0, y0, x1, y1);
    return by_rows != View::unknown ? by_rows : view_along(columns_, y0, x0, y1, x1);
}

// Exact: both points are multiples of 1/4096, so all of it is whole numbers.
bool Paths::is_clear(Point from, Point to) const {
    constexpr std::int64_t never = std::int64_t{1} << 60;
    int x = static_cast<int>(from.x), y = static_cast<int>(from.y);
    int crossings_x = std::abs(static_cast<int>(to.x) - x), crossings_y = std::abs(static_cast<int>(to.y) - y);
    const auto px = static_cast<std::int64_t>(from.x * kGrain), py = static_cast<std::int64_t>(from.y * kGrain);
    const std::int64_t dx = static_cast<std::int64_t>(to.x * kGrain) - px;
    const std::int64_t dy = static_cast<std::int64_t>(to.y * kGrain) - py;
    const int step_x = dx < 0 ? -1 : 1, step_y = dy < 0 ? -1 : 1;
    const std::int64_t ahead_x = dx < 0 ? px - kGrain * x : kGrain * (x + 1) - px;
    const std::int64_t ahead_y = dy < 0 ? py - kGrain * y : kGrain * (y + 1) - py;
    // When the next border in x, and in y, is crossed; all times are multiplied by |dx dy|.
    const std::int64_t every_x = kGrain * std::abs(dy), every_y = kGrain * std::abs(dx);
    std::int64_t time_x = crossings_x > 0 ? ahead_x * std::abs(dy) : never;
    std::int64_t time_y = crossings_y > 0 ? ahead_y * std::abs(dx) : never;
    bool free = walkable(x, y);
    while (free && (crossings_x > 0 || crossings_y > 0)) {
        if (time_x == time_y) free = walkable(x + step_x, y) && walkable(x, y + step_y);    // a corner
        const bool in_x = time_x <= time_y, in_y = time_y <= time_x;
        x += in_x ? step_x : 0;
        y += in_y ? step_y : 0;
        crossings_x -= in_x;
        crossings_y -= in_y;
        time_x = crossings_x > 0 ? time_x + (in_x ? every_x : 0) : never;
        time_y = crossings_y > 0 ? time_y + (in_y ? every_y : 0) : never;
        free = free && walkable(x, y);
    }
    return free;
}

int Paths::nearest_walkable(int cell) const {
    const int x = cell % 32, y = cell / 32;
    int best = cell, best_sq = 1 << 20;
    for (int cy = 0; cy < 32; ++cy)
        for (int cx = 0; cx < 32; ++cx) {
            const int sq = (cx - x) * (cx - x) + (cy - y) * (cy - y);
            if (walkable(cx, cy) && sq < best_sq) {
                best = cy * 32 + cx;
                best_sq = sq;
            }
        }
    return best;
}

FlowField *Paths::compute(int cell) const {
    auto *field = new FlowField;
    field->cost.fill(kUnreachable);
    const int goal = walkable(cell % 32, cell / 32) ? cell : nearest_walkable(cell);
    using Entry = std::pair<int, int>;    // cost, cell
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
    field->cost[static_cast<std::size_t>(goal)] = 0;
    open.push({0, goal});
    while (!open.empty()) {
        const auto [cost, at] = open.top();
        open.pop();
        if (cost > field->cost[static_cast<std::size_t>(at)]) continue;
        for (const Direction &d : kDirections) {
            if (!may_step(at, d.dx, d.dy)) continue;
            auto &known = field->cost[static_cast<std::size_t>(at + d.dy * 32 + d.dx)];
            if (cost + d.cost >= known) continue;
            known = static_cast<std::uint16_t>(cost + d.cost);
            open.push({known, at + d.dy * 32 + d.dx});
        }
    }
    walk_down(*field, cell);
    return field;
}

// Fills in the next cells and leads of a field whose costs are known.
void Paths::walk_down(FlowField &field, int goal) const {
    for (int at = 0; at < kCells; ++at) {
        const std::uint16_t cost = field.cost[static_cast<std::size_t>(at)];
        int best = at, best_cost = 1 << 20;
        if (cost != 0 && cost != kUnreachable)
            for (const Direction &d : kDirections) {
                if (!may_step(at, d.dx, d.dy)) continue;
                const int through = field.cost[static_cast<std::size_t>(at + d.dy * 32 + d.dx)] + d.cost;
                if (through < best_cost) {
                    best = at + d.dy * 32 + d.dx;
                    best_cost = through;
                }
            }
        field.next[static_cast<std::size_t>(at)] = static_cast<std::uint16_t>(best);
    }
    for (int at = 0; at < kCells; ++at) {
        FlowField::Lead lead{static_cast<std::uint16_t>(at), View::clear, true};    // straight to the goal
        int ahead[kLookAhead], n = look_ahead(field, at, ahead);
        if (n > 0) lead.goal = view(at, goal);
        if (n > 0 && lead.goal != View::clear) {
            View seen = View::blocked;
            while (n > 1 && (seen = view(at, ahead[n - 1])) == View::blocked) --n;
            lead.cell = static_cast<std::uint16_t>(ahead[n - 1]);
            lead.certain = n == 1 || seen == View::clear;
        }
        field.lead[static_cast<std::size_t>(at)] = lead;
    }
}

int Paths::look_ahead(const FlowField &field, int from, int *ahead) {
    int n = 0;
    for (int at = from; n < kLookAhead; ++n) {
        const int next = field.next[static_cast<std::size_t>(at)];
        if (next == at) break;
        ahead[n] = at = next;
    }
    return n;
}

const FlowField &Paths::toward(int cell) const {
    auto &slot = fields_[static_cast<std::size_t>(cell)];
    const FlowField *field = slot.load(std::memory_order_acquire);
    if (field) return *field;
    FlowField *made = compute(cell);
    if (slot.compare_exchange_strong(field, made, std::memory_order_acq_rel)) return *made;
    delete made;    // another thread was faster, with the same field
    return *field;
}

Point Paths::heading(Point from, Point goal) const {
    const FlowField &field = toward(cell_of(goal));
    const int cell = cell_of(from);
    const FlowField::Lead lead = field.lead[static_cast<std::size_t>(cell)];
    if (lead.goal == View::clear || (lead.goal == View::unknown && is_clear(from, goal))) return goal;
    const auto middle = [](int c) { return Point{c % 32 + 0.5, c / 32 + 0.5}; };
    if (lead.certain) return middle(lead.cell);
    int ahead[kLookAhead], n = look_ahead(field, cell, ahead);
    while (n > 1 && !is_clear(from, middle(ahead[n - 1]))) --n;
    return middle(ahead[n - 1]);
}

}  // namespace mast
