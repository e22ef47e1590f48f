"""Many runs at once: each is our own `train` in a process of its own, watched through its metrics.jsonl.

Run folders are the truth: a run that stops is resumed by starting it again.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mast_edge.config import load_config, run_name
from mast_edge.errors import MastEdgeError
from mast_edge.runs import runs_root

POLL_SECONDS = 0.5
PLAIN_SECONDS = 30.0
"""Without a terminal, one line per run this often."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run to be trained: `mast-edge train config --with overlay... --set override...`."""

    label: str
    config: str
    overrides: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """The command line; the same task always belongs to the same run folder."""
        laid = [part for overlay in self.overlays for part in ("--with", overlay)]
        sets = [part for override in self.overrides for part in ("--set", override)]
        return [sys.executable, "-m", "mast_edge", "train", self.config, *laid, *sets, "--json"]


@dataclass
class _Watched:
    """A running task, and what its log has said so far."""

    task: Task
    folder: Path
    t_max: int
    sparsity: float
    process: subprocess.Popen[str]
    errors: TextIO
    offset: int = 0
    seen: dict[str, Any] = field(default_factory=dict)

    def poll(self) -> None:
        """Reads the lines that were added to metrics.jsonl."""
        path = self.folder / "metrics.jsonl"
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                record = json.loads(line)
                self.seen["t_env"] = record["t_env"]
                if record["kind"] == "evaluation":
                    self.seen["win_rate"] = record["win_rate"]
                elif record["kind"] == "train":
                    self.seen |= {k: record[k] for k in ("return", "epsilon") if k in record}

    def facts(self) -> str:
        """Win rate, return, epsilon and sparsity, as far as known."""
        show = {"win rate": "win_rate", "return": "return", "epsilon": "epsilon"}
        known = [f"{k} {self.seen[v]:5.2f}" for k, v in show.items() if v in self.seen]
        return "  ".join([*known, f"sparsity {self.sparsity:.0%}"])


def train_together(
    tasks: Sequence[Task], console: Console, log_folder: Path, workers: int | None = None
) -> list[dict[str, Any]]:
    """Trains all tasks side by side and draws their progress.

    Args:
        tasks: what to train.
        console: where progress goes (stderr).
        log_folder: each task's stderr is kept here as `<label>.log`.
        workers: how many at once, None = all; one per core is wise, as each uses one thread.

    Returns:
        Each task's `train --json` object, in order.

    Raises:
        MastEdgeError: a run failed; the message holds its last line. The others stop with a checkpoint.
    """
    watched: list[_Watched] = []
    try:
        _watch(watched, tasks, workers or len(tasks), console, log_folder)
    finally:
        for w in watched:
            if w.process.poll() is None:
                w.process.terminate()
        outputs = [w.process.communicate()[0] for w in watched]
        for w in watched:
            w.errors.close()
    for w in watched:
        if w.process.returncode != 0:
            said = Path(w.errors.name).read_text(encoding="utf-8").strip().splitlines()
            raise MastEdgeError(
                f"train {w.task.label}: exit code must be 0; got {w.process.returncode}: "
                f"{said[-1] if said else 'no message'}. The log is {w.errors.name}"
            )
    return [json.loads(out) for out in outputs]


def _start(task: Task, log_folder: Path) -> _Watched:
    config = load_config(task.config, task.overrides, overlays=task.overlays)
    log_folder.mkdir(parents=True, exist_ok=True)
    errors = (log_folder / f"{task.label}.log").open("w", encoding="utf-8")
    process = subprocess.Popen(task.command(), stdout=subprocess.PIPE, stderr=errors, text=True)
    return _Watched(task, runs_root() / run_name(config), config.t_max, config.sparsity, process, errors)


def _running(watched: list[_Watched]) -> list[_Watched]:
    return [w for w in watched if w.process.poll() is None]


def _watch(
    watched: list[_Watched], tasks: Sequence[Task], workers: int, console: Console, log_folder: Path
) -> None:
    """Starts the tasks in order, `workers` at a time, into `watched`, until all ended or one failed."""
    columns = (
        TextColumn("{task.description:>14}"), BarColumn(bar_width=24), TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[facts]}"), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    plain = not console.is_terminal
    said = time.monotonic()
    with Progress(*columns, console=console, disable=plain, speed_estimate_period=120) as progress:
        bars: dict[str, TaskID] = {}
        while len(watched) < len(tasks) or _running(watched):
            while len(watched) < len(tasks) and len(_running(watched)) < workers:
                watched.append(w := _start(tasks[len(watched)], log_folder))
                bars[w.task.label] = progress.add_task(w.task.label, total=w.t_max, facts="")
            time.sleep(POLL_SECONDS)
            for w in watched:
                w.poll()
                progress.update(bars[w.task.label], completed=w.seen.get("t_env", 0), facts=w.facts())
            if plain and time.monotonic() - said >= PLAIN_SECONDS:
                said = time.monotonic()
                for w in _running(watched):
                    done = w.seen.get("t_env", 0) / w.t_max
                    console.print(f"{w.task.label}: {done:4.0%}  {w.facts()}", highlight=False)
            if any(w.process.poll() not in (None, 0) for w in watched):
                return
