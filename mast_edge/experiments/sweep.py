"""Many runs: side by side as processes of `mast-edge train`, or at once in one process.

Run folders are the truth: a run that stopped is resumed by starting it again, one that is complete is not.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console

from mast_edge.config import config_sha256, load_config, run_name
from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import MastEdgeError, UsageError
from mast_edge.experiments.sweep_bars import Bars
from mast_edge.runs import Run, read_manifest, runs_root

Engine = Literal["local", "vector"]

POLL_SECONDS = 0.5
MOST_SEEDS = 100_000


@dataclass(frozen=True, slots=True)
class Task:
    """One run to be trained: `mast-edge train config --with overlay... --set override...`."""

    label: str
    config: str
    overrides: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    variant: str | None = None
    device: str = "auto"

    def command(self) -> list[str]:
        """The command line; the same task always belongs to the same run folder."""
        laid = [part for overlay in self.overlays for part in ("--with", overlay)]
        sets = [part for override in self.overrides for part in ("--set", override)]
        variant = [] if self.variant is None else ["--variant", self.variant]
        device = [] if self.device == "auto" else ["--device", self.device]
        given = [self.config, *variant, *laid, *sets, *device]
        return [sys.executable, "-m", "mast_edge", "train", *given, "--json"]

    def load(self) -> ExperimentConfig:
        """The config that it trains."""
        return load_config(self.config, self.overrides, variant=self.variant, overlays=self.overlays)


def read_seeds(text: str) -> list[int]:
    """`0-3`, `1,5` or `0-2,7` as numbers, in this order, each once.

    Raises:
        UsageError: something else, or more than `MOST_SEEDS`.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        # ASCII digits only, few enough for a seed.
        if not all(end.isascii() and end.isdigit() and len(end) <= 10 for end in ends):
            raise UsageError(f"sweep: seeds must be numbers and ranges such as 0-3,7; got '{text}'.")
        span = range(int(ends[0]), int(ends[1]) + 1)
        if not 0 < len(span) <= MOST_SEEDS - len(seeds):
            raise UsageError(
                f"sweep: seeds must go up, and be at most {MOST_SEEDS:,} in all; got '{part.strip()}'."
            )
        seeds += span
    return list(dict.fromkeys(seeds))


def plan(
    configs: Sequence[str],
    seeds: Sequence[int],
    overrides: Sequence[str] = (),
    overlays: Sequence[str] = (),
    variant: str | None = None,
    device: str = "auto",
) -> dict[str, Task]:
    """Run name -> task, for every config and seed; configs that come to the same run give one.

    Args:
        configs: files.
        seeds: empty: each config's own.
        overrides, overlays, variant, device: of every run, as with `train`.
    """
    tasks: dict[str, Task] = {}
    for config in configs:
        for seed in seeds or (None,):
            sets = () if seed is None else (f"seed={seed}",)
            task = Task("", config, (*overrides, *sets), tuple(overlays), variant, device)
            name = run_name(task.load())
            tasks.setdefault(name, replace(task, label=name))
    return tasks


def sweep(
    tasks: dict[str, Task], engine: Engine, console: Console, workers: int | None = None
) -> list[dict[str, Any]]:
    """Trains all that is not complete yet.

    Args:
        tasks: from `plan`.
        engine: `local`, a process per run; `vector`, all runs at once in this process.
        console: where progress goes (stderr).
        workers: processes at once, None = all.

    Returns:
        The `train` objects of all runs without their schema, in order. With engine vector one may be
        `interrupted` or `failed`; then it has an `error` too.

    Raises:
        ConfigError: engine vector, and the runs differ in shape.
        MastEdgeError: a run failed; the others stop with a checkpoint.
    """
    configs = {name: task.load() for name, task in tasks.items()}
    if engine == "vector":
        _check_together(list(configs.values()))
    answers = {name: complete_result(config) for name, config in configs.items()}
    done = {name: answer for name, answer in answers.items() if answer is not None}
    left = [name for name in tasks if name not in done]
    if done and left:
        console.print(f"{len(done)} of {len(tasks)} runs are complete", highlight=False)
    found: list[dict[str, Any]] = []
    if left and engine == "vector":
        found = _at_once([configs[name] for name in left], tasks[left[0]].device, console)
    elif left:
        found = train_together([tasks[name] for name in left], console, runs_root() / "sweep-logs", workers)
    results = {**done, **dict(zip(left, found, strict=True))}
    return [{k: v for k, v in results[name].items() if k != "schema"} for name in tasks]


def complete_result(config: ExperimentConfig) -> dict[str, Any] | None:
    """What `train` would answer at once, because the run of this config is complete; None where it is not."""
    path = runs_root() / run_name(config)
    if not (path / "manifest.json").is_file():
        return None
    run = Run(path=path, manifest=read_manifest(path))
    manifest = run.manifest
    if run.status != "complete" or manifest.config_sha256 != config_sha256(config):
        return None
    resume = json.loads((run.checkpoint / "resume.json").read_text(encoding="utf-8"))
    return {
        "run": manifest.name,
        "t_env": manifest.t_env,
        "updates": manifest.updates,
        "win_rate": manifest.win_rate,
        "wall_seconds": resume["counters"]["wall_seconds"],
        "env_steps_per_second": 0.0,
        "status": "complete",
    }


def _check_together(configs: Sequence[ExperimentConfig]) -> None:
    """Whether runs fit together does not depend on which of them are complete."""
    from mast_edge.train.vector.shapes import check_equal_shapes

    check_equal_shapes(configs)


def _at_once(configs: Sequence[ExperimentConfig], device: str, console: Console) -> list[dict[str, Any]]:
    """Engine vector."""
    from mast_edge.train.session import Progress as State
    from mast_edge.train.vector.loop import train_at_once

    with Bars(console) as bars:
        for config in configs:
            bars.add(run_name(config), config.t_max)

        def show(state: State) -> None:
            bars.update(state.run, state.t_env, asdict(state) | {"return": state.mean_return})
            bars.tell(bars.ids)

        results = train_at_once(
            configs,
            device=device,
            progress=show,
            on_remark=lambda run, text: bars.remark(f"{run}: {text}"),
        )
    objects = [asdict(result) for result in results]
    return [{k: v for k, v in each.items() if k != "error" or v} for each in objects]


@dataclass
class _Watched:
    """A running task, and what its log has said so far."""

    task: Task
    folder: Path
    t_max: int
    process: subprocess.Popen[str]
    errors: TextIO
    seen: dict[str, Any]
    offset: int = 0

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
    with _terminable():
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


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends this like Ctrl-C, so that no process that was started outlives it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(task: Task, log_folder: Path) -> _Watched:
    config = task.load()
    log_folder.mkdir(parents=True, exist_ok=True)
    errors = (log_folder / f"{task.label}.log").open("w", encoding="utf-8")
    process = subprocess.Popen(task.command(), stdout=subprocess.PIPE, stderr=errors, text=True)
    folder, seen = runs_root() / run_name(config), {"sparsity": config.sparsity}
    return _Watched(task, folder, config.t_max, process, errors, seen)


def _running(watched: list[_Watched]) -> list[_Watched]:
    return [w for w in watched if w.process.poll() is None]


def _watch(
    watched: list[_Watched], tasks: Sequence[Task], workers: int, console: Console, log_folder: Path
) -> None:
    """Starts the tasks in order, `workers` at a time, into `watched`, until all ended or one failed."""
    with Bars(console) as bars:
        while len(watched) < len(tasks) or _running(watched):
            while len(watched) < len(tasks) and len(_running(watched)) < workers:
                watched.append(w := _start(tasks[len(watched)], log_folder))
                bars.add(w.task.label, w.t_max)
            time.sleep(POLL_SECONDS)
            for w in watched:
                w.poll()
                bars.update(w.task.label, w.seen.get("t_env", 0), w.seen)
            bars.tell(w.task.label for w in _running(watched))
            if any(w.process.poll() not in (None, 0) for w in watched):
                return
