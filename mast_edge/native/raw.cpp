// Single orders, loops and deaths, for clients that command units themselves instead of choosing actions.
#include <stdexcept>
#include <string>

#include "loop.hpp"
#include "simulator.hpp"

namespace mast {

namespace {

void expect_index(const char *what, int index, int count) {
    if (index < 0 || index >= count)
        throw std::invalid_argument(std::string("skirmish: ") + what + " must be in 0.." + std::to_string(count - 1) +
                                    "; got " + std::to_string(index) + ".");
}

}  // namespace

void Simulator::restart(int env) {
    expect_index("environment", env, n_envs_);
    spawn(world_, battle(env));
}

void Simulator::order(int env, int agent, const Order &wanted) {
    expect_index("environment", env, n_envs_);
    expect_index("agent", agent, face_.n_agents);
    if (wanted.kind == OrderKind::attack)
        expect_index("enemy's unit number", wanted.target - face_.n_agents, face_.n_enemies);
    else if (wanted.kind == OrderKind::heal)
        expect_index("patient", wanted.target, face_.n_agents);
    else if (wanted.kind != OrderKind::stand && wanted.kind != OrderKind::move)
        throw std::invalid_argument("skirmish: order must be to stand, move, attack or heal.");
    const bool targets = wanted.kind == OrderKind::attack || wanted.kind == OrderKind::heal;
    if (!targets && wanted.target != -1)
        throw std::invalid_argument("skirmish: target must be -1 unless the order is to attack or heal; got " +
                                    std::to_string(wanted.target) + ".");
    if (targets && !battle(env).units()[wanted.target].alive) return;
    give_order(world_, battle(env), agent, wanted);
}

void Simulator::play_loops(int env, int loops) {
    expect_index("environment", env, n_envs_);
    if (loops < 0)
        throw std::invalid_argument("skirmish: loops must be at least 0; got " + std::to_string(loops) + ".");
    advance(world_, battle(env), loops);
}

void Simulator::kill(int env, int unit_number) {
    expect_index("environment", env, n_envs_);
    expect_index("unit", unit_number, world_.n_units());
    Unit &unit = battle(env).units()[unit_number];
    if (!unit.alive) return;
    lay_dead(unit, world_.kinds[unit.kind]);
}

}  // namespace mast
