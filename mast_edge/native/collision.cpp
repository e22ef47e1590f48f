#include "collision.hpp"

#include <algorithm>
#include <cmath>

namespace mast {

static constexpr int kFewUnits = 24;

Crowd::Crowd(const World &world, const Unit *units) : world_(world), n_(world.n_units()) {
    for (int i = 0; i < n_; ++i) {
        x[i] = units[i].x;
        y[i] = units[i].y;
        kind_[i] = units[i].kind;
        push_[i] = {};
        if (!units[i].alive) remove(i);
    }
    skin_ = n_ > kFewUnits ? 0.8 : 2.4;    // many units: short lists pay for listing them more often
    list_near();
}

void Crowd::remove(int unit) { x[unit] = y[unit] = listed_x_[unit] = listed_y_[unit] = 1e6 * (unit + 1); }

void Crowd::write_back(Unit *units) const {
    for (int i = 0; i < n_; ++i) {
        if (!units[i].alive) continue;
        units[i].x = x[i];
        units[i].y = y[i];
    }
}

double Crowd::farthest_moved() const {
    double farthest_sq = 0.0;
    for (int i = 0; i < n_; ++i) {
        const double dx = x[i] - listed_x_[i], dy = y[i] - listed_y_[i];
        farthest_sq = std::max(farthest_sq, dx * dx + dy * dy);
    }
    return std::sqrt(farthest_sq);
}

inline void Crowd::list_pair(int a, int b) {
    const World::Pair &pair = world_.pair[kind_[a]][kind_[b]];
    const double dx = x[b] - x[a], dy = y[b] - y[a], reach = pair.touch + skin_;
    if (pair.collides && dx * dx + dy * dy < reach * reach) near_[n_near_++] = {pair.touch, pair.touch * pair.touch, a, b};
}

// Few units: all pairs. Many: cells as wide as the longest reach, so that only neighbouring ones are compared.
void Crowd::list_near() {
    n_near_ = 0;
    drift_ = 0.0;
    std::copy(x, x + n_, listed_x_);
    std::copy(y, y + n_, listed_y_);
    if (n_ <= kFewUnits) {
        for (int a = 0; a < n_; ++a)
            for (int b = a + 1; b < n_; ++b) list_pair(a, b);
        return;
    }
    constexpr int most = 24;    // cells in a row, an empty one at either end
    const double width = std::max(world_.widest_touch + skin_, static_cast<double>(kMapSize) / (most - 3));
    std::int8_t first[most * most], next[kMaxUnits];
    std::fill(first, first + most * most, std::int8_t{-1});
    for (int a = 0; a < n_; ++a) {
        if (!(x[a] < kMapSize)) continue;    // dead
        const int cell = (static_cast<int>(y[a] / width) + 1) * most + static_cast<int>(x[a] / width) + 1;
        for (const int near : {cell, cell - 1, cell + 1, cell - most - 1, cell - most, cell - most + 1, cell + most - 1,
                               cell + most, cell + most + 1})
            for (int b = first[near]; b >= 0; b = next[b]) list_pair(b, a);
        next[a] = first[cell];
        first[cell] = static_cast<std::int8_t>(a);
    }
}

inline void Crowd::touch(int unit) {
    if (push_[unit].touched) return;
    push_[unit].touched = true;
    touched_[n_touched_++] = unit;
}

// Adds what a pair closer than its touch distance moves each other to the sums.
inline void Crowd::push_pair(const Pair &pair, double dx, double dy, double distance_sq) {
    const double total = mobility[pair.a] + mobility[pair.b];
    if (total <= 0.0) return;
    double distance = std::sqrt(distance_sq);
    const double overlap = pair.touch - distance;
    if (distance == 0.0) dx = distance = 1.0;    // on the same spot: the lower index goes west
    const double share = overlap / (distance * total);
    const double share_a = share * mobility[pair.a], share_b = share * mobility[pair.b];
    touch(pair.a);
    touch(pair.b);
    push_[pair.a].x -= quantise(dx * share_a);
    push_[pair.a].y -= quantise(dy * share_a);
    push_[pair.b].x += quantise(dx * share_b);
    push_[pair.b].y += quantise(dy * share_b);
}

void Crowd::settle_pushes() {
    double widest = 0.0;
    for (int t = 0; t < n_touched_; ++t) {
        const int i = touched_[t];
        const double dx = std::clamp(push_[i].x, -0.25, 0.25), dy = std::clamp(push_[i].y, -0.25, 0.25);
        push_[i] = {};
        widest = std::max(widest, std::fabs(dx) + std::fabs(dy));
        displace(i, dx, dy);
    }
    n_touched_ = 0;
    drift_ += widest;
}

bool Crowd::push_apart() {
    if (2.0 * drift_ >= skin_) {
        drift_ = farthest_moved();    // the sum of single moves was a generous bound
        if (2.0 * drift_ >= skin_) list_near();
    }
    for (int p = 0; p < n_near_; ++p) {
        const Pair &pair = near_[p];
        const double dx = x[pair.b] - x[pair.a], dy = y[pair.b] - y[pair.a];
        const double distance_sq = dx * dx + dy * dy;
        if (distance_sq < pair.touch_sq) push_pair(pair, dx, dy, distance_sq);
    }
    if (n_touched_ == 0) return false;
    settle_pushes();
    return true;
}

}  // namespace mast
