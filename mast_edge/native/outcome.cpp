// Reward, end of the episode and statistics (smac.md 6).
#include <cmath>

#include "interface.hpp"

namespace mast {

namespace {

enum class End { none, win, defeat, draw };

struct Change {
    double lost_vitals = 0;    // previous minus present health + shield; all of it for the dead
    int deaths = 0;
    int dead = 0;              // in the whole episode
    int living = 0, living_medivacs = 0;
};

Change measure(const Interface &face, Unit *units, int begin, int end) {
    Change change;
    for (int i = begin; i < end; ++i) {
        Unit &unit = units[i];
        change.dead += !unit.alive;
        change.living += unit.alive;
        change.living_medivacs += unit.alive && face.units[i].medivac;
        if (unit.counted_dead) continue;
        const double vitals = unit.alive ? unit.health + unit.shield : 0.0;
        change.lost_vitals += unit.previous_vitals - vitals;
        change.deaths += !unit.alive;
        unit.counted_dead = !unit.alive;
        unit.previous_vitals = vitals;
    }
    return change;
}

End end_of(const Interface &face, const Change &own, const Change &enemy) {
    const bool mmm = face.medivac_rules;
    if ((own.living == 0 && enemy.living > 0) || (mmm && own.living == own.living_medivacs)) return End::defeat;
    if ((own.living > 0 && enemy.living == 0) || (mmm && enemy.living == 1 && enemy.living_medivacs == 1))
        return End::win;
    return own.living == 0 && enemy.living == 0 ? End::draw : End::none;
}

}  // namespace

Outcome conclude_step(const Interface &face, Battle &battle, Unit *units) {
    const Change own = measure(face, units, 0, face.n_agents);
    const Change enemy = measure(face, units, face.n_agents, face.n_units());
    ++battle.step;
    const End end = end_of(face, own, enemy);
    double reward = 0.0;
    if (!face.reward_sparse) {
        reward = enemy.lost_vitals + face.reward_death_value * enemy.deaths;
        if (face.reward_only_positive)
            reward = std::fabs(reward);
        else
            reward -= face.reward_negative_scale * (own.lost_vitals + face.reward_death_value * own.deaths);
    }
    if (end == End::win) reward += face.reward_sparse ? 1.0 : face.reward_win;
    if (end == End::defeat) reward += face.reward_sparse ? -1.0 : face.reward_defeat;
    if (face.reward_scale) reward /= face.max_reward / face.reward_scale_rate;
    const bool timed_out = end == End::none && battle.step >= face.limit;
    const bool terminated = end != End::none || timed_out;
    battle.over = terminated;
    battle.battles_game += terminated;
    battle.battles_won += end == End::win;
    battle.timeouts += timed_out;
    return {reward, terminated, timed_out, end == End::win, own.dead, enemy.dead};
}

}  // namespace mast
