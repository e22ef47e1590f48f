"""Small battles with made-up units and places, stepped loop by loop, for checks of the physics."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mast_edge.envs.maps import native_interface, native_world, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.units import unit_types
from mast_edge.native import _core

STOP, NORTH, SOUTH, EAST, WEST, ATTACK = 1, 2, 3, 4, 5, 6

Place = tuple[str, float, float]


class Arena:
    """One battle: agents and enemies at exact places, no scatter; `units` columns as in `_core.pyi`."""

    def __init__(
        self,
        allies: Sequence[Place],
        enemies: Sequence[Place],
        *,
        goal: tuple[float, float] | None = None,
        step_mul: int = 1,
        seed: int = 0,
        base: str = "3m",
        limit: int = 100_000,
        changes: Mapping[str, Any] | None = None,
        options: SmacOptions | None = None,
    ) -> None:
        units = copy.deepcopy(dict(unit_types()))
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            entry = units
            for parent in parents:
                entry = entry[parent]
            entry[last] = value
        goal = goal or enemies[0][1:]
        smac = dataclasses.replace(
            smac_map(base),
            ally_types=tuple(name for name, _, _ in allies),
            enemy_types=tuple(name for name, _, _ in enemies),
            spawn_allies=tuple((name, 1, x, y) for name, x, y in allies),
            spawn_enemies=tuple((name, 1, x, y) for name, x, y in enemies),
            attack={"kind": "point", "points": [goal]},
            limit=limit,
        )
        face = native_interface(smac, options or SmacOptions(), units)
        self.core = _core.Simulator(native_world(smac, units, spawn_jitter=False), face, 1, seed, step_mul)
        self.n = len(allies)
        self.obs = np.zeros((1, face.n_agents, face.obs_dim), np.float32)
        self.state = np.zeros((1, face.state_dim), np.float32)
        self.avail = np.zeros((1, face.n_agents, face.n_actions), np.uint8)
        self.reward = np.zeros(1)
        self.flags = np.zeros((3, 1), np.bool_)
        self.dead = np.zeros((2, 1), np.int32)
        self.reset()

    def reset(self) -> None:
        self.core.reset(None, self.obs, self.state, self.avail)

    def step(self, *actions: int) -> float:
        chosen = np.array([actions], dtype=np.int64)
        self.core.step(
            chosen, None, self.obs, self.state, self.avail, self.reward, self.flags, self.dead
        )
        self.played = chosen[0]
        return float(self.reward[0])

    @property
    def over(self) -> bool:
        return bool(self.flags[0, 0])

    def units(self) -> np.ndarray:
        table = np.zeros((1, self.n + self.core.interface.n_enemies, 12))
        self.core.units(table)
        return table[0]
