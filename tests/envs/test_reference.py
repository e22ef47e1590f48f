"""The native battle against the same rules written in Python: equal bits, step by step."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from mast_edge.envs.maps import map_names
from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import ORDERS, Skirmish
from tests.envs.random_battles import RandomBattle
from tests.envs.reference import Reference

VITALS = ("x", "y", "health", "shield", "energy")
DUE = {
    "marine": "fired instant",
    "marauder": "missile",
    "medivac": "heal",
    "zealot": "second hit",
    "stalker": "missile",
    "colossus": "beam",
    "hydralisk": "missile",
    "baneling": "blast hit",
    "zergling": "fired instant",
    "spine_crawler": "fired instant",
}
"""Unit type -> event that a fight with such units must show."""

CROWDS = ("corridor", "2c_vs_64zg", "bane_vs_bane", "27m_vs_30m")
"""Maps on which somebody has to step aside."""

MOST_STEPS = 60

PLAYS = [(name, "liberty", 1, 0.2) for name in map_names()] + [
    ("3m", "liberty", 2**40 + 7, 1.0),
    ("2s3z", "void", 5, 0.5),
    ("MMM2", "void", 6, 0.0),
    ("1c3s5z", "void", 7, 0.3),
    ("6h_vs_8z", "void", 8, 0.0),
    ("2s_vs_1sc", "void", 9, 0.3),
]


class Play:
    """One episode in both, each step with the same actions of a mixture of random and nearest-target play."""

    def __init__(self, name: str, profile: str, seed: int, random_share: float, **options: Any) -> None:
        self.env = Skirmish(name, seed=seed, profile=profile, **options)
        self.env.reset()
        self.env.reset()    # the second episode: its number is part of every draw
        self.reference = Reference(name, seed, 1, profile, **options)
        self.rng = np.random.default_rng(seed)
        self.players = RandomPolicy(self.rng), NearestPolicy()
        self.random_share = random_share
        self.steps, self.over = 0, False
        self.where = f"{name} {profile} seed {seed}"
        self.compare()

    def step(self) -> None:
        choices = [player.act(self.env) for player in self.players]
        actions = np.where(self.rng.random(choices[0].shape) < self.random_share, *choices)
        self.heal_the_weakest(actions[0])
        outcome = self.env.step(actions)
        self.reference.step(actions[0].tolist())
        self.steps += 1
        self.compare()
        self.over = bool(outcome.terminated[0])
        assert outcome.battle_won[0] == (self.reference.outcome == "won")
        timed_out = self.reference.outcome is None and self.steps == self.env.spec.episode_limit
        assert self.over == (self.reference.outcome is not None or timed_out), self.where

    def heal_the_weakest(self, actions: Any) -> None:
        """Medivacs of the MMM maps, which the scripted players leave to chance."""
        agents = self.env.units()[0][: len(actions)]
        for agent, kind in enumerate(self.env.ally_types):
            patients = np.flatnonzero(self.env.avail[0, agent, 6 : 6 + len(actions)])
            if kind == "medivac" and len(patients) and self.rng.random() > self.random_share:
                actions[agent] = 6 + patients[agents["health"][patients].argmin()]

    def compare(self) -> None:
        compare(self.env.units()[0], self.env.unit_names, self.reference, f"{self.where} step {self.steps}")
        assert self.reference.off_grain() == []


def compare(native: Any, names: list[str], reference: Any, where: str) -> None:
    """Every field of every unit, exactly. Of the dead: kind, place and vitals."""
    for row, unit in zip(native, reference.units, strict=True):
        got = {field: row[field].item() for field in VITALS}
        got |= {"kind": names[row["kind"]], "alive": bool(row["alive"]), "cooldown": row["cooldown"].item()}
        expected = {field: getattr(unit, field) for field in VITALS}
        expected |= {"kind": unit.kind.name, "alive": unit.alive, "cooldown": max(unit.cooldown, 0.0)}
        if unit.alive:
            got |= {"order": ORDERS[row["order"]], "target": row["target"].item()}
            expected |= {"order": unit.order, "target": unit.target_index}
        assert got == expected, f"{where}, loop {reference.loop}, unit {unit.index}"


@pytest.mark.parametrize(("name", "profile", "seed", "random_share"), PLAYS)
def test_same_battle_as_reference(name: str, profile: str, seed: int, random_share: float) -> None:
    play = Play(name, profile, seed, random_share)
    while play.steps < MOST_STEPS and not play.over:
        play.step()
    events = play.reference.events
    due = {DUE[kind] for kind in play.env.unit_names}
    due |= {"sidestep"} if name in CROWDS else set()
    due -= {"second hit"} if name == "so_many_baneling" else set()    # nobody lives as long there
    assert due <= {event for event, count in events.items() if count}


def test_same_battle_in_random_places() -> None:
    events: Counter[str] = Counter()
    for seed in range(40):
        events += random_battle(seed)
    assert {*DUE.values(), "blast", "splash", "sidestep", "refused", "answer"} <= set(events), events


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 1100, 100))
def test_same_battle_in_many_random_places(start: int) -> None:
    for seed in range(start, start + 100):
        random_battle(seed)


def random_battle(seed: int) -> Counter[str]:
    battle = RandomBattle(seed)
    while not battle.over:
        battle.step()
        compare(battle.rows(), battle.unit_names, battle.reference, f"battle {seed} step {battle.steps}")
        assert battle.over == (battle.steps >= battle.limit or battle.reference.outcome is not None)
    return battle.reference.events


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["liberty", "void"])
@pytest.mark.parametrize("name", map_names())
def test_whole_episodes(name: str, profile: str) -> None:
    for seed, random_share in ((11, 0.0), (12, 0.3), (13, 1.0)):
        play = Play(name, profile, seed, random_share)
        while not play.over:
            play.step()


@pytest.mark.parametrize("name", map_names())
def test_same_spawn(name: str) -> None:
    for jitter in (True, False):
        env = Skirmish(name, seed=2**63 + 5, spawn_jitter=jitter)
        for episode in range(3):
            env.reset()
            reference = Reference(name, 2**63 + 5, episode, spawn_jitter=jitter)
            compare(env.units()[0], env.unit_names, reference, f"{name} episode {episode} {jitter}")
