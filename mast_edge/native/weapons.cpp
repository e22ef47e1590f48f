// What weapons and medivacs do, and who dies of it (smac.md 9.5, 9.7).
#include <algorithm>
#include <cmath>

#include "loop.hpp"

namespace mast {

namespace {

// The target, if it lives, and every ground opponent near the beam: two hits each.
void land_beam(Loop &loop, int i) {
    const Unit &unit = loop.units[i];
    const UnitKind &kind = *loop.kind[i];
    const double half_sq = unit.beam_half_x * unit.beam_half_x + unit.beam_half_y * unit.beam_half_y;
    for (int j = loop.first_opponent(i), end = loop.end_of_opponents(i); j < end; ++j) {
        if (!loop.units[j].alive) continue;
        bool caught = j == unit.pending_target;
        if (!caught && loop.pair[i][loop.units[j].kind].can_hit) {
            const double ex = loop.crowd.x[j] - unit.beam_x, ey = loop.crowd.y[j] - unit.beam_y;
            const double along = std::clamp((ex * unit.beam_half_x + ey * unit.beam_half_y) / half_sq, -1.0, 1.0);
            const double dx = ex - along * unit.beam_half_x, dy = ey - along * unit.beam_half_y;
            const double reach = kind.beam_half_width + loop.kind[j]->radius;
            caught = dx * dx + dy * dy <= reach * reach;
        }
        if (caught) loop.add_hit(i, j, kind.hits);
    }
}

// Fixes the line of a beam through its target, perpendicular to the way there.
void aim_beam(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const double half = loop.kind[i]->beam_half_length;
    const double dx = loop.crowd.x[unit.target] - loop.crowd.x[i], dy = loop.crowd.y[unit.target] - loop.crowd.y[i];
    const double distance = std::sqrt(dx * dx + dy * dy);
    unit.beam_x = loop.crowd.x[unit.target];
    unit.beam_y = loop.crowd.y[unit.target];
    unit.beam_half_x = distance > 0.0 ? quantise(-dy * (half / distance)) : 0.0;
    unit.beam_half_y = distance > 0.0 ? quantise(dx * (half / distance)) : half;
}

int flight_loops(const Loop &loop, int i, double target_sq) {
    const World::Pair &pair = loop.pair[i][loop.units[loop.units[i].target].kind];
    const double edge = std::sqrt(target_sq) - pair.radii;
    return static_cast<int>(std::clamp(std::ceil(edge / loop.kind[i]->missile_speed), 1.0, 255.0));
}

void fire(Loop &loop, int i, double target_sq) {
    Unit &unit = loop.units[i];
    const UnitKind &kind = *loop.kind[i];
    unit.winding = -1;
    unit.backswing = static_cast<std::uint8_t>(
        std::min(static_cast<double>(kind.backswing), std::ceil(std::max(unit.cooldown, 0.0))));
    int pending = 0;
    switch (kind.weapon) {
        case WeaponKind::suicide:
            loop.bursting[i] = true;
            ++loop.n_bursting;
            return;
        case WeaponKind::missile:
            pending = flight_loops(loop, i, target_sq);
            break;
        case WeaponKind::beam:
            aim_beam(loop, i);
            pending = kind.hit_delay;
            break;
        default:
            loop.add_hit(i, unit.target, kind.hit_delay > 0 ? 1 : kind.hits);
            if (kind.hits > 1) pending = kind.hit_delay;
    }
    unit.pending_loops = static_cast<std::uint8_t>(pending);
    unit.pending_target = unit.target;
}

void start_attack(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const UnitKind &kind = *loop.kind[i];
    const std::uint32_t draw = loop.battle.stream().below(3 * 4096, Purpose::weapon_delay, i, 0);
    unit.cooldown = quantise(unit.cooldown + kind.period + (static_cast<double>(draw) / 4096.0 - 1.0));
    unit.winding = static_cast<std::int8_t>(kind.windup);
}

void heal(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    const UnitKind &kind = *loop.kind[i];
    if (unit.energy < price_of_loop(kind)) return;
    Unit &patient = loop.units[unit.target];
    const double given = std::min(kind.heal_rate, loop.kind[unit.target]->health_max - patient.health);
    patient.health += given;
    unit.energy -= quantise(given * kind.heal_price);
}

void apply_hit(Loop &loop, int source, int victim) {
    Unit &target = loop.units[victim];
    const UnitKind &kind = *loop.kind[victim];
    double damage = loop.pair[source][target.kind].damage;
    const double absorbed = std::min(target.shield, damage);
    target.shield -= absorbed;
    damage -= absorbed;
    if (damage > 0.0) target.health -= std::max(damage - kind.armor, 0.5);
    target.damaged_loop = static_cast<std::int32_t>(loop.battle.loop);
    if (target.hurt_by < 0) target.hurt_by = static_cast<std::int16_t>(source);
}

// The dead leave the world at once.
void kill(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    lay_dead(unit, *loop.kind[i]);
    unit.x = loop.crowd.x[i];
    unit.y = loop.crowd.y[i];
    loop.crowd.remove(i);
}

void blast(Loop &loop, int i) {
    const Unit &unit = loop.units[i];
    for (int j = loop.first_opponent(i), end = loop.end_of_opponents(i); j < end; ++j) {
        if (!loop.units[j].alive) continue;
        const World::Pair &pair = loop.pair[i][loop.units[j].kind];
        const double dx = loop.crowd.x[j] - unit.x, dy = loop.crowd.y[j] - unit.y;
        if (pair.can_hit && dx * dx + dy * dy <= pair.blast_sq) apply_hit(loop, i, j);
    }
}

// Deaths, in rounds: who is killed by a blast dies in the next one. Returns whether anybody died.
bool bury(Loop &loop) {
    bool anyone = false;
    for (;;) {
        int dead[kMaxUnits], n_dead = 0;
        for (int i = 0; i < loop.world.n_units(); ++i)
            if (loop.units[i].alive && (loop.units[i].health <= 0.0 || loop.bursting[i])) dead[n_dead++] = i;
        if (n_dead == 0) return anyone;
        anyone = true;
        for (int d = 0; d < n_dead; ++d) kill(loop, dead[d]);
        for (int d = 0; d < n_dead; ++d) {
            loop.bursting[dead[d]] = false;
            if (loop.kind[dead[d]]->blast_radius > 0.0) blast(loop, dead[d]);
        }
    }
}

}  // namespace

void advance_pending(Loop &loop, int i) {
    Unit &unit = loop.units[i];
    if (unit.pending_loops == 0 || --unit.pending_loops > 0) return;
    if (loop.kind[i]->weapon == WeaponKind::beam)
        land_beam(loop, i);
    else if (loop.units[unit.pending_target].alive)
        loop.add_hit(i, unit.pending_target, 1);
}

void use_weapon(Loop &loop, int i, bool in_range, double target_sq) {
    Unit &unit = loop.units[i];
    if (in_range && unit.winding < 0 && unit.backswing == 0 && unit.cooldown <= 0.0) start_attack(loop, i);
    if (unit.winding == 0) fire(loop, i, target_sq);
}

void settle(Loop &loop) {
    for (int h = 0; h < loop.n_healers; ++h) heal(loop, loop.healer[h]);
    if (loop.n_hits == 0 && loop.n_bursting == 0) return;
    for (int h = 0; h < loop.n_hits; ++h)
        for (int time = 0; time < loop.hits[h].count; ++time) apply_hit(loop, loop.hits[h].source, loop.hits[h].target);
    if (!bury(loop)) return;
    for (int w = 0; w < loop.n_walkers; ++w) {    // nobody walks toward the dead in this loop
        const int i = loop.walker[w];
        if (loop.units[i].alive && (loop.pursued[i] < 0 || loop.units[loop.pursued[i]].alive)) continue;
        loop.step_x[i] = loop.step_y[i] = 0.0;
        loop.crowd.mobility[i] = loop.kind[i]->structure ? 0.0 : kStanding;
    }
}

}  // namespace mast
