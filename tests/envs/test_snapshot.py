"""What a snapshot may hold: nothing that is restored leads out of bounds, however it was damaged."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import Skirmish

REFUSED = "snapshot must come from the same map and version"
PATTERNS = [struct.pack("<d", value) for value in (np.nan, np.inf, -np.inf, 1e300, -1.0, 1e6, 31.99, 0.0)]
PATTERNS += [struct.pack("<h", value) for value in (-2, -1, 0, 1, 5, 300, 32767)]


@pytest.mark.parametrize(
    ("ours", "theirs", "profile"),
    [("2s_vs_1sc", "2m_vs_1z", "liberty"), ("3s5z", "8m", "liberty"), ("3m", "3m", "void")],
)
def test_another_battlefield_with_as_many_units_is_refused(ours: str, theirs: str, profile: str) -> None:
    env, other = Skirmish(ours, seed=1), Skirmish(theirs, seed=1, profile=profile)
    env.reset()
    other.reset()
    before, foreign = env.snapshot(), other.snapshot()
    assert before.shape == foreign.shape
    with pytest.raises(ValueError, match=REFUSED):
        env.restore(foreign)
    assert np.array_equal(env.snapshot(), before)


def test_a_battle_that_has_not_begun_can_be_restored() -> None:
    env, other = Skirmish("MMM", 2, seed=1), Skirmish("MMM", 2, seed=9)
    env.begin_at(5)
    other.restore(env.snapshot())
    env.reset()
    other.reset()
    assert np.array_equal(env.snapshot(), other.snapshot())


@pytest.mark.parametrize("value", [np.nan, np.inf, 32.0, -1.0, 1e6])
def test_enemies_are_not_sent_off_the_map(value: float) -> None:
    """On a map with flow fields the goal of an attack-move becomes a cell."""
    env = Skirmish("corridor", seed=1)
    env.reset()
    goal_x, goal_y = env.units()[0, -1][["goal_x", "goal_y"]]
    content = env.snapshot().tobytes()
    goal = struct.pack("<2d", goal_x, goal_y)
    assert content.count(goal) >= 24
    sent = content.replace(goal, struct.pack("<2d", goal_x, value))
    with pytest.raises(ValueError, match=REFUSED):
        env.restore(np.frombuffer(sent, np.uint8).reshape(1, -1))


@pytest.mark.parametrize("name", ["3m", "MMM", "2c_vs_64zg", "bane_vs_bane", "corridor"])
def test_damage_is_refused_or_played_on(name: str) -> None:
    rng, env = np.random.default_rng(1), Skirmish(name, seed=5)
    moments = battle_moments(env)
    refused = 0
    for trial in range(300):
        damaged = damage(moments[rng.integers(len(moments))], rng, trial)
        try:
            env.restore(damaged)
        except ValueError:
            refused += 1
            continue
        for _ in range(3):
            if env.stats()["over"][0] or env.step(RandomPolicy(rng).act(env)).terminated[0]:
                break
            assert np.isfinite(env.obs).all()
            assert np.isfinite(env.state).all()
    assert 60 < refused < 260


def battle_moments(env: Skirmish) -> list[NDArray[np.uint8]]:
    env.reset()
    moments = []
    for _ in range(25):
        if env.step(NearestPolicy().act(env)).terminated[0]:
            env.reset()
        moments.append(env.snapshot())
    return moments


def damage(snapshot: NDArray[np.uint8], rng: np.random.Generator, trial: int) -> NDArray[np.uint8]:
    """One bit, a few bytes, or a number in a number's place."""
    damaged = snapshot.copy()
    row = damaged[0]
    if trial % 3 == 0:
        row[rng.integers(len(row))] ^= np.uint8(1 << rng.integers(8))
    elif trial % 3 == 1:
        row[rng.integers(8, len(row), size=3)] = rng.integers(256, size=3)
    else:
        pattern = PATTERNS[rng.integers(len(PATTERNS))]
        at = int(rng.integers(8, len(row) - 8)) // len(pattern) * len(pattern)
        row[at : at + len(pattern)] = np.frombuffer(pattern, np.uint8)
    return damaged
