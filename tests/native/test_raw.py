"""Orders, loops and deaths one by one, as a client of the game's API gives them."""

import numpy as np
import pytest

from mast_edge.envs.maps import native_interface, native_world, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.skirmish import UNIT_DTYPE, Skirmish
from mast_edge.envs.units import unit_types
from mast_edge.native import _core

STAND, MOVE, ATTACK, ATTACK_MOVE, HEAL = range(5)
X, Y, HEALTH, ALIVE, ORDER, TARGET = 0, 1, 2, 7, 8, 9


@pytest.fixture
def core() -> _core.Simulator:
    smac, units = smac_map("3m"), unit_types()
    core = _core.Simulator(
        native_world(smac, units), native_interface(smac, SmacOptions(), units), n_envs=2, seed=3, step_mul=8
    )
    core.restart(0)
    core.restart(1)
    return core


def table(core: _core.Simulator, env: int = 0) -> np.ndarray:
    out = np.empty((2, 6, len(UNIT_DTYPE.names or ())))
    core.units(out)
    return out[env]


def test_single_loops_add_up_to_steps(core: _core.Simulator) -> None:
    env = Skirmish("3m", n_envs=2, seed=3)
    env.reset()
    for _ in range(6):
        env.step(np.array([[1, 1, 4], [1, 1, 4]]))
        before = table(core)
        core.order(0, 0, STAND, -1, 0, 0)
        core.order(0, 1, STAND, -1, 0, 0)
        core.order(0, 2, MOVE, -1, before[2, X] + 2, before[2, Y])
        for loops in (1, 0, 3, 4):
            core.play_loops(0, loops)
    units = env.units()[0]
    np.testing.assert_array_equal(table(core)[:, X], units["x"])
    np.testing.assert_array_equal(table(core)[:, HEALTH], units["health"])
    assert table(core)[2, X] > 9 + 5, "the mover has moved"
    fresh = Skirmish("3m", n_envs=2, seed=3)
    fresh.reset()
    np.testing.assert_array_equal(table(core, 1)[:, X], fresh.units()[1]["x"], "the other battle has not")


def test_the_killed_are_dead_at_once_and_whoever_aimed_at_them_stops(core: _core.Simulator) -> None:
    core.order(0, 0, ATTACK, 4, 0, 0)
    assert table(core)[0, [ORDER, TARGET]].tolist() == [ATTACK, 4]
    core.kill(0, 4)
    core.kill(0, 4)
    assert table(core)[:, ALIVE].tolist() == [1, 1, 1, 1, 0, 1]
    assert table(core)[4, HEALTH] == 0
    core.play_loops(0, 1)
    assert table(core)[0, [ORDER, TARGET]].tolist() == [STAND, -1]


def test_orders_to_the_dead_and_at_the_dead_change_nothing(core: _core.Simulator) -> None:
    core.order(0, 0, MOVE, -1, 20, 16)
    core.kill(0, 1)
    core.kill(0, 4)
    before = table(core).copy()
    core.order(0, 1, MOVE, -1, 20, 16)
    core.order(0, 0, ATTACK, 4, 0, 0)
    core.order(0, 0, HEAL, 1, 0, 0)
    np.testing.assert_array_equal(table(core), before)


def test_restart_brings_the_next_episode_of_the_seed(core: _core.Simulator) -> None:
    env = Skirmish("3m", seed=3)
    env.reset()
    env.reset()
    core.kill(0, 0)
    core.restart(0)
    np.testing.assert_array_equal(table(core)[:, X], env.units()[0]["x"])
    assert table(core)[:, ALIVE].all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("order", 2, 0, STAND, -1, 0.0, 0.0), "environment must be in 0..1; got 2"),
        (("order", 0, 3, STAND, -1, 0.0, 0.0), "agent must be in 0..2; got 3"),
        (("order", 0, -1, STAND, -1, 0.0, 0.0), "agent must be in 0..2; got -1"),
        (("order", 0, 0, ATTACK, 2, 0.0, 0.0), "enemy's unit number must be"),
        (("order", 0, 0, ATTACK, 6, 0.0, 0.0), "enemy's unit number must be"),
        (("order", 0, 0, HEAL, 3, 0.0, 0.0), "patient must be in 0..2; got 3"),
        (("order", 0, 0, ATTACK_MOVE, -1, 0.0, 0.0), "order must be to stand, move, attack or heal"),
        (("order", 0, 0, 5, -1, 0.0, 0.0), "order must be to stand, move, attack or heal"),
        (("play_loops", 0, -1), "loops must be at least 0; got -1"),
        (("kill", 0, 6), "unit must be in 0..5; got 6"),
        (("restart", -1), "environment must be in 0..1; got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(core: _core.Simulator, call: tuple[str, ...], message: str) -> None:
    name, *arguments = call
    with pytest.raises(ValueError, match=message):
        getattr(core, name)(*arguments)
