"""What a checkpoint remembers, and the journal of the replay: each episode written once, whole or refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from mast_edge.errors import ArtifactCorrupt, ArtifactVersion, MissingInput
from mast_edge.train.checkpoint import (
    Counters,
    ReplayJournal,
    oldest_needed,
    read_state,
    write_state,
)
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.trainer import Trainer
from mast_edge.train.window import PHASES, Window
from tests.train.small_runs import memory, small


def episode(number: int, length: int = 2) -> Episode:
    """2 agents, 3 actions; every value says which episode it is of."""
    full = np.float32(number)
    return Episode(
        obs=np.full((length + 1, 2, 4), full),
        state=np.full((length + 1, 5), full),
        avail=np.full((length + 1, 2, 3), number % 2, np.uint8),
        actions=np.full((length, 2), number % 3, np.uint8),
        reward=np.full(length, full),
        terminated=number % 2 == 0,
        timed_out=number % 2 == 1,
    )


def buffers(capacity: int = 6) -> ReplayBuffers:
    return ReplayBuffers(capacity, 2, 1, 0)


def numbers(episodes: list[Episode]) -> list[int]:
    return [int(e.reward[0]) for e in episodes]


def played(journal: ReplayJournal, replay: ReplayBuffers, *counts: int) -> list[str]:
    """Adds so many episodes and writes them, for each count; returns the names of the segments."""
    for count in counts:
        for _ in range(count):
            replay.add(episode(replay.stored, 1 + replay.stored % 3))
        journal.append(replay)
    return sorted(path.name[9:-12] for path in journal.folder.iterdir())


def test_each_episode_is_written_once(tmp_path: Path) -> None:
    journal, replay = ReplayJournal(tmp_path / "replay"), buffers()
    assert played(journal, replay, 2, 0, 3) == ["000000000-000000002", "000000002-000000005"]
    assert journal.unwritten(replay) == []
    replay.add(episode(5))
    assert numbers(journal.unwritten(replay)) == [5]


def test_what_is_read_is_what_was_stored(tmp_path: Path) -> None:
    journal, replay = ReplayJournal(tmp_path / "replay"), buffers()
    played(journal, replay, 2, 3)
    for found, stored in zip(journal.read(0, 5), replay.episodes, strict=True):
        for name in ("obs", "state", "avail", "actions", "reward"):
            mine, theirs = getattr(found, name), getattr(stored, name)
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
        assert (found.terminated, found.timed_out) == (stored.terminated, stored.timed_out)
        assert found.length == stored.length


def test_a_reader_begins_in_the_middle_of_a_segment(tmp_path: Path) -> None:
    journal = ReplayJournal(tmp_path / "replay")
    played(journal, buffers(), 3, 3)
    assert numbers(journal.read(1, 6)) == [1, 2, 3, 4, 5]
    assert numbers(journal.read(4, 6)) == [4, 5]


def test_segments_of_lost_work_are_removed_and_written_again(tmp_path: Path) -> None:
    journal, replay = ReplayJournal(tmp_path / "replay"), buffers()
    played(journal, replay, 2, 2)
    assert numbers(journal.read(0, 2)) == [0, 1]
    replay.restore(journal.read(0, 2), 2)
    assert played(journal, replay, 3) == ["000000000-000000002", "000000002-000000005"]


def test_episodes_that_left_between_two_checkpoints_are_never_written(tmp_path: Path) -> None:
    journal, replay = ReplayJournal(tmp_path / "replay"), buffers(capacity=3)
    assert played(journal, replay, 2, 5) == ["000000000-000000002", "000000004-000000007"]
    assert numbers(journal.read(4, 7)) == [4, 5, 6]


def test_only_segments_that_nobody_needs_are_pruned(tmp_path: Path) -> None:
    journal = ReplayJournal(tmp_path / "replay")
    played(journal, buffers(), 2, 2, 2)
    journal.prune(3)
    assert numbers(journal.read(2, 6)) == [2, 3, 4, 5]
    assert len(list(journal.folder.iterdir())) == 2
    journal.prune(6)
    assert list(journal.folder.iterdir()) == []


def test_the_oldest_checkpoint_decides_what_is_needed(tmp_path: Path) -> None:
    folders = []
    for stored, held in ((9, 6), (12, 4)):
        folder = tmp_path / str(stored)
        folder.mkdir()
        (folder / "resume.json").write_text(json.dumps({"replay": {"stored": stored, "held": held}}))
        folders.append(folder)
    assert oldest_needed(folders) == 3
    assert oldest_needed(folders[1:]) == 8
    assert oldest_needed([]) == 0


@pytest.mark.parametrize("where", ["header", "data", "end", "digest"])
def test_a_damaged_segment_is_named(tmp_path: Path, where: str) -> None:
    journal = ReplayJournal(tmp_path / "replay")
    played(journal, buffers(), 3)
    (path,) = journal.folder.iterdir()
    if where == "digest":
        save_file(load_file(path), path)
    else:
        data = bytearray(path.read_bytes())
        data = data[:-3] if where == "end" else data
        data[{"header": 12, "data": -1, "end": -1}[where]] ^= 4
        path.write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=rf"{path.name}: .*--fresh"):
        journal.read(0, 3)


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    """Some battles and updates into a run."""
    torch.set_num_threads(1)
    trainer = Trainer(small(), torch.device("cpu"))
    for _ in range(9):
        trainer.iterate()
    trainer.evaluate()
    return trainer


def write(trainer: Trainer, folder: Path) -> ReplayJournal:
    folder.mkdir()
    journal = ReplayJournal(folder / "replay")
    journal.append(trainer.replay)
    write_state(
        folder,
        trainer.learner,
        trainer.replay,
        trainer.streams,
        trainer.env.snapshot(),
        trainer.counters,
        trainer.window,
    )
    return journal


def read(folder: Path, journal: ReplayJournal, **kwargs: Any) -> Trainer:
    other = Trainer(small(), torch.device("cpu"))
    other.counters, other.window, snapshot = read_state(
        folder, other.learner, other.replay, other.streams, journal, **kwargs
    )
    assert snapshot is not None
    other.env.restore(snapshot)
    return other


def test_a_checkpoint_brings_back_everything(tmp_path: Path, trainer: Trainer) -> None:
    journal = write(trainer, tmp_path / "one")
    other = read(tmp_path / "one", journal)
    assert other.counters == trainer.counters
    assert other.counters is not trainer.counters
    other.evaluations.extend(trainer.evaluations)  # they come from the log
    assert memory(other) == memory(trainer)
    assert other.learner.updates == trainer.learner.updates == 6
    assert other.learner.replaced == trainer.learner.replaced != {}
    assert (other.replay.stored, other.replay.steps) == (trainer.replay.stored, trainer.replay.steps)
    for name in ("updates", "episodes_lost", "sums", "returns", "lengths", "wins", "seconds"):
        assert getattr(other.window, name) == getattr(trainer.window, name), name
    write(other, tmp_path / "two")
    same = [(tmp_path / name / "state.safetensors").read_bytes() for name in ("one", "two")]
    assert same[0] == same[1]


def test_a_checkpoint_whose_replay_is_gone_is_refused_unless_the_run_has_ended(
    tmp_path: Path, trainer: Trainer
) -> None:
    journal = write(trainer, tmp_path / "one")
    for path in journal.folder.iterdir():
        path.unlink()
    with pytest.raises(MissingInput, match=r"replay must hold episodes 0 to 8; got 0 of 9\. .*--fresh"):
        read(tmp_path / "one", journal)
    ended = read(tmp_path / "one", journal, complete=True)
    assert (len(ended.replay.episodes), ended.replay.stored) == (0, 9)


def test_a_checkpoint_of_another_version_says_so(tmp_path: Path, trainer: Trainer) -> None:
    journal = write(trainer, tmp_path / "one")
    path = tmp_path / "one" / "resume.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "mast-edge/resume/1"}))
    with pytest.raises(
        ArtifactVersion, match=r"must be mast-edge/resume/3; got mast-edge/resume/1\..*--fresh"
    ):
        read(tmp_path / "one", journal)


def test_time_between_stop_and_resume_counts_for_nothing() -> None:
    window = Window()
    window.started -= 100.0
    window.add({"loss": 2.0})
    window.add({"loss": 4.0})
    window.seconds["env"] = 60.0
    state = json.loads(json.dumps(window.state()))
    assert state["started"] == pytest.approx(100.0, abs=1.0)
    again = Window.restored(state)
    again.add({"loss": 9.0})
    means = again.means()
    assert means["loss"] == 5.0
    assert means["updates_per_second"] == pytest.approx(3 / 100, rel=0.02)
    assert means["seconds_other"] == pytest.approx(40.0, abs=1.0)
    assert set(PHASES) == set(again.seconds)


def test_counters_hold_plain_numbers() -> None:
    """They are written as JSON and must come back equal."""
    counters = Counters(t_env=5, wall_seconds=0.1 + 0.2)
    assert Counters(**json.loads(json.dumps(vars(counters)))) == counters
