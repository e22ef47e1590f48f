#include "collision.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace mast {

Crowd::Crowd(const World &world, const Unit *units) : world_(world), n_(world.n_units()) {
    for (int i = 0; i < n_; ++i) {
        x[i] = units[i].x;
        y[i] = units[i].y;
        kind_[i] = units[i].kind;
        separation_[i] = world.kinds[kind_[i]].separation;
        push_x_[i] = push_y_[i] = 0.0;
        if (!units[i].alive) remove(i);
    }
    skin_ = 1.0;    // shorter lists against listing more often: the best of 0.5 to 3.2 on the largest maps
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

// Which of eight bytes is the first in memory that is not 0; one of them is not.
static int byte_of_lowest(std::uint64_t flags) {
    return (std::endian::native == std::endian::little ? std::countr_zero(flags) : std::countl_zero(flags)) / 8;
}

// All pairs, in single precision with a margin, many at a time: for the 66 units of the largest map that is cheaper
// than keeping a grid of cells. Groups that do not collide are set far apart.
void Crowd::list_near() {
    constexpr float apart = 1000.0f, margin = 0.01f;
    constexpr int width = (kMaxUnits + 7) / 8 * 8;
    float east[width], north[width], reach[width];
    std::uint8_t living[width];
    alignas(8) std::uint8_t is_near[width] = {};
    int n = 0;
    for (int i = 0; i < n_; ++i) {
        listed_x_[i] = x[i];
        listed_y_[i] = y[i];
        living[n] = static_cast<std::uint8_t>(i);
        east[n] = static_cast<float>(x[i]) + apart * static_cast<float>(world_.kinds[kind_[i]].collision_group);
        north[n] = static_cast<float>(y[i]);
        reach[n] = static_cast<float>(separation_[i] + 0.5 * skin_) + margin;
        n += x[i] < kMapSize;
    }
    n_near_ = 0;
    drift_ = 0.0;
    for (int a = 1; a < n; ++a) {
        for (int b = 0; b < a; ++b) {
            const float dx = east[b] - east[a], dy = north[b] - north[a], r = reach[b] + reach[a];
            is_near[b] = dx * dx + dy * dy < r * r;
        }
        for (int block = 0; block < a; block += 8) {
            std::uint64_t flags;    // a byte of 0 or 1 each, 0 from a on
            std::memcpy(&flags, is_near + block, 8);
            for (; flags; flags &= flags - 1) near_[n_near_++] = {living[block + byte_of_lowest(flags)], living[a]};
        }
    }
}

// Adds what a pair closer than its touch distance moves each other to the sums.
inline void Crowd::push_pair(Pair pair) {
    const double total = mobility[pair.a] + mobility[pair.b];
    if (total <= 0.0) return;
    double dx = x[pair.b] - x[pair.a], dy = y[pair.b] - y[pair.a];
    double distance = std::sqrt(dx * dx + dy * dy);
    const double overlap = separation_[pair.a] + separation_[pair.b] - distance;
    if (distance == 0.0) dx = distance = 1.0;    // on the same spot: the lower index goes west
    const double share = overlap / (distance * total);
    const double share_a = share * mobility[pair.a], share_b = share * mobility[pair.b];
    push_x_[pair.a] -= quantise(dx * share_a);
    push_y_[pair.a] -= quantise(dy * share_a);
    push_x_[pair.b] += quantise(dx * share_b);
    push_y_[pair.b] += quantise(dy * share_b);
}

void Crowd::settle_pushes() {
    double widest = 0.0;
    for (int i = 0; i < n_; ++i) {
        if (push_x_[i] == 0.0 && push_y_[i] == 0.0) continue;
        const double dx = std::clamp(push_x_[i], -0.25, 0.25), dy = std::clamp(push_y_[i], -0.25, 0.25);
        push_x_[i] = push_y_[i] = 0.0;
        widest = std::max(widest, std::fabs(dx) + std::fabs(dy));
        displace(i, dx, dy);
    }
    drift_ += widest;
}

bool Crowd::push_apart() {
    if (2.0 * drift_ >= skin_) {
        drift_ = farthest_moved();    // the sum of single moves was a generous bound
        if (2.0 * drift_ >= skin_) list_near();
    }
    int n_overlapping = 0;
    for (int p = 0; p < n_near_; ++p) {
        const Pair pair = near_[p];
        const double dx = x[pair.b] - x[pair.a], dy = y[pair.b] - y[pair.a];
        const double touch = separation_[pair.a] + separation_[pair.b];
        overlapping_[n_overlapping] = pair;
        n_overlapping += dx * dx + dy * dy < touch * touch;
    }
    if (n_overlapping == 0) return false;
    for (int p = 0; p < n_overlapping; ++p) push_pair(overlapping_[p]);
    settle_pushes();
    return true;
}

}  // namespace mast
