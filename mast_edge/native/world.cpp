#include "world.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace mast {

static World::Pair pair_of(const UnitKind &a, const UnitKind &b) {
    const auto square = [](double value) { return value * value; };
    World::Pair p{};
    p.radii = a.radius + b.radius;
    p.reach_sq = square(a.range + p.radii);
    p.keep_sq = square(a.range + a.slop + p.radii);
    p.scan_sq = square(a.scan + p.radii);
    p.alert_sq = square(2.0 * a.scan + p.radii);
    p.touch = a.separation + b.separation;
    p.collides = a.collision_group == b.collision_group;
    p.can_hit = a.armed && (b.air ? a.hits_air : a.hits_ground);
    p.damage = a.damage;
    for (int bit = 0; bit < kAttributes; ++bit)
        if ((b.attributes >> bit) & 1u) p.damage += a.bonus[bit];
    return p;
}

static int count_units(const std::vector<SpawnGroup> &groups, std::size_t n_kinds) {
    int total = 0;
    for (const SpawnGroup &group : groups) {
        if (group.kind < 0 || group.kind >= static_cast<int>(n_kinds) || group.count < 1)
            throw std::invalid_argument("skirmish: spawn group must name a kind and a positive count.");
        if (!(group.x >= 0 && group.x < kMapSize && group.y >= 0 && group.y < kMapSize))
            throw std::invalid_argument("skirmish: spawn point must lie on the map.");
        total += group.count;
    }
    return total;
}

void World::prepare() {
    if (kinds.empty() || kinds.size() > kMaxKinds)
        throw std::invalid_argument("skirmish: number of unit kinds must be in 1..12; got " +
                                    std::to_string(kinds.size()) + ".");
    n_agents = count_units(spawn_agents, kinds.size());
    n_enemies = count_units(spawn_enemies, kinds.size());
    if (n_agents < 1 || n_enemies < 1 || n_units() > kMaxUnits)
        throw std::invalid_argument("skirmish: number of units must be in 2..80 with both sides present; got " +
                                    std::to_string(n_units()) + ".");
    for (const SpawnGroup &group : spawn_agents)
        if (std::count(agent_kind_order.begin(), agent_kind_order.end(), group.kind) != 1)
            throw std::invalid_argument("skirmish: every kind of the agents must be in agent_kind_order once.");
    if (goal.size() != 1 && goal.size() != 2)
        throw std::invalid_argument("skirmish: goal must be one point or the two ends of a segment.");
    for (std::size_t a = 0; a < kinds.size(); ++a) {
        const UnitKind &kind = kinds[a];
        if (kind.hits < 1 || kind.hits > 3 || kind.hit_delay < 0 || kind.hit_delay > 255 || kind.windup < 0 ||
            kind.windup > 127 || kind.backswing < 0 || kind.backswing > 255)
            throw std::invalid_argument("skirmish: weapon must have 1..3 hits and times that fit a byte.");
        regenerates[a] = kind.shield_regen > 0 || kind.life_regen > 0 || kind.energy_regen > 0;
        any_regenerates = any_regenerates || regenerates[a];
        for (std::size_t b = 0; b < kinds.size(); ++b) {
            pair[a][b] = pair_of(kind, kinds[b]);
            widest_touch = std::max(widest_touch, pair[a][b].touch);
        }
        longest_step = std::max(longest_step, kind.speed + 1.0 / 4096.0);    // each coordinate is rounded
    }
}

}  // namespace mast
