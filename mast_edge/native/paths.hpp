// Ways round walls: straight segments, and flow fields where a segment is blocked (smac.md 9.8, physics.md).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace mast {

constexpr int kCells = 32 * 32;    // cell number: y * 32 + x
constexpr std::uint16_t kUnreachable = 0xFFFF;

using Rows = std::array<std::uint32_t, 32>;    // row y, bit x: 1 may be entered

struct Point {
    double x, y;
};

inline int cell_of(Point p) { return static_cast<int>(p.y) * 32 + static_cast<int>(p.x); }

// What can be said of all segments from anywhere in one cell to anywhere in another.
enum class View : std::uint8_t { unknown = 0, clear = 1, blocked = 2 };

// The ways to one cell: costs, 10 straight and 14 diagonal; the neighbour to take first, itself where the cost is 0
// or unreachable; and what is known of a unit in the cell before asking where in it the unit stands.
struct FlowField {
    struct Lead {
        std::uint16_t cell;    // to head for when the goal is not in view
        View goal;             // whether it is
        bool certain;          // no need to look which cell is in view
    };
    std::array<std::uint16_t, kCells> cost;
    std::array<std::uint16_t, kCells> next;
    std::array<Lead, kCells> lead;
};

// The ways on one grid. Fields are computed when first asked for and kept; asking is safe from many threads.
class Paths {
  public:
    explicit Paths(const Rows &rows);
    Paths(const Paths &) = delete;
    Paths &operator=(const Paths &) = delete;
    ~Paths();

    // Whether all walkable cells form one rectangle, on which every segment is clear.
    static bool all_straight(const Rows &rows);

    // Whether the straight segment between two points of the map crosses walkable cells only.
    bool is_clear(Point from, Point to) const;

    // The field toward a cell, or toward the nearest walkable cell if it is blocked.
    const FlowField &toward(int cell) const;

    // The point that a unit at `from` heads for on its way to `goal`: the goal itself if the segment is clear, else
    // the farthest of the next six cells that is.
    Point heading(Point from, Point goal) const;

  private:
    bool walkable(int x, int y) const {
        return static_cast<unsigned>(x | y) < 32u && ((rows_[static_cast<std::size_t>(y)] >> x) & 1u);
    }
    // From a cell to one of its 8 neighbours; diagonally only if both side cells are walkable.
    bool may_step(int cell, int dx, int dy) const {
        const int x = cell % 32, y = cell / 32;
        return walkable(x + dx, y + dy) && walkable(x + dx, y) && walkable(x, y + dy);
    }
    // Both sure answers hold; `unknown` may be given too often.
    View view(int from, int to) const;
    int nearest_walkable(int cell) const;
    FlowField *compute(int cell) const;
    void walk_down(FlowField &field, int goal) const;
    // The next cells of the way down, six at most. Returns how many.
    static int look_ahead(const FlowField &field, int from, int *ahead);

    Rows rows_, columns_;    // columns: column x, bit y
    mutable std::array<std::atomic<const FlowField *>, kCells> fields_{};
};

}  // namespace mast
