#include "collision.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace mast {

namespace {

constexpr int kFewUnits = 24;

// Compiled twice where the loader can choose: wider registers, the same results.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define MAST_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define MAST_WIDE
#endif

// Marks which of the units before `a` are nearer to it than both reaches.
MAST_WIDE void mark_near(const float *east, const float *north, const float *reach, int a, std::uint8_t *is_near) {
    for (int b = 0; b < a; ++b) {
        const float dx = east[b] - east[a], dy = north[b] - north[a], r = reach[b] + reach[a];
        is_near[b] = dx * dx + dy * dy < r * r;
    }
}

// Some overlapping pairs, field by field, so that several are worked out at a time.
struct Overlaps {
    static constexpr int kMost = 32;
    double dx[kMost], dy[kMost], touch[kMost];
    double share_a[kMost], share_b[kMost];    // in: mobility; out: share of (dx, dy)
};

// What each unit of a pair is moved along (dx, dy), by mobility (smac.md 9.6). On the same spot: the lower index
// goes west.
MAST_WIDE void share_pushes(Overlaps &pairs, int n) {
    for (int p = 0; p < n; ++p) {
        const double distance = std::sqrt(pairs.dx[p] * pairs.dx[p] + pairs.dy[p] * pairs.dy[p]);
        const double total = pairs.share_a[p] + pairs.share_b[p];
        const double overlap = pairs.touch[p] - distance;
        const double whole = overlap / ((distance == 0.0 ? 1.0 : distance) * (total > 0.0 ? total : 1.0));
        pairs.dx[p] = distance == 0.0 ? 1.0 : pairs.dx[p];
        pairs.share_a[p] = whole * pairs.share_a[p];
        pairs.share_b[p] = whole * pairs.share_b[p];
    }
}

}  // namespace

Crowd::Crowd(const World &world, const Unit *units) : world_(world), n_(world.n_units()) {
    for (int i = 0; i < n_; ++i) {
        x[i] = units[i].x;
        y[i] = units[i].y;
        kind_[i] = units[i].kind;
        separation_[i] = world.kinds[kind_[i]].separation;
        push_x_[i] = push_y_[i] = 0.0;
        if (!units[i].alive) remove(i);
    }
    skin_ = n_ > kFewUnits ? 1.0 : 2.4;    // many units: short lists pay for listing them more often
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
inline int byte_of_lowest(std::uint64_t flags) {
    return (std::endian::native == std::endian::little ? std::countr_zero(flags) : std::countl_zero(flags)) / 8;
}

// All pairs, in single precision with a margin, many at a time: for the 66 units of the largest map that is cheaper
// than keeping a grid of cells. Groups that do not collide are set far apart.
void Crowd::list_near() {
    if (n_ <= kFewUnits) return list_pairs_of_few();
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
        mark_near(east, north, reach, a, is_near);
        for (int block = 0; block < a; block += 8) {
            std::uint64_t flags;    // a byte of 0 or 1 each, 0 from a on
            std::memcpy(&flags, is_near + block, 8);
            for (; flags; flags &= flags - 1) near_[n_near_++] = {living[block + byte_of_lowest(flags)], living[a]};
        }
    }
}

void Crowd::list_pairs_of_few() {
    n_near_ = 0;
    drift_ = 0.0;
    std::copy(x, x + n_, listed_x_);
    std::copy(y, y + n_, listed_y_);
    for (int a = 1; a < n_; ++a)
        for (int b = 0; b < a; ++b) {
            const double dx = x[b] - x[a], dy = y[b] - y[a], reach = separation_[a] + separation_[b] + skin_;
            near_[n_near_] = {static_cast<std::uint8_t>(b), static_cast<std::uint8_t>(a)};
            n_near_ += dx * dx + dy * dy < reach * reach && world_.pair[kind_[a]][kind_[b]].collides;
        }
}

// Adds what overlapping pairs move each other to the sums.
void Crowd::push(const Pair *pairs, int n) {
    Overlaps o;
    for (int p = 0; p < n; ++p) {
        const auto [a, b] = pairs[p];
        o.dx[p] = x[b] - x[a];
        o.dy[p] = y[b] - y[a];
        o.touch[p] = separation_[a] + separation_[b];
        o.share_a[p] = mobility[a];
        o.share_b[p] = mobility[b];
    }
    share_pushes(o, n);
    for (int p = 0; p < n; ++p) {
        const auto [a, b] = pairs[p];
        push_x_[a] -= quantise(o.dx[p] * o.share_a[p]);
        push_y_[a] -= quantise(o.dy[p] * o.share_a[p]);
        push_x_[b] += quantise(o.dx[p] * o.share_b[p]);
        push_y_[b] += quantise(o.dy[p] * o.share_b[p]);
    }
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
    int n = 0;
    for (int p = 0; p < n_near_; ++p) {
        const auto [a, b] = near_[p];
        const double dx = x[b] - x[a], dy = y[b] - y[a], touch = separation_[a] + separation_[b];
        overlapping_[n] = near_[p];
        n += dx * dx + dy * dy < touch * touch;
    }
    if (n == 0) return false;
    for (int p = 0; p < n; p += Overlaps::kMost) push(overlapping_ + p, std::min(n - p, Overlaps::kMost));
    settle_pushes();
    return true;
}

}  // namespace mast
