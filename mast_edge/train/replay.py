"""Episodes as they were played, the buffers that keep them, and the packed batches drawn from them.

Memory holds what was filled, never the episode limit. A batch is packed: rows ordered by time, then by
episode, longest episode first, without padding.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast_edge.spec import EnvSpec


@dataclass(frozen=True, slots=True)
class Episode:
    """One finished episode of L transitions.

    Attributes:
        obs: (L + 1, N, O) float32; also for the state after the last transition.
        state: (L + 1, S) float32.
        avail: (L + 1, N, A) uint8.
        actions: (L, N) uint8.
        reward: (L,) float32 team reward.
        terminated: the episode ended in a decided battle.
        timed_out: it was cut by the environment's limit.
    """

    obs: NDArray[np.float32]
    state: NDArray[np.float32]
    avail: NDArray[np.uint8]
    actions: NDArray[np.uint8]
    reward: NDArray[np.float32]
    terminated: bool
    timed_out: bool

    @property
    def length(self) -> int:
        """L, number of transitions."""
        return len(self.reward)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = (self.obs, self.state, self.avail, self.actions, self.reward)
        return sum(a.nbytes for a in arrays)


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """B episodes, packed: P = sum (L_b + 1) rows; M = sum L_b transitions. T = max L_b.

    Attributes:
        inputs: (P, N, F) float32 agent inputs: obs, last-action one-hot, agent-id one-hot.
        state: (P, S) float32.
        avail: (P, N, A) bool.
        alive: (T + 1,) int64, episodes that have a row at each time.
        place: (P,) int64, time * B + episode: each row's place in a padded (T + 1, B) array.
        now, following: (M,) int64 rows of each transition's observation and of the one after it.
        episode, time: (M,) int64, place of each transition in a padded (B, T) array.
        actions: (M, N) int64.
        reward, terminated: (M,) float32.
    """

    inputs: NDArray[np.float32]
    state: NDArray[np.float32]
    avail: NDArray[np.bool_]
    alive: NDArray[np.int64]
    place: NDArray[np.int64]
    now: NDArray[np.int64]
    following: NDArray[np.int64]
    episode: NDArray[np.int64]
    time: NDArray[np.int64]
    actions: NDArray[np.int64]
    reward: NDArray[np.float32]
    terminated: NDArray[np.float32]


def pack(episodes: Sequence[Episode], spec: EnvSpec, *, timeout_is_terminal: bool) -> PackedBatch:
    """Lays episodes out for whole-sequence networks.

    Args:
        episodes: at least one.
        spec: sizes.
        timeout_is_terminal: an episode cut by the limit counts as terminated, as in the published SMAC runs
            (algorithms.md 3.1); otherwise it bootstraps from its last stored state.
    """
    order = sorted(range(len(episodes)), key=lambda i: -episodes[i].length)
    episodes = [episodes[i] for i in order]
    lengths = np.array([e.length for e in episodes])
    starts = np.concatenate(([0], np.cumsum(lengths + 1)))[:-1]
    steps = np.arange(lengths[0] + 1)
    present = steps[:, None] <= lengths[None, :]  # (T + 1, B), a prefix of each row
    source = (starts[None, :] + steps[:, None])[present]
    alive = present.sum(1)
    offsets = np.concatenate(([0], np.cumsum(alive)))[:-1]
    going = steps[:-1, None] < lengths[None, :]
    time, episode = np.nonzero(going)
    now = offsets[time] + episode
    following = offsets[time + 1] + episode
    transition = np.concatenate(([0], np.cumsum(lengths)))[:-1][episode] + time

    actions = np.concatenate([e.actions for e in episodes])[transition].astype(np.int64)
    rows, n, o, a = len(source), spec.n_agents, spec.obs_dim, spec.n_actions
    inputs = np.zeros((rows, n, o + a + n), np.float32)
    inputs[:, :, :o] = np.concatenate([e.obs for e in episodes])[source]
    inputs[following[:, None], np.arange(n), o + actions] = 1.0
    inputs[:, np.arange(n), o + a + np.arange(n)] = 1.0

    ends = np.array([e.terminated or (timeout_is_terminal and e.timed_out) for e in episodes])
    return PackedBatch(
        inputs=inputs,
        state=np.concatenate([e.state for e in episodes])[source],
        avail=np.concatenate([e.avail for e in episodes])[source].astype(bool),
        alive=alive,
        place=np.flatnonzero(present),
        now=now,
        following=following,
        episode=episode,
        time=time,
        actions=actions,
        reward=np.concatenate([e.reward for e in episodes])[transition],
        terminated=(ends[episode] & (time == lengths[episode] - 1)).astype(np.float32),
    )


class ReplayBuffers:
    """The offline buffer B1, and the online buffer B2 as a window on its newest episodes (paper section 4.4).

    Args:
        capacity: episodes in B1; the oldest leave first.
        online_capacity: episodes in B2.
        batch_size: episodes in a batch; the buffer never holds fewer to respect `max_steps`.
        online_share: how many of them come from B2; 0 is a single buffer.
        max_steps: environment steps in B1, 0 = no bound.
    """

    def __init__(
        self, capacity: int, online_capacity: int, batch_size: int, online_share: int, max_steps: int = 0
    ) -> None:
        self.capacity = capacity
        self.online_capacity = online_capacity
        self.batch_size = batch_size
        self.online_share = online_share
        self.max_steps = max_steps
        self.episodes: deque[Episode] = deque()
        self.stored = 0
        """Episodes ever added; the newest has number stored - 1."""
        self.steps = 0
        """Environment steps held."""

    def add(self, episode: Episode) -> None:
        """Stores a finished episode in both buffers."""
        self.episodes.append(episode)
        self.stored += 1
        self.steps += episode.length
        while len(self.episodes) > self.capacity or self._too_long:
            self.discard(1)

    def discard(self, count: int) -> None:
        """Forgets the `count` oldest episodes."""
        for _ in range(count):
            self.steps -= self.episodes.popleft().length

    def restore(self, episodes: list[Episode], stored: int) -> None:
        """Takes over the episodes of a checkpoint, the newest last."""
        self.episodes = deque(episodes)
        self.stored = stored
        self.steps = sum(e.length for e in episodes)

    @property
    def _too_long(self) -> bool:
        return 0 < self.max_steps < self.steps and len(self.episodes) > self.batch_size

    @property
    def ready(self) -> bool:
        """Whether B1 holds a batch (algorithms.md 3.3: training starts then)."""
        return len(self.episodes) >= self.batch_size

    def draw(self, rng: np.random.Generator) -> list[Episode]:
        """A batch: shares drawn uniformly without replacement, each within its own buffer.

        The same episode may come from both.
        """
        held = len(self.episodes)
        window = min(self.online_capacity, held)
        offline = rng.choice(held, self.batch_size - self.online_share, replace=False)
        online = held - window + rng.choice(window, self.online_share, replace=False)
        return [self.episodes[int(i)] for i in np.concatenate((offline, online))]

    def sample(self, count: int, rng: np.random.Generator) -> list[Episode]:
        """At most `count` episodes of B1, uniformly without replacement."""
        held = len(self.episodes)
        return [self.episodes[int(i)] for i in rng.choice(held, min(count, held), replace=False)]
