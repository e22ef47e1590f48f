"""One process's share of a run: the loop, its log, its snapshots and its checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.checkpoint_files import Recorded, write_agent_files
from mast_edge.config import to_dict
from mast_edge.disk import check_free
from mast_edge.runs import RunFolder, Status, point_latest
from mast_edge.train.checkpoint import Counters, ReplayJournal, oldest_needed, read_state, write_state
from mast_edge.train.mask_files import list_masks, write_masks
from mast_edge.train.metrics import MetricsLog
from mast_edge.train.replay import Episode
from mast_edge.train.rollout import Rollout
from mast_edge.train.topology_report import topology_facts
from mast_edge.train.trainer import Trainer
from mast_edge.train.window import Window

INEXACT = (
    "resumed from a fresh episode: StarCraft II cannot save its state, so this run goes on with the same "
    "weights, replay and random streams, but not bit for bit as it would have without the stop"
)
REPORTS_PER_EVALUATION = 4
"""Lines of training metrics between two evaluations."""
CHECKPOINT_SHARE = 0.03
"""Evaluations bring a checkpoint where checkpoints take less than this share of the time."""
SPARE_BYTES = 16_000_000
"""Free space that a checkpoint leaves to logs and to whoever else writes there."""


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
    """What `train --json` prints; status is `complete` or `interrupted`.

    Among runs that are trained at once it may be `failed`; `error`, which `train` does not print, says why.
    """

    run: str
    t_env: int
    updates: int
    win_rate: float | None
    wall_seconds: float
    env_steps_per_second: float
    status: str
    error: str = ""


class Session:
    """Trains one run folder from where it stands.

    Args:
        folder: opened for writing.
        trainer: as new; brought to the folder's latest checkpoint here.
        progress: called a few times a second.
        on_remark: told what a user should know, one line each.
    """

    def __init__(
        self,
        folder: RunFolder,
        trainer: Trainer,
        progress: Callable[[Progress], None] | None = None,
        on_remark: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.trainer, self.config = folder, trainer, trainer.config
        self.progress, self.on_remark = progress, on_remark
        self.journal = ReplayJournal(folder.path / "replay")
        self.log = MetricsLog(
            folder.path,
            tensorboard=self.config.log.tensorboard,
            wandb=self.config.log.wandb,
            name=folder.name,
            config=to_dict(self.config),
            on_remark=self._remark,
        )
        self.saved: Counters | None = None
        """Where the latest checkpoint stands."""
        self.complete = False
        """Whether the run had ended before, with that checkpoint."""
        self._resume()
        folder.note(f"learner: {trainer.learner.description}")
        self.started = self.last_checkpoint = time.monotonic()
        self.checkpoint_seconds = 0.0
        self.steps_before = trainer.counters.t_env
        self.seconds_before = trainer.counters.wall_seconds
        self.last_shown = 0.0
        self.mean_return: float | None = None
        self.evaluated: Rollout | None = None
        """Greedy episodes of exactly the present weights, if there are any."""
        self.report_every = max(1, self.config.evaluation.interval // REPORTS_PER_EVALUATION)
        self.next_report = (self.steps_before // self.report_every + 1) * self.report_every

    def _resume(self) -> None:
        """Brings trainer and log to the latest checkpoint, or to the start."""
        trainer = self.trainer
        latest = self.folder.latest_checkpoint()
        if latest is None:
            self.log.resume(0)
            self.journal.read(0, 0)
            self._drop_masks(-1)
            return
        self.complete = self.folder.manifest.status == "complete"
        learner, replay, streams = trainer.learner, trainer.replay, trainer.streams
        trainer.counters, trainer.window, snapshot = read_state(
            latest, learner, replay, streams, self.journal, complete=self.complete
        )
        self.saved = replace(trainer.counters)
        self._drop_masks(trainer.counters.t_env)
        if trainer.env.seeded and snapshot is not None:
            trainer.env.restore(snapshot)
        elif not self.complete:
            self._remark(INEXACT)
        trainer.evaluations.extend(self.log.resume(trainer.counters.metrics_bytes))

    def _drop_masks(self, last: int) -> None:
        """Removes masks of work that was lost: those saved after environment step `last`."""
        for t_env, path in list_masks(self.folder.path):
            if t_env > last:
                path.unlink()

    def _remark(self, text: str) -> None:
        self.folder.note(text)
        if self.on_remark is not None:
            self.on_remark(text)

    def run(self, stop: list[int]) -> TrainResult:
        """Iterates until t_max or until a signal has arrived in `stop`."""
        while not self.complete and not stop and self.prepare():
            self.trainer.iterate()
            self.follow_up()
        return self.finish()

    def prepare(self) -> bool:
        """Does what is due before an iteration: masks to be saved, an evaluation.

        Returns:
            Whether there is one: False at t_max.
        """
        while self.trainer.snapshot_due:
            self._snapshot()
        if self.trainer.evaluation_due:
            self._evaluate()
        return not self.trainer.done

    def follow_up(self) -> None:
        """Does what is due after an iteration: dynamic capacity, metrics, a checkpoint."""
        self.evaluated = None
        if self.trainer.capacity_check_due:
            self._check_capacity()
        self._report()
        if time.monotonic() - self.last_checkpoint >= self.config.checkpoint.interval_seconds:
            self._checkpoint("running")

    def finish(self) -> TrainResult:
        """Ends this process's share: as complete where nothing is owed any more, else as interrupted."""
        trainer = self.trainer
        if self.complete:
            # A kill may have come before these two.
            point_latest(self.folder.path)
            self.journal.prune(trainer.replay.stored)
            return self._result("complete")
        owed = not trainer.done or trainer.evaluation_due or trainer.snapshot_due
        status: Status = "interrupted" if owed else "complete"
        if self.saved != trainer.counters:
            self._checkpoint(status)
        else:  # nothing has happened since the latest checkpoint
            self._update_manifest(status)
        if status == "complete":
            self.journal.prune(trainer.replay.stored)  # nothing is trained on it any more
        self._show(force=True)
        return self._result(status)

    def give_up(self, error: Exception) -> TrainResult:
        """Ends the run as failed and lets its folder go; the latest checkpoint stays the last."""
        self.folder.__exit__(type(error), error, error.__traceback__)
        return replace(self._result("failed"), error=str(error))

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
        """Plays greedily, looks at values and topology, and makes a checkpoint if that is cheap."""
        trainer, t_env = self.trainer, self.trainer.counters.t_env
        rollout = self.evaluated = trainer.evaluate()
        facts = {
            "win_rate": float(rollout.won.mean()),
            "return": float(rollout.returns.mean()),
            "episode_length": float(np.mean([e.length for e in rollout.episodes])),
            "episodes_lost": rollout.lost,
        }
        self.log.write("evaluation", t_env, facts)
        estimate = trainer.estimate()
        if estimate is not None:
            believed = {"q_tot": estimate.q_tot, "realised_return": estimate.realised}
            self.log.write("estimate", t_env, believed | {"dead_units": estimate.dead_units})
        layers = topology_facts(trainer.learner)
        if layers:
            self.log.write("topology", t_env, {"layers": layers})
        self._show(force=True)
        since = time.monotonic() - self.last_checkpoint
        if not trainer.done and self.checkpoint_seconds <= CHECKPOINT_SHARE * since:
            self._checkpoint("running")

    def _snapshot(self) -> None:
        """Saves the masks (paper, Figures 10 and 14 to 20)."""
        trainer = self.trainer
        trainer.counters.snapshots += 1
        masks = {
            f"{network}.{layer}": mask
            for network, topology in trainer.learner.topologies.items()
            for layer, mask in topology.items()
        }
        if masks:
            write_masks(self.folder.path, trainer.counters.t_env, masks)

    def _check_capacity(self) -> None:
        distance, discarded = self.trainer.check_capacity()
        held = len(self.trainer.replay.episodes)
        facts = {"policy_distance": distance, "discarded": discarded, "episodes": held}
        self.log.write("capacity", self.trainer.counters.t_env, facts)

    def _report(self) -> None:
        """Writes the training metrics of the window that has just ended, and shows progress."""
        trainer = self.trainer
        if trainer.counters.t_env >= self.next_report:
            self.next_report = (trainer.counters.t_env // self.report_every + 1) * self.report_every
            window, trainer.window = trainer.window, Window()
            metrics: dict[str, Any] = window.means()
            self.mean_return = metrics.get("return", self.mean_return)
            held = len(trainer.replay.episodes)
            metrics |= {
                "updates": trainer.learner.updates,
                "epsilon": trainer.epsilon,
                "replay_episodes": held,
                "replay_steps": trainer.replay.steps,
                "replay_fill": held / trainer.replay.capacity,
                "episodes_lost": window.episodes_lost,
                "env_steps_per_second": self._steps_per_second(),
            }
            self.log.write("train", trainer.counters.t_env, metrics)
        self._show()

    def _checkpoint(self, status: Status) -> None:
        """Writes all that a resumed run needs; the one before stays valid until this one is whole."""
        began = time.monotonic()
        trainer, counters = self.trainer, self.trainer.counters
        check_free(self.folder.path, self._checkpoint_bytes() + SPARE_BYTES)
        counters.wall_seconds = self.seconds_before + began - self.started
        counters.metrics_bytes = self.log.sync()
        self.journal.append(trainer.replay)
        self.folder.write_checkpoint(
            counters.t_env,
            self._write_files,
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
        self._update_manifest(status)
        self.saved = replace(counters)
        self.last_checkpoint = time.monotonic()
        self.checkpoint_seconds = self.last_checkpoint - began
        trainer.window.seconds["checkpoint"] += self.checkpoint_seconds

    def _update_manifest(self, status: Status) -> None:
        trainer = self.trainer
        self.folder.update_manifest(
            status=status,
            t_env=trainer.counters.t_env,
            updates=trainer.learner.updates,
            win_rate=trainer.win_rate,
            learner=trainer.learner.description,
        )

    def _checkpoint_bytes(self) -> int:
        """About the most that the next checkpoint will write."""
        trainer, spec = self.trainer, self.trainer.env.spec
        parameters = trainer.learner.online.flat.numel()
        new = self.journal.unwritten(trainer.replay)
        row = spec.n_agents * (4 * spec.obs_dim + spec.n_actions + 4)
        recorded = trainer.recorded_episodes * spec.episode_limit * row
        return sum(e.nbytes for e in new) + recorded + 5 * 4 * parameters

    def _write_files(self, folder: Path) -> None:
        trainer = self.trainer
        episodes = (self.evaluated or trainer.greedy(trainer.recorded_episodes, 0)).episodes
        write_agent_files(
            folder,
            trainer.agent_spec,
            trainer.env.spec,
            trainer.learner.online.numpy("agent"),
            trainer.learner.topologies["agent"],
            _recorded(episodes[: trainer.recorded_episodes]),
        )
        snapshot = trainer.env.snapshot() if trainer.env.seeded else None
        write_state(
            folder,
            trainer.learner,
            trainer.replay,
            trainer.streams,
            snapshot,
            trainer.counters,
            trainer.window,
        )

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


def _recorded(episodes: list[Episode]) -> Recorded:
    """Greedy episodes as rows: one per joint step, episodes one after another."""
    first = np.concatenate([np.arange(e.length) == 0 for e in episodes])
    return Recorded(
        obs=np.concatenate([e.obs[:-1] for e in episodes]),
        avail=np.concatenate([e.avail[:-1] for e in episodes]),
        actions=np.concatenate([e.actions for e in episodes]).astype(np.int32),
        first=first.astype(np.uint8),
    )
