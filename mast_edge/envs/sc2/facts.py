"""What the API tells about a map and its unit types, apart from the battle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.maps import MAP_SIZE, map_names
from mast_edge.envs.sc2.battle import ApiBattle
from mast_edge.envs.sc2.messages import Messages
from mast_edge.envs.sc2.observation import AGENTS, ENEMIES

STOP, MOVE, ATTACK, HEAL = 4, 16, 23, 386
"""Ability ids. Source: smac.md 3."""

ABILITIES = {STOP: "Stop", MOVE: "Move", ATTACK: "Attack", HEAL: "Heal"}
_RACES = {"T": 1, "Z": 2, "P": 3}
_MAP_FOLDER, _MAP_SUFFIX = "SMAC_Maps", ".SC2Map"


def map_path(name: str) -> str:
    """Where SMAC keeps a map, below the game's folder `Maps`."""
    return f"{_MAP_FOLDER}/{name}{_MAP_SUFFIX}"


def map_paths() -> list[str]:
    """`map_path` of every map."""
    return [map_path(name) for name in map_names()]


def map_of(path: str) -> str:
    """The map that a path means: its last part, without the suffix."""
    return path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(_MAP_SUFFIX)


def pathing_bytes(walkable: NDArray[np.uint8]) -> bytes:
    """A walkable grid (32, 32) indexed [x, y]: 1 bit a cell, most significant first, rows from the south."""
    return np.packbits(walkable.T, axis=1, bitorder="big").tobytes()


def height_bytes(height: NDArray[np.uint8]) -> bytes:
    """A terrain height (32, 32) indexed [x, y]: 8 bits a cell, rows from the north."""
    return height.T[::-1].tobytes()


def write_game_info(messages: Messages, battle: ApiBattle, info: Any) -> None:
    """Fills a ResponseGameInfo: the map's size and grids, and who plays. Source: smac.md 12."""
    smac, api = battle.smac, messages.sc2api
    info.map_name, info.local_map_path = smac.name, map_path(smac.name)
    info.options.raw = True
    players = (
        (AGENTS, api.Participant, smac.ally_race),
        (ENEMIES, api.Computer, smac.enemy_race),
    )
    for player, kind, race in players:
        info.player_info.add(
            player_id=player, type=kind, race_requested=_RACES[race], race_actual=_RACES[race]
        )
    start = info.start_raw
    start.map_size.x = start.map_size.y = MAP_SIZE
    start.playable_area.p0.x = start.playable_area.p0.y = 0
    start.playable_area.p1.x = start.playable_area.p1.y = MAP_SIZE
    images = (
        (start.pathing_grid, 1, pathing_bytes(smac.walkable)),
        (start.terrain_height, 8, height_bytes(smac.height)),
    )
    for image, bits, data in images:
        image.bits_per_pixel, image.data = bits, data
        image.size.x = image.size.y = MAP_SIZE


def write_data(messages: Messages, battle: ApiBattle, request: Any, data: Any) -> None:
    """Fills a ResponseData with the abilities and unit types of this battle, as far as they are asked for.

    Agents have types of their own, as on SMAC's maps; both carry the plain name of the unit.
    """
    if request.ability_id:
        for ability, name in ABILITIES.items():
            data.abilities.add(ability_id=ability, link_name=name, friendly_name=name, available=True)
    if not request.unit_type_id:
        return
    types = dict(zip(battle.unit_ids, battle.unit_names, strict=True))
    for unit_id, name in sorted(types.items()):
        facts = battle.facts[name]
        data.units.add(
            unit_id=unit_id,
            name=name.replace("_", " ").title().replace(" ", ""),
            available=True,
            armor=facts["armor"],
            movement_speed=facts["speed"],
            sight_range=9.0,
        )
