"""`sweep` as a user calls it: both engines, stopped and gone on with, and what can be done with the runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.end_to_end.conftest import CONFIG, REPOSITORY, environment, mast_edge_in

TINY = (
    "t_max=1200",
    "sparsity=0.9",
    "replay.batch_size=8",
    "evaluation.episodes=4",
    "checkpoint.interval_seconds=0.2",
    "topology.interval=10",
    "target.update_interval=10",
)
SWEEP = ["sweep", str(CONFIG), *(part for setting in TINY for part in ("--set", setting)), "--seeds", "0-1"]


def test_both_engines_train_the_same_runs_and_either_goes_on(tmp_path: Path) -> None:
    call = mast_edge_in(tmp_path)
    done = call(*SWEEP, "--engine", "vector", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["schema"], found["engine"]) == ("mast-edge/sweep/1", "vector")
    assert [run["status"] for run in found["runs"]] == ["complete"] * 2
    assert all(run.keys() == found["runs"][0].keys() for run in found["runs"])
    assert all(run["t_env"] >= 1200 and run["updates"] > 10 for run in found["runs"])

    more = call(*SWEEP[:-1], "0-2", "--workers", "1", "--json")
    assert more.returncode == 0, more.stderr
    runs = json.loads(more.stdout)["runs"]
    assert [(r["run"], r["t_env"], r["updates"]) for r in runs[:2]] == [
        (r["run"], r["t_env"], r["updates"]) for r in found["runs"]
    ]
    assert runs[2].keys() == runs[0].keys()
    assert "2 of 3 runs are complete" in more.stderr
    again = json.loads(call(*SWEEP[:-1], "0-2", "--engine", "vector", "--json").stdout)["runs"]
    assert [(r["run"], r["updates"]) for r in again] == [(r["run"], r["updates"]) for r in runs]

    for run in runs:
        exported = call("export", "--run", run["run"], "--format", "csr", "--json")
        assert exported.returncode == 0, exported.stderr
        assert json.loads(exported.stdout)["files"][0]["argmax_agreement"] == 1.0
        assert "finite" not in (tmp_path / "runs" / run["run"] / "log.txt").read_text()
    table = call(*SWEEP, "--engine", "vector")
    assert all(run["run"] in table.stdout for run in found["runs"])


@pytest.mark.parametrize("engine", [pytest.param("local", marks=pytest.mark.slow), "vector"])
def test_a_stopped_sweep_goes_on(tmp_path: Path, engine: str) -> None:
    arguments = [*SWEEP, "--engine", engine, "--set", "t_max=2400", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mast_edge", *arguments],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        steps = [int(p.name.split("-")[1]) for p in tmp_path.glob("runs/*/checkpoints/step-*")]
        if steps and max(steps) >= 400:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    manifests = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/manifest.json")]
    assert {m["status"] for m in manifests} == {"interrupted"}
    stopped = {m["name"]: m["t_env"] for m in manifests}
    done = mast_edge_in(tmp_path)(*arguments)
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert [run["status"] for run in runs] == ["complete"] * 2
    assert all(0 < stopped[run["run"]] < 2400 <= run["t_env"] for run in runs if run["run"] in stopped)
    logs = [(tmp_path / "runs" / name / "log.txt").read_text() for name in stopped]
    assert all("resumed at step-" in log for log in logs)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([str(CONFIG), str(REPOSITORY / "configs" / "qmix_8m.yaml"), "--engine", "vector"], 4, "env.map"),
        ([str(CONFIG), "--engine", "vector", "--workers", "2"], 2, "--workers"),
        ([str(CONFIG), "--engine", "ray"], 2, "ray"),
        ([str(CONFIG), "--seeds", "3-1"], 2, "seeds"),
        (["missing.yaml"], 3, "missing.yaml"),
        ([str(CONFIG), "--engine", "vector", "--device", "cuda"], 8, "cuda"),
    ],
)
def test_bad_sweeps_are_one_line_and_leave_nothing(tmp_path: Path, arguments, code, said) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = mast_edge_in(tmp_path)("sweep", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_diverged_run_is_told_and_the_others_are_complete(tmp_path: Path) -> None:
    healthy = [*SWEEP[:-2], "--set", "t_max=600"]
    overlay = tmp_path / "sick.yaml"
    overlay.write_text(f"base: {CONFIG}\noptim: {{lr: 1.0e+38}}\nseed: 5\n")
    done = mast_edge_in(tmp_path)(*healthy, str(overlay), "--engine", "vector", "--json")
    assert done.returncode == 1
    runs = json.loads(done.stdout)["runs"]
    assert [run["status"] for run in runs] == ["complete", "failed"]
    assert "must be finite" in runs[1]["error"]
    assert runs[1]["error"] in done.stderr
    assert "error" not in runs[0]
