// Where the units of one battle stand while it is played, and how walls and other units move them (smac.md 9.3, 9.6).
#pragma once

#include <cstdint>

#include "unit.hpp"
#include "world.hpp"

namespace mast {

class Crowd {
  public:
    double x[kMaxUnits], y[kMaxUnits];
    double mobility[kMaxUnits];    // m of 9.6, set anew in every loop

    Crowd(const World &world, const Unit *units);

    // Takes a dead unit out of the world.
    void remove(int unit);

    // Moves a unit by (dx, dy) as far as walls and the border let it.
    void displace(int unit, double dx, double dy) {
        const double to_x = x[unit] + dx, to_y = y[unit] + dy;
        if (may_stand(unit, to_x, to_y)) {
            x[unit] = to_x;
            y[unit] = to_y;
        } else if (may_stand(unit, to_x, y[unit])) {
            x[unit] = to_x;
        } else if (may_stand(unit, x[unit], to_y)) {
            y[unit] = to_y;
        }
    }

    // To be called once per loop, after the units have walked.
    void note_walk() { drift_ += world_.longest_step; }

    // Moves overlapping units apart, one pass. Returns whether any pair overlapped.
    bool push_apart();

    void write_back(Unit *units) const;

  private:
    struct Pair {
        std::uint8_t a, b;
    };

    bool may_stand(int unit, double to_x, double to_y) const { return world_.may_stand(kind_[unit], to_x, to_y); }
    double farthest_moved() const;
    void list_near();
    void list_pairs_of_few();
    void push(const Pair *pairs, int n);
    void settle_pushes();

    const World &world_;
    int n_;
    std::uint8_t kind_[kMaxUnits];
    double separation_[kMaxUnits];
    // Pairs that were within their touch distance + skin when they were listed. No other pair can overlap before
    // some unit is half a skin away from where it was then; no unit is farther than drift_.
    double skin_, drift_;
    double listed_x_[kMaxUnits], listed_y_[kMaxUnits];
    double push_x_[kMaxUnits], push_y_[kMaxUnits];    // sums of one pass, zero between passes
    int n_near_ = 0;
    Pair near_[kMaxUnits * (kMaxUnits - 1) / 2];
    Pair overlapping_[kMaxUnits * (kMaxUnits - 1) / 2 + 1];
};

}  // namespace mast
