"""Draws a battle in the terminal: units, health, who shoots at whom."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from mast_edge.envs.scripted import FIRST_TARGET, UnitView
from mast_edge.runtime.match import Observe

ALLY, ENEMY, DIM = "bold cyan", "bold red", "bright_black"
ALLY_NAMES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ENEMY_NAMES = "abcdefghijklmnopqrstuvwxyzαβγδεζηθ" + "?" * 64
ACTIONS = ("is down", "stops", "moves north", "moves south", "moves east", "moves west")
LOOPS_PER_STEP = 8
FRAME_SECONDS = 0.12
PLAIN_EVERY = 8
"""Without a terminal to animate, every so many steps are printed."""
WIDE_BARS = 6
"""Sides of at most this many units get one health bar each; larger ones one block each."""


@dataclass(frozen=True, slots=True)
class Pen:
    """Characters the console can show."""

    ally_shot: str
    enemy_shot: str
    wall: str
    full: str
    empty: str
    dead: str
    edge: str
    blocks: str

    @classmethod
    def of(cls, console: Console) -> "Pen":
        """Line art for UTF-8, plain ASCII otherwise."""
        if console.encoding.lower().startswith("utf"):
            return cls("·", "∙", "░", "━", "╌", "✗", "─", "▁▂▃▄▅▆▇█")
        return cls(".", ":", "#", "=", "-", "x", "-", "12345678")


class AsciiBattle:
    """Shows environment 0 step by step: moving pictures on a terminal, single plain frames elsewhere."""

    def __init__(self, console: Console, episodes: int = 1, frame_seconds: float = FRAME_SECONDS) -> None:
        """Prepares the screen.

        Args:
            console: where to draw; honours NO_COLOR, TERM=dumb and pipes by itself.
            episodes: how many will be shown, for the heading.
            frame_seconds: time a frame stays, on terminals only.
        """
        self.seconds = 0.0
        self._console = console
        self._pen = Pen.of(console)
        self._moving = console.is_terminal and not console.is_dumb_terminal
        self._frame_seconds = frame_seconds if self._moving else 0.0
        self._live = Live(console=console, auto_refresh=False) if self._moving else None
        self._episode, self._episodes = 0, episodes
        self._cooldown: NDArray[np.float64] | None = None
        self._most: NDArray[np.float64] = np.zeros(0)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, env: UnitView) -> Observe:
        """The observer of the next episode of `env`, for `runtime.match.play_batch`."""
        self._episode += 1
        self._cooldown = None
        return functools.partial(self._observe, env)

    def _observe(self, env: UnitView, step: int, actions: NDArray[np.int64]) -> None:
        started = time.perf_counter()
        if step == 0:
            self._most = env.units()[0]["health"].copy()
        if self._moving or step % PLAIN_EVERY == 0:
            self._show(self._frame(step, env, actions[0]))
        else:
            self._cooldown = env.units()[0]["cooldown"].copy()
        self.seconds += time.perf_counter() - started

    def finish(self, env: UnitView, won: bool, timed_out: bool, steps: int) -> None:
        """Draws how the episode ended."""
        started = time.perf_counter()
        ending = "won" if won else "time is up" if timed_out else "lost"
        style = "bold green" if won else "bold red"
        frame = self._frame(steps, env, None)
        self._show(Group(frame, Text(f" {ending} after {steps} steps", style)), pause=6)
        self.seconds += time.perf_counter() - started

    def _show(self, frame: Group, pause: int = 1) -> None:
        if self._live is None:
            self._console.print(frame)
            return
        self._live.update(frame, refresh=True)
        time.sleep(pause * self._frame_seconds)

    def _frame(self, step: int, env: UnitView, actions: NDArray[np.int64] | None) -> Group:
        units, n = env.units()[0], env.spec.n_agents
        shots = self._shots(units, n)
        self._cooldown = units["cooldown"].copy()
        spec = env.spec
        heading = (
            f" {spec.map_name}  episode {self._episode}/{self._episodes}  step {step}/{spec.episode_limit}"
        )
        lines = [Text(heading, "bold"), *draw_field(units, n, shots, walkable_of(env), self._pen)]
        for side, names, style in ((slice(n), ALLY_NAMES, ALLY), (slice(n, None), ENEMY_NAMES, ENEMY)):
            lines.append(health_line(units[side], self._most[side], names, style, self._pen))
        lines.append(Text(" " + describe(actions, units["alive"]), DIM, no_wrap=True, overflow="ellipsis"))
        return Group(*lines)

    def _shots(self, units: NDArray[Any], n_agents: int) -> list[tuple[int, int]]:
        """(shooter, target) of weapons that fired in the last step: their cooldown rose, not fell."""
        if self._cooldown is None:
            return []
        fired = units["cooldown"] > np.maximum(self._cooldown - LOOPS_PER_STEP, 0.0) + 0.5
        return [(int(i), int(units["target"][i])) for i in np.flatnonzero(fired & (units["target"] >= 0))]


def walkable_of(env: UnitView) -> NDArray[np.uint8]:
    """(32, 32) grid [x, y] of the environment, all walkable where it has none."""
    grid: NDArray[np.uint8] = getattr(env, "walkable", np.ones((32, 32), np.uint8))
    return grid


def draw_field(
    units: NDArray[Any],
    n_agents: int,
    shots: Sequence[tuple[int, int]],
    walkable: NDArray[np.uint8],
    pen: Pen,
) -> list[Text]:
    """The part of the map that can be walked on, north on top, two columns per cell.

    Args:
        units: `Skirmish.units()` of one environment, agents first.
        n_agents: how many of them are agents.
        shots: (shooter, target) unit numbers.
        walkable: grid [x, y].
        pen: characters to draw with.
    """
    rows = np.flatnonzero(walkable.any(axis=0))
    low, high = int(rows[0]), int(rows[-1]) + 1
    width = 2 * walkable.shape[0]
    cells: list[list[tuple[str, str]]] = [
        [(" ", "") if walkable[column // 2, y] else (pen.wall, DIM) for column in range(width)]
        for y in range(high - 1, low - 1, -1)
    ]

    def put(x: float, y: float, mark: str, style: str, free_only: bool) -> None:
        row, column = high - 1 - int(np.floor(y)), int(2 * x)
        inside = 0 <= row < len(cells) and 0 <= column < width
        if inside and (not free_only or cells[row][column][0] == " "):
            cells[row][column] = (mark, style)

    for shooter, target in shots:
        ally = shooter < n_agents
        mark, style = (pen.ally_shot, ALLY) if ally else (pen.enemy_shot, ENEMY)
        for part in np.linspace(0.0, 1.0, 25)[1:-1]:
            x = units["x"][shooter] + part * (units["x"][target] - units["x"][shooter])
            y = units["y"][shooter] + part * (units["y"][target] - units["y"][shooter])
            put(x, y, mark, style, free_only=True)
    for alive in (False, True):
        for i in np.flatnonzero(units["alive"] == alive):
            mark = unit_name(int(i), n_agents) if alive else pen.dead
            style = (ALLY if i < n_agents else ENEMY) if alive else DIM
            put(float(units["x"][i]), float(units["y"][i]), mark, style, free_only=not alive)
    edge = Text(" " + pen.edge * width, DIM)
    return [edge, *(_line(row) for row in cells), edge]


def _line(cells: Sequence[tuple[str, str]]) -> Text:
    line = Text(" ", no_wrap=True)
    for mark, style in cells:
        line.append(mark, style)
    return line


def unit_name(number: int, n_agents: int) -> str:
    """Agents are digits and capitals, enemies small letters."""
    return ALLY_NAMES[number] if number < n_agents else ENEMY_NAMES[number - n_agents]


def health_line(units: NDArray[Any], most: NDArray[np.float64], names: str, style: str, pen: Pen) -> Text:
    """One side's health: a bar per unit while there are few, a block per unit when there are many.

    Args:
        units: the side's units.
        most: (len(units),) full health of each.
        names: a letter per unit.
        style: the side's colour.
        pen: characters to draw with.
    """
    line = Text(" ", no_wrap=True)
    for i, unit in enumerate(units):
        share = float(unit["health"] / most[i]) if unit["alive"] else 0.0
        if len(units) <= WIDE_BARS:
            filled = int(np.ceil(6 * share))
            line.append(f"{names[i]} ", style if share else DIM)
            line.append(pen.full * filled, style)
            line.append(pen.empty * (6 - filled), DIM)
            line.append(f"{max(0.0, float(unit['health'])):3.0f}  ", "" if share else DIM)
        else:
            block = pen.blocks[min(7, int(8 * share))] if share else pen.dead
            line.append(block, style if share else DIM)
    return line


def describe(actions: NDArray[np.int64] | None, alive: NDArray[np.bool_]) -> str:
    """What the agents are about to do, in words."""
    if actions is None:
        return ""
    said = []
    for i, action in enumerate(actions.tolist()):
        if alive[i]:
            what = (
                f"attacks {ENEMY_NAMES[action - FIRST_TARGET]}" if action >= FIRST_TARGET else ACTIONS[action]
            )
            said.append(f"{ALLY_NAMES[i]} {what}")
    return "  ".join(said)
