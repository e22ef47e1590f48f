"""Who shot at whom, healed and blasted in a step: read off what the units were before and after it."""

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.scripted import FIRST_TARGET
from mast_edge.envs.units import LOOPS_PER_SECOND, unit_types

StrikeKind = Literal["instant", "missile", "beam", "melee", "heal", "blast"]
MELEE_RANGE = 1.0
"""Weapons of at most this range (map units) have no line to draw."""


@dataclass(frozen=True, slots=True)
class Strike:
    """Something one unit did in a step.

    Attributes:
        kind: how.
        source, target: unit numbers, agents first; a blast has itself as target.
        at: when in the step, 0 to 1.
        lasts: flight of a missile in steps, else 0.
    """

    kind: StrikeKind
    source: int
    target: int
    at: float
    lasts: float = 0.0


@dataclass(frozen=True, slots=True)
class Arms:
    """What the unit types of a map fight with, by `kind` of a unit table.

    Attributes:
        ways: how each strikes; None without weapon.
        periods: loops between two shots.
        speeds: of missiles in map units per loop, 0 for others.
    """

    ways: tuple[StrikeKind | None, ...]
    periods: tuple[float, ...]
    speeds: tuple[float, ...]

    @classmethod
    @functools.cache
    def of(cls, unit_names: tuple[str, ...], profile: str = "liberty") -> "Arms":
        """The weapons of `unit_names` in a profile of `unit_types`."""
        weapons = [unit_types(profile)[name]["weapon"] for name in unit_names]
        return cls(
            tuple(_way(unit_types(profile)[name]) for name in unit_names),
            tuple(float(w["period"]) * LOOPS_PER_SECOND if w else 0.0 for w in weapons),
            tuple(float(w.get("missile_speed", 0)) / LOOPS_PER_SECOND if w else 0.0 for w in weapons),
        )


def _way(unit: dict[str, Any]) -> StrikeKind | None:
    weapon = unit["weapon"]
    if weapon is None:
        return "heal" if "heal" in unit else None
    if weapon["kind"] == "suicide":
        return "blast"
    if weapon["kind"] == "missile":
        return "missile"
    if weapon["kind"] == "beam":
        return "beam"
    return "melee" if weapon["range"] <= MELEE_RANGE else "instant"


def strikes(
    before: NDArray[Any],
    after: NDArray[Any],
    arms: Arms,
    n_agents: int,
    loops: int,
    actions: NDArray[np.int64] | None = None,
) -> list[Strike]:
    """What happened in one step of one environment, by source.

    Args:
        before, after: (units,) of `Skirmish.units`.
        arms: of the map's unit types.
        n_agents: how many of the units are agents.
        loops: of the step.
        actions: (N,) that the agents took, where known: tells what a shot was aimed at that ended its target.

    Returns:
        Shots as their weapons fired: a cooldown that rose instead of falling. Heals whose energy was spent.
        Blasts of banelings that died.
    """
    found = []
    fired = after["cooldown"] > np.maximum(before["cooldown"] - loops, 0.0) + 0.5
    fired &= before["alive"] & (after["alive"] | (after["cooldown"] > before["cooldown"]))
    for i in np.flatnonzero(before["alive"]).tolist():
        kind = int(after["kind"][i])
        way = arms.ways[kind]
        if way == "blast":
            if not after["alive"][i]:
                found.append(Strike("blast", i, i, 0.5))
        elif way == "heal":
            if after["target"][i] >= 0 and after["energy"][i] < before["energy"][i]:
                found.append(Strike("heal", i, int(after["target"][i]), 0.0))
        elif way is not None and fired[i]:
            target = _aim(before, after, i, n_agents, actions)
            if target >= 0:
                since = min(max(arms.periods[kind] - float(after["cooldown"][i]), 0.0), float(loops))
                reach = float(np.hypot(*(after[axis][target] - after[axis][i] for axis in "xy")))
                lasts = reach / arms.speeds[kind] / loops if arms.speeds[kind] else 0.0
                found.append(Strike(way, i, target, 1.0 - since / loops, lasts))
    return found


def _aim(
    before: NDArray[Any], after: NDArray[Any], i: int, n_agents: int, actions: NDArray[np.int64] | None
) -> int:
    """The target of a shot; -1 when it cannot be told."""
    if actions is not None and i < n_agents and actions[i] >= FIRST_TARGET:
        return int(actions[i]) - FIRST_TARGET + n_agents
    was, now = int(before["target"][i]), int(after["target"][i])
    died = was >= 0 and before["alive"][was] and not after["alive"][was]
    return was if now < 0 or died else now
