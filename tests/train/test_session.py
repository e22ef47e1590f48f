"""The loop of a run: what is due is done before a run counts as complete, whenever it is stopped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mast_edge.errors import ArtifactCorrupt, MissingInput
from mast_edge.runs import RunFolder, read_manifest
from mast_edge.train.session import Session
from mast_edge.train.trainer import Trainer
from tests.train.small_runs import (
    Killed,
    StopAfter,
    StopAt,
    advance,
    contents,
    folder,
    small,
    timeless_metrics,
)


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("interval", [100, 10_000])
def test_a_stop_after_the_last_iteration_leaves_out_nothing(
    tmp_path: Path, crash: bool, interval: int
) -> None:
    """The last evaluation and the last snapshot of the masks are still owed then."""
    settings = {"t_max": 200, "evaluation": {"interval": interval}}
    config = small(**settings, checkpoint={"interval_seconds": 0.0})
    advance(config, tmp_path / "straight")
    cut, _ = advance(config, tmp_path / "cut", StopAt(200, crash=crash))
    assert crash or (cut is not None and cut.status == "interrupted")
    result, _ = advance(config, tmp_path / "cut")
    assert result is not None
    assert result.status == "complete"
    assert contents(config, tmp_path / "cut") == contents(config, tmp_path / "straight")


def test_evaluations_that_one_battle_passes_over_are_left_out(tmp_path: Path) -> None:
    config = small(t_max=150, evaluation={"interval": 5})
    result, trainer = advance(config, tmp_path)
    assert result is not None
    assert result.status == "complete"
    evaluations = [m for m in timeless_metrics(folder(config, tmp_path)) if m["kind"] == "evaluation"]
    at = [m["t_env"] for m in evaluations]
    assert at == sorted(set(at))
    assert len(at) == trainer.counters.episodes + 1


def test_metrics_of_a_window_cover_what_came_before_a_stop(tmp_path: Path) -> None:
    """One line for the whole run: its means must not be those of the last battles alone."""
    config = small(t_max=300, evaluation={"interval": 1000})
    for root, cuts in (("straight", 0), ("cut", 3)):
        for _ in range(cuts):
            advance(config, tmp_path / root, StopAfter(2))
        advance(config, tmp_path / root)
    straight, cut = (timeless_metrics(folder(config, tmp_path / root)) for root in ("straight", "cut"))
    assert [m["kind"] for m in straight].count("train") == 1
    assert cut == straight


def test_a_stop_right_after_a_checkpoint_writes_no_other(tmp_path: Path) -> None:
    config = small(checkpoint={"interval_seconds": 0.0})
    advance(config, tmp_path, StopAfter(3))
    run = folder(config, tmp_path)
    manifest = read_manifest(run)
    assert (manifest.status, manifest.t_env) == ("interrupted", int(str(manifest.checkpoint)[5:]))
    newest = run / "checkpoints" / str(manifest.checkpoint)
    written = newest.stat().st_mtime_ns
    advance(config, tmp_path, StopAfter(0))
    assert newest.stat().st_mtime_ns == written
    assert read_manifest(run).status == "interrupted"


def test_a_crash_before_the_first_checkpoint_starts_over(tmp_path: Path) -> None:
    config = small(t_max=200)
    advance(config, tmp_path / "cut", StopAfter(0, crash=True))
    run = folder(config, tmp_path / "cut")
    (run / "metrics.jsonl").write_bytes(b'{"kind": "train", "t_env": 5}\n{"ki')
    (run / "masks").mkdir()
    (run / "masks" / "step-000000007.safetensors").write_bytes(b"of lost work")
    (run / "masks" / ".step-000000009.safetensors.abc.part").write_bytes(b"torn")
    (run / "replay" / ".episodes-000000000-000000004.safetensors.abc.part").write_bytes(b"torn")
    (run / "replay" / "episodes-000000000-000000004.safetensors").write_bytes(b"of lost work")
    advance(config, tmp_path / "cut")
    advance(config, tmp_path / "straight")
    assert contents(config, tmp_path / "cut") == contents(config, tmp_path / "straight")


def test_masks_of_lost_work_do_not_stay(tmp_path: Path) -> None:
    config = small(t_max=600)
    advance(config, tmp_path, StopAfter(6))
    masks = folder(config, tmp_path) / "masks"
    stray = masks / "step-000000599.safetensors"
    stray.write_bytes((masks / "step-000000000.safetensors").read_bytes())
    advance(config, tmp_path, StopAfter(0))
    assert not stray.exists()
    assert (masks / "step-000000000.safetensors").exists()


@pytest.mark.parametrize("method", ["dense", "mast"])
def test_masks_are_saved_at_their_shares_of_the_run(tmp_path: Path, method: str) -> None:
    config = small(method=method, t_max=300, topology={"snapshots": [0.0, 0.5, 1.0]})
    result, _ = advance(config, tmp_path)
    assert result is not None
    found = sorted((folder(config, tmp_path) / "masks").glob("*"))
    steps = [int(path.stem.split("-")[1]) for path in found]
    if method == "dense":
        assert steps == []
    else:
        assert steps[0] == 0
        assert 150 <= steps[1] < 150 + 60
        assert steps[2] == result.t_env


def test_a_complete_run_is_left_as_it_is(tmp_path: Path) -> None:
    config = small(t_max=200)
    advance(config, tmp_path)
    before, run = contents(config, tmp_path), folder(config, tmp_path)
    (run / "replay" / "episodes-000000000-000000001.safetensors").write_bytes(b"left by a kill")
    again, _ = advance(config, tmp_path)
    assert again is not None
    assert (again.status, again.t_env) == ("complete", before["manifest"]["t_env"])
    assert contents(config, tmp_path) == before


def test_a_complete_run_cannot_go_back_without_its_replay(tmp_path: Path) -> None:
    """Its newest checkpoint is damaged and removed, as the message says; the replay is no longer there."""
    config = small(t_max=300, checkpoint={"interval_seconds": 0.0})
    advance(config, tmp_path)
    run = folder(config, tmp_path)
    newest = max((run / "checkpoints").iterdir())
    data = bytearray((newest / "state.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "state.safetensors").write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=f"Remove {newest.name} to go back one"):
        advance(config, tmp_path)
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    with pytest.raises(MissingInput, match=r"replay must hold episodes 0 to \d+; got 0 of \d+\. .*--fresh"):
        advance(config, tmp_path)


def test_going_back_one_checkpoint_ends_with_the_same_bytes(tmp_path: Path) -> None:
    config = small(t_max=300, checkpoint={"interval_seconds": 0.0})
    advance(config, tmp_path / "straight")
    advance(config, tmp_path / "back", StopAfter(6))
    newest = max((folder(config, tmp_path / "back") / "checkpoints").iterdir())
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    advance(config, tmp_path / "back")
    assert contents(config, tmp_path / "back") == contents(config, tmp_path / "straight")


def test_a_kill_during_fresh_leaves_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints go first, the oldest before the newest, so that none outlives the replay it needs."""
    import shutil

    config = small(t_max=200, checkpoint={"interval_seconds": 0.0, "keep": 2})
    advance(config, tmp_path / "straight")
    spec = Trainer(config, torch.device("cpu")).env.spec
    remove = shutil.rmtree
    for number in range(4):
        root = tmp_path / str(number)
        advance(config, root, StopAfter(4))
        calls = iter(range(number))

        def killed(*args: Any, calls: Any = calls, **kwargs: Any) -> None:
            if next(calls, None) is None:
                raise Killed
            remove(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", killed)
            with pytest.raises(Killed):
                RunFolder.open(config, spec, root=root, fresh=True)
        result, _ = advance(config, root)
        assert result is not None
        assert result.status == "complete"
        assert contents(config, root) == contents(config, tmp_path / "straight")


def test_the_manifest_names_the_newest_checkpoint_after_a_kill(tmp_path: Path) -> None:
    config = small(checkpoint={"interval_seconds": 0.0})
    advance(config, tmp_path, StopAfter(4))
    run = folder(config, tmp_path)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "checkpoint": "step-000000001"}))
    advance(config, tmp_path, StopAfter(0))
    assert read_manifest(run).checkpoint == manifest["checkpoint"]


def test_a_checkpoint_needs_room_for_what_it_writes(tmp_path: Path) -> None:
    config = small(t_max=400, checkpoint={"interval_seconds": 1000.0}, evaluation={"interval": 10_000})
    trainer = Trainer(config, torch.device("cpu"))
    with RunFolder.open(config, trainer.env.spec, root=tmp_path) as run:
        session = Session(run, trainer)
        for _ in range(6):
            trainer.iterate()
        estimated = session._checkpoint_bytes()
        session._checkpoint("running")
        (segment,) = (run.path / "replay").iterdir()
        (folder_,) = (run.path / "checkpoints").iterdir()
        written = sum(path.stat().st_size for path in [segment, *folder_.iterdir()])
    assert written <= estimated <= 3 * written
