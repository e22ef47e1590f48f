"""What cannot be lost: kills at any instant, disks that are full, numbers that are no numbers.

Source: parity_and_safety.md 6, "torn write", "kill -9", "disk full", "NaN, divergence".
"""

import dataclasses
import itertools
import json
import mmap
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mast_edge import disk
from mast_edge.checkpoint_folders import checkpoints, verify_checkpoint
from mast_edge.cli import cli
from mast_edge.config import load_config, run_name
from mast_edge.config_fields import ExperimentConfig
from mast_edge.exits import run as run_command
from mast_edge.runs import find_run, read_manifest
from mast_edge.train.learners.torch import Divergence
from mast_edge.train.trainer import Trainer
from tests.end_to_end.conftest import CONFIG
from tests.train.small_runs import StopAfter, Tops, advance, contents, folder, fork, in_child, small, wait

SETS = (
    "t_max=600",
    "network.hidden_dim=16",
    "replay.batch_size=4",
    "evaluation.interval=200",
    "evaluation.episodes=2",
    "checkpoint.interval_seconds=0",
    "log.tensorboard=false",
)
"""A checkpoint after every battle."""
CHOSEN = load_config(CONFIG, SETS, {})
TRAIN = ("train", str(CONFIG), *(part for value in SETS for part in ("--set", value)))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands of a test keep their runs."""
    root = tmp_path / "runs"
    monkeypatch.setenv("MAST_EDGE_RUNS", str(root))
    return root


class Answers:
    """Runs commands in forked processes.

    Attributes:
        err: what the last one wrote to stderr.
    """

    def __init__(self) -> None:
        self.err = ""

    def __call__(self, *arguments: str, before: Callable[[], object] = lambda: None) -> int:
        """Exit code of the command; `before` is done first in its process."""

        reading, writing = os.pipe()  # which holds the few lines of a command
        os.set_blocking(writing, False)

        def work() -> int:
            with open(os.devnull, "w") as sys.stdout, os.fdopen(writing, "w") as sys.stderr:
                before()
                return run_command(cli, arguments)

        code = in_child(work)
        os.close(writing)
        with os.fdopen(reading) as said:
            self.err = said.read()
        return code

    @property
    def line(self) -> str:
        """The one line of a failure."""
        lines = [line for line in self.err.splitlines() if line.startswith("mast-edge: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def command(runs: Path) -> Answers:
    return Answers()


# Kills.


def _guard_calls(die_at: int, count: NDArray[np.int64]) -> None:
    """From now on this process kills itself before its `die_at`-th call that changes or forces files."""
    for name in ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir"):
        original = getattr(os, name)

        def guarded(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            if count[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1
            return original(*args, **kwargs)

        setattr(os, name, guarded)


def _kill_at_every_call(tmp_path: Path, interval_seconds: float) -> int:
    """Ends a run's last iteration at each of its calls, then goes on; returns how many calls there are."""
    config = small(t_max=150, checkpoint={"interval_seconds": interval_seconds, "keep": 2})
    advance(config, tmp_path / "straight")
    expected = contents(config, tmp_path / "straight")
    advance(config, tmp_path / "begun", StopAfter(expected["resume"]["counters"]["episodes"] - 1))
    count = np.frombuffer(mmap.mmap(-1, 8), np.int64)
    for number in itertools.count():
        root = tmp_path / str(number)
        shutil.copytree(tmp_path / "begun", root)
        count[0] = 0

        def work(number: int = number, root: Path = root) -> None:
            _guard_calls(number, count)
            advance(config, root)

        code = in_child(work)
        assert (code, int(count[0])) in ((-signal.SIGKILL, number), (0, number))
        verify_checkpoint(find_run(run_name(config), root).checkpoint)
        result, _ = advance(config, root)
        assert result is not None
        assert result.status == "complete"
        assert contents(config, root) == expected, f"killed before call {number}"
        assert json.loads((root / "latest.json").read_text())["name"] == run_name(config)
        leftovers = [path for path in root.rglob(".*") if path.parent != root]
        assert leftovers == []
        shutil.rmtree(root)
        if code == 0:
            break
    return int(count[0])


def test_killed_at_every_call_of_a_checkpoint(tmp_path: Path) -> None:
    assert _kill_at_every_call(tmp_path, interval_seconds=60.0) > 40


@pytest.mark.slow
def test_killed_at_every_call_of_two_checkpoints_of_one_step(tmp_path: Path) -> None:
    assert _kill_at_every_call(tmp_path, interval_seconds=0.0) > 60


INTERVAL = 0.1
PAUSE = 0.1
"""Seconds that a busy machine may take between two lines of the loop."""


def _t_env(checkpoint: Path) -> int:
    index = json.loads((checkpoint / "checkpoint.json").read_text())
    return int(index["t_env"])


def _kill_at_random(root: Path, config: ExperimentConfig, kills: int) -> int:
    """Kills a run over and over until it ends or has been killed so often; returns how often that was."""
    rng = np.random.default_rng(config.seed)
    for done in range(kills):
        rows = np.frombuffer(mmap.mmap(-1, 3 * 8 * 4096), np.float64).reshape(-1, 3)
        child = fork(lambda rows=rows: advance(config, root, Tops(rows)) and None)
        time.sleep(float(rng.uniform(0.0, 1.0 if done % 5 == 4 else 0.4)))
        os.kill(child, signal.SIGKILL)
        if wait(child) == 0:
            return done
        begun = rows[rows[:, 0] == 1]
        found = checkpoints(folder(config, root))
        if len(begun):
            assert begun[:, 1].max() < INTERVAL + PAUSE
            assert int(begun[-1, 2]) <= (_t_env(found[-1]) if found else -1)
        if found:
            verify_checkpoint(found[-1])
    return kills


def _expect_no_loss(tmp_path: Path, kills: int, **settings: Any) -> None:
    """Runs of one seed after another, until there were so many kills, end as those that were left alone."""
    for seed in itertools.count(1):
        config = small(
            seed=seed, checkpoint={"interval_seconds": INTERVAL}, evaluation={"interval": 1000}, **settings
        )
        kills -= _kill_at_random(tmp_path / "killed", config, kills)
        advance(config, tmp_path / "killed")
        advance(config, tmp_path / "straight")
        assert contents(config, tmp_path / "killed") == contents(config, tmp_path / "straight")
        if kills == 0:
            return


def test_killed_at_random_instants(tmp_path: Path) -> None:
    _expect_no_loss(tmp_path, kills=16, t_max=3000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_two_hundred_random_instants(tmp_path: Path) -> None:
    _expect_no_loss(tmp_path, kills=200, algorithm="ow_qmix", t_max=8000)


# Disks.

PLENTY, LITTLE = SimpleNamespace(free=1 << 50), SimpleNamespace(free=10_000_000)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run of `TRAIN` ends with."""
    root = tmp_path_factory.mktemp("straight")
    advance(CHOSEN, root)
    return contents(CHOSEN, root)


@pytest.fixture
def begun(runs: Path) -> Path:
    """The same run, stopped after some battles."""
    advance(CHOSEN, runs, StopAfter(8))
    return folder(CHOSEN, runs)


def _expect_resumable(command: Answers, run: Path, straight: dict[str, Any]) -> None:
    """The run holds a whole checkpoint, from which it goes on to the same end."""
    verify_checkpoint(checkpoints(run)[-1])
    assert not (run.parent / "latest.json").exists()
    assert command(*TRAIN, "--quiet") == 0, command.err
    assert contents(CHOSEN, run.parent) == straight


def test_low_disk_is_noticed_before_a_checkpoint_is_written(
    command: Answers, begun: Path, straight: dict[str, Any]
) -> None:
    answers = itertools.chain([PLENTY] * 4, itertools.repeat(LITTLE))

    def fill() -> None:
        disk.shutil.disk_usage = lambda path: next(answers)  # type: ignore[assignment]

    assert command(*TRAIN, before=fill) == 1
    assert "free space" in command.line
    assert "got 10 MB. Free some" in command.line
    assert read_manifest(begun).status == "failed"
    held = json.loads((checkpoints(begun)[-1] / "resume.json").read_text())["replay"]["stored"]
    assert max(int(path.stem.split("-")[-1]) for path in (begun / "replay").iterdir()) == held
    _expect_resumable(command, begun, straight)


@pytest.mark.parametrize(
    ("limit", "file"), [(400, "manifest"), (5000, "replay"), (60_000, "recorded"), (200_000, "state")]
)
def test_a_write_that_fails_keeps_the_checkpoint(
    command: Answers, begun: Path, straight: dict[str, Any], limit: int, file: str
) -> None:
    """Files cannot grow beyond `limit` bytes."""

    def shrink() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    assert command(*TRAIN, "--quiet", before=shrink) == 1
    assert file in command.line
    assert "File too large" in command.line
    assert "Free space" in command.line
    _expect_resumable(command, begun, straight)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many bytes; called again it changes the size."""
    where = tmp_path / "small disk"
    where.mkdir()

    def mounted(size: int) -> Path:
        remount = ["-o", "remount"] if os.path.ismount(where) else []
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *remount, "-o", f"size={size}", "tmpfs", str(where)],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")
        return where

    yield mounted
    if os.path.ismount(where):
        subprocess.run(["umount", str(where)], check=True)


@pytest.mark.parametrize("room", [8_000, 80_000, 250_000])
def test_a_full_disk_keeps_the_checkpoint(
    command: Answers,
    begun: Path,
    straight: dict[str, Any],
    tmpfs: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    where = tmpfs(1 << 24)
    shutil.copytree(begun.parent, where, dirs_exist_ok=True)
    monkeypatch.setenv("MAST_EDGE_RUNS", str(where))
    run = where / begun.name
    used = shutil.disk_usage(where).used
    tmpfs(used + room)
    before = sorted(path.stat().st_mtime_ns for path in run.rglob("*"))
    assert command(*TRAIN) == 1
    assert "free space" in command.line
    assert sorted(path.stat().st_mtime_ns for path in run.rglob("*")) == before

    def believe() -> None:
        disk.shutil.disk_usage = lambda path: PLENTY  # type: ignore[assignment]

    assert command(*TRAIN, before=believe) == 1
    assert "No space left on device" in command.line
    assert "Free space" in command.line
    tmpfs(1 << 28)
    _expect_resumable(command, run, straight)


def test_tensorboard_failing_does_not_stop_the_run(
    command: Answers, begun: Path, straight: dict[str, Any], tmpfs: Callable[[int], Path]
) -> None:
    shutil.rmtree(begun / "tb", ignore_errors=True)
    (begun / "tb").write_text("not a folder")
    assert command(*TRAIN, "--set", "log.tensorboard=true") == 0
    assert "TensorBoard must be writable" in command.err
    assert contents(CHOSEN, begun.parent) == straight


def test_tensorboard_on_a_full_disk_does_not_stop_the_run(
    command: Answers, begun: Path, straight: dict[str, Any], tmpfs: Callable[[int], Path]
) -> None:
    small_disk = tmpfs(8192)
    (small_disk / "filler").write_bytes(bytes(4096))
    (begun / "tb").symlink_to(small_disk, target_is_directory=True)
    assert command(*TRAIN, "--set", "log.tensorboard=true") == 0
    assert "TensorBoard must be writable; got" in command.err
    assert "No space left" in command.err
    assert contents(CHOSEN, begun.parent) == straight


# Numbers that are no numbers.


def test_divergence_keeps_the_last_good_checkpoint(command: Answers, begun: Path, runs: Path) -> None:
    blown = ("--set", "optim.lr=1e30", "--set", "checkpoint.interval_seconds=60")
    assert command(*TRAIN, *blown) == 1
    assert "must be finite" in command.line
    assert "lower optim.lr" in command.line
    failed = next(path for path in runs.iterdir() if path.is_dir() and path != begun)
    manifest = read_manifest(failed)
    assert manifest.status == "failed"
    assert manifest.checkpoint == checkpoints(failed)[-1].name
    verify_checkpoint(checkpoints(failed)[-1])
    assert not (runs / "latest.json").exists()
    assert command("export", "--run", failed.name, "--format", "csr") == 3
    assert "must be complete to be exported; got failed" in command.line
    assert command("export", "--run", failed.name, "--format", "csr", "--force") == 0
    assert (failed / "exports" / "csr" / "agent.safetensors").is_file()
    assert command(*TRAIN, "--quiet") == 0
    latest = (runs / "latest.json").read_bytes()
    assert command(*TRAIN, *blown) == 1
    assert (runs / "latest.json").read_bytes() == latest


@pytest.mark.parametrize("algorithm", ["ow_qmix", "res"])
def test_no_tensor_hides_what_is_not_finite(algorithm: str) -> None:
    """NaN or infinity in one place of any tensor that an update reads ends that update."""
    config = small(algorithm)
    trainer = Trainer(config, torch.device("cpu"))
    while not trainer.replay.ready:
        trainer.iterate()
    learner, batch = trainer.learner, trainer.replay.draw(trainer.streams["sampling"])
    state = learner.state()
    saved = {name: array.copy() for name, array in state.items()}
    with torch.no_grad():
        places = [t.reshape(-1) for bank in (learner.online, learner.target) for t in bank.tensors.values()]
        updates = learner.updates
        for bad in (float("nan"), float("inf")):
            for place in places:
                place[len(place) // 2] = bad
                with torch.enable_grad(), pytest.raises(Divergence, match=f"at update {updates + 1}"):
                    learner.update(batch, trainer.counters.t_env)
                learner.load_state({n: a.copy() for n, a in saved.items()}, updates, {})
    for name in ("obs", "state", "reward"):
        array = getattr(batch[0], name).copy()
        array.reshape(-1)[0] = np.nan
        poisoned = dataclasses.replace(batch[0], **{name: array})
        with pytest.raises(Divergence):
            learner.update([poisoned, *batch[1:]], trainer.counters.t_env)
