"""A run that was stopped, or killed, goes on to the same bytes as one that never was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.conftest import CONFIG, environment, mast_edge_in

SETTINGS = (
    "t_max=2000",
    "sparsity=0.9",
    "checkpoint.interval_seconds=0.1",
    "topology.interval=10",
    "target.update_interval=10",
)
ARGUMENTS = ["train", str(CONFIG), *(part for s in SETTINGS for part in ("--set", s)), "--json"]


def _bytes_of(folder: Path) -> dict[str, bytes]:
    """What the finished run holds, apart from times."""
    run = next(p for p in (folder / "runs").iterdir() if p.is_dir())
    last = run / "checkpoints" / json.loads((run / "manifest.json").read_text())["checkpoint"]
    kept = {p.name: p.read_bytes() for p in last.iterdir() if p.suffix == ".safetensors"}
    resume = json.loads((last / "resume.json").read_text())
    resume["counters"]["wall_seconds"] = resume["counters"]["metrics_bytes"] = 0
    evaluations = [
        line for line in (run / "metrics.jsonl").read_text().splitlines() if '"kind": "evaluation"' in line
    ]
    return {**kept, "resume": json.dumps(resume).encode(), "evaluations": "\n".join(evaluations).encode()}


def _interrupt(folder: Path, how: signal.Signals, at_t_env: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mast_edge", *ARGUMENTS],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        steps = [int(p.name.split("-")[1]) for p in folder.glob("runs/*/checkpoints/step-*")]
        if steps and max(steps) >= at_t_env:
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
    _interrupt(tmp_path, how, at_t_env=950)
    _interrupt(tmp_path, how, at_t_env=1400)
    done = mast_edge_in(tmp_path)(*ARGUMENTS)
    assert json.loads(done.stdout)["status"] == "complete"
    expected, resumed = _bytes_of(straight), _bytes_of(tmp_path)
    assert {k: v == expected[k] for k, v in resumed.items()} == dict.fromkeys(expected, True)


def test_a_finished_run_is_not_trained_again(straight: Path) -> None:
    before = _bytes_of(straight)
    again = json.loads(mast_edge_in(straight)(*ARGUMENTS).stdout)
    assert again["status"] == "complete"
    assert again["t_env"] >= 2000
    assert _bytes_of(straight) == before
