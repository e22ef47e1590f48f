"""`train`: a config becomes a run folder, which resumes itself and never loses more than one interval."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from mast_edge.config_fields import ExperimentConfig
from mast_edge.runs import RunFolder
from mast_edge.train import memory
from mast_edge.train.learners.choice import chosen_device
from mast_edge.train.session import Progress, Session, TrainResult
from mast_edge.train.trainer import Trainer


def train(
    config: ExperimentConfig,
    *,
    device: str = "auto",
    learner: str = "auto",
    threads: int = 1,
    fresh: bool = False,
    runs_root: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> TrainResult:
    """Trains, or goes on training, the run that belongs to `config`.

    Args:
        config: resolved experiment; same config and seed are the same run folder.
        device: `auto` (CUDA when there is one), `cpu` or `cuda`.
        learner: `auto` (native where it can train this, on a CPU), `torch` or `native`.
        threads: cores for one update of the native learner; results are the same.
        fresh: start over, discarding what the run folder holds.
        runs_root: where run folders live; `$MAST_EDGE_RUNS` or `runs/` when None.
        progress: called a few times a second.
        on_remark: told what a user should know about this run, one line each.

    Returns:
        The result; its status is `interrupted` after SIGINT or SIGTERM, with a checkpoint written.

    Raises:
        EnvironmentUnavailable: the map, device or learner is not available, then nothing was written; or
            games of StarCraft II broke too often, then the last checkpoint is kept.
        UsageError: an unknown device or learner, or two that do not go together.
        ConfigError: the run cannot fit in memory, or its ticket does not fit; nothing was written.
        MissingInput: the ticket's run is not there.
        Divergence: loss, gradients, utilities or weights are not finite; the last good checkpoint is kept.
        MastEdgeError: the disk is full or not writable; the last good checkpoint is kept.
    """
    torch.set_num_threads(1)  # one thread per run: results do not depend on load (training_speed.md 5)
    trainer = Trainer(config, chosen_device(device, learner), runs_root, learner, threads)
    with contextlib.closing(trainer.env):
        needed = memory.estimate(config, trainer.env.spec, trainer.learner.online.flat.numel())
        memory.check(needed)
        if on_remark is not None:
            on_remark(memory.describe(needed))
            on_remark(f"learner: {trainer.learner.description}")
        with (
            RunFolder.open(config, trainer.env.spec, root=runs_root, fresh=fresh) as run,
            stop_signals() as stop,
        ):
            return Session(run, trainer, progress, on_remark).run(stop)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
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
