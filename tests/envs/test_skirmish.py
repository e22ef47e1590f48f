"""The batch protocol: determinism, snapshots, refusals, spawn."""

import os
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.envs.maps import map_names
from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import ConfigError


def chosen(env: Skirmish, salt: int) -> np.ndarray:
    """Legal actions that depend on nothing but each environment's own mask, step and episode."""
    stats = env.stats()
    actions = np.zeros(env.avail.shape[:2], dtype=np.int64)
    for e, agents in enumerate(env.avail):
        for i, mask in enumerate(agents):
            allowed = np.flatnonzero(mask)
            mixed = int(stats["steps"][e]) * 7919 + int(stats["episodes"][e]) * 104729 + i * 31 + salt
            actions[e, i] = allowed[(mixed * 2654435761 >> 8) % len(allowed)]
    return actions


def moment(env: Skirmish, row: int) -> list[bytes]:
    return [array[row].tobytes() for array in (env.obs, env.state, env.avail, env.snapshot())]


def play(env: Skirmish, steps: int, salt: int = 0) -> list[list[bytes]]:
    """Plays on, and returns what each environment showed after every step."""
    shown = []
    for _ in range(steps):
        outcome = env.step(chosen(env, salt))
        env.reset(outcome.terminated)
        rows = range(env.n_envs)
        shown.append([b"".join(moment(env, row)) + outcome.reward[row].tobytes() for row in rows])
    return shown


@pytest.mark.parametrize("name", map_names())
def test_sizes_and_plays(name: str) -> None:
    env = Skirmish(name, 2, seed=0)
    env.reset()
    spec = env.spec
    assert env.obs.shape == (2, spec.n_agents, spec.obs_dim)
    assert env.state.shape == (2, spec.state_dim)
    assert env.avail.shape == (2, spec.n_agents, spec.n_actions)
    assert (env.obs.dtype, env.state.dtype, env.avail.dtype) == (np.float32, np.float32, np.uint8)
    policy = RandomPolicy(np.random.default_rng(0))
    running = np.ones(2, dtype=np.bool_)
    for _ in range(spec.episode_limit):
        outcome = env.step(policy.act(env), running)
        running &= ~outcome.terminated
        assert np.isfinite(env.obs).all()
        assert np.isfinite(env.state).all()
        assert np.abs(env.obs).max() <= 1.0
        if not running.any():
            break
    assert not running.any()
    dead = env.units()["alive"][:, : spec.n_agents] == 0
    assert (env.avail[dead][:, 0] == 1).all()
    assert not env.obs[dead].any()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**64 - 8), row=st.integers(0, 3), salt=st.integers(0, 1000))
def test_row_of_a_batch_is_a_lone_environment(seed: int, row: int, salt: int) -> None:
    batch, lone = Skirmish("3m", 4, seed=seed), Skirmish("3m", seed=seed + row)
    batch.reset()
    lone.reset()
    assert moment(batch, row)[:3] == moment(lone, 0)[:3]
    for rows, alone in zip(play(batch, 40, salt), play(lone, 40, salt), strict=True):
        assert rows[row] == alone[0]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), before=st.integers(0, 35), name=st.sampled_from(["3m", "5m_vs_6m"]))
def test_snapshot_in_the_middle(seed: int, before: int, name: str) -> None:
    env = Skirmish(name, 2, seed=seed)
    env.reset()
    play(env, before)
    snapshot = env.snapshot()
    shown = [moment(env, row) for row in range(2)]
    first = play(env, 30)
    env.restore(snapshot)
    assert [moment(env, row) for row in range(2)] == shown
    assert play(env, 30) == first
    other = Skirmish(name, 2, seed=seed + 99)    # the seed is part of the snapshot
    other.restore(snapshot)
    assert play(other, 30) == first


def test_which_leaves_the_others_alone() -> None:
    env = Skirmish("3m", 3, seed=4)
    env.reset()
    play(env, 5)
    before = [moment(env, row) for row in range(3)]
    only = np.array([False, True, False])
    outcome = env.step(chosen(env, 1), only)
    after = [moment(env, row) for row in range(3)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    assert not outcome.terminated[[0, 2]].any()
    env.reset(only)
    assert env.stats()["episodes"].tolist() == [1, 2, 1]
    assert moment(env, 0) == before[0]


@pytest.mark.parametrize("illegal", [0, 6, 99, -1])
def test_illegal_action_changes_nothing(illegal: int) -> None:
    env = Skirmish("3m", 3, seed=1)
    env.reset()
    play(env, 3)
    before = [moment(env, row) for row in range(3)]
    actions = np.full((3, 3), 1)
    actions[2, 1] = illegal
    message = (
        rf"action of agent 1 in environment 2 must be one of \[1, 2, 3, 4, 5\]; got {illegal}\."
    )
    with pytest.raises(ValueError, match=message):
        env.step(actions)
    assert [moment(env, row) for row in range(3)] == before


def test_step_after_the_end_and_before_the_start() -> None:
    env = Skirmish("3m", 2, seed=1)
    with pytest.raises(ValueError, match="environment 0 has not been reset"):
        env.step(np.ones((2, 3), dtype=np.int64))
    env.reset()
    running = np.array([True, False])
    policy = RandomPolicy(np.random.default_rng(0))
    while not env.step(policy.act(env), running).terminated[0]:
        pass
    before = env.snapshot()
    with pytest.raises(ValueError, match="environment 0 has ended its episode"):
        env.step(policy.act(env))
    assert np.array_equal(env.snapshot(), before)


def test_wrong_arrays_are_refused() -> None:
    env = Skirmish("3m", 2, seed=1)
    env.reset()
    with pytest.raises(ValueError, match=r"shape of actions must be \(2, 3\); got \(2, 2\)"):
        env.step(np.ones((2, 2), dtype=np.int64))
    with pytest.raises(ValueError, match=r"shape of actions must be \(2, 3\); got \(3,\)"):
        env.step(np.ones(3, dtype=np.int64))
    with pytest.raises(ValueError, match=r"shape of which must be \(2,\); got \(2, 1\)"):
        env.reset(np.ones((2, 1), dtype=np.bool_))
    with pytest.raises(ValueError, match="actions must be whole numbers"):
        env.step(np.ones((2, 3)))
    with pytest.raises(ValueError, match="which must be bool"):
        env.reset(np.array([0, 1]))
    with pytest.raises(ValueError, match="snapshot must be uint8"):
        env.restore(np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="must come from the same map and version"):
        env.restore(np.zeros_like(env.snapshot()))


def test_damaged_snapshot_is_refused_and_nothing_changes() -> None:
    env = Skirmish("3m", seed=1)
    env.reset()
    before = env.snapshot()
    damaged = before.copy()
    damaged[0, 80:] = 0xFF
    with pytest.raises(ValueError, match="must come from the same map and version"):
        env.restore(damaged)
    assert np.array_equal(env.snapshot(), before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_plays_on_alone_and_can_let_go() -> None:
    """A fork takes none of the threads along that share the battles."""
    env = Skirmish("3m", 4, seed=1, threads=3)
    env.reset()
    child = os.fork()
    if child == 0:
        signal.alarm(20)    # ends a child that waits for ever
        env.step(np.ones((4, 3), dtype=np.int64))
        steps = int(env.stats()["steps"].sum())
        del env
        os._exit(steps)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    env.step(np.ones((4, 3), dtype=np.int64))


def test_timeout() -> None:
    env = Skirmish("3m", seed=1, step_mul=1)    # sixty loops: the enemies do not get here
    env.reset()
    for _ in range(59):
        assert not env.step(np.ones((1, 3), dtype=np.int64)).terminated[0]
    outcome = env.step(np.ones((1, 3), dtype=np.int64))
    assert (outcome.terminated[0], outcome.timed_out[0], outcome.battle_won[0]) == (True, True, False)
    assert env.stats()["timeouts"].tolist() == [1]


def test_spawn() -> None:
    env = Skirmish("8m", 64, seed=0)
    env.reset()
    units = env.units()
    agents, enemies = units[:, :8], units[:, 8:]
    assert (agents["health"] == 45).all()
    assert (np.diff(agents["x"], axis=1) >= 0).all()    # sorted by x
    assert (np.diff(enemies["x"], axis=1) < 0).any()    # in creation order
    for side, x in ((agents, 9.0), (enemies, 23.0)):
        assert (np.hypot(side["x"] - x, side["y"] - 16.0) < 2.5).all()
    gaps = np.hypot(
        agents["x"][:, :, None] - agents["x"][:, None], agents["y"][:, :, None] - agents["y"][:, None]
    )
    assert gaps[:, ~np.eye(8, dtype=bool)].min() > 0.74
    assert len({moment(env, row)[0] for row in range(64)}) == 64
    first = env.obs.copy()
    env.reset()
    assert not np.array_equal(env.obs, first)    # the next episode differs
    grains = units["x"] * 4096
    assert np.array_equal(grains, np.rint(grains))


def test_spawn_without_jitter_is_always_the_same() -> None:
    env = Skirmish("3m", 2, seed=0, spawn_jitter=False)
    env.reset()
    first = env.units()
    env.reset()
    assert np.array_equal(env.units(), first)
    pitch = 0.75 + 1 / 16    # lattice order: the point, then the step south, west, east, north
    assert first["x"][0, :3].tolist() == [9 - pitch, 9, 9]
    assert first["y"][0, :3].tolist() == [16, 16 - pitch, 16]


def test_rewards_of_a_won_battle_sum_to_the_scale() -> None:
    # Every hit point, kill and the win are paid; own losses are not, and marines do not regenerate.
    env = Skirmish("3m", 40, seed=3)
    assert env.max_reward == 365    # 3 * 10 + 200 + 3 * 45
    env.reset()
    policy, running, returns = NearestPolicy(), np.ones(40, dtype=np.bool_), np.zeros(40)
    won = np.zeros(40, dtype=np.bool_)
    while running.any():
        outcome = env.step(policy.act(env), running)
        returns += outcome.reward
        won |= outcome.battle_won
        running &= ~outcome.terminated
    assert 5 < won.sum() < 35
    np.testing.assert_allclose(returns[won], 20.0, atol=1e-9)
    # without the win's 200: at most three kills and 135 hit points (a draw)
    assert (returns[~won] <= 165 * 20 / 365 + 1e-9).all()


def test_unknown_and_unavailable() -> None:
    with pytest.raises(ConfigError, match="Did you mean '3m'"):
        Skirmish("3mm")
    with pytest.raises(ConfigError, match=r"got 'obs_last_actoin'\. Did you mean 'obs_last_action'"):
        Skirmish("3m", obs_last_actoin=True)
    with pytest.raises(ConfigError, match="profile must be one of liberty, void; got 'vood'"):
        Skirmish("3m", profile="vood")
    with pytest.raises(ConfigError, match="n_envs must be at least 1"):
        Skirmish("3m", 0)
    with pytest.raises(ConfigError, match="seed must be in"):
        Skirmish("3m", seed=-1)
    for name in ("n_envs", "seed", "threads"):
        with pytest.raises(ConfigError, match=rf"{name} must be a whole number; got 2\.5"):
            Skirmish("3m", **{name: 2.5})


def test_seed_is_drawn_and_shown() -> None:
    env = Skirmish("3m")
    same = Skirmish("3m", seed=env.seed)
    env.reset()
    same.reset()
    assert np.array_equal(env.obs, same.obs)
