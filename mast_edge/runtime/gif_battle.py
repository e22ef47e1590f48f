"""Films battles: what a screen sees step by step becomes an animated GIF.

The simulator can be asked once per step; between two steps positions and health are interpolated. The bytes
depend on the battle and on Pillow's version alone: fixed palette, Pillow's own font, no times of day.
"""

import functools
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mast_edge.atomic import write_atomically
from mast_edge.envs.ascii_frame import Cast
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.strikes import Arms, Strike, strikes
from mast_edge.errors import MissingExtra
from mast_edge.runtime.match import Ending, Observe

if TYPE_CHECKING:
    from mast_edge.runtime.gif_drawing import Moment

OnFrame = Callable[[int, int], None]
"""Called with frames drawn and frames in all."""

PACES = ((4, 9), (3, 9), (2, 10), (1, 12))
"""(frames per step of 8 loops, hundredths of a second per frame), smoothest first; 4 x 9 is StarCraft II's
"faster" speed. Long battles of many units get fewer frames, so that files stay small."""
BYTES_PER_FRAME, BYTES_PER_UNIT, LARGEST_FILM = 1_200, 90, 1_600_000
"""Of a frame, as measured: a base and what each unit adds; and what an episode should take at most."""
FIRST_PAUSE, LAST_PAUSE = 60, 250
VISIBLE_STEPS = 2.0
"""How long after its start a strike may still be seen."""


class GifBattle:
    """A screen that films environment 0 and gives a GIF."""

    def __init__(self, path: str | Path, episodes: int = 1, on_frame: OnFrame | None = None) -> None:
        """Prepares a film.

        Args:
            path: file that `__exit__` writes, unless something went wrong.
            episodes: how many will be filmed, for the heading; they follow one another in the file.
            on_frame: told while an episode is drawn.

        Raises:
            MissingExtra: Pillow is not installed.
        """
        self.seconds = 0.0
        self.path = Path(path)
        self._film = Film()
        self._on_frame = on_frame
        self._episode, self._episodes = 0, episodes
        self._units: list[NDArray[Any]] = []
        self._actions: list[NDArray[np.int64]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            write_atomically(self.path, self._film.to_bytes())

    def watch(self, env: Skirmish) -> Observe:
        """The observer of the next episode of `env`, for `runtime.match.play_batch`."""
        self._episode += 1
        self._units, self._actions = [], []
        return functools.partial(self._observe, env)

    def _observe(self, env: Skirmish, step: int, actions: NDArray[np.int64]) -> None:
        started = time.perf_counter()
        self._units.append(env.units()[0])
        self._actions.append(actions[0].copy())
        self.seconds += time.perf_counter() - started

    def finish(self, env: Skirmish, ending: Ending, steps: int) -> None:
        """Draws the episode that has ended."""
        from mast_edge.runtime import gif_drawing as drawing

        started = time.perf_counter()
        self._units.append(env.units()[0])
        title = env.spec.map_name + (f"  {self._episode}/{self._episodes}" if self._episodes > 1 else "")
        painter = drawing.Painter(env, title, drawing.camera(Cast.of(env), self._units))
        words = {"won": "VICTORY", "lost": "DEFEAT"}.get(ending, ending.upper())
        banner = words, drawing.WIN if ending == "won" else drawing.SIDES[1]
        per_step, delay = pace(steps, env.options.step_mul, len(self._units[0]))
        total = per_step * steps + 1
        for number, moment in enumerate(self._moments(env, per_step, banner)):
            pause = FIRST_PAUSE if number == 0 else LAST_PAUSE if number == total - 1 else delay
            self._film.add(painter.paint(moment), pause)
            if self._on_frame is not None:
                self._on_frame(number + 1, total)
        self.seconds += time.perf_counter() - started

    def _moments(self, env: Skirmish, per_step: int, banner: tuple[str, Any]) -> Iterator["Moment"]:
        from mast_edge.runtime.gif_drawing import DEATH_AT, Moment

        arms, n = Arms.of(tuple(env.unit_names), env.profile), env.spec.n_agents
        died = np.full(len(self._units[0]), np.inf)
        seen: list[tuple[float, Strike]] = []
        yield Moment(0.0, self._units[0], died.copy(), ())
        last = len(self._actions) - 1
        for step, actions in enumerate(self._actions):
            before, after = self._units[step], self._units[step + 1]
            new = strikes(before, after, arms, n, env.options.step_mul, actions)
            seen = [(at, strike) for at, strike in seen if step - at < VISIBLE_STEPS]
            seen += [(step + strike.at, strike) for strike in new]
            died[before["alive"] & ~after["alive"]] = step + DEATH_AT
            for part in range(1, per_step + 1):
                share = part / per_step
                over = banner if step == last and part == per_step else None
                yield Moment(step + share, between(before, after, share), died.copy(), tuple(seen), over)


def pace(steps: int, step_mul: int, n_units: int) -> tuple[int, int]:
    """Frames per step and hundredths of a second per frame.

    Args:
        steps: of the episode.
        step_mul: loops per step.
        n_units: on both sides.
    """
    affordable = LARGEST_FILM / (BYTES_PER_FRAME + BYTES_PER_UNIT * n_units)
    scaled = [(max(1, round(frames * step_mul / 8)), delay) for frames, delay in PACES]
    return next((pace for pace in scaled if pace[0] * steps <= affordable), scaled[-1])


def between(before: NDArray[Any], after: NDArray[Any], share: float) -> NDArray[Any]:
    """Units on their way from one step to the next: positions and vitals in proportion."""
    units = after.copy()
    for name in ("x", "y", "health", "shield"):
        units[name] = before[name] + share * (after[name] - before[name])
    return units


class Film:
    """An animated GIF, frame by frame; of each only what changed is kept."""

    def __init__(self) -> None:
        """Starts empty.

        Raises:
            MissingExtra: Pillow is not installed.
        """
        try:
            from mast_edge.runtime import gif_drawing
        except ImportError as error:
            if (error.name or "").split(".")[0] != "PIL":
                raise
            raise MissingExtra("play", "pillow", "view") from error
        self._palette = bytes(gif_drawing.palette())
        self._clear = gif_drawing.CLEAR
        self._parts: list[bytes] = []
        self._last: NDArray[np.uint8] | None = None
        self._size = (0, 0)

    def add(self, frame: NDArray[np.uint8], delay: int) -> None:
        """Appends a frame.

        Args:
            frame: (height, width) palette indices; the first frame's size is the film's.
            delay: hundredths of a second that it stays.
        """
        left = top = 0
        picture = frame
        if self._last is None or self._last.shape != frame.shape:
            self._size = max(self._size[0], frame.shape[1]), max(self._size[1], frame.shape[0])
        else:
            changed = frame != self._last
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            if len(rows):
                top, left = int(rows[0]), int(columns[0])
                box = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1)
                picture = np.where(changed[box], frame[box], self._clear).astype(np.uint8)
            else:
                picture = np.full((1, 1), self._clear, np.uint8)
        self._last = frame
        control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0b00000101, delay, self._clear, 0)
        height, width = picture.shape
        place = struct.pack("<BHHHHB", 0x2C, left, top, width, height, 0)
        self._parts.append(control + place + _compressed(picture))

    def to_bytes(self) -> bytes:
        """The whole file, repeating for ever."""
        screen = struct.pack("<HHBBB", *self._size, 0b11110111, 0, 0)
        repeat = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
        return b"GIF89a" + screen + self._palette + repeat + b"".join(self._parts) + b"\x3b"


def _compressed(picture: NDArray[np.uint8]) -> bytes:
    """Image data of a GIF frame: code size and blocks, as Pillow's encoder makes them."""
    from PIL import GifImagePlugin, Image

    height, width = picture.shape
    image = Image.frombytes("P", (width, height), picture.tobytes())
    _, *data = GifImagePlugin.getdata(image)
    return b"".join(data)
