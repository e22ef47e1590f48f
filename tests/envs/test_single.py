"""The single environment: SMAC's names and signatures, and the batch environment's numbers."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mast_edge.envs.maps import map_names
from mast_edge.envs.replay import load_replay
from mast_edge.envs.single import StarCraft2Env
from mast_edge.envs.single_facts import Direction
from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import ConfigError, EpisodeNotRunning, IllegalAction

SMAC_METHODS = {
    "reset": [],
    "full_restart": [],
    "step": ["actions"],
    "get_total_actions": [],
    "distance": ["x1", "y1", "x2", "y2"],
    "unit_shoot_range": ["agent_id"],
    "unit_sight_range": ["agent_id"],
    "unit_max_cooldown": ["unit"],
    "unit_max_shield": ["unit"],
    "can_move": ["unit", "direction"],
    "get_surrounding_points": ["unit", "include_self"],
    "check_bounds": ["x", "y"],
    "get_surrounding_pathing": ["unit"],
    "get_surrounding_height": ["unit"],
    "get_obs_agent": ["agent_id"],
    "get_obs": [],
    "get_state": [],
    "get_ally_num_attributes": [],
    "get_enemy_num_attributes": [],
    "get_state_dict": [],
    "get_obs_enemy_feats_size": [],
    "get_obs_ally_feats_size": [],
    "get_obs_own_feats_size": [],
    "get_obs_move_feats_size": [],
    "get_obs_size": [],
    "get_state_size": [],
    "get_visibility_matrix": [],
    "get_unit_type_id": ["unit", "ally"],
    "get_avail_agent_actions": ["agent_id"],
    "get_avail_actions": [],
    "close": [],
    "seed": [],
    "render": ["mode"],
    "save_replay": [],
    "get_unit_types": [],
    "only_medivac_left": ["ally"],
    "get_unit_by_id": ["a_id"],
    "get_stats": [],
    "get_env_info": [],
}
"""Public methods of SMAC's class with their arguments, without those that only talk to the game
(get_agent_action, get_agent_action_heuristic, reward_battle, init_units, update_units)."""

SMAC_OPTIONS = {
    "map_name": "8m", "step_mul": 8, "move_amount": 2, "difficulty": "7", "game_version": None, "seed": None,
    "continuing_episode": False, "obs_all_health": True, "obs_own_health": True, "obs_last_action": False,
    "obs_pathing_grid": False, "obs_terrain_height": False, "obs_instead_of_state": False,
    "obs_timestep_number": False, "state_last_action": True, "state_timestep_number": False,
    "reward_sparse": False, "reward_only_positive": True, "reward_death_value": 10, "reward_win": 200,
    "reward_defeat": 0, "reward_negative_scale": 0.5, "reward_scale": True, "reward_scale_rate": 20,
    "replay_dir": "", "replay_prefix": "", "window_size_x": 1920, "window_size_y": 1200,
    "heuristic_ai": False, "heuristic_rest": False, "debug": False,
}
"""Arguments of SMAC's constructor, in their order."""

SMAC_ATTRIBUTES = """
map_name n_agents n_enemies episode_limit difficulty obs_own_health obs_all_health obs_instead_of_state
obs_last_action obs_pathing_grid obs_terrain_height obs_timestep_number state_last_action
state_timestep_number n_obs_pathing n_obs_height reward_sparse reward_only_positive reward_negative_scale
reward_death_value reward_win reward_defeat reward_scale reward_scale_rate game_version continuing_episode
heuristic_ai heuristic_rest debug window_size replay_dir replay_prefix n_actions_no_attack n_actions_move
n_actions shield_bits_ally shield_bits_enemy unit_type_bits map_type max_reward ally_state_attr_names
enemy_state_attr_names agents enemies battles_won battles_game timeouts force_restarts last_stats
death_tracker_ally death_tracker_enemy last_action marine_id marauder_id medivac_id hydralisk_id zergling_id
baneling_id stalker_id colossus_id zealot_id max_distance_x max_distance_y map_x map_y reward terrain_height
pathing_grid _move_amount _step_mul _seed _episode_count _episode_steps _total_steps _agent_race _bot_race
_min_unit_type
"""

OPTIONS = [
    {},
    {"obs_last_action": True, "obs_pathing_grid": True, "obs_terrain_height": True},
    {"obs_all_health": False},
    {"obs_all_health": False, "obs_own_health": False, "state_last_action": False},
    {"obs_timestep_number": True, "state_timestep_number": True},
    {"obs_timestep_number": True, "obs_instead_of_state": True},
    {"reward_only_positive": False, "reward_scale": False},
    {"reward_sparse": True, "step_mul": 16, "move_amount": 3},
]


def legal(env: StarCraft2Env, rng: np.random.Generator) -> list[int]:
    return [int(rng.choice(np.flatnonzero(row))) for row in env.get_avail_actions()]


def play_on(env: StarCraft2Env, steps: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        env.step(legal(env, rng))


@pytest.mark.parametrize("name", SMAC_METHODS)
def test_methods_are_those_of_smac(name: str) -> None:
    arguments = list(inspect.signature(getattr(StarCraft2Env, name)).parameters)
    assert [argument for argument in arguments if argument != "self"] == SMAC_METHODS[name]


def test_constructor_takes_the_arguments_of_smac() -> None:
    parameters = list(inspect.signature(StarCraft2Env).parameters.values())
    plain = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert {p.name: p.default for p in plain} == SMAC_OPTIONS
    assert [p.name for p in plain] == list(SMAC_OPTIONS)
    assert StarCraft2Env("3m", None).options.step_mul == 8


def test_attributes_are_those_of_smac() -> None:
    env = StarCraft2Env("3m", 4, 1.5, obs_all_health=False, seed=11)
    assert [name for name in SMAC_ATTRIBUTES.split() if not hasattr(env, name)] == []
    assert (env._step_mul, env._move_amount, env.seed(), env._seed) == (4, 1.5, 11, 11)
    assert env.obs_own_health
    assert not env.obs_all_health
    assert StarCraft2Env("3m", obs_own_health=False).obs_own_health    # forced by obs_all_health
    assert (env.agents, env.enemies) == ({}, {})
    assert env.get_unit_types() == [10_000] * 3 + [48] * 3
    assert env.last_action.shape == (3, 9)
    assert env.pathing_grid[5, 8]
    assert not env.pathing_grid[5, 7]    # walkable from y = 8 on
    assert env.terrain_height[0, 0] == 127 / 255


@pytest.mark.parametrize("options", OPTIONS)
def test_shows_what_the_batch_environment_shows(options: dict[str, Any]) -> None:
    env = StarCraft2Env("5m_vs_6m", seed=9, continuing_episode=True, **options)
    batch = Skirmish("5m_vs_6m", seed=9, **options)
    rng = np.random.default_rng(2)
    for _ in range(3):
        obs, state = env.reset()
        batch.reset()
        terminated = False
        while not terminated:
            assert np.array_equal(np.stack(obs), batch.obs[0])
            assert np.array_equal(state, batch.state[0])
            assert env.get_avail_actions() == batch.avail[0].tolist()
            assert np.array_equal(env.get_visibility_matrix(), batch.visibility()[0])
            actions = legal(env, rng)
            reward, terminated, info = env.step(actions)
            step = batch.step(np.array([actions]))
            assert (reward, terminated) == (step.reward[0], step.terminated[0])
            expected = {
                "battle_won": step.battle_won[0],
                "dead_allies": step.dead_allies[0],
                "dead_enemies": step.dead_enemies[0],
            }
            assert info == expected | ({"episode_limit": True} if step.timed_out[0] else {})
            obs, state = env.get_obs(), env.get_state()
    assert env.get_stats()["battles_game"] == 3
    assert env.max_reward == batch.max_reward


def test_types_are_those_of_smac() -> None:
    env = StarCraft2Env("3m", seed=0)
    obs, state = env.reset()
    assert [type(obs), type(obs[0]), type(state)] == [list, np.ndarray, np.ndarray]
    assert {row.dtype for row in obs} == {np.dtype(np.float32)} == {state.dtype}
    assert [row.shape for row in obs] == [(30,)] * 3
    avail = env.get_avail_actions()
    assert [type(avail), type(avail[0]), type(avail[0][0])] == [list, list, int]
    reward, terminated, info = env.step([1, 1, 1])
    assert [type(reward), type(terminated), type(info)] == [float, bool, dict]
    assert [type(value) for value in info.values()] == [bool, int, int]
    assert env.get_env_info() == {
        "state_shape": 48, "obs_shape": 30, "n_actions": 9, "n_agents": 3, "episode_limit": 60,
        "agent_features": ["health", "energy/cooldown", "rel_x", "rel_y"],
        "enemy_features": ["health", "rel_x", "rel_y"],
    }
    kept, copy = obs[0], obs[0].copy()
    play_on(env, 3)
    assert np.array_equal(kept, copy)    # what was returned is not written to again


def test_lists_arrays_and_tensors_are_actions() -> None:
    torch = pytest.importorskip("torch")
    states = []
    for make in (list, tuple, np.array, torch.tensor, lambda row: torch.tensor([row])[0]):
        env = StarCraft2Env("3m", seed=3)
        env.reset()
        for row in ([4, 4, 4], [2, 3, 1], [5, 1, 4]):
            env.step(make(row))
        states.append(env.get_state())
        assert np.argmax(env.last_action, axis=1).tolist() == [5, 1, 4]
    assert all(np.array_equal(state, states[0]) for state in states)


@pytest.mark.parametrize("kind", ["list", "array", "tensor"])
def test_the_heuristic_overwrites_what_the_caller_sent(kind: str) -> None:
    env = StarCraft2Env("3m", seed=3, heuristic_ai=True)
    env.reset()
    make = {"list": list, "array": np.array}.get(kind) or pytest.importorskip("torch").tensor
    actions = make([1, 0, 3])
    env.step(actions)
    assert [int(action) >= 6 for action in actions] == [True] * 3
    assert np.argmax(env.last_action, axis=1).tolist() == [1, 0, 3]    # taken before
    assert env.episode_actions.tolist() == [[1, 0, 3]]


def test_the_heuristic_refuses_what_it_cannot_write_to() -> None:
    env = StarCraft2Env("3m", seed=3, heuristic_ai=True)
    _, before = env.reset()
    with pytest.raises(TypeError):
        env.step((1, 1, 1))
    with pytest.raises(IllegalAction, match=r"agent 2 must be one of \[0, 1, 2, 3, 4, 5, 6, 7, 8\]; got 9"):
        env.step([1, 1, 9])
    assert np.array_equal(env.get_state(), before)
    assert env._episode_steps == 0


@pytest.mark.parametrize("wrong", [0, 6, 99, -1, 1.5, None, "x", float("nan"), float("inf")])
def test_illegal_actions_name_agent_action_and_choice_and_change_nothing(wrong: object) -> None:
    env, same = StarCraft2Env("3m", seed=3), StarCraft2Env("3m", seed=3)
    env.reset()
    same.reset()
    env.step([4, 4, 4])
    same.step([4, 4, 4])
    message = rf"action of agent 1 must be one of \[1, 2, 3, 4, 5\]; got {wrong}\. Choose"
    with pytest.raises(AssertionError, match=message):
        env.step([2, wrong, 2])
    assert (env._episode_steps, env._total_steps) == (1, 1)
    assert env.episode_actions.tolist() == [[4, 4, 4]]
    assert env.step([2, 3, 4]) == same.step([2, 3, 4])
    assert np.array_equal(env.get_state(), same.get_state())


@pytest.mark.parametrize("count", [0, 2, 4])
def test_one_action_per_agent(count: int) -> None:
    env = StarCraft2Env("3m", seed=3)
    env.reset()
    with pytest.raises(IllegalAction, match=rf"must be one per agent \(3\); got {count}"):
        env.step([1] * count)


def test_calls_out_of_order() -> None:
    env = StarCraft2Env("3m", seed=3, step_mul=1)
    for call in (env.get_obs, env.get_state, env.get_avail_actions, env.get_visibility_matrix, env.render):
        with pytest.raises(EpisodeNotRunning, match="must follow a reset"):
            call()
    with pytest.raises(EpisodeNotRunning, match="has not been reset"):
        env.step([1, 1, 1])
    env.reset()
    play_on(env, 60)
    last = env.get_state()
    with pytest.raises(EpisodeNotRunning, match="has ended its episode"):
        env.step([1, 1, 1])
    assert np.array_equal(env.get_state(), last)
    assert env.get_stats()["battles_game"] == 1


def test_stats_and_the_episode_limit() -> None:
    env = StarCraft2Env("3m", seed=3, step_mul=1)    # the enemies do not get here in sixty loops
    assert env.get_stats()["win_rate"] == 0.0
    env.reset()
    for _ in range(59):
        assert env.step([1, 1, 1])[1] is False
    _, terminated, info = env.step([1, 1, 1])
    assert terminated
    assert info == {"battle_won": False, "dead_allies": 0, "dead_enemies": 0}
    assert env.get_stats() == {
        "battles_won": 0, "battles_game": 1, "battles_draw": 1, "win_rate": 0.0, "timeouts": 1, "restarts": 0
    }
    longer = StarCraft2Env("3m", seed=3, step_mul=1, continuing_episode=True)
    longer.reset()
    play_on(longer, 59)
    assert longer.step(legal(longer, np.random.default_rng(0)))[2]["episode_limit"] is True


def test_wins_are_counted_and_pay_the_scale() -> None:
    env = StarCraft2Env("3m", seed=0, heuristic_ai=True)
    won = 0
    for _ in range(10):
        env.reset()
        total, terminated = 0.0, False
        while not terminated:
            reward, terminated, info = env.step([1, 1, 1])
            total += reward
        won += info["battle_won"]
        if info["battle_won"]:
            assert total == pytest.approx(20.0)
            assert env.death_tracker_enemy.tolist() == [1, 1, 1]
    stats = env.get_stats()
    assert 0 < won == stats["battles_won"]
    assert stats["win_rate"] == won / 10


def test_a_reset_before_the_end_leaves_max_reward_alone() -> None:
    env = StarCraft2Env("3m", seed=3)
    assert env.max_reward == 3 * 10 + 200 + 3 * 45
    env.reset()
    env.reset()
    play_on(env, 5)
    env.reset()
    assert env.max_reward == 365
    assert env._episode_count == 0
    assert not env.last_action.any()
    assert env.episode_number == 2


def test_the_timestep_quirk() -> None:
    env = StarCraft2Env("3m", seed=3, obs_timestep_number=True)
    obs, state = env.reset()
    assert (env.get_obs_size(), obs[0].size, env.get_state_size(), state.size) == (31, 32, 48, 48)
    env.step([1, 1, 1])
    assert env.get_obs()[0][-2:].tolist() == [0.0, np.float32(1 / 60)]
    wide = StarCraft2Env("3m", seed=3, obs_timestep_number=True, obs_instead_of_state=True)
    assert (wide.get_state_size(), wide.reset()[1].size) == (93, 96)


def test_the_state_as_a_dictionary() -> None:
    env = StarCraft2Env("5m_vs_6m", seed=4, state_timestep_number=True, heuristic_ai=True)
    env.reset()
    play_on(env, 7)
    parts = env.get_state_dict()
    assert list(parts) == ["allies", "enemies", "last_action", "timestep"]
    flat = np.concatenate([np.ravel(part) for part in parts.values()]).astype(np.float32)
    assert np.array_equal(flat, env.get_state())
    assert (parts["allies"][:, 1] > 0).any()    # somebody has fired
    assert parts["timestep"] == 7 / 70


def test_units_and_what_is_around_them() -> None:
    env = StarCraft2Env("3m", seed=4, obs_pathing_grid=True, obs_terrain_height=True)
    env.reset()
    play_on(env, 8)
    for i, unit in env.agents.items():
        assert env.get_unit_by_id(i) is unit
        assert (unit.unit_type, unit.owner, unit.tag, unit.health_max) == (env.marine_id, 1, i, 45)
        avail, obs = env.get_avail_agent_actions(i), env.get_obs_agent(i)
        assert [env.can_move(unit, way) for way in Direction] == [bool(bit) for bit in avail[2:6]]
        assert obs[4:12].tolist() == [float(bit) for bit in env.get_surrounding_pathing(unit)]
        assert obs[12:21] == pytest.approx(env.get_surrounding_height(unit))
        for k, enemy in env.enemies.items():
            gap = env.distance(unit.pos.x, unit.pos.y, enemy.pos.x, enemy.pos.y)
            assert env.get_visibility_matrix()[i, 3 + k] == (gap < env.unit_sight_range(i))
            assert avail[6 + k] == (gap <= env.unit_shoot_range(i))
    assert env.enemies[0].unit_type == 48
    assert (env.unit_max_cooldown(env.agents[0]), env.unit_max_shield(env.agents[0])) == (15, None)
    assert (env.get_obs_move_feats_size(), env.get_obs_own_feats_size()) == (21, 1)
    assert (env.get_obs_enemy_feats_size(), env.get_obs_ally_feats_size()) == ((3, 5), (2, 5))


def test_recorded_actions_play_the_episode_again() -> None:
    env = StarCraft2Env("8m", seed=4, heuristic_ai=True)
    for _ in range(2):
        env.reset()
        terminated = False
        while not terminated:
            _, terminated, _ = env.step([1] * 8)
    again = StarCraft2Env("8m", seed=4, heuristic_ai=True)
    for _ in range(env.episode_number + 1):
        again.reset()
    for actions in env.episode_actions:
        again.step(actions.copy())
    assert np.array_equal(again.get_state(), env.get_state())
    assert again.get_obs()[0].tobytes() == env.get_obs()[0].tobytes()


def test_a_full_restart_plays_the_same_again() -> None:
    env = StarCraft2Env("3m")
    _, first = env.reset()
    assert isinstance(env.seed(), int)    # drawn
    env.reset()
    env.full_restart()
    with pytest.raises(EpisodeNotRunning):
        env.step([1, 1, 1])
    assert np.array_equal(env.reset()[1], first)
    assert env.get_stats()["restarts"] == 1


def test_bad_names_and_values() -> None:
    with pytest.raises(ConfigError, match="Did you mean '3m'"):
        StarCraft2Env("3mm")
    with pytest.raises(ConfigError, match=r"got 'obs_last_actoin'\. Did you mean 'obs_last_action'"):
        StarCraft2Env("3m", obs_last_actoin=True)
    with pytest.raises(ConfigError, match="profile must be one of liberty, void; got 'vood'"):
        StarCraft2Env("3m", profile="vood")
    with pytest.raises(ConfigError, match="seed must be in"):
        StarCraft2Env("3m", seed=-1)
    with pytest.raises(ConfigError, match="render mode must be one of human, ansi; got 'rgb_array'"):
        StarCraft2Env("3m").render("rgb_array")


def test_render(capsys: pytest.CaptureFixture[str]) -> None:
    env = StarCraft2Env("3m", seed=0, spawn_jitter=False)
    env.reset()
    assert env.render() is None
    shown = capsys.readouterr().out
    assert shown.startswith("3m  step 0/60")
    assert shown == env.render("ansi")


@pytest.mark.parametrize("options", [{}, {"heuristic_ai": True}])
def test_saved_replays_are_the_battle(tmp_path: Path, options: dict[str, bool]) -> None:
    env = StarCraft2Env("3m", seed=7, replay_dir=str(tmp_path / "films"), replay_prefix="mine", **options)
    with pytest.raises(EpisodeNotRunning, match="save_replay must follow a reset"):
        env.save_replay()
    env.reset()
    play_on(env, 3)
    env.reset()
    play_on(env, 9)
    path = env.save_replay()
    assert Path(path).name == "mine-seed7-episode1.replay"
    *_, last = load_replay(path).play()
    assert np.array_equal(last.obs[0], env.get_obs())
    assert np.array_equal(last.state[0], env.get_state())


@pytest.mark.parametrize("name", map_names())
def test_plays_a_whole_battle_on_every_map(name: str) -> None:
    env = StarCraft2Env(name, seed=1)
    obs, state = env.reset()
    names = env.feature_names()
    assert [len(row) for row in obs] == [len(row) for row in names.obs]
    assert state.size == len(names.state) == env.get_state_size()
    rng = np.random.default_rng(0)
    while not env.step(legal(env, rng))[1]:
        pass
    assert env.get_stats()["battles_game"] == 1
