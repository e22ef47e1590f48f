"""Run folders: whole or not there, one writer, the right one found."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mast_edge import checkpoint_folders, runs
from mast_edge.checkpoint_files import Recorded, read_agent, write_agent_files
from mast_edge.checkpoint_folders import verify_checkpoint
from mast_edge.config import ExperimentConfig, config_sha256, load_config, resolve
from mast_edge.envs.skirmish import SIMULATOR_VERSION
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactMalformed,
    ConfigError,
    MastEdgeError,
    MissingInput,
    RunLocked,
)
from mast_edge.run_lock import RunLock, is_locked
from mast_edge.runs import RunFolder, find_run, list_runs, read_manifest
from mast_edge.spec import AgentSpec, EnvSpec

ENV = EnvSpec("3m", "skirmish", n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=6)
AGENT = AgentSpec.of(ENV, hidden_dim=2)


def config(seed: int = 1, method: str = "mast", keep: int = 3) -> ExperimentConfig:
    return resolve({"env": {"map": "3m"}, "seed": seed, "method": method, "checkpoint": {"keep": keep}})


def write_agent(folder: Path, value: float = 0.0) -> None:
    weights: dict[str, Any] = {}
    for layer, (out, in_) in AGENT.layer_shapes().items():
        weights[f"{layer}.weight"] = np.full((out, in_), value, np.float32)
        weights[f"{layer}.bias"] = np.zeros(out, np.float32)
    rows = Recorded(
        obs=np.zeros((1, 2, 4), np.float32),
        avail=np.ones((1, 2, 3), np.uint8),
        actions=np.zeros((1, 2), np.int32),
        first=np.ones(1, np.uint8),
    )
    write_agent_files(folder, AGENT, ENV, weights, {}, rows)
    (folder / "state.bin").write_bytes(b"private")


def checkpoint(run: RunFolder, t_env: int, value: float = 0.0) -> Path:
    return run.write_checkpoint(
        t_env, lambda folder: write_agent(folder, value), spec=AGENT, env=ENV, facts={"t_env": t_env}
    )


def finished(root: Path, **kwargs: Any) -> Path:
    with RunFolder.open(config(**kwargs), ENV, root=root) as run:
        checkpoint(run, 10)
        run.update_manifest(status="complete", t_env=10, updates=3, win_rate=0.5)
        return run.path


def test_a_new_run_holds_its_config_and_manifest(tmp_path: Path) -> None:
    cfg = config()
    with RunFolder.open(cfg, ENV, root=tmp_path) as run:
        assert run.name == f"qmix-3m-mast-s90-seed1-{config_sha256(cfg)[:8]}"
        assert load_config(run.path / "config.resolved.yaml", environ={}) == cfg
        manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["schema"] == "mast-edge/run/1"
    assert manifest["env"]["obs_dim"] == 4
    assert (manifest["status"], manifest["checkpoint"], manifest["win_rate"]) == ("running", None, None)
    assert manifest["versions"]["python"] == sys.version.split()[0]
    assert manifest["versions"]["skirmish"] == str(SIMULATOR_VERSION)
    assert not (tmp_path / "latest.json").exists()


def test_checkpoints_are_complete_hashed_and_pruned(tmp_path: Path) -> None:
    with RunFolder.open(config(keep=2), ENV, root=tmp_path) as run:
        assert run.latest_checkpoint() is None
        for step in (10, 20, 30):
            checkpoint(run, step)
        assert [p.name for p in run.checkpoints()] == ["step-000000020", "step-000000030"]
        assert run.manifest.checkpoint == "step-000000030"
        index = json.loads((run.path / "checkpoints/step-000000030/checkpoint.json").read_text())
        assert set(index["files"]) == {"agent.safetensors", "recorded.safetensors", "state.bin"}
        verify_checkpoint(run.checkpoints()[-1])
        assert read_agent(run.checkpoints()[-1]).spec == AGENT
        assert {p.name for p in (run.path / "checkpoints").iterdir()} == {"step-000000020", "step-000000030"}


def test_the_same_step_can_be_written_again(tmp_path: Path) -> None:
    with RunFolder.open(config(keep=1), ENV, root=tmp_path) as run:
        checkpoint(run, 10, 1.0)
        folder = checkpoint(run, 10, 2.0)
        assert read_agent(folder).weights["fc1.weight"][0, 0] == 2.0
        assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["step-000000010"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    with RunFolder.open(config(), ENV, root=tmp_path) as run:
        folder = checkpoint(run, 10)
        (folder / "state.bin").write_bytes(b"privatE")
        with pytest.raises(ArtifactCorrupt, match=r"state\.bin: SHA-256"):
            run.latest_checkpoint()
        (folder / "state.bin").unlink()
        with pytest.raises(ArtifactCorrupt, match="no file"):
            run.latest_checkpoint()
        (folder / "checkpoint.json").write_bytes(b"{")
        with pytest.raises(ArtifactMalformed):
            run.latest_checkpoint()


def test_the_same_config_resumes_and_fresh_starts_over(tmp_path: Path) -> None:
    with RunFolder.open(config(), ENV, root=tmp_path) as run:
        checkpoint(run, 10)
        (run.path / "metrics.jsonl").write_text("{}\n")
    with RunFolder.open(config(), ENV, root=tmp_path) as again:
        assert again.path == run.path
        assert again.latest_checkpoint() is not None
    with RunFolder.open(config(), ENV, root=tmp_path, fresh=True) as fresh:
        assert fresh.path == run.path
        assert fresh.latest_checkpoint() is None
        assert not (fresh.path / "metrics.jsonl").exists()


def test_a_run_of_another_environment_is_not_continued(tmp_path: Path) -> None:
    RunFolder.open(config(), ENV, root=tmp_path).__exit__(None, None, None)
    other = EnvSpec("3m", "skirmish", 2, 3, 99, 5, 6)
    with pytest.raises(ConfigError, match="--fresh"):
        RunFolder.open(config(), other, root=tmp_path)
    with RunFolder.open(config(), other, root=tmp_path, fresh=True) as run:
        assert run.manifest.env["obs_dim"] == 99


def test_a_failure_inside_is_recorded(tmp_path: Path) -> None:
    for error, status in ((ValueError("broken"), "failed"), (KeyboardInterrupt(), "interrupted")):
        with pytest.raises(type(error)), RunFolder.open(config(), ENV, root=tmp_path) as run:
            raise error
        assert read_manifest(run.path).status == status
        assert not is_locked(run.path)
    assert "ValueError: broken" in (run.path / "log.txt").read_text()


class _Killed(BaseException):
    """Stands for SIGKILL: nothing after it may clean up on purpose."""


@pytest.mark.parametrize("replace_same_step", [False, True])
def test_killed_at_every_os_call_leaves_a_readable_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace_same_step: bool
) -> None:
    """Every os call of a second checkpoint is the last one of the process, one after another."""
    import shutil

    calls = {"left": -1}

    def guarded(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if calls["left"] == 0:
                raise _Killed
            calls["left"] -= 1
            return original(*args, **kwargs)

        return call

    cut = 0
    while True:
        root = tmp_path / str(cut)
        run = RunFolder.open(config(keep=1), ENV, root=root)
        checkpoint(run, 10, 1.0)
        run.update_manifest(status="complete", t_env=10)
        before = {p.name for p in run.checkpoints()}
        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir", "fdopen"):
                patch.setattr(os, name, guarded(getattr(os, name)))
            patch.setattr(shutil, "rmtree", guarded(shutil.rmtree))
            calls["left"] = cut
            try:
                checkpoint(run, 10 if replace_same_step else 20, 2.0)
                run.update_manifest(t_env=20)
                died = False
            except _Killed:
                died = True
            calls["left"] = -1
        after = run.checkpoints()
        assert after, f"no checkpoint after {cut} os calls"
        verify_checkpoint(after[-1])
        assert read_agent(after[-1]).weights["fc1.weight"][0, 0] in (1.0, 2.0)
        assert find_run(root=root).checkpoint == after[-1]
        run._lock.release()
        with RunFolder.open(config(keep=1), ENV, root=root) as again:
            assert again.latest_checkpoint() is not None
            names = {p.name for p in (again.path / "checkpoints").iterdir()}
            assert names <= before | {"step-000000020"}, "leftovers were not cleared"
        if not died:
            break
        cut += 1
    assert cut > 10


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFolder.open(config(), ENV, root=tmp_path) as run:
        checkpoint(run, 10)

        def full(folder: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            run.write_checkpoint(20, full, spec=AGENT, env=ENV, facts={})
        assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["step-000000010"]

        def refuse(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(MastEdgeError, match="No space left"):
            run.update_manifest(t_env=99)
        assert read_manifest(run.path).t_env == 0


def test_too_little_space_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "NEEDED_BYTES", 2**62)
    with pytest.raises(MastEdgeError, match=r"free space .* MB"):
        RunFolder.open(config(), ENV, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_latest_is_the_newest_complete_run_and_names_what_it_skips(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"mast-edge train configs/qmix_3m\.yaml"):
        find_run(root=tmp_path)
    first = finished(tmp_path, seed=1)
    second = finished(tmp_path, seed=2)
    for age, path in enumerate((first, second)):
        os.utime(path / "manifest.json", (100 + age, 100 + age))
    with RunFolder.open(config(seed=3), ENV, root=tmp_path) as running:
        found = find_run(root=tmp_path)
        assert found.path == second
        assert (
            found.remark
            == f"using run {second.name}, the latest complete one; skipped {running.name} (running)"
        )
    assert f"{running.name} (stopped)" in find_run(root=tmp_path).remark
    (tmp_path / "latest.json").write_bytes(b"\x00")
    assert find_run(root=tmp_path).path == second
    (tmp_path / "latest.json").write_text('{"name": "gone"}')
    assert find_run(root=tmp_path).path == second
    assert [run.path.name for run in list_runs(tmp_path)[0]] == [first.name, second.name, running.name]


def test_a_run_can_be_named_or_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = finished(tmp_path)
    monkeypatch.setenv("MAST_EDGE_RUNS", str(tmp_path))
    assert find_run(path.name).path == path
    assert find_run(str(path)).remark == ""
    with pytest.raises(MissingInput, match="Did you mean"):
        find_run(path.name[:-1])


def test_an_unreadable_manifest_does_not_hide_the_other_runs(tmp_path: Path) -> None:
    good = finished(tmp_path)
    for name, content in (("torn", b'{"schema"'), ("foreign", b'{"a": 1}'), ("bytes", b"\xff\xfe")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_bytes(content)
    found, problems = list_runs(tmp_path)
    assert [run.path for run in found] == [good]
    assert len(problems) == 3
    with pytest.raises(ArtifactMalformed):
        find_run("torn", tmp_path)


def test_a_second_writer_is_told_who_holds_the_run(tmp_path: Path) -> None:
    with RunFolder.open(config(), ENV, root=tmp_path) as run:
        with pytest.raises(RunLocked, match=f"process {os.getpid()} on"):
            RunFolder.open(config(), ENV, root=tmp_path)
        assert is_locked(run.path)
    assert not is_locked(run.path)


RACER = """
import sys, time
from pathlib import Path
from mast_edge import run_lock
from mast_edge.errors import RunLocked
folder, start, exclusive = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "exclusive"
if exclusive:
    def refuse(descriptor):
        raise OSError(run_lock.errno.ENOLCK, "no locks here")
    run_lock._lock = refuse
time.sleep(max(0, start - time.time()))
try:
    run_lock.RunLock(folder)
except RunLocked:
    print("lost")
else:
    print("won", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["system", "exclusive"])
def test_of_racing_processes_exactly_one_wins_and_a_dead_one_loses_its_lock(tmp_path: Path, how: str) -> None:
    import time

    start = str(time.time() + 1.0)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), start, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    said = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
    assert sorted(said) == ["lost"] * 5 + ["won"]
    winner = racers[said.index("won")]
    winner.kill()
    for racer in racers:
        racer.communicate()
    after = subprocess.run(
        [sys.executable, "-c", RACER, str(tmp_path), "0", how],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert after.stdout.strip() == "won", after.stderr


def test_a_held_file_of_an_earlier_boot_is_stale_and_one_of_another_host_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platform

    def refuse(descriptor: int) -> bool:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("mast_edge.run_lock._lock", refuse)
    held = tmp_path / "LOCK.held"
    held.write_text(json.dumps({"pid": os.getpid(), "host": platform.node(), "boot_id": "earlier"}))
    assert not is_locked(tmp_path)
    with RunLock(tmp_path):
        assert is_locked(tmp_path)
    held.write_text(json.dumps({"pid": 1, "host": "elsewhere", "boot_id": "other"}))
    with pytest.raises(RunLocked, match="process 1 on elsewhere"):
        RunLock(tmp_path)
    held.write_text("")
    with pytest.raises(RunLocked, match="unknown process"):
        RunLock(tmp_path)


def test_checkpoint_folders_module_lists_nothing_in_an_empty_run(tmp_path: Path) -> None:
    assert checkpoint_folders.checkpoints(tmp_path) == []
