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

// Costs of walking to one cell, 10 straight and 14 diagonal, and the neighbour to take first.
struct FlowField {
    std::array<std::uint16_t, kCells> cost;
    std::array<std::uint16_t, kCells> next;    // itself where the cost is 0 or unreachable
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
    bool box_is_free(int x0, int y0, int x1, int y1) const;
    int nearest_walkable(int cell) const;
    FlowField *compute(int cell) const;

    Rows rows_;
    mutable std::array<std::atomic<const FlowField *>, kCells> fields_{};
};

inline int cell_of(Point p) { return static_cast<int>(p.y) * 32 + static_cast<int>(p.x); }

}  // namespace mast
