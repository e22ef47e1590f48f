"""A battle as the API sees it: unit tags, raw orders, single game loops, respawn when nobody is left."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.maps import native_interface, native_world, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.skirmish import ORDERS, UNIT_DTYPE
from mast_edge.envs.smac_units import agent_type_ids, enemy_type_ids
from mast_edge.envs.units import UnitType, unit_types
from mast_edge.native import _core

RESPAWN_LOOPS = 2
"""Loops that an empty battlefield waits for the next episode."""

STAND, MOVE, ATTACK, HEAL = (ORDERS.index(name) for name in ("stand", "move", "attack", "heal"))

_TAG_BASE, _INDEX_BITS = 1 << 32, 8
_LOOPS = 2**32 - 1
"""The API's loop counter has 32 bits, and its largest value means something else."""
_FARTHEST = 1024.0


class ApiBattle:
    """One game of a map. Units are numbered agents first, as everywhere in the simulator.

    Every episode is the one that `Skirmish(map_name, seed=seed, profile=profile)` plays, bit for bit, if each
    ends with the death of everybody and exactly `RESPAWN_LOOPS` loops, as SMAC does it.

    Attributes:
        smac: the map.
        seed, profile: as given.
        unit_names: unit type per unit number.
        unit_ids: the API's type id per unit number.
        facts: unit data per type name.
        episode: number of the present episode, from 0.
        game_loop: loops played since the game was created.

    Source: smac.md 12.
    """

    def __init__(self, map_name: str, seed: int, profile: str = "liberty") -> None:
        """Creates the game and places its units.

        Args:
            map_name: one of the maps that the simulator plays.
            seed: 0 <= seed < 2**64.
            profile: unit data, `liberty` or `void`.

        Raises:
            ConfigError: no such map or profile.
            EnvironmentUnavailable: the simulator does not play the map.
        """
        self.smac = smac_map(map_name)
        self.seed, self.profile = seed, profile
        self.facts: dict[str, UnitType] = dict(unit_types(profile))
        world = native_world(self.smac, self.facts)
        face = native_interface(self.smac, SmacOptions(), self.facts)
        self.n_agents = face.n_agents
        self.unit_names = (*self.smac.ally_types, *self.smac.enemy_types)
        agent_ids = agent_type_ids(list(dict.fromkeys(self.smac.ally_types)))
        enemy_ids = enemy_type_ids(self.smac.enemy_types)
        self.unit_ids = (
            *(agent_ids[name] for name in self.smac.ally_types),
            *(enemy_ids[name] for name in self.smac.enemy_types),
        )
        self._core = _core.Simulator(world, face, 1, seed, 1)
        self._table = np.empty((1, len(self.unit_names), len(UNIT_DTYPE.names or ())))
        self.episode, self.game_loop = -1, 0
        self.respawn()

    @property
    def units(self) -> NDArray[np.float64]:
        """(units, 6): x, y, health, shield, energy, weapon cooldown in loops; a view."""
        return self._table[0, :, :6]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(units,) who lives."""
        return np.asarray(self._table[0, :, 7] > 0)

    def tag(self, unit: int) -> int:
        """The tag of a unit; no unit of another episode has the same."""
        return _TAG_BASE + (self.episode << _INDEX_BITS) + unit

    def unit_of(self, tag: int) -> int | None:
        """The number of the living unit with this tag, None when there is none."""
        unit = tag - self.tag(0)
        return unit if 0 <= unit < len(self.unit_names) and self.alive[unit] else None

    def respawn(self) -> None:
        """Starts the next episode of the seed at once."""
        self._core.restart(0)
        self.episode += 1
        self._waited = 0
        self._look()

    def stop(self, agent: int) -> None:
        """Orders an agent to stand."""
        self._core.order(0, agent, STAND, -1, 0.0, 0.0)

    def move(self, agent: int, x: float, y: float) -> bool:
        """Orders an agent to a point; False when the point is no place at all."""
        if not (math.isfinite(x) and math.isfinite(y) and max(abs(x), abs(y)) <= _FARTHEST):
            return False
        self._core.order(0, agent, MOVE, -1, x, y)
        return True

    def attack(self, agent: int, enemy: int) -> bool:
        """Orders an agent to attack unit number `enemy`; False when that is one of its own."""
        if enemy < self.n_agents:
            return False
        self._core.order(0, agent, ATTACK, enemy, 0.0, 0.0)
        return True

    def heal(self, agent: int, patient: int) -> bool:
        """Orders an agent to heal unit number `patient`; False when it cannot heal, or not that unit."""
        facts: dict[str, Any] = self.facts[self.unit_names[agent]]
        if "heal" not in facts or patient >= self.n_agents or patient == agent:
            return False
        self._core.order(0, agent, HEAL, patient, 0.0, 0.0)
        return True

    def kill(self, tags: list[int]) -> None:
        """Those of the tagged units that live die at once."""
        for unit in (self.unit_of(tag) for tag in tags):
            if unit is not None:
                self._core.kill(0, unit)
        self._look()

    def advance(self, loops: int) -> None:
        """Plays game loops.

        When nobody is left on either side at the start, `RESPAWN_LOOPS` loops pass, in one call or several,
        and the next episode begins at its own loop 0. A battlefield that empties during the loops stays empty
        to the end of the call, so that a client sees the draw.
        """
        self.game_loop = (self.game_loop + loops) % _LOOPS
        if not self.alive.any():
            waits = min(loops, RESPAWN_LOOPS - self._waited)
            self._waited += waits
            loops -= waits
            if self._waited == RESPAWN_LOOPS:
                self.respawn()
        if loops and self.alive.any():
            self._core.play_loops(0, loops)
            self._look()

    def _look(self) -> None:
        self._core.units(self._table)
