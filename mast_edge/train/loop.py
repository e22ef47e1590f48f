"""`train`: a config becomes a run folder, which resumes itself and never loses more than one interval."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from mast_edge.checkpoint_files import Recorded, write_agent_files
from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import EnvironmentUnavailable, UsageError
from mast_edge.runs import RunFolder
from mast_edge.train.checkpoint import ReplayJournal, oldest_needed, read_state, write_state
from mast_edge.train.learners.torch import Divergence
from mast_edge.train.metrics import MetricsLog
from mast_edge.train.rollout import Rollout
from mast_edge.train.trainer import Trainer, Window

INEXACT = (
    "resumed from a fresh episode: StarCraft II cannot save its state, so this run goes on with the same "
    "weights, replay and random streams, but not bit for bit as it would have without the stop"
)
REPORTS_PER_EVALUATION = 4
"""Lines of training metrics between two evaluations."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, for whoever draws it.

    Attributes:
        win_rate: latest evaluation, None before the first.
        mean_return: of the recent training episodes.
        env_steps_per_second: over this process's life.
        seconds_left: estimate.
    """

    run: str
    t_env: int
    t_max: int
    updates: int
    win_rate: float | None
    mean_return: float | None
    epsilon: float
    sparsity: float
    env_steps_per_second: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What `train --json` prints; status is `complete` or `interrupted`."""

    run: str
    t_env: int
    updates: int
    win_rate: float | None
    wall_seconds: float
    env_steps_per_second: float
    status: str


def train(
    config: ExperimentConfig,
    *,
    device: str = "auto",
    learner: str = "auto",
    fresh: bool = False,
    runs_root: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> TrainResult:
    """Trains, or goes on training, the run that belongs to `config`.

    Args:
        config: resolved experiment; same config and seed are the same run folder.
        device: `auto` (CUDA when there is one), `cpu` or `cuda`.
        learner: `auto` or `torch`.
        fresh: start over, discarding what the run folder holds.
        runs_root: where run folders live; `$MAST_EDGE_RUNS` or `runs/` when None.
        progress: called a few times a second.
        on_remark: told what a user should know about this run, one line each.

    Returns:
        The result; its status is `interrupted` after SIGINT or SIGTERM, with a checkpoint written.

    Raises:
        EnvironmentUnavailable: the map, device or learner is not available, then nothing was written; or
            games of StarCraft II broke too often, then the last checkpoint is kept.
        Divergence: loss or gradients are not finite; the last good checkpoint is kept.
    """
    torch.set_num_threads(1)  # one thread per run: results do not depend on load (training_speed.md 5)
    trainer = Trainer(config, _device(device, learner))
    with (
        contextlib.closing(trainer.env),
        RunFolder.open(config, trainer.env.spec, root=runs_root, fresh=fresh) as run,
        _stop_signals() as stop,
    ):
        session = _Session(run, trainer, progress)
        if session.remark and on_remark is not None:
            on_remark(session.remark)
        return session.run(stop)


class _Session:
    """One process's share of a run: the loop, its log and its checkpoints."""

    def __init__(self, run: RunFolder, trainer: Trainer, progress: Callable[[Progress], None] | None) -> None:
        self.folder, self.trainer, self.config = run, trainer, trainer.config
        self.progress = progress
        self.journal = ReplayJournal(run.path / "replay")
        self.log = MetricsLog(run.path)
        self.remark = ""
        latest = run.latest_checkpoint()
        if latest is not None:
            counters, snapshot = read_state(
                latest, trainer.learner, trainer.replay, trainer.streams, self.journal
            )
            trainer.counters = counters
            if trainer.env.seeded and snapshot is not None:
                trainer.env.restore(snapshot)
            else:
                self.remark = INEXACT
                run.note(INEXACT)
            trainer.evaluations.extend(self.log.resume(counters.metrics_bytes))
        else:
            self.log.resume(0)
        self.started = self.last_checkpoint = time.monotonic()
        self.steps_before = trainer.counters.t_env
        self.seconds_before = trainer.counters.wall_seconds
        self.last_shown = 0.0
        self.mean_return: float | None = None
        every = self.config.evaluation.interval // REPORTS_PER_EVALUATION
        self.report_every = max(1, every)
        self.next_report = (self.steps_before // self.report_every + 1) * self.report_every

    def run(self, stop: list[int]) -> TrainResult:
        """Iterates until t_max or until a signal has arrived."""
        trainer = self.trainer
        if trainer.done:
            return self._result("complete")
        try:
            while not stop:
                if trainer.evaluation_due:
                    self._evaluate()
                if trainer.done:
                    break
                trainer.iterate()
                self._report()
                if time.monotonic() - self.last_checkpoint >= self.config.checkpoint.interval_seconds:
                    self._checkpoint("running")
        except Divergence:
            self.folder.update_manifest(status="failed")
            raise
        status = "complete" if trainer.done and not trainer.evaluation_due else "interrupted"
        self._checkpoint(status)
        if status == "complete":
            self.journal.prune(self.trainer.replay.stored)  # nothing is trained on it any more
        self._show(force=True)
        return self._result(status)

    def _result(self, status: str) -> TrainResult:
        self.log.close()
        counters = self.trainer.counters
        return TrainResult(
            run=self.folder.name,
            t_env=counters.t_env,
            updates=self.trainer.learner.updates,
            win_rate=self.trainer.win_rate,
            wall_seconds=counters.wall_seconds,
            env_steps_per_second=self._steps_per_second(),
            status=status,
        )

    def _evaluate(self) -> None:
        t_env = self.trainer.counters.t_env
        rollout: Rollout = self.trainer.evaluate()
        self.log.write(
            "evaluation",
            t_env,
            {
                "win_rate": float(rollout.won.mean()),
                "return": float(rollout.returns.mean()),
                "episode_length": float(np.mean([e.length for e in rollout.episodes])),
                "episodes_lost": rollout.lost,
            },
        )
        self._show(force=True)

    def _report(self) -> None:
        """Writes the training metrics of the window that has just ended, and shows progress."""
        trainer = self.trainer
        if trainer.counters.t_env >= self.next_report:
            self.next_report = (trainer.counters.t_env // self.report_every + 1) * self.report_every
            window, trainer.window = trainer.window, Window()
            metrics: dict[str, Any] = window.means()
            self.mean_return = metrics.get("return", self.mean_return)
            metrics |= {
                "updates": trainer.learner.updates,
                "epsilon": trainer.epsilon,
                "replaced": trainer.learner.replaced,
                "replay_episodes": len(trainer.replay.episodes),
                "episodes_lost": window.episodes_lost,
                "env_steps_per_second": self._steps_per_second(),
                **{f"seconds_{name}": value for name, value in window.seconds.items()},
            }
            self.log.write("train", trainer.counters.t_env, metrics)
        self._show()

    def _checkpoint(self, status: str) -> None:
        trainer = self.trainer
        counters = trainer.counters
        counters.wall_seconds = self.seconds_before + time.monotonic() - self.started
        counters.metrics_bytes = self.log.sync()
        self.journal.append(trainer.replay)
        snapshot = trainer.env.snapshot() if trainer.env.seeded else None

        def write(folder: Path) -> None:
            recorded = _recorded(trainer.greedy(trainer.recorded_episodes, 0))
            weights = trainer.learner.online.numpy("agent")
            write_agent_files(
                folder,
                trainer.agent_spec,
                trainer.env.spec,
                weights,
                trainer.learner.topologies["agent"],
                recorded,
            )
            write_state(
                folder, trainer.learner, trainer.replay, trainer.streams, snapshot, counters
            )

        self.folder.write_checkpoint(
            counters.t_env,
            write,
            spec=trainer.agent_spec,
            env=trainer.env.spec,
            facts={
                "t_env": counters.t_env,
                "updates": trainer.learner.updates,
                "episodes": counters.episodes,
                "algorithm": self.config.algorithm,
                "method": self.config.method,
                "map": self.config.env.map,
                "sparsity": self.config.sparsity,
                "seed": self.config.seed,
            },
        )
        self.journal.prune(oldest_needed(self.folder.checkpoints()))
        self.folder.update_manifest(
            status=status,
            t_env=counters.t_env,
            updates=trainer.learner.updates,
            win_rate=trainer.win_rate,
        )
        self.last_checkpoint = time.monotonic()

    def _steps_per_second(self) -> float:
        return (self.trainer.counters.t_env - self.steps_before) / max(1e-9, time.monotonic() - self.started)

    def _show(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self.progress is None or (not force and now - self.last_shown < 0.2):
            return
        self.last_shown = now
        trainer, rate = self.trainer, self._steps_per_second()
        t_env = trainer.counters.t_env
        self.progress(
            Progress(
                run=self.folder.name,
                t_env=t_env,
                t_max=self.config.t_max,
                updates=trainer.learner.updates,
                win_rate=trainer.evaluations[-1] if trainer.evaluations else None,
                mean_return=self.mean_return,
                epsilon=trainer.epsilon,
                sparsity=self.config.sparsity,
                env_steps_per_second=rate,
                seconds_left=max(0, self.config.t_max - t_env) / rate if rate > 0 else None,
            )
        )


def _recorded(rollout: Rollout) -> Recorded:
    """Greedy episodes as rows: one per joint step, episodes one after another."""
    episodes = rollout.episodes
    first = np.concatenate([np.arange(e.length) == 0 for e in episodes])
    return Recorded(
        obs=np.concatenate([e.obs[:-1] for e in episodes]),
        avail=np.concatenate([e.avail[:-1] for e in episodes]),
        actions=np.concatenate([e.actions for e in episodes]).astype(np.int32),
        first=first.astype(np.uint8),
    )


def _device(device: str, learner: str) -> torch.device:
    if learner not in ("auto", "torch"):
        raise EnvironmentUnavailable(
            f"train: learner must be auto or torch; got '{learner}'. Use --learner torch"
        )
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"train: device must be auto, cpu or cuda; got '{device}'.")
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentUnavailable("train: device cuda must be present; got none. Use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM; the loop stops at the next iteration. A second one acts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
