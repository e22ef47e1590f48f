"""Many runs in one process: each plays, logs and saves by itself; their updates are made together.

Runs keep step by iterations. Resuming is exact only where all runs stopped together: who else is trained
decides the padding, and with it the last digits.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import MastEdgeError
from mast_edge.runs import RunFolder
from mast_edge.train import memory
from mast_edge.train.learners.choice import chosen_device
from mast_edge.train.learners.torch import Divergence
from mast_edge.train.loop import stop_signals
from mast_edge.train.session import Progress, Session, TrainResult
from mast_edge.train.trainer import Trainer
from mast_edge.train.vector.learner import VectorLearner
from mast_edge.train.vector.settings import branches
from mast_edge.train.vector.shapes import check_equal_shapes
from mast_edge.train.vector.updated import Told

FAILURES = (MastEdgeError, OSError)
"""What may end a run, and with it the others; divergence ends one alone."""


class _Member:
    """One run of the group; what goes wrong in it ends it without another checkpoint."""

    def __init__(self, trainer: Trainer, session: Session) -> None:
        self.trainer, self.session = trainer, session
        self.result: TrainResult | None = None

    def wants_more(self) -> bool:
        """Whether it takes part in the next iteration; does what is due before, or ends it."""
        with self._blamed():
            more = not self.session.complete and self.session.prepare()
        if not more:
            self.finish()
        return more

    def play(self, weights: Mapping[str, NDArray[np.float32]]) -> int:
        """`Trainer.play`."""
        with self._blamed():
            return self.trainer.play(weights)

    def learned(self, told: Told, seconds: float) -> None:
        """Logs its share of an iteration's updates, and does what is due after it."""
        if isinstance(told, Divergence):
            self.fail(told)
            return
        self.trainer.window.seconds["learn"] += seconds
        for metrics in told:
            self.trainer.window.add(metrics)
        with self._blamed():
            self.session.follow_up()

    def finish(self) -> None:
        """Ends it, complete or interrupted."""
        with self._blamed():
            self.result = self.session.finish()

    def fail(self, error: Exception) -> None:
        """Ends it as failed."""
        self.result = self.session.give_up(error)
        if self.session.on_remark is not None:
            self.session.on_remark(str(error))

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self.fail(error)
            raise


def train_at_once(
    configs: Sequence[ExperimentConfig],
    *,
    device: str = "auto",
    runs_root: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_remark: Callable[[str, str], None] | None = None,
) -> list[TrainResult]:
    """Trains, or goes on training, runs of equal shape in this process.

    Args:
        configs: at least one; each has a run folder of its own, as with `train`.
        device: `auto` (CUDA when there is one), `cpu` or `cuda`.
        runs_root: where run folders live; `$MAST_EDGE_RUNS` or `runs/` when None.
        progress: called with the state of one run or another, a few times a second for each.
        on_remark: told the name of a run and what a user should know of it, one line each.

    Returns:
        In the order of `configs`. A run that diverged is `failed`, its last good checkpoint kept; the others
        go on. After SIGINT or SIGTERM unfinished runs are `interrupted`, with a checkpoint.

    Raises:
        ConfigError: shapes differ, or the runs cannot all fit in memory; nothing was written.
        MastEdgeError: as `train`, except for divergence; the other runs have stopped with a checkpoint.
    """
    torch.set_num_threads(1)
    check_equal_shapes(configs)
    chosen = chosen_device(device)
    with contextlib.ExitStack() as stack:
        trainers = []
        for config in configs:
            trainers.append(trainer := Trainer(config, chosen, runs_root, "torch"))
            stack.callback(trainer.env.close)
        _check_memory(trainers)
        stop = stack.enter_context(stop_signals())
        members: list[_Member] = []
        try:
            for trainer in trainers:
                opened = RunFolder.open(trainer.config, trainer.env.spec, root=runs_root)
                folder = stack.enter_context(opened)
                session = Session(folder, trainer, progress, _named(folder, on_remark))
                members.append(_Member(trainer, session))
            _train(sorted(members, key=_kinship), stop)
        except FAILURES:
            for member in members:
                if member.result is None:
                    with contextlib.suppress(*FAILURES):
                        member.finish()
            raise
    return [member.result for member in members if member.result is not None]


def _named(folder: RunFolder, on_remark: Callable[[str, str], None] | None) -> Callable[[str], None] | None:
    return None if on_remark is None else lambda text: on_remark(folder.name, text)


def _kinship(member: _Member) -> tuple[object, ...]:
    """Runs whose losses branch alike come together: they share every launch."""
    config = member.trainer.config
    return (*branches(config, config.t_max), config.target.start)


def _check_memory(trainers: Sequence[Trainer]) -> None:
    """Each run may take its share of what is left."""
    for trainer in trainers:
        needed = memory.estimate(trainer.config, trainer.env.spec, trainer.learner.online.flat.numel())
        share = None if needed.limit is None else needed.limit // len(trainers)
        memory.check(dataclasses.replace(needed, limit=share))


def _train(members: Sequence[_Member], stop: Sequence[int]) -> None:
    """Iterates until every member has ended."""
    going: list[_Member] = []
    vector: VectorLearner | None = None
    while not stop and (still := [m for m in members if m.result is None and m.wants_more()]):
        if vector is None or still != going:
            going, vector = still, _vector_learner(still)
        _iterate(going, vector)
    for member in members:
        if member.result is None:
            member.finish()


def _vector_learner(members: Sequence[_Member]) -> VectorLearner:
    learners = [m.trainer.learner for m in members]
    on_gpu = learners[0].device.type == "cuda"
    return VectorLearner(learners, [m.trainer.replay for m in members] if on_gpu else None)


def _iterate(members: Sequence[_Member], vector: VectorLearner) -> None:
    """`Trainer.iterate` of all members. How the updates went is read once, after the last of them."""
    trainers = [m.trainer for m in members]
    owed = [m.play(weights) for m, weights in zip(members, vector.agents(), strict=True)]
    played = time.perf_counter()
    t_envs = [t.counters.t_env for t in trainers]
    for i in range(max(owed)):
        drawn = [
            t.replay.draw(t.streams["sampling"]) if i < n else [] for t, n in zip(trainers, owed, strict=True)
        ]
        vector.update(drawn, t_envs)
    told = vector.read()
    seconds = (time.perf_counter() - played) / len(members)
    for member, of_member in zip(members, told, strict=True):
        member.learned(of_member, seconds)
