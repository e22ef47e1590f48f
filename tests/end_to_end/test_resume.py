"""A run that was stopped, or killed, goes on to the same bytes as one that never was.

Source: parity_and_safety.md 6, "resume" and "kill -9".
"""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mast_edge.config_fields import ExperimentConfig
from mast_edge.registry import ALGORITHMS, SPARSE_METHODS
from tests.end_to_end.conftest import CONFIG, environment, mast_edge_in
from tests.train.small_runs import (
    StopAt,
    advance,
    contents,
    memory,
    small,
    timeless_metrics,
    timeless_resume,
)

SETTINGS = (
    "t_max=6000",
    "sparsity=0.9",
    "replay.batch_size=8",
    "evaluation.episodes=8",
    "checkpoint.interval_seconds=0.1",
    "topology.interval=10",
    "target.update_interval=10",
)
ARGUMENTS = ["train", str(CONFIG), *(part for s in SETTINGS for part in ("--set", s)), "--json"]


def _bytes_of(folder: Path) -> dict[str, Any]:
    """What the finished run holds, apart from times."""
    run = next(p for p in (folder / "runs").iterdir() if p.is_dir())
    last = run / "checkpoints" / json.loads((run / "manifest.json").read_text())["checkpoint"]
    kept = {p.name: p.read_bytes() for p in last.iterdir() if p.suffix == ".safetensors"}
    kept |= {f"masks {p.name}": p.read_bytes() for p in (run / "masks").iterdir()}
    return {**kept, "resume": timeless_resume(last), "metrics": timeless_metrics(run)}


def _checkpoints(folder: Path) -> list[int]:
    """Steps of the checkpoints that are there."""
    return [int(p.name.split("-")[1]) for p in folder.glob("runs/*/checkpoints/step-*")]


def _interrupt(folder: Path, how: signal.Signals, at_t_env: int) -> None:
    """Signals a run once it has made a checkpoint of its own, at `at_t_env` or later."""
    at_t_env = max([at_t_env, *(step + 1 for step in _checkpoints(folder))])
    process = subprocess.Popen(
        [sys.executable, "-m", "mast_edge", *ARGUMENTS],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if max(_checkpoints(folder), default=0) >= at_t_env:
            break
        time.sleep(0.01)
    os.kill(process.pid, how)
    process.communicate(timeout=60)
    assert process.returncode == (130 if how in (signal.SIGINT, signal.SIGTERM) else -how)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    assert mast_edge_in(folder)(*ARGUMENTS).returncode == 0
    return folder


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_resumed_runs_end_with_the_same_bytes(tmp_path: Path, straight: Path, how) -> None:
    _interrupt(tmp_path, how, at_t_env=1500)
    _interrupt(tmp_path, how, at_t_env=3000)
    done = mast_edge_in(tmp_path)(*ARGUMENTS)
    assert json.loads(done.stdout)["status"] == "complete"
    expected, resumed = _bytes_of(straight), _bytes_of(tmp_path)
    assert {k: v == expected[k] for k, v in resumed.items()} == dict.fromkeys(expected, True)


def test_a_finished_run_is_not_trained_again(straight: Path) -> None:
    before = _bytes_of(straight)
    again = json.loads(mast_edge_in(straight)(*ARGUMENTS).stdout)
    assert again["status"] == "complete"
    assert again["t_env"] >= 6000
    assert _bytes_of(straight) == before


SHRINKING = {"replay": {"check_interval": 150, "policy_distance": 0.1, "min_capacity": 4, "discard": 0.3}}
BY_DEFAULT = {
    **{
        f"{algorithm} {method}": (algorithm, method, {})
        for algorithm in ALGORITHMS
        for method in ("dense", "mast")
    },
    "qmix rlx2 with a shrinking replay": ("qmix", "rlx2", SHRINKING),
    "qmix set": ("qmix", "set", {}),
    "qmix tiny": ("qmix", "tiny", {"sparsity": 0.5}),
    "qmix mast in blocks": ("qmix", "mast", {"topology": {"pattern": "8x1"}}),
    "qmix ss with a random ticket": ("qmix", "ss", {"topology": {"ticket": "random"}}),
    "vdn set, three battles at once": ("vdn", "set", {"rollout": {"n_envs": 3, "updates_per_episode": 2}}),
}
"""Name -> algorithm, method, further settings."""
ALL = {f"{a} {m}": (a, m, SHRINKING if m == "rlx2" else {}) for a in ALGORITHMS for m in SPARSE_METHODS}


def _cut(config: ExperimentConfig, root: Path, cuts: int, rng: np.random.Generator) -> dict[str, str]:
    """Trains to the end with stops and crashes all the way; returns what the last trainer holds."""
    for t_env in sorted(rng.integers(0, config.t_max, cuts).tolist()):
        result, _ = advance(config, root, StopAt(t_env, crash=bool(rng.random() < 0.5)))
        assert result is None or result.status == "interrupted"
    result, trainer = advance(config, root)
    assert result is not None
    assert result.status == "complete"
    return memory(trainer)


def _expect_equal(tmp_path: Path, config: ExperimentConfig, cuts: int, seed: int) -> None:
    result, trainer = advance(config, tmp_path / "straight")
    assert result is not None
    assert result.status == "complete"
    assert result.updates > 8
    assert _cut(config, tmp_path / "cut", cuts, np.random.default_rng(seed)) == memory(trainer)
    assert contents(config, tmp_path / "cut") == contents(config, tmp_path / "straight")


@pytest.mark.parametrize("name", BY_DEFAULT)
def test_cut_runs_end_as_if_they_had_not_been(tmp_path: Path, name: str) -> None:
    algorithm, method, changes = BY_DEFAULT[name]
    config = small(algorithm, method, **changes)
    _expect_equal(tmp_path, config, cuts=5, seed=zlib.crc32(name.encode()))
    if config.replay.dynamic:
        metrics = contents(config, tmp_path / "cut")["metrics"]
        assert sum(line["discarded"] for line in metrics if line["kind"] == "capacity") > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_every_algorithm_and_method_survives_twenty_cuts(tmp_path: Path, name: str) -> None:
    algorithm, method, changes = ALL[name]
    _expect_equal(tmp_path, small(algorithm, method, t_max=3000, **changes), 20, zlib.crc32(name.encode()))
