"""The native battle against the same rules written in Python: equal bits, step by step."""

import numpy as np
import pytest

from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import Skirmish
from tests.envs.reference import Reference


@pytest.mark.parametrize(
    ("name", "seed", "random_share"),
    [("3m", 3, 1.0), ("3m", 2**40 + 7, 0.3), ("5m_vs_6m", 5, 0.5), ("8m", 0, 0.2), ("25m", 1, 0.3)],
)
def test_same_battle_as_reference(name: str, seed: int, random_share: float) -> None:
    env = Skirmish(name, seed=seed)
    env.reset()
    env.reset()    # the second episode: its number is part of every draw
    rng = np.random.default_rng(seed)
    players = RandomPolicy(rng), NearestPolicy()
    start = env.units()[0]
    reference = Reference(seed, 1, list(zip(start["x"], start["y"], strict=True)), env.spec.n_agents)
    steps = 0
    while steps < 45:
        choices = players[0].act(env), players[1].act(env)
        actions = np.where(rng.random(choices[0].shape) < random_share, *choices)
        outcome = env.step(actions)
        reference.step(actions[0].tolist())
        steps += 1
        units = env.units()[0]
        living = units["alive"]
        assert living.tolist() == [unit.alive for unit in reference.units]
        for field in ("x", "y", "health"):
            expected = np.array([getattr(unit, field) for unit in reference.units])
            np.testing.assert_array_equal(units[field][living], expected[living], err_msg=f"step {steps}")
        cooldown = np.array([max(unit.cooldown, 0.0) for unit in reference.units])
        np.testing.assert_array_equal(units["cooldown"], cooldown)
        if outcome.terminated[0]:
            break
    assert steps >= 15
    assert env.units()[0]["health"].min() < 45    # somebody fought
