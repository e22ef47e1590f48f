"""SMAC's built-in heuristic (smac.md 7), rule by rule, with situations and answers worked out by hand."""

import struct

import numpy as np
import pytest

from mast_edge.envs.options import SmacOptions
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.units import unit_types
from tests.envs.arena import ATTACK, EAST, NORTH, SOUTH, STOP, WEST, Arena

HEURISTIC = SmacOptions(heuristic_ai=True)
RESTRICTED = SmacOptions(heuristic_ai=True, heuristic_rest=True)
STILL = {f"{kind}.speed": 0 for kind in ("marine", "marauder", "medivac")}
STILL |= {"medivac.energy.start": 0, "medivac.energy.regen": 0}    # nobody walks, nobody is healed
Y, ORDER, GOAL_X, GOAL_Y = 1, 8, 10, 11


def place(arena: Arena, unit: int, *, x: float, y: float, health: float | None = None) -> None:
    """Puts a unit somewhere else, by way of a snapshot: position and health are neighbours in it."""
    row = arena.units()[unit]
    before = struct.pack("<3d", *row[:3])
    blocks = np.zeros((1, arena.core.block_size), np.uint8)
    arena.core.save(blocks)
    content = blocks.tobytes()
    assert content.count(before) == 1
    after = struct.pack("<3d", x, y, row[2] if health is None else health)
    changed = np.frombuffer(content.replace(before, after), np.uint8).reshape(1, -1)
    arena.core.restore(np.ascontiguousarray(changed))
    arena.core.refresh(arena.obs, arena.state, arena.avail)


def hurt(arena: Arena, unit: int, health: float) -> None:
    x, y = arena.units()[unit, :2]
    place(arena, unit, x=x, y=y, health=health)


@pytest.mark.parametrize(("y", "expected"), [(20.0, ATTACK + 1), (20.0 + 1 / 4096, ATTACK + 2)])
def test_the_nearest_enemy_and_the_lowest_index_among_equals(y: float, expected: int) -> None:
    enemies = [("medivac", 20.0, 16.0), ("medivac", 10.0, y), ("medivac", 14.0, 16.0)]
    arena = Arena([("marine", 10.0, 16.0)], enemies, options=HEURISTIC, changes=STILL)
    arena.step(STOP)
    assert arena.played.tolist() == [expected]


def test_a_target_is_kept_until_it_dies() -> None:
    enemies = [("medivac", 10.0, 20.0), ("medivac", 13.0, 16.0), ("medivac", 20.0, 16.0)]
    changes = STILL | {"medivac.hp": 5}    # a marine's 6, less 1 armor
    arena = Arena([("marine", 10.0, 16.0)], enemies, options=HEURISTIC, changes=changes)
    arena.step(STOP)
    assert arena.played.tolist() == [ATTACK + 1]
    place(arena, 3, x=10.0, y=15.0)    # much nearer now
    arena.step(STOP)
    assert arena.played.tolist() == [ATTACK + 1]
    while arena.units()[2, 7]:
        arena.step(STOP)
    arena.step(STOP)
    assert arena.played.tolist() == [ATTACK + 2]    # at 1; the other is at 4


def test_a_new_episode_forgets_the_target() -> None:
    arena = Arena(
        [("marine", 10.0, 16.0)],
        [("medivac", 13.0, 16.0), ("medivac", 15.0, 16.0)],
        options=HEURISTIC,
        changes=STILL,
    )
    place(arena, 1, x=20.0, y=16.0)
    arena.step(STOP)
    assert arena.played.tolist() == [ATTACK + 1]
    arena.reset()
    arena.step(STOP)
    assert arena.played.tolist() == [ATTACK]


def test_marauders_skip_medivacs() -> None:
    arena = Arena(
        [("marauder", 10.0, 16.0), ("marine", 10.0, 14.0)],
        [("medivac", 12.0, 16.0), ("medivac", 12.0, 14.0), ("marine", 26.0, 16.0)],
        options=HEURISTIC,
        base="MMM",
        changes=STILL,
    )
    arena.step(STOP, STOP)
    assert arena.played.tolist() == [ATTACK + 2, ATTACK + 1]


def test_an_agent_without_a_target_does_nothing() -> None:
    arena = Arena(
        [("marauder", 10.0, 16.0), ("marine", 12.0, 22.5)],
        [("medivac", 14.0, 16.0), ("medivac", 14.0, 18.0), ("marine", 10.0, 22.5)],
        options=RESTRICTED,
        base="MMM",
        changes=STILL | {"marauder.speed": 2.25, "marine.hp": 5},
    )
    while arena.units()[4, 7]:
        arena.step(STOP, 0)
        assert arena.played[0] == NORTH    # 6.5 away, and still more than 6 when the marine shoots it
    walked = arena.units()[0, Y]
    arena.step(STOP, 0)    # none but medivacs are left
    assert arena.played[0] == 0
    assert arena.units()[0, ORDER] == 1    # goes on walking: no order is not the order to stop
    assert arena.units()[0, Y] == walked + 576 / 4096


def test_a_medivac_heals_the_nearest_hurt_agent_and_keeps_to_it() -> None:
    team = [("marine", 10.0, 8.5), ("marine", 10.0, 14.0), ("marine", 10.0, 20.0), ("medivac", 10.0, 16.0)]
    arena = Arena(
        [*team, ("medivac", 10.0, 17.75)],
        [("marine", 30.0, 16.0)],
        options=HEURISTIC,
        base="MMM",
        changes=STILL,
    )
    stops = [STOP] * 5
    arena.step(*stops)
    assert arena.played.tolist() == [ATTACK, ATTACK, ATTACK, 0, 0]    # nobody is hurt
    hurt(arena, 3, 100.0)    # medivacs do not count, oneself or another
    arena.step(*stops)
    assert arena.played.tolist()[3:] == [0, 0]
    hurt(arena, 2, 40.0)
    arena.step(*stops)
    assert arena.played.tolist()[3:] == [ATTACK + 2, ATTACK + 2]
    hurt(arena, 1, 40.0)    # nearer, but the patient is kept
    arena.step(*stops)
    assert arena.played.tolist()[3:] == [ATTACK + 2, ATTACK + 2]
    hurt(arena, 2, 45.0)    # full: the nearest of the others
    arena.step(*stops)
    assert arena.played.tolist()[3:] == [ATTACK + 1, ATTACK + 1]
    hurt(arena, 1, 45.0)
    hurt(arena, 0, 44.0)
    arena.step(*stops)    # beyond the mask's 6, and healed all the same
    assert arena.avail[0, 3, ATTACK] == 0
    assert arena.played.tolist()[3:] == [ATTACK, ATTACK]


def test_attacks_what_the_mask_forbids_and_shows_what_the_caller_sent() -> None:
    arena = Arena([("marine", 10.0, 16.0)], [("marine", 28.0, 16.0)], options=HEURISTIC, step_mul=8)
    assert arena.avail[0, 0, ATTACK] == 0
    arena.step(WEST)
    assert arena.played.tolist() == [ATTACK]
    assert arena.units()[0, :2].tolist() == [11.125, 16.0]    # walks toward its target: 8 loops at 2.25
    assert np.flatnonzero(arena.state[0, -7:]).tolist() == [WEST]
    arena.step(0)    # whatever: a number is all that is asked for
    assert np.flatnonzero(arena.state[0, -7:]).tolist() == [0]
    with pytest.raises(ValueError, match=r"must be one of \[0, 1, 2, 3, 4, 5, 6\]; got 7"):
        arena.step(7)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (18.0, 20.0, EAST),
        (2.0, 12.0, WEST),
        (14.0, 23.5, NORTH),
        (14.0, 8.5, SOUTH),
        (17.0, 23.0, NORTH),    # equal differences: the north-south axis
        (3.0, 9.0, SOUTH),
        (18.0, 16.0, EAST),
        (10.0, 22.5, NORTH),
        (16.0, 16.0, ATTACK),    # 6 away: available
        (16.0 + 1 / 4096, 16.0, EAST),
    ],
)
def test_restricted_walks_along_the_longer_axis(x: float, y: float, expected: int) -> None:
    arena = Arena([("marine", 10.0, 16.0)], [("medivac", x, y)], options=RESTRICTED, changes=STILL)
    arena.step(STOP)
    assert arena.played.tolist() == [expected]
    if expected == EAST:
        assert arena.units()[0, [GOAL_X, GOAL_Y]].tolist() == [12.0, 16.0]    # move_amount 2


def test_restricted_walks_into_walls() -> None:
    arena = Arena([("marine", 10.0, 23.5)], [("medivac", 10.0, 30.0)], options=RESTRICTED, changes=STILL)
    assert arena.avail[0, 0, NORTH] == 0
    arena.step(STOP)
    assert arena.played.tolist() == [NORTH]


def test_the_dead_go_on_choosing_and_no_difference_counts_as_south() -> None:
    arena = Arena(
        [("marine", 2.0, 16.0), ("marine", 10.0, 16.0)],
        [("marauder", 14.0, 16.0)],
        options=RESTRICTED,
        changes=STILL | {"marine.hp": 6},
        goal=(14.0, 16.0),
    )
    while arena.units()[1, 7]:
        arena.step(STOP, STOP)
    arena.step(STOP, 0)
    assert arena.played.tolist() == [EAST, EAST]    # SMAC asks the dead as well; nothing comes of it
    place(arena, 2, x=10.0, y=16.0)
    arena.step(STOP, 0)
    assert arena.played.tolist()[1] == SOUTH


class Chooser:
    """The rules once more, from the units that the environment shows."""

    def __init__(self, env: Skirmish, restricted: bool) -> None:
        self.n, self.types = len(env.ally_types), [*env.ally_types, *env.enemy_types]
        self.full = [unit_types()[name]["hp"] for name in self.types]
        self.restricted, self.target = restricted, {}

    def act(self, units: np.ndarray, avail: np.ndarray) -> list[int]:
        return [self._act(units, avail[i], i) for i in range(self.n)]

    def _fits(self, units: np.ndarray, i: int, k: int) -> bool:
        if not units["alive"][k]:
            return False
        if self.types[i] == "medivac":
            return k < self.n and units["health"][k] < self.full[k] and self.types[k] != "medivac"
        return k >= self.n and (self.types[i], self.types[k]) != ("marauder", "medivac")

    def _act(self, units: np.ndarray, avail: np.ndarray, i: int) -> int:
        if i not in self.target or not self._fits(units, i, self.target[i]):
            gaps = [
                (np.hypot(units["x"][k] - units["x"][i], units["y"][k] - units["y"][i]), k)
                for k in range(len(units))
                if self._fits(units, i, k)
            ]
            self.target.pop(i, None)
            if not gaps:
                return 0
            self.target[i] = min(gaps)[1]
        k = self.target[i]
        action = ATTACK + (k if self.types[i] == "medivac" else k - self.n)
        if self.restricted and not avail[action]:
            dx, dy = units["x"][k] - units["x"][i], units["y"][k] - units["y"][i]
            return (EAST if dx > 0 else WEST) if abs(dx) > abs(dy) else NORTH if dy > 0 else SOUTH
        return action


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("name", ["8m", "MMM", "3s5z"])
def test_whole_battles_against_the_rules_and_with_a_snapshot(name: str, restricted: bool) -> None:
    env = Skirmish(name, 2, seed=5, heuristic_ai=True, heuristic_rest=restricted)
    env.reset()
    choosers = [Chooser(env, restricted), Chooser(env, restricted)]
    sent = np.ones((2, env.spec.n_agents), dtype=np.int64)
    running = np.ones(2, dtype=np.bool_)
    snapshot, later = None, []
    while running.any():
        units, avail, rows = env.units(), env.avail.copy(), np.flatnonzero(running)
        expected = {e: choosers[e].act(units[e], avail[e]) for e in rows}
        if env.stats()["steps"].max() == 12:
            snapshot = env.snapshot(), running.copy()
        running &= ~env.step(sent, running).terminated
        for e in rows:
            assert env.played[e].tolist() == expected[e]
        later += [env.played.copy()] if snapshot else []
    assert (sent == 1).all()    # the caller's array is left alone
    assert snapshot is not None
    other = Skirmish(name, 2, seed=77, heuristic_ai=True, heuristic_rest=restricted)
    other.restore(snapshot[0])
    running = snapshot[1]
    for played in later:
        rows = running.copy()
        running = running & ~other.step(sent, running).terminated
        assert np.array_equal(other.played[rows], played[rows])
