"""Shows a battle in the terminal: moving pictures where they can be drawn, single plain frames elsewhere."""

import functools
import itertools
import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from mast_edge.envs.ascii_frame import Cast, Line, Role, deeds, field_lines, legend, pen_for, side_line
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.strikes import Arms, Strike, strikes
from mast_edge.runtime.match import Ending, Observe

STYLES: Mapping[Role, str] = {
    "": "",
    "ally": "bold cyan",
    "enemy": "bold red",
    "heal": "bold green",
    "dim": "bright_black",
    "bold": "bold",
}
FRAME_SECONDS = 0.12
LAST_FRAMES = 6
PLAIN_EVERY = 8
"""Without a terminal to animate, every so many steps are printed."""
LINES_AROUND = 7
"""Heading, two edges, two sides, deeds and ending."""


class AsciiBattle:
    """Shows environment 0 step by step."""

    def __init__(self, console: Console, episodes: int = 1, frame_seconds: float = FRAME_SECONDS) -> None:
        """Prepares the screen.

        Args:
            console: where to draw; honours NO_COLOR, TERM=dumb and pipes by itself.
            episodes: how many will be shown, for the heading.
            frame_seconds: time a frame stays, on terminals only.
        """
        self.seconds = 0.0
        self._console = console
        self._pen = pen_for(console.encoding)
        self._moving = console.is_terminal and not console.is_dumb_terminal
        self._frame_seconds = frame_seconds if self._moving else 0.0
        self._live = Live(console=console, auto_refresh=False) if self._moving else None
        self._episode, self._episodes = 0, episodes
        self._before: NDArray[Any] | None = None
        self._actions: NDArray[np.int64] | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, env: Skirmish) -> Observe:
        """The observer of the next episode of `env`, for `runtime.match.play_batch`."""
        self._episode += 1
        self._before = self._actions = None
        return functools.partial(self._observe, env, Cast.of(env, self._pen))

    def _observe(self, env: Skirmish, cast: Cast, step: int, actions: NDArray[np.int64]) -> None:
        started = time.perf_counter()
        units = env.units()[0]
        if self._moving or step % PLAIN_EVERY == 0:
            self._show(self._frame(step, env, cast, units, actions[0]))
        self._before, self._actions = units, actions[0].copy()
        self.seconds += time.perf_counter() - started

    def finish(self, env: Skirmish, ending: Ending, steps: int) -> None:
        """Draws how the episode ended."""
        started = time.perf_counter()
        frame = self._frame(steps, env, Cast.of(env, self._pen), env.units()[0], None)
        ended = Text(f" {ending} after {steps} steps", "bold green" if ending == "won" else "bold red")
        self._show(Group(frame, ended), pause=LAST_FRAMES)
        self.seconds += time.perf_counter() - started

    def _show(self, frame: Group, pause: int = 1) -> None:
        if self._live is None:
            self._console.print(frame)
            return
        self._live.update(frame, refresh=True)
        time.sleep(pause * self._frame_seconds)

    def _frame(
        self, step: int, env: Skirmish, cast: Cast, units: NDArray[Any], actions: NDArray[np.int64] | None
    ) -> Group:
        spec = env.spec
        episode = f"  episode {self._episode}/{self._episodes}" if self._episodes > 1 else ""
        heading = Text(f" {spec.map_name}{episode}  step {step}/{spec.episode_limit}", "bold", no_wrap=True)
        heading.append(f"  {legend(cast)}", "not bold")
        lines = field_lines(units, cast, self._strikes(env, units), self._pen, self._squeeze(cast))
        lines += [side_line(units, cast, ally, self._pen) for ally in (True, False)]
        said = " " + deeds(actions, units["alive"], cast)
        last = Text(said, STYLES["dim"], no_wrap=True, overflow="ellipsis")
        return Group(heading, *map(text_of, lines), last)

    def _strikes(self, env: Skirmish, units: NDArray[Any]) -> list[Strike]:
        if self._before is None:
            return []
        arms = Arms.of(tuple(env.unit_names), env.profile)
        return strikes(self._before, units, arms, env.spec.n_agents, env.options.step_mul, self._actions)

    def _squeeze(self, cast: Cast) -> int:
        """Rows of cells per line, so that a frame fits on the terminal."""
        if not self._moving:
            return 1
        rows = cast.box[3] - cast.box[2] + 1
        return max(1, -(-rows // max(1, self._console.height - LINES_AROUND)))


def text_of(line: Line) -> Text:
    """A line with its colours."""
    text = Text(" ", no_wrap=True)
    for role, parts in itertools.groupby(line, key=lambda part: part[1]):
        text.append("".join(part for part, _ in parts), STYLES[role])
    return text
