"""Unit types: what the data file says, and the native tables made of it.

Times in the data are game seconds (16 loops), speeds map units per game second. The native core counts in
loops, with rates rounded to 1/4096 (smac.md 9.1).
"""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from mast_edge.errors import ConfigError
from mast_edge.native import _core
from mast_edge.registry import nearest

LOOPS_PER_SECOND = 16
GRAIN = 4096
"""Positions, vitals, cooldowns and rates are multiples of 1/GRAIN."""

ATTRIBUTES = ("light", "armored", "biological", "mechanical", "massive", "structure")
COLLISION_GROUPS = ("ground", "colossus", "air")
WEAPONS = ("none", "instant", "missile", "beam", "suicide")

UnitType = dict[str, Any]


@functools.cache
def _table() -> dict[str, Any]:
    text = resources.files("mast_edge.envs").joinpath("data/units.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def profiles() -> list[str]:
    """Names of the unit profiles: `liberty` (default) and `void`. Source: smac.md 8."""
    return list(_table()["profiles"])


@functools.cache
def unit_types(profile: str = "liberty") -> Mapping[str, UnitType]:
    """Unit type name -> its data, with the profile's changes applied.

    Args:
        profile: one of `profiles()`.

    Raises:
        ConfigError: no such profile.

    Source: smac.md 8.
    """
    table = _table()
    if profile not in table["profiles"]:
        raise ConfigError(
            f"skirmish: profile must be one of {', '.join(table['profiles'])}; got '{profile}'."
            f"{nearest(profile, table['profiles'])}"
        )
    units: dict[str, UnitType] = json.loads(json.dumps(table["units"]))
    for name, changes in table["profiles"][profile].items():
        for path, value in changes.items():
            *parents, last = path.split(".")
            entry = units[name]
            for parent in parents:
                entry = entry[parent]
            entry[last] = value
    return units


def per_loop(per_second: float) -> float:
    """A rate per game second as a rate per loop, to the nearest 1/4096. Source: smac.md 9.1."""
    return round(per_second / LOOPS_PER_SECOND * GRAIN) / GRAIN


def to_loops(seconds: float) -> int:
    """A time in game seconds as a whole number of loops, half to even. Source: smac.md 9.5."""
    return round(seconds * LOOPS_PER_SECOND)


def native_kind(unit: UnitType) -> _core.UnitKind:
    """The native table of one unit type.

    Args:
        unit: an entry of `unit_types`.
    """
    common = _table()["common"]
    energy = unit.get("energy", {"start": 0, "max": 0, "regen": 0})
    kind = _core.UnitKind()
    kind.health_max = float(unit["hp"])
    kind.shield_max = float(unit["shield"])
    kind.armor = float(unit["armor"])
    kind.energy_start, kind.energy_max = float(energy["start"]), float(energy["max"])
    kind.energy_regen = per_loop(energy["regen"])
    kind.shield_regen = per_loop(common["shield_regen"]) if unit["shield"] else 0.0
    kind.shield_delay = to_loops(common["shield_regen_delay"])
    kind.life_regen = per_loop(unit["life_regen"])
    kind.speed = per_loop(unit["speed"])
    kind.radius, kind.separation = float(unit["radius"]), float(unit["separation"])
    kind.air = unit["plane"] == "air"
    kind.structure = "structure" in unit["attributes"]
    kind.collision_group = COLLISION_GROUPS.index(unit["collision"])
    kind.attributes = sum(1 << ATTRIBUTES.index(name) for name in unit["attributes"])
    kind.cliff_walk = unit.get("cliff_walk", False)
    if unit["weapon"] is not None:
        _arm(kind, unit["weapon"])
    if "heal" in unit:
        _equip(kind, unit["heal"])
    return kind


def _arm(kind: _core.UnitKind, weapon: Mapping[str, Any]) -> None:
    kind.weapon = WEAPONS.index(weapon["kind"])
    kind.hits_ground, kind.hits_air = "ground" in weapon["targets"], "air" in weapon["targets"]
    kind.damage = float(weapon["damage"])
    kind.bonus = [float(weapon["bonus"].get(name, 0)) for name in ATTRIBUTES]
    kind.range, kind.scan, kind.slop = float(weapon["range"]), float(weapon["scan"]), float(weapon["slop"])
    kind.period = round(weapon["period"] * LOOPS_PER_SECOND * GRAIN) / GRAIN
    kind.hits = int(weapon["hits"])
    kind.hit_delay = to_loops(weapon.get("beam_delay", weapon.get("hit_delay", 0)))
    kind.windup, kind.backswing = to_loops(weapon["damage_point"]), to_loops(weapon["backswing"])
    kind.missile_speed = float(weapon.get("missile_speed", 0)) / LOOPS_PER_SECOND
    kind.beam_half_length = float(weapon.get("beam_half_length", 0))
    kind.beam_half_width = float(weapon.get("beam_half_width", 0))
    kind.blast_radius = float(weapon.get("blast_radius", 0))


def _equip(kind: _core.UnitKind, heal: Mapping[str, Any]) -> None:
    kind.heal_rate, kind.heal_price = per_loop(heal["rate"]), float(heal["energy_per_hp"])
    kind.heal_range, kind.heal_scan = float(heal["range"]), float(heal["autocast_range"])
    kind.heal_min_energy = float(heal["autocast_min_energy"])
