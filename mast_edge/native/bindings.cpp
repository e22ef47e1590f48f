// What Python sees of the simulator, and the module itself. Agents: bindings_agent.cpp; learner: bindings_learner.cpp.
#include "bindings.hpp"

#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "probe.hpp"

mast::Views views_of(const mast::Simulator &sim, const Buffer<float, 3> &obs, const Buffer<float, 2> &state,
                     const Buffer<std::uint8_t, 3> &avail, const Which &which) {
    const mast::Interface &face = sim.face();
    return {checked("obs", obs, {sim.n_envs(), face.n_agents, face.obs_dim}),
            checked("state", state, {sim.n_envs(), face.state_dim}),
            checked("avail", avail, {sim.n_envs(), face.n_agents, face.n_actions}),
            which ? checked("which", *which, {sim.n_envs()}) : nullptr};
}

static void bind_tables(nb::module_ &m) {
    using mast::Interface;
    using mast::UnitFace;
    using mast::UnitKind;
    using mast::World;
    nb::class_<UnitKind>(m, "UnitKind")
        .def(nb::init<>())
        .def_rw("health_max", &UnitKind::health_max)
        .def_rw("shield_max", &UnitKind::shield_max)
        .def_rw("armor", &UnitKind::armor)
        .def_rw("energy_start", &UnitKind::energy_start)
        .def_rw("energy_max", &UnitKind::energy_max)
        .def_rw("energy_regen", &UnitKind::energy_regen)
        .def_rw("shield_regen", &UnitKind::shield_regen)
        .def_rw("life_regen", &UnitKind::life_regen)
        .def_rw("shield_delay", &UnitKind::shield_delay)
        .def_rw("speed", &UnitKind::speed)
        .def_rw("radius", &UnitKind::radius)
        .def_rw("separation", &UnitKind::separation)
        .def_rw("air", &UnitKind::air)
        .def_rw("structure", &UnitKind::structure)
        .def_rw("collision_group", &UnitKind::collision_group)
        .def_rw("attributes", &UnitKind::attributes)
        .def_rw("cliff_walk", &UnitKind::cliff_walk)
        .def_prop_rw("weapon", [](const UnitKind &k) { return static_cast<int>(k.weapon); },
                     [](UnitKind &k, int weapon) {
                         if (weapon < 0 || weapon > 4) throw std::invalid_argument("skirmish: weapon must be in 0..4.");
                         k.weapon = static_cast<mast::WeaponKind>(weapon);
                     })
        .def_rw("hits_ground", &UnitKind::hits_ground)
        .def_rw("hits_air", &UnitKind::hits_air)
        .def_rw("damage", &UnitKind::damage)
        .def_rw("range", &UnitKind::range)
        .def_rw("scan", &UnitKind::scan)
        .def_rw("slop", &UnitKind::slop)
        .def_rw("period", &UnitKind::period)
        .def_rw("bonus", &UnitKind::bonus)
        .def_rw("hits", &UnitKind::hits)
        .def_rw("hit_delay", &UnitKind::hit_delay)
        .def_rw("windup", &UnitKind::windup)
        .def_rw("backswing", &UnitKind::backswing)
        .def_rw("missile_speed", &UnitKind::missile_speed)
        .def_rw("beam_half_length", &UnitKind::beam_half_length)
        .def_rw("beam_half_width", &UnitKind::beam_half_width)
        .def_rw("blast_radius", &UnitKind::blast_radius)
        .def_rw("heal_rate", &UnitKind::heal_rate)
        .def_rw("heal_price", &UnitKind::heal_price)
        .def_rw("heal_range", &UnitKind::heal_range)
        .def_rw("heal_scan", &UnitKind::heal_scan)
        .def_rw("heal_min_energy", &UnitKind::heal_min_energy);
    nb::class_<World>(m, "World")
        .def(nb::init<>())
        .def_rw("kinds", &World::kinds)
        .def("add_agents", [](World &w, int kind, int n, double x, double y) { w.spawn_agents.push_back({kind, n, x, y}); },
             "kind"_a, "count"_a, "x"_a, "y"_a)
        .def("add_enemies", [](World &w, int kind, int n, double x, double y) { w.spawn_enemies.push_back({kind, n, x, y}); },
             "kind"_a, "count"_a, "x"_a, "y"_a)
        .def_rw("agent_kind_order", &World::agent_kind_order)
        .def_rw("walkable", &World::walkable)
        .def_rw("cliff", &World::cliff)
        .def_prop_rw("goal_kind", [](const World &w) { return static_cast<int>(w.goal_kind); },
                     [](World &w, int kind) {
                         if (kind < 0 || kind > 3) throw std::invalid_argument("skirmish: goal kind must be in 0..3.");
                         w.goal_kind = static_cast<mast::GoalKind>(kind);
                     })
        .def_rw("goal", &World::goal)
        .def_rw("spawn_jitter", &World::spawn_jitter);
    nb::class_<Interface>(m, "Interface")
        .def(nb::init<>())
        .def("add_unit", [](Interface &f, double health_max, double shield_max, double cooldown_scale, int type_slot,
                            bool medivac) {
                 f.units.push_back({health_max, shield_max, cooldown_scale, type_slot, medivac});
             }, "health_max"_a, "shield_max"_a, "cooldown_scale"_a, "type_slot"_a, "medivac"_a)
        .def_rw("n_agents", &Interface::n_agents)
        .def_rw("n_enemies", &Interface::n_enemies)
        .def_rw("type_bits", &Interface::type_bits)
        .def_rw("ally_shields", &Interface::ally_shields)
        .def_rw("enemy_shields", &Interface::enemy_shields)
        .def_rw("medivac_rules", &Interface::medivac_rules)
        .def_rw("walkable", &Interface::walkable)
        .def_rw("height", &Interface::height)
        .def_rw("limit", &Interface::limit)
        .def_rw("move_amount", &Interface::move_amount)
        .def_rw("obs_all_health", &Interface::obs_all_health)
        .def_rw("obs_own_health", &Interface::obs_own_health)
        .def_rw("obs_last_action", &Interface::obs_last_action)
        .def_rw("obs_pathing_grid", &Interface::obs_pathing_grid)
        .def_rw("obs_terrain_height", &Interface::obs_terrain_height)
        .def_rw("obs_timestep_number", &Interface::obs_timestep_number)
        .def_rw("obs_instead_of_state", &Interface::obs_instead_of_state)
        .def_rw("state_last_action", &Interface::state_last_action)
        .def_rw("state_timestep_number", &Interface::state_timestep_number)
        .def_rw("reward_sparse", &Interface::reward_sparse)
        .def_rw("reward_only_positive", &Interface::reward_only_positive)
        .def_rw("reward_scale", &Interface::reward_scale)
        .def_rw("heuristic_ai", &Interface::heuristic_ai)
        .def_rw("heuristic_rest", &Interface::heuristic_rest)
        .def_rw("reward_death_value", &Interface::reward_death_value)
        .def_rw("reward_win", &Interface::reward_win)
        .def_rw("reward_defeat", &Interface::reward_defeat)
        .def_rw("reward_negative_scale", &Interface::reward_negative_scale)
        .def_rw("reward_scale_rate", &Interface::reward_scale_rate)
        .def_ro("n_actions", &Interface::n_actions)
        .def_ro("obs_dim", &Interface::obs_dim)
        .def_ro("state_dim", &Interface::state_dim)
        .def_ro("max_reward", &Interface::max_reward)
        .def("prepare", &Interface::prepare);
}

static void step_simulator(mast::Simulator &sim, const Buffer<std::int64_t, 2> &actions, const Which &which,
                           const Buffer<float, 3> &obs, const Buffer<float, 2> &state,
                           const Buffer<std::uint8_t, 3> &avail, const Buffer<double, 1> &reward,
                           const Buffer<bool, 2> &flags, const Buffer<std::int32_t, 2> &dead) {
    const int n = sim.n_envs();
    const mast::Views views = views_of(sim, obs, state, avail, which);
    std::int64_t *chosen = checked("actions", actions, {n, sim.face().n_agents});
    bool *flag = checked("flags", flags, {3, n});
    std::int32_t *counts = checked("dead", dead, {2, n});
    const mast::StepResults results{checked("reward", reward, {n}), flag, flag + n, flag + 2 * n, counts, counts + n};
    nb::gil_scoped_release release;
    sim.step(chosen, views, results);
}

// Columns of Simulator.units, in this order: see _core.pyi.
static void list_units(const mast::Simulator &sim, const Buffer<double, 3> &out) {
    double *row = checked("out", out, {sim.n_envs(), sim.world().n_units(), 12});
    for (int env = 0; env < sim.n_envs(); ++env) {
        const mast::Unit *units = sim.battle(env).units();
        for (int i = 0; i < sim.world().n_units(); ++i, row += 12) {
            const mast::Unit &u = units[i];
            const double columns[12] = {u.x, u.y, u.health, u.shield, u.energy, std::max(u.cooldown, 0.0),
                                        static_cast<double>(u.kind), static_cast<double>(u.alive),
                                        static_cast<double>(u.order), static_cast<double>(u.target), u.goal_x, u.goal_y};
            std::copy(columns, columns + 12, row);
        }
    }
}

static void list_counters(const mast::Simulator &sim, const Buffer<std::int64_t, 2> &out) {
    std::int64_t *row = checked("out", out, {sim.n_envs(), 7});
    for (int env = 0; env < sim.n_envs(); ++env, row += 7) {
        const mast::Battle &b = sim.battle(env);
        const std::int64_t columns[7] = {b.begun, b.step, b.loop, b.over, b.battles_won, b.battles_game, b.timeouts};
        std::copy(columns, columns + 7, row);
    }
}

static void bind_probe(nb::module_ &m) {
    using Table = Buffer<const float, 2>;
    using Actions = Buffer<const std::int64_t, 1>;
    using mast::Probe;
    static const auto table = [](const char *name, const Table &rows, int n) {
        return checked(name, rows, {n, Probe::kColumns});
    };
    nb::class_<Probe>(m, "Probe")
        .def(nb::init<mast::Interface>(), "interface"_a)
        .def("begin", [](Probe &p, const Table &allies, const Table &enemies) {
                 p.begin(table("allies", allies, p.face().n_agents), table("enemies", enemies, p.face().n_enemies));
             }, "allies"_a, "enemies"_a)
        .def("step", [](Probe &p, const Actions &actions, const Table &allies, const Table &enemies) {
                 const mast::Outcome o = p.step(checked("actions", actions, {p.face().n_agents}),
                                                table("allies", allies, p.face().n_agents),
                                                table("enemies", enemies, p.face().n_enemies));
                 return nb::make_tuple(o.reward, o.terminated, o.timed_out, o.battle_won, o.dead_allies, o.dead_enemies);
             }, "actions"_a, "allies"_a, "enemies"_a)
        .def("pose", [](Probe &p, const Table &allies, const Table &enemies, const Actions &last_actions, int step) {
                 p.pose(table("allies", allies, p.face().n_agents), table("enemies", enemies, p.face().n_enemies),
                        checked("last_actions", last_actions, {p.face().n_agents}), step);
             }, "allies"_a, "enemies"_a, "last_actions"_a, "step"_a)
        .def("observe", [](const Probe &p, const Buffer<float, 2> &obs, const Buffer<float, 1> &state,
                           const Buffer<std::uint8_t, 2> &avail, const Buffer<std::uint8_t, 2> &visible) {
                 const mast::Interface &f = p.face();
                 p.observe(checked("obs", obs, {f.n_agents, f.obs_dim}), checked("state", state, {f.state_dim}),
                           checked("avail", avail, {f.n_agents, f.n_actions}),
                           checked("visible", visible, {f.n_agents, f.n_units()}));
             }, "obs"_a, "state"_a, "avail"_a, "visible"_a)
        .def("orders", [](const Probe &p, const Actions &actions, const Buffer<float, 2> &out) {
                 p.orders(checked("actions", actions, {p.face().n_agents}),
                          checked("out", out, {p.face().n_agents, 4}));
             }, "actions"_a, "out"_a)
        .def_prop_ro("interface", &Probe::face)
        .def_prop_ro("counters", [](const Probe &p) {
            return nb::make_tuple(p.battle().battles_won, p.battle().battles_game, p.battle().timeouts);
        });
}

static void bind_simulator(nb::module_ &m) {
    using mast::Simulator;
    m.def("philox", &mast::philox, "counter"_a, "key0"_a, "key1"_a);
    bind_tables(m);
    nb::class_<Simulator>(m, "Simulator")
        .def(nb::init<mast::World, mast::Interface, int, std::uint64_t, int, int>(), "world"_a, "interface"_a,
             "n_envs"_a, "seed"_a, "step_mul"_a, "threads"_a = 1)
        .def("reset", [](Simulator &sim, const Which &which, const Buffer<float, 3> &obs, const Buffer<float, 2> &state,
                         const Buffer<std::uint8_t, 3> &avail) {
                 const mast::Views views = views_of(sim, obs, state, avail, which);
                 nb::gil_scoped_release release;
                 sim.reset(views);
             }, "which"_a.none(), "obs"_a, "state"_a, "avail"_a)
        .def("step", &step_simulator, "actions"_a, "which"_a.none(), "obs"_a, "state"_a, "avail"_a, "reward"_a,
             "flags"_a, "dead"_a)
        .def("refresh", [](Simulator &sim, const Buffer<float, 3> &obs, const Buffer<float, 2> &state,
                           const Buffer<std::uint8_t, 3> &avail) {
                 sim.refresh(views_of(sim, obs, state, avail, std::nullopt));
             }, "obs"_a, "state"_a, "avail"_a)
        .def("begin_at", &Simulator::begin_at, "episode"_a)
        .def("save", [](const Simulator &sim, const Buffer<std::uint8_t, 2> &out) {
                 sim.save(checked("out", out, {sim.n_envs(), static_cast<int>(sim.block_size())}));
             }, "out"_a)
        .def("restore", [](Simulator &sim, const Buffer<const std::uint8_t, 2> &blocks) {
                 sim.restore(checked("snapshot", blocks, {sim.n_envs(), static_cast<int>(sim.block_size())}));
             }, "blocks"_a)
        .def("restart", &Simulator::restart, "env"_a)
        .def("order", [](Simulator &sim, int env, int agent, std::uint8_t kind, int target, double x,
                         double y) {
                 sim.order(env, agent, {static_cast<mast::OrderKind>(kind), target, x, y});
             }, "env"_a, "agent"_a, "kind"_a, "target"_a, "x"_a, "y"_a)
        .def("play_loops", &Simulator::play_loops, "env"_a, "loops"_a)
        .def("kill", &Simulator::kill, "env"_a, "unit"_a)
        .def("visibility", [](const Simulator &sim, const Buffer<std::uint8_t, 3> &out) {
                 const mast::Interface &f = sim.face();
                 sim.show_visibility(checked("out", out, {sim.n_envs(), f.n_agents, f.n_units()}));
             }, "out"_a)
        .def("units", &list_units, "out"_a)
        .def("counters", &list_counters, "out"_a)
        .def_prop_ro("interface", &Simulator::face)
        .def_prop_ro("block_size", &Simulator::block_size);
    bind_probe(m);
}

NB_MODULE(_core, m) {
    m.doc() = "Native core of mast-edge: the skirmish simulator and the agent kernels.";
    bind_simulator(m);
    bind_agent(m);
    bind_training(m);
    bind_learner(m);
    bind_acting(m);
}
