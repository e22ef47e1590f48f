// Where units stand at the start of an episode (smac.md 9.9).
#include <algorithm>
#include <vector>

#include "battle.hpp"
#include "collision.hpp"

namespace mast {

namespace {

struct Place {
    int dx, dy;    // lattice steps from the spawn point
};

// Lattice points by (squared distance, dy, dx); the spawn point itself comes first.
const std::vector<Place> &lattice() {
    static const std::vector<Place> places = [] {
        constexpr int reach = 12;
        std::vector<Place> all;
        for (int dy = -reach; dy <= reach; ++dy)
            for (int dx = -reach; dx <= reach; ++dx) all.push_back({dx, dy});
        std::stable_sort(all.begin(), all.end(), [](const Place &a, const Place &b) {
            return a.dx * a.dx + a.dy * a.dy < b.dx * b.dx + b.dy * b.dy;
        });
        return all;
    }();
    return places;
}

// One of the 8 symmetries of the square: bit 2 swaps the axes, then bits 0 and 1 mirror east-west, north-south.
Place turned(Place p, std::uint32_t symmetry) {
    if (symmetry & 4u) std::swap(p.dx, p.dy);
    if (symmetry & 1u) p.dx = -p.dx;
    if (symmetry & 2u) p.dy = -p.dy;
    return p;
}

bool same_point(const SpawnGroup &a, const SpawnGroup &b) { return a.x == b.x && a.y == b.y; }

// Places the units of one side, created in the order of its groups, in units[first...].
void place_side(const World &world, const Stream &stream, const std::vector<SpawnGroup> &groups, Unit *units,
                int first) {
    std::vector<std::size_t> next_place(groups.size(), 0);
    std::vector<int> leader(groups.size(), first);
    int unit = first;
    for (std::size_t g = 0; g < groups.size(); ++g) {
        std::size_t cluster = 0;    // the first group with this point owns the cluster
        while (!same_point(groups[cluster], groups[g])) ++cluster;
        if (cluster == g) leader[g] = unit;
        double separation = 0.0;
        for (const SpawnGroup &other : groups)
            if (same_point(other, groups[g])) separation = std::max(separation, world.kinds[other.kind].separation);
        const double pitch = 2.0 * separation + 1.0 / 16.0;
        const std::uint32_t symmetry = world.spawn_jitter ? stream.below(8, Purpose::spawn, leader[cluster], 0) : 0;
        for (int made = 0; made < groups[g].count;) {
            const std::size_t at = next_place[cluster]++;
            Unit &u = units[unit];
            u.kind = static_cast<std::uint8_t>(groups[g].kind);
            u.x = quantise(groups[g].x);
            u.y = quantise(groups[g].y);
            if (at >= lattice().size()) {    // no room at all: on the point itself
                ++made, ++unit;
                continue;
            }
            const Place place = turned(lattice()[at], symmetry);
            const double x = quantise(groups[g].x + place.dx * pitch), y = quantise(groups[g].y + place.dy * pitch);
            if (!world.may_stand(groups[g].kind, x, y)) continue;
            u.x = x;
            u.y = y;
            ++made, ++unit;
        }
    }
}

void scatter(const World &world, const Stream &stream, Crowd &crowd) {
    constexpr int widest = 409;    // 1/10 in units of 1/4096, rounded down
    const auto offset = [&](int unit, std::uint32_t draw) {
        const int steps = static_cast<int>(stream.below(2 * widest + 1, Purpose::spawn, unit, draw)) - widest;
        return steps / 4096.0;
    };
    for (int i = 0; i < world.n_units(); ++i) crowd.displace(i, offset(i, 1), offset(i, 2));
}

void fill_vitals(const World &world, Unit &unit) {
    const UnitKind &kind = world.kinds[unit.kind];
    unit.health = kind.health_max;
    unit.shield = kind.shield_max;
    unit.energy = kind.energy_start;
    unit.previous_vitals = unit.health + unit.shield;
    unit.goal_distance = 1e9;
    unit.damaged_loop = -1000000;
    unit.order = OrderKind::stand;
    unit.alive = true;
}

// The enemies' goal where it is a point: the given one, or one drawn on the segment (smac.md 9.4).
void choose_goal(const World &world, Battle &battle) {
    battle.goal_x = battle.goal_y = 0.0;
    if (world.goal.empty()) return;
    const double share =
        world.goal_kind == GoalKind::segment ? battle.stream().below(4097, Purpose::goal, 0, 0) / 4096.0 : 0.0;
    const auto &from = world.goal.front(), &to = world.goal.back();
    battle.goal_x = quantise(from[0] + share * (to[0] - from[0]));
    battle.goal_y = quantise(from[1] + share * (to[1] - from[1]));
}

}  // namespace

void spawn(const World &world, Battle &battle) {
    battle.episode = battle.begun++;
    battle.loop = 0;
    battle.step = 0;
    battle.over = false;
    Unit *units = battle.units();
    std::fill(units, units + world.n_units(), Unit{});
    const Stream stream = battle.stream();
    place_side(world, stream, world.spawn_agents, units, 0);
    place_side(world, stream, world.spawn_enemies, units, world.n_agents);
    for (int i = 0; i < world.n_units(); ++i) fill_vitals(world, units[i]);
    Crowd crowd(world, units);
    if (world.spawn_jitter) scatter(world, stream, crowd);
    std::fill(crowd.mobility, crowd.mobility + world.n_units(), 1.0);
    for (int pass = 0; pass < 16; ++pass)
        if (!crowd.push_apart()) break;
    crowd.write_back(units);
    const auto rank = [&](const Unit &unit) {
        const auto &order = world.agent_kind_order;
        return std::find(order.begin(), order.end(), unit.kind) - order.begin();
    };
    std::stable_sort(units, units + world.n_agents, [&](const Unit &a, const Unit &b) {
        if (rank(a) != rank(b)) return rank(a) < rank(b);
        return a.x != b.x ? a.x < b.x : a.y < b.y;
    });
    choose_goal(world, battle);
    for (int i = world.n_agents; i < world.n_units(); ++i) {
        const bool stays = world.goal_kind == GoalKind::none;
        units[i].order = OrderKind::attack_move;
        units[i].goal_x = stays ? units[i].x : battle.goal_x;
        units[i].goal_y = stays ? units[i].y : battle.goal_y;
    }
}

}  // namespace mast
