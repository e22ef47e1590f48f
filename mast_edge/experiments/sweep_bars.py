"""How far many runs are: one bar each on a terminal, elsewhere a line per run now and then."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 30.0
"""Without a terminal, one line per run this often."""


class Bars:
    """Draws on a console; use as a context manager."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:>14}"), BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f}%"), TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
        )  # fmt: skip
        self.console, self.plain = console, not console.is_terminal
        self.said = time.monotonic()
        self.progress = Progress(*columns, console=console, disable=self.plain, speed_estimate_period=120)
        self.ids: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def add(self, label: str, total: int) -> None:
        """Begins a run."""
        self.ids[label] = self.progress.add_task(label, total=total, facts="")

    def update(self, label: str, done: int, seen: Mapping[str, Any]) -> None:
        """Where a run stands: environment steps, and what else is known of it."""
        self.progress.update(self.ids[label], completed=done, facts=_facts(seen))

    def remark(self, text: str) -> None:
        """One line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def tell(self, running: Iterable[str]) -> None:
        """A line for each running one, where there are no bars and some time has passed."""
        if not self.plain or time.monotonic() - self.said < PLAIN_SECONDS:
            return
        self.said = time.monotonic()
        for label in running:
            task = self.progress.tasks[self.ids[label]]
            self.remark(f"{label}: {task.percentage:3.0f}%  {task.fields['facts']}")


def _facts(seen: Mapping[str, Any]) -> str:
    """Win rate, return, epsilon and sparsity, as far as known."""
    show = {"win rate": "win_rate", "return": "return", "epsilon": "epsilon"}
    known = [f"{k} {seen[v]:5.2f}" for k, v in show.items() if seen.get(v) is not None]
    return "  ".join([*known, *([f"sparsity {seen['sparsity']:.0%}"] if "sparsity" in seen else [])])
