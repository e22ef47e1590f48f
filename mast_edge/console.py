"""What people see: tables on standard output, progress and remarks on standard error.

NO_COLOR, TERM=dumb and output that is no terminal get plain text.

Source: parity_and_safety.md 9; cli.md.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 400
"""Columns assumed where output is no terminal, so that tables in files and pipes are not cut to 80."""
SECONDS_OF_PATIENCE = 2.0
SECONDS_BETWEEN_LINES = 15.0
"""How often progress is told where nothing can be redrawn."""


class PipedConsole(Console):
    """A console that leaves a closed pipe to `mast_edge.exits`; rich would end the program with code 1."""

    def on_broken_pipe(self) -> None:
        """Passes on that the reader has left."""
        raise BrokenPipeError


def console_on(stream: TextIO) -> Console:
    """A console for a stream, as wide as the terminal or as `PLAIN_WIDTH`."""
    return PipedConsole(file=stream, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False)


def out(*shown: Any) -> None:
    """Prints results (text or rich tables) on standard output.

    A table whose columns need more than the terminal has is not cropped: lines that the terminal breaks can
    be read, numbers without their last digits cannot.
    """
    console = console_on(sys.stdout)
    for item in shown:
        text = isinstance(item, str)
        console.print(Text(item) if text else item, soft_wrap=text, crop=False)


def remark(text: str) -> None:
    """Prints one line on standard error."""
    console_on(sys.stderr).print(Text(text), soft_wrap=True)


def pairs_table(title: str, rows: Mapping[str, Any]) -> Table:
    """Names and values, one per line."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, _text(value))
    return table


def rows_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> Table:
    """A table; numbers stand to the right."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(value: Any) -> Text:
    return Text(_plain(value))


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return (" x " if all(isinstance(entry, int) for entry in value) else ", ").join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return str(value)


class TrainingState(Protocol):
    """Where a run stands (`mast_edge.train.loop.Progress`)."""

    @property
    def run(self) -> str: ...
    @property
    def t_env(self) -> int: ...
    @property
    def t_max(self) -> int: ...
    @property
    def win_rate(self) -> float | None: ...
    @property
    def mean_return(self) -> float | None: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def sparsity(self) -> float: ...
    @property
    def env_steps_per_second(self) -> float: ...
    @property
    def seconds_left(self) -> float | None: ...


def training_line(state: TrainingState) -> str:
    """Win rate, return, epsilon, sparsity and time left, on one line."""
    win = "-" if state.win_rate is None else f"{100 * state.win_rate:.0f} %"
    mean = "-" if state.mean_return is None else f"{state.mean_return:.2f}"
    left = "-" if state.seconds_left is None else _duration(state.seconds_left)
    return (
        f"win rate {win}  return {mean}  epsilon {state.epsilon:.2f}  sparsity {100 * state.sparsity:.0f} %  "
        f"{state.env_steps_per_second:,.0f} steps/s  left {left}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class TrainingDisplay:
    """Shows a training run on standard error: a bar on terminals, a line now and then elsewhere.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = console_on(sys.stderr)
        self._quiet = quiet
        self._live = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._bar = Progress(
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._named = False
        self._next_line = 0.0

    def __enter__(self) -> "TrainingDisplay":
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._bar.stop()

    def __call__(self, state: TrainingState) -> None:
        """Shows where the run stands."""
        if self._quiet:
            return
        if not self._named:
            self._named = True
            self._bar.console.print(Text(f"run {state.run}"), soft_wrap=True)
        if self._live:
            if self._task is None:
                self._task = self._bar.add_task("", total=state.t_max)
            self._bar.update(
                self._task, completed=min(state.t_env, state.t_max), description=training_line(state)
            )
        elif (now := time.monotonic()) >= self._next_line:
            self._next_line = now + SECONDS_BETWEEN_LINES
            remark(f"{state.t_env:,} / {state.t_max:,}  {training_line(state)}")


class EpisodeDisplay:
    """Counts episodes on standard error while they are played; nothing where nothing can be redrawn.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = console_on(sys.stderr)
        self._live = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._bar = Progress(
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "EpisodeDisplay":
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._bar.stop()

    def __call__(self, done: int, total: int, won: int) -> None:
        """Shows episodes done, asked for, and won."""
        if self._live:
            if self._task is None:
                self._task = self._bar.add_task("", total=total)
            rate = f"{100 * won / max(done, 1):.0f} % won"
            self._bar.update(self._task, completed=done, total=total, description=rate)


class FrameDisplay:
    """Counts the frames of a film on standard error when it takes more than two seconds; else nothing.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = console_on(sys.stderr)
        self._shows = console.is_terminal and not console.is_dumb_terminal and not quiet
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = time.monotonic()

    def __enter__(self) -> "FrameDisplay":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Shows frames drawn and frames in all."""
        if not self._shows or (self._bar is None and time.monotonic() - self._started < SECONDS_OF_PATIENCE):
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("drawing"),
                BarColumn(30),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
