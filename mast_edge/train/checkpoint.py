"""What a run must remember to go on as if it had never stopped, and the incremental journal of its replay.

A checkpoint folder holds the agent for the other stages (`mast_edge.checkpoint_files`) and, private to
training, `state.safetensors` (weights, targets, optimiser, masks, environment) and `resume.json` (counters,
random streams, the metrics not yet logged). Episodes live beside the checkpoints in `replay/`, one segment
per checkpoint, so that each is written once.
"""

import hashlib
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from mast_edge.atomic import write_atomically
from mast_edge.disk import write_part
from mast_edge.errors import ArtifactCorrupt, ArtifactVersion, MissingInput
from mast_edge.train.learners.torch import TorchLearner
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.window import Window

STATE_FILE = "state.safetensors"
RESUME_FILE = "resume.json"
RESUME_SCHEMA = "mast-edge/resume/3"
DIGEST = "sha256"
"""Key of a replay segment's metadata: safetensors itself notices no flipped bit."""


@dataclass
class Counters:
    """Where a run stands.

    Attributes:
        episodes_lost: to crashed games, in training, evaluations and recordings.
        evaluations, snapshots, capacity_checks: how many there were, each on a fixed grid of t_env.
    """

    t_env: int = 0
    episodes: int = 0
    episodes_lost: int = 0
    evaluations: int = 0
    snapshots: int = 0
    capacity_checks: int = 0
    metrics_bytes: int = 0
    wall_seconds: float = 0.0


def write_state(
    folder: Path,
    learner: TorchLearner,
    replay: ReplayBuffers,
    streams: dict[str, np.random.Generator],
    env_snapshot: NDArray[np.uint8] | None,
    counters: Counters,
    window: Window,
) -> None:
    """Writes the private part of a checkpoint into `folder`, whose owner makes it atomic.

    `env_snapshot` is None where the environment cannot be saved.

    Raises:
        MastEdgeError: the file system refused.
    """
    arrays = {**learner.state(), **({} if env_snapshot is None else {"env": env_snapshot})}
    write_part(folder / STATE_FILE, save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))
    resume = {
        "schema": RESUME_SCHEMA,
        "counters": vars(counters),
        "updates": learner.updates,
        "replaced": learner.replaced,
        "replay": {"stored": replay.stored, "held": len(replay.episodes)},
        "streams": {name: rng.bit_generator.state for name, rng in streams.items()},
        "window": window.state(),
    }
    write_part(folder / RESUME_FILE, json.dumps(resume, indent=1).encode())


def read_state(
    folder: Path,
    learner: TorchLearner,
    replay: ReplayBuffers,
    streams: dict[str, np.random.Generator],
    journal: "ReplayJournal",
    *,
    complete: bool = False,
) -> tuple[Counters, Window, NDArray[np.uint8] | None]:
    """Brings learner, replay and streams back to where the checkpoint left them.

    Args:
        complete: the run has ended with this checkpoint; its replay may be gone.

    Returns:
        The counters, the metrics not yet logged, and the environment's snapshot, None where there is none.

    Raises:
        ArtifactVersion: another version of this package wrote it.
        MissingInput: the journal lacks episodes.
        ArtifactCorrupt: a segment of the journal was damaged.
    """
    arrays = load_file(folder / STATE_FILE)
    resume: dict[str, Any] = json.loads((folder / RESUME_FILE).read_text(encoding="utf-8"))
    if resume.get("schema") != RESUME_SCHEMA:
        raise ArtifactVersion(
            f"{folder / RESUME_FILE}: schema must be {RESUME_SCHEMA}; got {resume.get('schema')}. Finish the "
            "run with the version that began it, or start over with --fresh."
        )
    env_snapshot = arrays.pop("env", None)
    learner.load_state(arrays, resume["updates"], resume["replaced"])
    for name, state in resume["streams"].items():
        streams[name].bit_generator.state = state
    stored, held = resume["replay"]["stored"], resume["replay"]["held"]
    episodes = [] if complete else journal.read(stored - held, stored)
    if len(episodes) != held and not complete:
        raise MissingInput(
            f"{journal.folder}: replay must hold episodes {stored - held} to {stored - 1}; got "
            f"{len(episodes)} of {held}. Start the run over with --fresh."
        )
    replay.restore(episodes, stored)
    return Counters(**resume["counters"]), Window.restored(resume["window"]), env_snapshot


class ReplayJournal:
    """Segments `episodes-<first>-<end>.safetensors` of consecutive episodes, written once and never changed.

    Args:
        folder: the run's `replay/` folder; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def _segments(self) -> list[tuple[int, int, Path]]:
        found = []
        for path in self.folder.glob("episodes-*.safetensors"):
            first, end = path.stem.split("-")[1:]
            found.append((int(first), int(end), path))
        return sorted(found)

    def unwritten(self, replay: ReplayBuffers) -> list[Episode]:
        """The stored episodes that no segment holds yet, oldest first."""
        written = max([end for _, end, _ in self._segments()], default=0)
        count = min(replay.stored - written, len(replay.episodes))
        return list(islice(reversed(replay.episodes), count))[::-1]

    def append(self, replay: ReplayBuffers) -> None:
        """Writes the episodes that no segment holds yet (and that the buffer still does)."""
        episodes = self.unwritten(replay)
        if episodes:
            first = replay.stored - len(episodes)
            path = self.folder / f"episodes-{first:09d}-{replay.stored:09d}.safetensors"
            arrays = _join(episodes)
            write_atomically(path, save(arrays, {DIGEST: _digest(arrays)}))

    def read(self, first: int, end: int) -> list[Episode]:
        """Episodes first .. end - 1; segments past `end` belong to work that was lost and are removed.

        `read(0, 0)` empties the journal: a run that was killed before its first checkpoint starts over.

        Raises:
            ArtifactCorrupt: a segment is not what was written.
        """
        episodes: list[Episode] = []
        for start, stop, path in self._segments():
            if start >= end:
                path.unlink()
            elif stop > first:
                episodes += _split(_load_segment(path))[max(0, first - start) :]
        return episodes

    def prune(self, oldest: int) -> None:
        """Removes segments whose episodes are all older than `oldest`."""
        for _, stop, path in self._segments():
            if stop <= oldest:
                path.unlink()


def oldest_needed(checkpoints: list[Path]) -> int:
    """The first episode that any of these checkpoints still refers to."""
    resumes = [json.loads((c / RESUME_FILE).read_text(encoding="utf-8"))["replay"] for c in checkpoints]
    return min((r["stored"] - r["held"] for r in resumes), default=0)


def _load_segment(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            expected = (file.metadata() or {}).get(DIGEST)
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError) as problem:
        raise ArtifactCorrupt(
            f"{path}: replay must be safetensors; got {problem}. Start the run over with --fresh."
        ) from problem
    if _digest(arrays) != expected:
        raise ArtifactCorrupt(
            f"{path}: replay must have SHA-256 {expected}; got {_digest(arrays)}. "
            "Start the run over with --fresh."
        )
    return arrays


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _join(episodes: list[Episode]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(e, name) for e in episodes])
        for name in ("obs", "state", "avail", "actions", "reward")
    }
    arrays["length"] = np.array([e.length for e in episodes], np.int64)
    arrays["terminated"] = np.array([e.terminated for e in episodes], np.uint8)
    arrays["timed_out"] = np.array([e.timed_out for e in episodes], np.uint8)
    return arrays


def _split(arrays: dict[str, NDArray[Any]]) -> list[Episode]:
    episodes, row, step = [], 0, 0
    for i, length in enumerate(arrays["length"].tolist()):
        episodes.append(
            Episode(
                obs=arrays["obs"][row : row + length + 1].copy(),
                state=arrays["state"][row : row + length + 1].copy(),
                avail=arrays["avail"][row : row + length + 1].copy(),
                actions=arrays["actions"][step : step + length].copy(),
                reward=arrays["reward"][step : step + length].copy(),
                terminated=bool(arrays["terminated"][i]),
                timed_out=bool(arrays["timed_out"][i]),
            )
        )
        row += length + 1
        step += length
    return episodes
