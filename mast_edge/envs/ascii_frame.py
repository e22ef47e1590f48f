"""A battle as lines of text: the field, both sides' health, what the agents do. No screen, no colours.

A line is a list of (text, role); who shows it decides what a role looks like. The field has north on top and
two columns per cell. Where all units are of one type, agents are digits and capitals and enemies small
letters, one each; on other maps a letter tells the type, capital for agents.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.maps import smac_map
from mast_edge.envs.scripted import FIRST_TARGET
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.strikes import Strike
from mast_edge.envs.units import unit_types

Role = Literal["", "ally", "enemy", "heal", "dim", "bold"]
Line = list[tuple[str, Role]]

LETTERS = {
    "marine": "M",
    "marauder": "R",
    "medivac": "V",
    "stalker": "S",
    "zealot": "Z",
    "colossus": "C",
    "zergling": "G",
    "baneling": "B",
    "hydralisk": "H",
    "spine_crawler": "P",
}
ALLY_NAMES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ENEMY_NAMES = "abcdefghijklmnopqrstuvwxyzαβγδεζηθ"
ACTIONS = ("is down", "stops", "moves north", "moves south", "moves east", "moves west")
WIDE_BARS = 6
"""Sides of at most this many units get one health bar each; larger ones one block each."""
BAR = 6
SPOKEN_FOR = 6
"""At most this many agents have their actions told one by one; more are counted."""


@dataclass(frozen=True, slots=True)
class Pen:
    """Characters to draw with."""

    ally_shot: str
    enemy_shot: str
    heal: str
    wall: str
    full: str
    shield: str
    empty: str
    dead: str
    edge: str
    blocks: str


FINE = Pen("·", "∙", "+", "░", "━", "═", "╌", "✗", "─", "▁▂▃▄▅▆▇█")
PLAIN = Pen(".", ":", "+", "#", "=", "%", "-", "x", "-", "12345678")


def pen_for(encoding: str) -> Pen:
    """Line art for UTF-8, ASCII for anything else."""
    return FINE if encoding.lower().replace("-", "").startswith("utf8") else PLAIN


@dataclass(frozen=True, slots=True)
class Cast:
    """Who fights where: what stays the same throughout a battle.

    Attributes:
        n_agents: how many of the units are agents.
        names: unit type per unit, agents first.
        marks: a character per unit.
        typed: whether marks tell types, not single units.
        most_health, most_shield: (units,) full.
        walkable: (32, 32) grid [x, y].
        box: first and last column and row that are shown.
    """

    n_agents: int
    names: tuple[str, ...]
    marks: tuple[str, ...]
    typed: bool
    most_health: NDArray[np.float64]
    most_shield: NDArray[np.float64]
    walkable: NDArray[np.uint8]
    box: tuple[int, int, int, int]

    @classmethod
    def of(cls, env: Skirmish, pen: Pen = FINE) -> "Cast":
        """Of an environment."""
        data, n = unit_types(env.profile), env.spec.n_agents
        names = (*env.ally_types, *env.enemy_types)
        typed = len(set(names)) > 1 or len(env.enemy_types) > _single_names(pen)
        if typed:
            letters = [LETTERS[name] for name in names]
            marks = [*letters[:n], *(letter.lower() for letter in letters[n:])]
        else:
            marks = [*ALLY_NAMES[:n], *ENEMY_NAMES[: len(names) - n]]
        return cls(
            n_agents=n,
            names=names,
            marks=tuple(marks),
            typed=typed,
            most_health=np.array([float(data[name]["hp"]) for name in names]),
            most_shield=np.array([float(data[name]["shield"]) for name in names]),
            walkable=env.walkable,
            box=shown_box(env.spec.map_name),
        )


def _single_names(pen: Pen) -> int:
    return len(ENEMY_NAMES) if pen is FINE else 26


@functools.cache
def shown_box(map_name: str) -> tuple[int, int, int, int]:
    """First and last column, first and last row of what is worth showing of a map: ground and cliffs."""
    smac = smac_map(map_name)
    ground = smac.walkable > 0
    if (smac.height == 0).any():
        ground = ground | (smac.height > 0)
    columns, rows = np.flatnonzero(ground.any(axis=1)), np.flatnonzero(ground.any(axis=0))
    return int(columns[0]), int(columns[-1]), int(rows[0]), int(rows[-1])


def field_lines(
    units: NDArray[Any], cast: Cast, strikes: Sequence[Strike], pen: Pen, squeeze: int = 1
) -> list[Line]:
    """The field between two edges.

    Args:
        units: (units,) of `Skirmish.units`.
        cast: who fights where.
        strikes: shots and heals to draw.
        pen: characters to draw with.
        squeeze: rows of cells per line, 2 for low terminals.
    """
    west, east, south, north = cast.box
    width, height = 2 * (east - west + 1), -(-(north - south + 1) // squeeze)
    cells: list[Line] = [[(" ", "")] * width for _ in range(height)]

    def put(x: float, y: float, mark: str, role: Role, free_only: bool) -> None:
        row, column = (north - int(np.floor(y))) // squeeze, int(np.floor(2 * (x - west)))
        inside = 0 <= row < height and 0 <= column < width
        if inside and (not free_only or cells[row][column][0] in (" ", pen.wall)):
            cells[row][column] = (mark, role)

    for row in range(height):
        top = north - row * squeeze
        rows = slice(max(south, top - squeeze + 1), top + 1)
        for x in np.flatnonzero(~cast.walkable[west : east + 1, rows].any(axis=1)).tolist():
            cells[row][2 * x] = cells[row][2 * x + 1] = (pen.wall, "dim")
    for strike in strikes:
        _draw_strike(units, cast, strike, pen, put)
    for alive in (False, True):
        for i in np.flatnonzero(units["alive"] == alive).tolist():
            role: Role = ("ally" if i < cast.n_agents else "enemy") if alive else "dim"
            mark = cast.marks[i] if alive else pen.dead
            put(float(units["x"][i]), float(units["y"][i]), mark, role, free_only=not alive)
    edge: Line = [(pen.edge * width, "dim")]
    return [edge, *cells, edge]


def _draw_strike(units: NDArray[Any], cast: Cast, strike: Strike, pen: Pen, put: Any) -> None:
    ally = strike.source < cast.n_agents
    mark, role = (pen.ally_shot, "ally") if ally else (pen.enemy_shot, "enemy")
    if strike.kind == "heal":
        mark, role = pen.heal, "heal"
    x, y = units["x"], units["y"]
    if strike.kind == "blast":
        for turn in np.arange(16) * (np.pi / 8):
            put(x[strike.source] + 2 * np.cos(turn), y[strike.source] + 2 * np.sin(turn), mark, role, True)
        return
    for part in np.linspace(0.0, 1.0, 25)[1:-1]:
        a, b = strike.source, strike.target
        put(x[a] + part * (x[b] - x[a]), y[a] + part * (y[b] - y[a]), mark, role, True)


def side_line(units: NDArray[Any], cast: Cast, ally: bool, pen: Pen) -> Line:
    """One side's vitals: a bar per unit while there are few, a block per unit when there are many.

    Args:
        units: (units,) of the whole battle.
        cast: who fights where.
        ally: which side.
        pen: characters to draw with.
    """
    n = cast.n_agents
    members = range(n) if ally else range(n, len(units))
    role: Role = "ally" if ally else "enemy"
    return (_bars if len(members) <= WIDE_BARS else _blocks)(units, cast, members, role, pen)


def _bars(units: NDArray[Any], cast: Cast, members: Sequence[int], role: Role, pen: Pen) -> Line:
    line: Line = []
    for i in members:
        alive = bool(units["alive"][i])
        health, shield = (max(0.0, float(units[name][i])) if alive else 0.0 for name in ("health", "shield"))
        most = float(cast.most_health[i] + cast.most_shield[i])
        filled = int(np.ceil(BAR * (health + shield) / most))
        solid = min(filled, int(np.ceil(BAR * health / most)))
        line += [
            (f"{cast.marks[i]} ", role if alive else "dim"),
            (pen.full * solid, role),
            (pen.shield * (filled - solid), "bold"),
            (pen.empty * (BAR - filled), "dim"),
            (f"{health + shield:3.0f}  ", "" if alive else "dim"),
        ]
    return [part for part in line if part[0]]


def _blocks(units: NDArray[Any], cast: Cast, members: Sequence[int], role: Role, pen: Pen) -> Line:
    line: Line = []
    previous = ""
    for i in members:
        if cast.typed and cast.names[i] != previous:
            line.append((f"{' ' if previous else ''}{cast.marks[i]}", "bold"))
            previous = cast.names[i]
        vitals = float(units["health"][i] + units["shield"][i]) if units["alive"][i] else 0.0
        share = max(0.0, vitals / float(cast.most_health[i] + cast.most_shield[i]))
        alive = bool(units["alive"][i])
        line.append(
            (pen.blocks[min(7, int(8 * share))] if alive else pen.dead, role if alive else "dim")
        )
    living = [i for i in members if units["alive"][i]]
    line.append((f"  {float(units['health'][living].sum()):,.0f} hp", ""))
    if cast.most_shield[list(members)].any():
        line.append((f"  {float(units['shield'][living].sum()):,.0f} sh", ""))
    return line


def legend(cast: Cast) -> str:
    """Which letter is which unit type; empty where letters are single units."""
    if not cast.typed:
        return ""
    return "  ".join(f"{LETTERS[name]} {name.replace('_', ' ')}" for name in dict.fromkeys(cast.names))


def deeds(actions: NDArray[np.int64] | None, alive: NDArray[np.bool_], cast: Cast) -> str:
    """What the agents are about to do, in words: each of a few, or how many do what.

    Args:
        actions: (N,), None when the episode is over.
        alive: (units,).
        cast: who fights where.
    """
    if actions is None:
        return ""
    acting = [i for i in range(cast.n_agents) if alive[i]]
    if cast.typed or len(acting) > SPOKEN_FOR:
        said = [_deed(int(actions[i]), cast.names[i] == "medivac") for i in acting]
        return "  ".join(f"{said.count(deed)} {deed}" for deed in dict.fromkeys(sorted(said)))
    return "  ".join(
        f"{cast.marks[i]} attacks {cast.marks[cast.n_agents + int(actions[i]) - FIRST_TARGET]}"
        if actions[i] >= FIRST_TARGET
        else f"{cast.marks[i]} {ACTIONS[int(actions[i])]}"
        for i in acting
    )


def _deed(action: int, heals: bool) -> str:
    if action >= FIRST_TARGET:
        return "heal" if heals else "attack"
    verb, *where = ACTIONS[action].split(" ", 1)
    return " ".join([verb.removesuffix("s"), *where])


def frame_text(env: Skirmish, row: int = 0, encoding: str = "utf-8") -> str:
    """One environment as it stands, as plain text: heading, field, both sides.

    Args:
        env: after `reset`.
        row: which environment of the batch.
        encoding: of where it will be shown; decides between line art and ASCII.
    """
    pen = pen_for(encoding)
    cast, units = Cast.of(env, pen), env.units()[row]
    spec, step = env.spec, int(env.stats()["steps"][row])
    heading = f"{spec.map_name}  step {step}/{spec.episode_limit}  {legend(cast)}".rstrip()
    sides = [side_line(units, cast, ally, pen) for ally in (True, False)]
    lines = [*field_lines(units, cast, (), pen), *sides]
    return "\n".join([heading, *("".join(text for text, _ in line).rstrip() for line in lines)]) + "\n"
