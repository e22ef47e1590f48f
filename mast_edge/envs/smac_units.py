"""Units as code written for SMAC reads them: `env.agents[i].health`, `env.enemies[k].pos.x`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mast_edge.envs.units import UnitType, unit_types

FIRST_AGENT_TYPE = 10_000
"""Agents have unit types of their own from here on, in the order of smac.md 2; those of enemies lie below."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the map: x grows east, y north, origin in the south-west corner."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class SmacUnit:
    """One unit as it is now, with the names of the game's own message.

    Attributes:
        tag: number of the unit in its battle, agents first; the same for its whole life.
        unit_type: the game's number of its type, or for agents `FIRST_AGENT_TYPE` and up.
        owner: 1 agents, 2 enemies.
        pos: its centre; of a dead unit, where it died.
        health, health_max, shield, shield_max, energy: hit points and the like; health 0 means dead.
        weapon_cooldown: game loops.
        type_name: name of the type, as in `unit_types`. Not in the game's message.
    """

    tag: int
    unit_type: int
    owner: int
    pos: Point
    health: float
    health_max: float
    shield: float
    shield_max: float
    energy: float
    weapon_cooldown: float
    type_name: str


def agent_type_ids(order: Sequence[str]) -> dict[str, int]:
    """Type name -> number, for agents of the types `order`, in the order of smac.md 2."""
    return {name: FIRST_AGENT_TYPE + at for at, name in enumerate(order)}


def enemy_type_ids(names: Sequence[str]) -> dict[str, int]:
    """Type name -> the game's own number. Source: units.json."""
    return {name: int(unit_types()[name]["sc2_unit_type"]) for name in names}


def smac_unit(tag: int, row: Any, name: str, unit_type: int, owner: int, data: UnitType) -> SmacUnit:
    """One row of `Skirmish.units` as a unit.

    Args:
        tag: its number.
        row: the row, of `UNIT_DTYPE`.
        name, unit_type, owner: see `SmacUnit`.
        data: what its type fixes.
    """
    alive = bool(row["alive"])
    return SmacUnit(
        tag=tag,
        unit_type=unit_type,
        owner=owner,
        pos=Point(float(row["x"]), float(row["y"])),
        health=float(row["health"]) if alive else 0.0,
        health_max=float(data["hp"]),
        shield=float(row["shield"]) if alive else 0.0,
        shield_max=float(data["shield"]),
        energy=float(row["energy"]),
        weapon_cooldown=float(row["cooldown"]),
        type_name=name,
    )
