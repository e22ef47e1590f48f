"""What holds in every battle, whoever plays: places, vitals, the dead, the grain, and equal bits."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.envs.maps import map_names, smac_map
from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.units import unit_types
from tests.envs.test_skirmish import chosen, moment

MAPS = st.sampled_from(map_names())
SEEDS = st.integers(0, 2**64 - 9)
NUMBERS = ("x", "y", "health", "shield", "energy", "cooldown")
ENERGY_REGEN, FULL_PRICE = 144, 760    # in units of 1/4096


def column(env: Skirmish, kinds: Any, *path: str) -> np.ndarray:
    """A number of each unit's type, (units,)."""
    types = unit_types(env.profile)
    values = []
    for kind in kinds:
        value: Any = types[env.unit_names[kind]]
        for name in path:
            value = value.get(name, {} if name != path[-1] else 0)
        values.append(value)
    return np.array(values)


def check_places(env: Skirmish, units: Any) -> None:
    smac = smac_map(env.spec.map_name)
    for unit in units:
        assert 0 <= unit["x"] < 32
        assert 0 <= unit["y"] < 32
        cell, kind = (int(unit["x"]), int(unit["y"])), env.unit_names[unit["kind"]]
        over_cliffs = kind == "colossus" and smac.cliff[cell]
        assert kind == "medivac" or smac.walkable[cell] or over_cliffs, unit


def check_vitals(env: Skirmish, units: Any) -> None:
    limits = {"health": ("hp",), "shield": ("shield",), "energy": ("energy", "max")}
    for name, path in limits.items():
        assert (units[name] >= 0).all()
        assert (units[name] <= column(env, units["kind"], *path)).all()
    assert ((units["health"] > 0) == units["alive"]).all()
    assert (units["cooldown"] >= 0).all()
    for name in NUMBERS:
        assert (units[name] * 4096 % 1 == 0).all()


def check_changes(env: Skirmish, before: Any, after: Any) -> None:
    """From one loop to the next: the dead stay dead in their places, and healing is paid for."""
    dead = ~before["alive"]
    np.testing.assert_array_equal(after[dead], before[dead])
    medivacs = after["alive"] & (column(env, after["kind"], "energy", "max") > 0)
    prices = (before["energy"] - after["energy"])[medivacs] * 4096 + ENERGY_REGEN
    assert ((prices >= 0) & (prices <= FULL_PRICE)).all()
    healing = np.flatnonzero(medivacs)[prices > 0]
    patients = after["target"][healing]
    assert (patients >= 0).all()    # also one that is full now, or dead
    assert (before["health"][patients] < column(env, before["kind"], "hp")[patients]).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    name=MAPS,
    seed=SEEDS,
    profile=st.sampled_from(["liberty", "void"]),
    random_share=st.sampled_from([0, 0.3, 1]),
    begun=st.integers(0, 25),
)
def test_every_loop_keeps_the_rules(
    name: str, seed: int, profile: str, random_share: float, begun: int
) -> None:
    """After `begun` steps of 8 loops each loop is looked at by itself, until the limit of steps."""
    rng = np.random.default_rng(seed)
    prelude = Skirmish(name, seed=seed, profile=profile)
    prelude.reset()
    over = any(mixed_step(prelude, rng, random_share) for _ in range(begun))
    env = Skirmish(name, seed=seed, profile=profile, step_mul=1)
    env.reset()
    if not over:
        env.restore(prelude.snapshot())
    units = env.units()[0]
    over = False
    while not over:
        over = mixed_step(env, rng, random_share)
        before, units = units, env.units()[0]
        check_places(env, units)
        check_vitals(env, units)
        check_changes(env, before, units)


def mixed_step(env: Skirmish, rng: np.random.Generator, random_share: float) -> bool:
    """A step of random and nearest-target play; whether the episode is over."""
    choices = RandomPolicy(rng).act(env), NearestPolicy().act(env)
    actions = np.where(rng.random(choices[0].shape) < random_share, *choices)
    return bool(env.step(actions).terminated[0])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(name=MAPS, seed=SEEDS, n_envs=st.integers(2, 5), cut=st.integers(1, 25), salt=st.integers(0, 99))
def test_bits_depend_on_nothing_but_seed_and_actions(
    name: str, seed: int, n_envs: int, cut: int, salt: int
) -> None:
    """A row of a batch is a lone environment, also after a restore in the middle."""
    row = salt % n_envs
    batch, lone = Skirmish(name, n_envs, seed=seed), Skirmish(name, seed=seed + row)
    for env in (batch, lone):
        play(env, cut, salt)
    assert moment(batch, row) == moment(lone, 0)
    other = Skirmish(name, n_envs, seed=0)
    other.reset()
    other.restore(batch.snapshot())
    for env in (batch, lone, other):
        play(env, 12, salt, begin=False)
    assert moment(batch, row) == moment(lone, 0) == moment(other, row)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(name=MAPS, seed=SEEDS, threads=st.integers(2, 4))
def test_threads_change_no_bit(name: str, seed: int, threads: int) -> None:
    batches = [Skirmish(name, 7, seed=seed, threads=n) for n in (1, threads)]
    for env in batches:
        play(env, 30, 1)
    assert [moment(batches[0], row) for row in range(7)] == [moment(batches[1], row) for row in range(7)]


def play(env: Skirmish, n_steps: int, salt: int, begin: bool = True) -> None:
    """Steps with actions that follow from each environment alone; whoever has finished begins anew."""
    if begin:
        env.reset()
    for _ in range(n_steps):
        outcome = env.step(chosen(env, salt))
        if outcome.terminated.any():
            env.reset(outcome.terminated)
