#include "world.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

namespace mast {

namespace {

double square(double value) { return value * value; }

World::Pair pair_of(const UnitKind &a, const UnitKind &b) {
    World::Pair p{};
    p.radii = a.radius + b.radius;
    p.reach_sq = square(a.range + p.radii);
    p.keep_sq = square(a.range + a.slop + p.radii);
    p.scan_sq = square(a.scan + p.radii);
    p.alert_sq = square(2.0 * a.scan + p.radii);
    p.blast_sq = square(a.blast_radius + b.radius);
    p.heal_sq = square(a.heal_range + p.radii);
    p.heal_scan_sq = square(a.heal_scan + p.radii);
    p.touch = a.separation + b.separation;
    p.collides = a.collision_group == b.collision_group;
    p.can_hit = a.armed() && (b.air ? a.hits_air : a.hits_ground);
    p.can_heal = a.heals() && ((b.attributes >> kBiological) & 1u);
    p.damage = a.damage;
    for (int bit = 0; bit < kAttributes; ++bit)
        if ((b.attributes >> bit) & 1u) p.damage += a.bonus[static_cast<std::size_t>(bit)];
    return p;
}

int count_units(const std::vector<SpawnGroup> &groups, std::size_t n_kinds) {
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

}  // namespace

void World::check() const {
    if (n_agents < 1 || n_enemies < 1 || n_units() > kMaxUnits)
        throw std::invalid_argument("skirmish: number of units must be in 2..80 with both sides present; got " +
                                    std::to_string(n_units()) + ".");
    for (const SpawnGroup &group : spawn_agents)
        if (std::count(agent_kind_order.begin(), agent_kind_order.end(), group.kind) != 1)
            throw std::invalid_argument("skirmish: every kind of the agents must be in agent_kind_order once.");
    const std::size_t points = goal_kind == GoalKind::point ? 1 : goal_kind == GoalKind::segment ? 2 : 0;
    if (goal.size() != points)
        throw std::invalid_argument("skirmish: goal must have 1 point, the 2 ends of a segment, or none; got " +
                                    std::to_string(goal.size()) + " for this kind of goal.");
    for (const auto &[x, y] : goal)
        if (!(x >= 0 && x < kMapSize && y >= 0 && y < kMapSize))
            throw std::invalid_argument("skirmish: goal must lie on the map.");
    for (const UnitKind &kind : kinds)
        if (kind.hits < 1 || kind.hits > 2 || kind.hit_delay < 0 || kind.hit_delay > 255 || kind.windup < 0 ||
            kind.windup > 127 || kind.backswing < 0 || kind.backswing > 255 ||
            (kind.weapon == WeaponKind::missile && !(kind.missile_speed > 0)) ||
            (kind.weapon == WeaponKind::beam && !(kind.beam_half_length > 0 && kind.hit_delay > 0)))
            throw std::invalid_argument("skirmish: weapon must have 1 or 2 hits, times that fit a byte, and the "
                                        "speed of its missile or the length and delay of its beam.");
}

void World::lay_floors() {
    floor[kGround] = walkable;
    for (std::size_t y = 0; y < kMapSize; ++y) floor[kCliffWalk][y] = walkable[y] | cliff[y];
    floor[kAir].fill(0xFFFFFFFFu);
    for (const Terrain t : {kGround, kCliffWalk}) {
        if (!Paths::all_straight(floor[t])) paths[t] = std::make_shared<const Paths>(floor[t]);
        if (goal_kind == GoalKind::agents)
            to_agents[t] = paths[t] ? paths[t] : std::make_shared<const Paths>(floor[t]);
    }
}

void World::list_kinds() {
    for (const int kind : agent_kind_order)
        for (const SpawnGroup &group : spawn_agents)
            if (group.kind == kind) unit_kind.insert(unit_kind.end(), static_cast<std::size_t>(group.count),
                                                     static_cast<std::uint8_t>(kind));
    for (const SpawnGroup &group : spawn_enemies)
        unit_kind.insert(unit_kind.end(), static_cast<std::size_t>(group.count),
                         static_cast<std::uint8_t>(group.kind));
}

// FNV-1a over what decides a battle.
std::uint32_t World::digest() const {
    std::uint32_t hash = 2166136261u;
    const auto add = [&hash](std::uint64_t word) {
        for (int byte = 0; byte < 8; ++byte, word >>= 8) hash = (hash ^ (word & 0xFFu)) * 16777619u;
    };
    add(kFormat);
    for (const UnitKind &k : kinds) {
        for (const double value : {k.health_max, k.shield_max, k.armor, k.energy_max, k.speed, k.radius, k.separation,
                                   k.damage, k.range, k.scan, k.period, k.blast_radius, k.heal_rate})
            add(std::bit_cast<std::uint64_t>(value));
        for (const double value : k.bonus) add(std::bit_cast<std::uint64_t>(value));
        add(k.attributes);
        add(static_cast<std::uint64_t>(k.windup));
    }
    for (const auto *groups : {&spawn_agents, &spawn_enemies}) {
        add(groups->size());
        for (const SpawnGroup &g : *groups) {
            add(static_cast<std::uint64_t>(g.kind) << 32 | static_cast<std::uint64_t>(g.count));
            add(std::bit_cast<std::uint64_t>(g.x));
            add(std::bit_cast<std::uint64_t>(g.y));
        }
    }
    for (const std::uint32_t row : walkable) add(row);
    for (const std::uint32_t row : cliff) add(row);
    return hash;
}

void World::prepare() {
    if (kinds.empty() || kinds.size() > kMaxKinds)
        throw std::invalid_argument("skirmish: number of unit kinds must be in 1..12; got " +
                                    std::to_string(kinds.size()) + ".");
    n_agents = count_units(spawn_agents, kinds.size());
    n_enemies = count_units(spawn_enemies, kinds.size());
    check();
    lay_floors();
    list_kinds();
    fingerprint = digest();
    for (std::size_t a = 0; a < kinds.size(); ++a) {
        const UnitKind &kind = kinds[a];
        terrain[a] = kind.air ? kAir : kind.cliff_walk ? kCliffWalk : kGround;
        regenerates[a] = kind.shield_regen > 0 || kind.life_regen > 0 || kind.energy_regen > 0;
        any_regenerates = any_regenerates || regenerates[a];
        for (std::size_t b = 0; b < kinds.size(); ++b) {
            pair[a][b] = pair_of(kind, kinds[b]);
            if (pair[a][b].collides) widest_touch = std::max(widest_touch, pair[a][b].touch);
        }
        longest_step = std::max(longest_step, kind.speed + 1.0 / 4096.0);    // each coordinate is rounded
    }
}

}  // namespace mast
