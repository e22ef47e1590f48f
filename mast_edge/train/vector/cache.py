"""The replays of R runs on the device: an episode is uploaded once, and drawing a batch is one gather.

Used on CUDA; unmeasured there. Nothing in it depends on the device, and the tests run it on the CPU.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch

from mast_edge.spec import EnvSpec
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.vector.batch import Rows

FIRST_EPISODES = 64
"""Episodes of full length per run that there is room for at first."""
GROWTH = 1.5


@dataclass
class _Ring:
    """One run's share of the rows: [first, end), filled from oldest to newest around the end."""

    first: int
    end: int
    held: deque[tuple[Episode, int]] = field(default_factory=deque)
    """Episodes as in the replay, oldest first, and their first rows. Holding them keeps `starts` unique."""
    starts: dict[int, int] = field(default_factory=dict)
    """id of an episode -> its first row."""
    stored: int = 0
    """`ReplayBuffers.stored` at the last look."""

    def forget(self, count: int) -> None:
        """Frees the rows of the oldest episodes."""
        for _ in range(count):
            del self.starts[id(self.held.popleft()[0])]

    def place(self, rows: int) -> int | None:
        """First of so many free rows; None where there are none."""
        if not self.held:
            return self.first if self.first + rows <= self.end else None
        tail, (newest, start) = self.held[0][1], self.held[-1]
        head = start + newest.length + 1
        if start < tail:  # the newest have wrapped around
            return head if head + rows <= tail else None
        if head + rows <= self.end:
            return head
        return self.first if self.first + rows <= tail else None


class EpisodeCache:
    """Rows of all episodes that the replays hold.

    Args:
        replays: of the runs.
        spec: sizes.
        device: where the rows live.
    """

    def __init__(self, replays: Sequence[ReplayBuffers], spec: EnvSpec, device: torch.device) -> None:
        self.replays, self.spec, self.device = replays, spec, device
        self.generation = 0
        """How often the rows have moved to larger tensors."""
        needed = max(replay.steps + len(replay.episodes) for replay in replays)
        self._reserve(max(needed, FIRST_EPISODES * (spec.episode_limit + 1)))

    def _reserve(self, rows_per_run: int) -> None:
        """Makes room and uploads everything; so many rows hold each replay of now."""
        self.rows = Rows.empty(rows_per_run * len(self.replays), self.spec, self.device)
        self.rings = [
            _Ring(1 + r * rows_per_run, 1 + (r + 1) * rows_per_run) for r in range(len(self.replays))
        ]
        self.size = rows_per_run
        for ring, replay in zip(self.rings, self.replays, strict=True):
            for episode in replay.episodes:
                self._write(ring, episode)
            ring.stored = replay.stored

    def _write(self, ring: _Ring, episode: Episode) -> bool:
        start = ring.place(episode.length + 1)
        if start is not None:
            self.rows.write(start, episode)
            ring.held.append((episode, start))
            ring.starts[id(episode)] = start
        return start is not None

    def follow(self) -> None:
        """Uploads what the replays have stored since the last call, and drops what has left them."""
        for ring, replay in zip(self.rings, self.replays, strict=True):
            new = min(replay.stored - ring.stored, len(replay.episodes))
            ring.forget(len(ring.held) + new - len(replay.episodes))
            ring.stored = replay.stored
            fresh = list(islice(reversed(replay.episodes), new))[::-1]
            if not all(self._write(ring, episode) for episode in fresh):
                self.generation += 1
                needed = max(replay.steps + len(replay.episodes) for replay in self.replays)
                self._reserve(int(GROWTH * max(self.size, needed)))
                return

    def starts(self, drawn: Sequence[Sequence[Episode]]) -> list[list[int]]:
        """First rows of drawn episodes of every run."""
        return [
            [ring.starts[id(e)] for e in episodes]
            for ring, episodes in zip(self.rings, drawn, strict=True)
        ]
