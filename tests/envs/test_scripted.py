"""Strength of the scripted players: 3m is neither a gift nor a coin toss."""

import numpy as np
import pytest

from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import Skirmish


def wins(policy: RandomPolicy | NearestPolicy, name: str, episodes: int) -> int:
    """Battles won in the first `episodes` episodes, one per environment."""
    env = Skirmish(name, episodes, seed=7)
    env.reset()
    running, won = np.ones(episodes, dtype=np.bool_), 0
    while running.any():
        outcome = env.step(policy.act(env), running)
        won += int(outcome.battle_won.sum())
        running &= ~outcome.terminated
    return won


def test_random_play_wins_about_never() -> None:
    assert wins(RandomPolicy(np.random.default_rng(0)), "3m", 200) <= 2


@pytest.mark.parametrize(("name", "low", "high"), [("3m", 50, 130), ("8m", 60, 160)])
def test_nearest_play_wins_sometimes(name: str, low: int, high: int) -> None:
    assert low <= wins(NearestPolicy(), name, 200) <= high


def test_random_is_uniform_over_what_is_allowed() -> None:
    env = Skirmish("3m", 4000, seed=0)
    env.reset()
    env.avail[:] = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0])
    actions = RandomPolicy(np.random.default_rng(1)).act(env)
    assert actions.shape == (4000, 3)
    counts = np.bincount(actions.ravel(), minlength=9)
    assert counts[[0, 2, 5, 6, 8]].sum() == 0
    # 12000 draws over 4 actions: 3000 each, standard deviation sqrt(12000 * 3 / 16) = 47
    assert np.abs(counts[[1, 3, 4, 7]] - 3000).max() < 5 * 48


def test_nearest_walks_along_the_longer_axis_then_attacks() -> None:
    env = Skirmish("3m", seed=0)
    env.reset()
    policy = NearestPolicy()
    assert policy.act(env).tolist() == [[4, 4, 4]]    # the enemies are 14 to the east
    env.step(np.full((1, 3), 1))
    while not env.avail[0, :, 6:].any():
        env.step(np.full((1, 3), 1))
    units = env.units()[0]
    actions = policy.act(env)[0]
    for i in np.flatnonzero(env.avail[0, :, 6:].any(axis=1)):
        gaps = np.hypot(units["x"][3:] - units["x"][i], units["y"][3:] - units["y"][i])
        assert actions[i] == 6 + gaps.argmin()
