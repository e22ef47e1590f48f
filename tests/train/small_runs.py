"""Runs small enough to be made by the dozen, ways to cut them, and what two equal runs have in common."""

import hashlib
import json
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mast_edge.config import resolve, run_name
from mast_edge.config_fields import ExperimentConfig
from mast_edge.runs import RunFolder
from mast_edge.train.session import Session, TrainResult
from mast_edge.train.trainer import Trainer

SMALL: dict[str, Any] = {
    "env": {"map": "3m"},
    "sparsity": 0.8,
    "t_max": 1200,
    "network": {"hidden_dim": 16, "mixer_embed_dim": 8, "hypernet_dim": 16, "central_dim": 16},
    "topology": {"interval": 5},
    "target": {"update_interval": 5},
    "replay": {"batch_size": 4, "capacity": 40},
    "evaluation": {"episodes": 2, "interval": 300},
    "checkpoint": {"interval_seconds": 0.05},
    "log": {"tensorboard": False},
}
"""About 40 battles; half a second."""


def small(algorithm: str = "qmix", method: str = "mast", **changes: Any) -> ExperimentConfig:
    """`SMALL` with other values; a mapping changes only what it names of its section."""
    values = {**SMALL, "algorithm": algorithm, "method": method}
    for name, value in changes.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    if method == "dense":
        del values["sparsity"]
    return resolve(values)


class Killed(BaseException):
    """Stands for a kill between two checkpoints."""


class StopAfter(list[int]):
    """A list of signals that fills after some iterations.

    Args:
        iterations: how many are allowed.
        crash: raise `Killed` then, so that no checkpoint is written.
    """

    def __init__(self, iterations: int, *, crash: bool = False) -> None:
        super().__init__()
        self.left, self.crash = iterations, crash

    def __bool__(self) -> bool:
        self.left -= 1
        if self.left < 0 and self.crash:
            raise Killed
        return self.left < 0


class Watcher(list[int]):
    """A list of signals that looks at the session it stops; `advance` introduces them."""

    session: Session | None = None


class StopAt(Watcher):
    """Signals that arrive at an environment step; see `StopAfter` for `crash`."""

    def __init__(self, t_env: int, *, crash: bool = False) -> None:
        super().__init__()
        self.t_env, self.crash = t_env, crash

    def __bool__(self) -> bool:
        assert self.session is not None
        reached = self.session.trainer.counters.t_env >= self.t_env
        if reached and self.crash:
            raise Killed
        return reached


class Tops(Watcher):
    """Never a signal; notes in shared memory, as each iteration begins, how much is not saved yet.

    Args:
        rows: (K, 3) float64 zeros for 1, seconds since the last checkpoint, and its t_env (-1: none).
    """

    def __init__(self, rows: NDArray[np.float64]) -> None:
        super().__init__()
        self.rows, self.used = rows, 0

    def __bool__(self) -> bool:
        assert self.session is not None
        saved, since = self.session.saved, time.monotonic() - self.session.last_checkpoint
        self.rows[self.used] = 1, since, -1 if saved is None else saved.t_env
        self.used += 1
        return False


def advance(
    config: ExperimentConfig, root: Path, stop: list[int] | None = None, learner: str = "auto"
) -> tuple[TrainResult | None, Trainer]:
    """Trains from where the run stands; the result is None where it was killed."""
    torch.set_num_threads(1)
    trainer = Trainer(config, torch.device("cpu"), learner=learner)
    try:
        with RunFolder.open(config, trainer.env.spec, root=root) as run:
            session = Session(run, trainer)
            if isinstance(stop, Watcher):
                stop.session = session
            return session.run([] if stop is None else stop), trainer
    except Killed:
        return None, trainer
    finally:
        trainer.env.close()


def folder(config: ExperimentConfig, root: Path) -> Path:
    """The run's folder."""
    return root / run_name(config)


def contents(config: ExperimentConfig, root: Path) -> dict[str, Any]:
    """All that a finished run holds, apart from times and what depends on them."""
    run = folder(config, root)
    manifest = json.loads((run / "manifest.json").read_text())
    last = run / "checkpoints" / manifest["checkpoint"]
    index = json.loads((last / "checkpoint.json").read_text())
    del index["files"]["resume.json"]
    return {
        "manifest": {key: manifest[key] for key in ("status", "t_env", "updates", "win_rate", "checkpoint")},
        "index": index,
        "resume": timeless_resume(last),
        "metrics": timeless_metrics(run),
        **{path.name: sha256(path.read_bytes()) for path in sorted(last.glob("*.safetensors"))},
        **{f"masks/{path.name}": sha256(path.read_bytes()) for path in sorted((run / "masks").glob("*"))},
        "replay": sorted(path.name for path in (run / "replay").iterdir()),
    }


def timeless_resume(checkpoint: Path) -> dict[str, Any]:
    """`resume.json` without what the clock decides, the digits of times in the log among it."""
    resume: dict[str, Any] = json.loads((checkpoint / "resume.json").read_text())
    for section, key in (
        ("counters", "wall_seconds"),
        ("counters", "metrics_bytes"),
        ("window", "started"),
        ("window", "seconds"),
    ):
        del resume[section][key]
    return resume


def timeless_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if not k.startswith("seconds_") and not k.endswith("_per_second")}
        for line in lines
    ]


def memory(trainer: Trainer) -> dict[str, str]:
    """Digests of what a trainer holds: episodes, networks, environment, random streams, evaluations."""
    return {
        "episodes": sha256(*(_bytes(asdict(episode)) for episode in trainer.replay.episodes)),
        "learner": sha256(_bytes(trainer.learner.state())),
        "env": sha256(trainer.env.snapshot().tobytes()),
        "streams": repr({name: rng.bit_generator.state for name, rng in trainer.streams.items()}),
        "evaluations": repr(list(trainer.evaluations)),
    }


def sha256(*parts: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _bytes(arrays: dict[str, Any]) -> bytes:
    return b"".join(
        name.encode() + (value.tobytes() if hasattr(value, "tobytes") else repr(value).encode())
        for name, value in arrays.items()
    )


def in_child(work: Callable[[], int | None]) -> int:
    """Does `work` in a process of its own, forked from this one.

    Returns:
        Its exit code: what `work` returned; minus the signal that killed it.
    """
    return wait(fork(work))


def fork(work: Callable[[], int | None]) -> int:
    """Starts `work` in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def wait(child: int) -> int:
    """Exit code of a process that `fork` made."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
