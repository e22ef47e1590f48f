// Saving and restoring whole environments, and what a block must hold to be played on.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>

#include "heuristic.hpp"
#include "simulator.hpp"

namespace mast {

namespace {

constexpr std::uint32_t kMostLoops = 1u << 30;
constexpr double kFarthest = 4294967296.0;    // more than any move leads beyond the map

// False for NaN.
bool within(double value, double least, double most) { return value >= least && value <= most; }

bool on_map(double x, double y) { return x >= 0 && x < kMapSize && y >= 0 && y < kMapSize; }

// Looked at as a byte: a bool that is neither 0 nor 1 must not be read as one.
template <typename Struct>
bool is_flag(const Struct &holder, std::size_t offset) {
    return reinterpret_cast<const unsigned char *>(&holder)[offset] <= 1;
}

bool has_sound_values(const Unit &unit, const UnitKind &kind) {
    return within(unit.health, 0, kind.health_max) && within(unit.shield, 0, kind.shield_max) &&
           within(unit.energy, 0, kind.energy_max) && within(unit.cooldown, -kFarthest, kFarthest) &&
           within(unit.previous_vitals, 0, kind.health_max + kind.shield_max) &&
           within(unit.goal_distance, 0, kFarthest) && within(unit.beam_x, 0, kMapSize) &&
           within(unit.beam_y, 0, kMapSize) && within(unit.beam_half_x, -kMapSize, kMapSize) &&
           within(unit.beam_half_y, -kMapSize, kMapSize) && unit.alive == (unit.health > 0);
}

// Places that units walk to become cells of the map; moves alone lead straight on, beyond its border too.
bool has_sound_places(const Unit &unit) {
    if (!on_map(unit.x, unit.y) || quantise(unit.x) != unit.x || quantise(unit.y) != unit.y) return false;
    if (unit.order == OrderKind::attack_move) return on_map(unit.goal_x, unit.goal_y);
    return within(unit.goal_x, -kFarthest, kFarthest) && within(unit.goal_y, -kFarthest, kFarthest);
}

bool has_sound_order(const Unit &unit, const UnitKind &kind) {
    switch (unit.order) {
        case OrderKind::stand:
        case OrderKind::move:
            return unit.target < 0;
        case OrderKind::attack:
            return unit.target >= 0 && kind.armed();
        case OrderKind::attack_move:
            return unit.target < 0 || kind.armed() || kind.heals();
        case OrderKind::heal:
            return unit.target >= 0 && kind.heals();
    }
    return false;
}

bool is_sound_unit(const World &world, const Interface &face, const Battle &b, int i) {
    const Unit &unit = b.units()[i];
    const auto in_battle = [&](int index) { return index >= -1 && index < world.n_units(); };
    if (unit.kind != world.unit_kind[static_cast<std::size_t>(i)] || !is_flag(unit, offsetof(Unit, alive)) ||
        !is_flag(unit, offsetof(Unit, sidestep_right)) || !is_flag(unit, offsetof(Unit, counted_dead)))
        return false;
    const UnitKind &kind = world.kinds[unit.kind];
    return in_battle(unit.target) && in_battle(unit.hurt_by) && in_battle(unit.pending_target) &&
           in_battle(unit.goal_unit) && (unit.pending_loops == 0 || unit.pending_target >= 0) &&
           unit.last_action >= -1 && unit.last_action < face.n_actions &&
           is_sound_choice(face, i, unit.heuristic_target) && unit.damaged_loop >= -1000000 &&
           unit.damaged_loop <= static_cast<std::int32_t>(b.loop) && has_sound_values(unit, kind) &&
           has_sound_places(unit) && has_sound_order(unit, kind);
}

// Indices and places in a block are followed without further checks while playing, so they are checked here.
bool is_sound(const World &world, const Interface &face, const Battle &b) {
    if (b.format != world.fingerprint || b.n_units != world.n_units() || !is_flag(b, offsetof(Battle, over)) ||
        b.loop > kMostLoops || b.step < 0 || b.step > face.limit)
        return false;
    for (int i = 0; i < world.n_units(); ++i)
        if (!is_sound_unit(world, face, b, i)) return false;
    return true;
}

}  // namespace

void Simulator::save(std::uint8_t *out) const {
    std::memcpy(out, memory_.data(), stride_ * static_cast<std::size_t>(n_envs_));
}

void Simulator::restore(const std::uint8_t *blocks) {
    std::vector<std::uint64_t> memory(memory_.size());
    std::memcpy(memory.data(), blocks, stride_ * static_cast<std::size_t>(n_envs_));
    for (int env = 0; env < n_envs_; ++env) {
        const auto *b = reinterpret_cast<const Battle *>(
            &memory[stride_ / sizeof(std::uint64_t) * static_cast<std::size_t>(env)]);
        if (!is_sound(world_, face_, *b))
            throw std::invalid_argument("skirmish: snapshot must come from the same map and version; row " +
                                        std::to_string(env) + " does not. Take it from an environment like this one.");
    }
    memory_.swap(memory);
}

}  // namespace mast
