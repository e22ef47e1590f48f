"""The 23 SMAC maps: facts from the data file, sizes, and the native tables made of them."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.options import SmacOptions
from mast_edge.envs.units import UnitType, native_kind, unit_types
from mast_edge.errors import ConfigError
from mast_edge.native import _core
from mast_edge.registry import nearest
from mast_edge.spec import EnvSpec

MAP_SIZE = 32
GOALS = ("point", "segment", "agents", "none")
"""Where the enemies' attack-move leads, as the native core numbers it (smac.md 9.4)."""

_AGENT_TYPES = {
    "stalkers_and_zealots": ("stalker", "zealot"),
    "colossi_stalkers_zealots": ("colossus", "stalker", "zealot"),
    "MMM": ("marauder", "marine", "medivac"),
    "bane": ("baneling", "zergling"),
}
_ENEMY_TYPES = _AGENT_TYPES | {"stalkers_and_zealots": ("zealot", "stalker")}
"""map_type -> unit types in the order of the type one-hot; SMAC swaps the enemies' here (smac.md 4)."""


@dataclass(frozen=True, slots=True)
class SmacMap:
    """One map.

    Attributes:
        name: its name in SMAC.
        ally_types, enemy_types: unit type per index.
        limit: steps per episode.
        ally_race, enemy_race: first letter: T, P or Z.
        map_type, type_bits: unit mix and length of the type one-hot.
        spawn_allies, spawn_enemies: (type, count, x, y) in creation order.
        attack: order of the enemies, None when they stay.
        walkable: (32, 32) uint8, indexed [x, y].
        cliff: (32, 32) uint8, blocked cells that a colossus may cross, indexed [x, y].
        height: (32, 32) uint8 terrain height, indexed [x, y].

    Source: smac.md 2, 7, 9.10.
    """

    name: str
    ally_types: tuple[str, ...]
    enemy_types: tuple[str, ...]
    limit: int
    ally_race: str
    enemy_race: str
    map_type: str
    type_bits: int
    spawn_allies: tuple[tuple[str, int, float, float], ...]
    spawn_enemies: tuple[tuple[str, int, float, float], ...]
    attack: Mapping[str, Any] | None
    walkable: NDArray[np.uint8]
    cliff: NDArray[np.uint8]
    height: NDArray[np.uint8]

    @property
    def unit_names(self) -> list[str]:
        """Unit types on this map, each once, sorted."""
        return sorted({*self.ally_types, *self.enemy_types})


@functools.cache
def _table() -> dict[str, Any]:
    text = resources.files("mast_edge.envs").joinpath("data/smac_maps.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def map_names() -> list[str]:
    """All 23 maps."""
    return list(_table()["maps"])


@functools.cache
def smac_map(name: str) -> SmacMap:
    """A map by name.

    Raises:
        ConfigError: no such map; the nearest name is suggested.
    """
    maps = _table()["maps"]
    if name not in maps:
        raise ConfigError(
            f"skirmish: map must be one of {', '.join(maps)}; got '{name}'.{nearest(name, list(maps))}"
        )
    row = maps[name]
    return SmacMap(
        name=name,
        ally_types=tuple(unit for unit, count in row["allies"] for _ in range(count)),
        enemy_types=tuple(unit for unit, count in row["enemies"] for _ in range(count)),
        limit=row["limit"],
        ally_race=row["ally_race"],
        enemy_race=row["enemy_race"],
        map_type=row["map_type"],
        type_bits=row["type_bits"],
        spawn_allies=tuple((kind, n, float(x), float(y)) for kind, n, x, y in row["spawn_allies"]),
        spawn_enemies=tuple((kind, n, float(x), float(y)) for kind, n, x, y in row["spawn_enemies"]),
        attack=row["attack"],
        walkable=_walkable(_table()["grids"][row["grid"]]),
        cliff=_cliff(row.get("cliff_walk")),
        height=_height(row.get("cliff_level_x8")),
    )


def type_order(smac: SmacMap, agents: bool) -> tuple[str, ...]:
    """Unit types in the order of one side's type one-hot, empty where the map has none.

    Args:
        smac: the map.
        agents: the agents' side, else the enemies'.

    Source: smac.md 4.
    """
    return (_AGENT_TYPES if agents else _ENEMY_TYPES).get(smac.map_type, ())


def _walkable(rows: list[str]) -> NDArray[np.uint8]:
    """Hex rows, south first, most significant bit x = 0, as [x, y]."""
    grid = np.array([[int(bit) for bit in f"{int(row, 16):032b}"] for row in rows], dtype=np.uint8)
    return np.ascontiguousarray(grid.T)


def _cliff(box: list[int] | None) -> NDArray[np.uint8]:
    """Cells of the half-open box [x0, y0, x1, y1), as [x, y]."""
    grid = np.zeros((MAP_SIZE, MAP_SIZE), dtype=np.uint8)
    if box is not None:
        x0, y0, x1, y1 = box
        grid[x0:x1, y0:y1] = 1
    return grid


def _height(rows: list[str] | None) -> NDArray[np.uint8]:
    """Height bytes [x, y]: 127, or 127 + 16 (level - 1) where the map has cliffs, 0 off it (smac.md 9.10)."""
    if rows is None:
        return np.full((MAP_SIZE, MAP_SIZE), 127, dtype=np.uint8)
    levels = np.array([list(bytes.fromhex(row)) for row in rows], dtype=np.float64).T / 8
    return np.where(levels == 0, 0, 127 + np.rint(16 * (levels - 1))).astype(np.uint8)


def _rows(walkable: NDArray[np.uint8]) -> list[int]:
    """Native row masks: row y, bit x, from a grid indexed [x, y]."""
    return [int(sum(1 << x for x in range(MAP_SIZE) if walkable[x, y])) for y in range(MAP_SIZE)]


def native_interface(
    smac: SmacMap,
    options: SmacOptions,
    units: Mapping[str, UnitType],
    walkable: NDArray[np.uint8] | None = None,
    height: NDArray[np.uint8] | None = None,
) -> _core.Interface:
    """The native interface tables of a map.

    Args:
        smac: the map.
        options: observation, state and reward options.
        units: unit data by type name.
        walkable, height: (32, 32) grids indexed [x, y] to use in place of the map's own.
    """
    face = _core.Interface()
    face.n_agents, face.n_enemies = len(smac.ally_types), len(smac.enemy_types)
    face.type_bits = smac.type_bits
    face.ally_shields, face.enemy_shields = smac.ally_race == "P", smac.enemy_race == "P"
    face.medivac_rules = smac.map_type == "MMM"
    face.limit = smac.limit
    sides = ((smac.ally_types, _AGENT_TYPES), (smac.enemy_types, _ENEMY_TYPES))
    for types, orders in sides:
        order = orders.get(smac.map_type, ())
        for name in types:
            unit = units[name]
            face.add_unit(
                health_max=float(unit["hp"]),
                shield_max=float(unit["shield"]),
                cooldown_scale=float(unit["state_cooldown_scale"] or 1),
                type_slot=order.index(name) if smac.type_bits else -1,
                medivac=name == "medivac",
            )
    face.walkable = _rows(smac.walkable if walkable is None else walkable)
    face.height = np.ascontiguousarray(smac.height if height is None else height).ravel().tolist()
    _apply(face, options)
    face.prepare()
    return face


def _apply(face: _core.Interface, options: SmacOptions) -> None:
    face.move_amount = float(options.move_amount)
    face.obs_all_health = options.obs_all_health
    face.obs_own_health = options.obs_own_health
    face.obs_last_action = options.obs_last_action
    face.obs_pathing_grid = options.obs_pathing_grid
    face.obs_terrain_height = options.obs_terrain_height
    face.obs_timestep_number = options.obs_timestep_number
    face.obs_instead_of_state = options.obs_instead_of_state
    face.state_last_action = options.state_last_action
    face.state_timestep_number = options.state_timestep_number
    face.reward_sparse = options.reward_sparse
    face.reward_only_positive = options.reward_only_positive
    face.reward_scale = options.reward_scale
    face.heuristic_ai, face.heuristic_rest = options.heuristic_ai, options.heuristic_rest
    face.reward_death_value = float(options.reward_death_value)
    face.reward_win = float(options.reward_win)
    face.reward_defeat = float(options.reward_defeat)
    face.reward_negative_scale = float(options.reward_negative_scale)
    face.reward_scale_rate = float(options.reward_scale_rate)


def native_world(smac: SmacMap, units: Mapping[str, UnitType], spawn_jitter: bool = True) -> _core.World:
    """The native physics tables of a map.

    Args:
        smac: the map.
        units: unit data by type name.
        spawn_jitter: False makes every episode start alike.
    """
    names = smac.unit_names
    world = _core.World()
    world.kinds = [native_kind(units[name]) for name in names]
    for kind, count, x, y in smac.spawn_allies:
        world.add_agents(names.index(kind), count, x, y)
    for kind, count, x, y in smac.spawn_enemies:
        world.add_enemies(names.index(kind), count, x, y)
    world.agent_kind_order = [names.index(kind) for kind in dict.fromkeys(smac.ally_types)]
    world.walkable = _rows(smac.walkable)
    world.cliff = _rows(smac.cliff)
    attack = smac.attack or {"kind": "none"}
    world.goal_kind = GOALS.index(attack["kind"])
    world.goal = [[float(x), float(y)] for x, y in attack.get("points", ())]
    world.spawn_jitter = spawn_jitter
    return world


def env_spec(map_name: str, options: SmacOptions | None = None, backend: str = "skirmish") -> EnvSpec:
    """Sizes of any of the 23 maps, whether or not its battle can be played here.

    Args:
        map_name: the map.
        options: environment options; SMAC's defaults when None.
        backend: recorded in the result.

    Returns:
        The sizes of the arrays that the environment returns. With `obs_timestep_number` they are one longer
        than SMAC declares (smac.md 4).

    Raises:
        ConfigError: no such map.
    """
    smac = smac_map(map_name)
    face = native_interface(smac, options or SmacOptions(), unit_types())
    return EnvSpec(
        map_name=map_name,
        backend=backend,
        n_agents=face.n_agents,
        n_actions=face.n_actions,
        obs_dim=face.obs_dim,
        state_dim=face.state_dim,
        episode_limit=smac.limit,
    )
