"""Battles of any units in places and among walls drawn by chance, played at once natively and in Python."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.options import SmacOptions
from mast_edge.envs.skirmish import UNIT_DTYPE
from mast_edge.envs.units import unit_types
from tests.envs.arena import Arena
from tests.envs.reference import Reference

KINDS = tuple(unit_types())
MOST_LOOPS = 320


class RandomBattle:
    """All of it follows from `seed`: map, units, profile, vitals, orders."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.walkable, self.cliff = self.draw_walls()
        attack = self.draw_attack()
        self.allies = self.draw_side()
        self.enemies = self.draw_side()
        profile = str(rng.choice(["liberty", "liberty", "void"]))
        self.step_mul, move_amount = int(rng.choice([1, 3, 8, 8, 11])), int(rng.choice([1, 2, 4]))
        self.limit = MOST_LOOPS // self.step_mul
        self.arena = Arena(
            self.allies,
            self.enemies,
            step_mul=self.step_mul,
            seed=seed,
            base=str(rng.choice(["3m", "MMM"])),
            limit=self.limit,
            changes=self.draw_changes(profile),
            options=SmacOptions.of({"move_amount": move_amount}),
            profile=profile,
            attack=attack,
            walkable=self.walkable,
            cliff=self.cliff,
        )
        self.reference = Reference(
            "random",
            seed,
            0,
            smac=self.arena.smac,
            units=self.arena.types,
            spawn_jitter=False,
            step_mul=self.step_mul,
            move_amount=move_amount,
        )
        self.unit_names = self.arena.smac.unit_names
        self.steps, self.last = 0, [1] * len(self.allies)
        self.eager, self.stubborn = rng.random(), 0.7 * rng.random()

    @property
    def over(self) -> bool:
        return self.arena.over

    def step(self) -> None:
        self.last = [self.draw_action(i) for i in range(len(self.allies))]
        self.arena.step(*self.last)
        self.reference.step(self.last)
        self.steps += 1

    def rows(self) -> NDArray[Any]:
        """The native units, as `Skirmish.units` shows those of one environment."""
        table = self.arena.units()
        rows = np.empty(len(table), UNIT_DTYPE)
        for column, name in enumerate(UNIT_DTYPE.names or ()):
            rows[name] = table[:, column]
        return rows

    def draw_action(self, agent: int) -> int:
        allowed = np.flatnonzero(self.arena.avail[0, agent])
        if self.last[agent] in allowed and self.rng.random() < self.stubborn:
            return self.last[agent]
        targets = allowed[allowed >= 6]
        return int(self.rng.choice(targets if len(targets) and self.rng.random() < self.eager else allowed))

    def draw_walls(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        rng = self.rng
        walkable, cliff = np.ones((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
        if rng.random() < 0.25:
            return walkable, cliff
        for _ in range(rng.integers(2, 9)):
            x, y = rng.integers(0, 30, 2)
            shape = [rng.integers(1, 9, 2), (rng.integers(1, 3), rng.integers(8, 20))][rng.integers(2)]
            width, depth = rng.permutation(shape)
            walkable[x : x + width, y : y + depth] = 0
        x, y = rng.integers(0, 25, 2)
        cliff[x : x + 8, y : y + 4] = 1 - walkable[x : x + 8, y : y + 4]
        return walkable, cliff

    def draw_attack(self) -> Mapping[str, Any]:
        kind = ["point", "segment", "agents", "none"][self.rng.integers(4)]
        points = self.rng.uniform(0, 31.9, (2 if kind == "segment" else 1, 2)).round(3).tolist()
        return {"kind": kind, "points": points} if kind in ("point", "segment") else {"kind": kind}

    def draw_side(self) -> list[tuple[str, float, float]]:
        mixture = [str(kind) for kind in self.rng.choice(KINDS, self.rng.integers(1, 4))]
        names = sorted(self.rng.choice(mixture, self.rng.integers(1, 13)), key=mixture.index)
        return [(str(name), *self.draw_place()) for name in names]

    def draw_place(self) -> tuple[float, float]:
        cells = np.argwhere(self.walkable)
        middle = cells[len(cells) // 2]
        near = cells[np.abs(cells - middle).max(axis=1) <= 7]
        x, y = near[self.rng.integers(len(near))] + self.rng.integers(0, 100, 2) / 100
        return float(x), float(y)

    def draw_changes(self, profile: str) -> dict[str, Any]:
        """Vitals for short and long battles, medivacs that run dry, enemies who see less than they hit."""
        changes: dict[str, Any] = {}
        if self.rng.random() < 0.5:
            for kind, unit in unit_types(profile).items():
                changes[f"{kind}.hp"] = int(unit["hp"] * self.rng.choice([0.2, 0.5, 2, 6])) + 1
        if self.rng.random() < 0.3:
            changes["medivac.energy.start"] = int(self.rng.integers(0, 8))
        if self.rng.random() < 0.3:
            changes |= {f"{kind}.weapon.scan": 2 for kind in KINDS if kind != "medivac"}
        return changes
