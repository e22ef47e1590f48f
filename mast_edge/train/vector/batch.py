"""Batches of R runs at once: rows gathered from a store of episodes, padded to one common length.

Nothing here waits for the device: no boolean index, no `nonzero`, no `item`.

Source: training_speed.md 7, "no host syncs" and "replay".
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from mast_edge.spec import EnvSpec
from mast_edge.train.replay import Episode
from mast_edge.train.tensor_batch import TensorBatch
from mast_edge.train.vector.recurrence import PaddedRows


def bucket(length: int) -> int:
    """The least of 16, 24, 32, 48, 64, 96, ... that is not below `length`: few shapes, little padding."""
    power = 16
    while power < length:
        power *= 2
    return power * 3 // 4 if power > 16 and length <= power * 3 // 4 else power


@dataclass(frozen=True, slots=True)
class Rows:
    """Episodes one after another; one of L transitions takes L + 1 rows. Row 0 belongs to none: padding.

    Attributes:
        obs: (rows, N, O) float32. state: (rows, S) float32. avail: (rows, N, A) uint8, 1 in row 0.
        actions: (rows, N) uint8. reward: (rows,) float32. An episode's last row has 0 in both.
    """

    obs: Tensor
    state: Tensor
    avail: Tensor
    actions: Tensor
    reward: Tensor

    @classmethod
    def empty(cls, rows: int, spec: EnvSpec, device: torch.device) -> "Rows":
        """Room for rows 1 to `rows`."""
        n = spec.n_agents
        made = cls(
            obs=torch.zeros(rows + 1, n, spec.obs_dim, device=device),
            state=torch.zeros(rows + 1, spec.state_dim, device=device),
            avail=torch.zeros(rows + 1, n, spec.n_actions, dtype=torch.uint8, device=device),
            actions=torch.zeros(rows + 1, n, dtype=torch.uint8, device=device),
            reward=torch.zeros(rows + 1, device=device),
        )
        made.avail[0] = 1
        return made

    def write(self, start: int, episode: Episode) -> None:
        """Stores an episode at rows `start` to `start` + L."""
        length = episode.length
        for field in fields(self):
            values = torch.from_numpy(getattr(episode, field.name))
            place = getattr(self, field.name)[start : start + length + 1]
            place[: len(values)].copy_(values)
            place[len(values) :].zero_()


@dataclass(frozen=True, slots=True)
class Places:
    """Where the drawn episodes of every run lie: small, and all that an update is told.

    Attributes:
        start, length: (R, B) int64; length 0 with start 0 where a run takes no part.
        ended: (R, B) float32, 1 where the last transition is terminal.
        active: (R,) bool, which runs take part.
    """

    start: Tensor
    length: Tensor
    ended: Tensor
    active: Tensor

    def to(self, device: torch.device) -> "Places":
        """The same on a device."""
        return Places(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))

    def clone(self) -> "Places":
        """A copy in tensors of its own."""
        return Places(*(getattr(self, field.name).clone() for field in fields(self)))

    def copy_(self, other: "Places") -> None:
        """Takes over the values of another, in place."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))


def joined(
    drawn: Sequence[Sequence[Episode]], spec: EnvSpec, device: torch.device
) -> tuple[Rows, list[list[int]]]:
    """The drawn episodes of all runs in a store of their own, and each one's first row."""
    total = sum(e.length + 1 for episodes in drawn for e in episodes)
    rows, row = Rows.empty(total, spec, torch.device("cpu")), 1
    starts: list[list[int]] = []
    for episodes in drawn:
        starts.append([])
        for episode in episodes:
            rows.write(row, episode)
            starts[-1].append(row)
            row += episode.length + 1
    return Rows(*(getattr(rows, field.name).to(device) for field in fields(rows))), starts


def places(
    drawn: Sequence[Sequence[Episode]],
    starts: Sequence[Sequence[int]],
    batch_size: int,
    terminal_timeouts: Sequence[bool],
) -> Places:
    """What is known of the drawn episodes on the host; a run without episodes takes no part.

    Args:
        drawn: B episodes of each run, or none.
        starts: first row of each.
        batch_size: B.
        terminal_timeouts: by run, whether an episode cut by the limit counts as terminated.
    """
    start, length = (np.zeros((len(drawn), batch_size), np.int64) for _ in range(2))
    ended = np.zeros((len(drawn), batch_size), np.float32)
    for r, episodes in enumerate(drawn):
        for b, episode in enumerate(episodes):
            start[r, b], length[r, b] = starts[r][b], episode.length
            ended[r, b] = episode.terminated or (terminal_timeouts[r] and episode.timed_out)
    active = np.array([len(episodes) > 0 for episodes in drawn])
    return Places(*map(torch.from_numpy, (start, length, ended, active)))


@dataclass(frozen=True, slots=True)
class PaddedBatch(TensorBatch):
    """B episodes of one run, padded to T: P = (T + 1) B rows and M = T B transitions, by time, then episode.

    The index fields of `TensorBatch` are empty: a transition starts from the row of the same place.

    Attributes:
        valid: (M,) float32, 1 where a transition is, 0 where padding is.
        steps: T.
    """

    valid: Tensor
    steps: int

    @property
    def present(self) -> Tensor:
        """(P,) bool, which rows are some episode's: the first ones, and all that follow a transition."""
        first = torch.ones_like(self.valid[: len(self.state) - len(self.valid)])
        return torch.cat([first, self.valid]) > 0

    def agent_rows(self, n: int) -> PaddedRows:
        """Row order when each episode is N sequences."""
        return PaddedRows(self.steps + 1)

    def current(self, rows: Tensor) -> Tensor:
        """(P, ...) -> (M, ...): all but the rows after the last transition."""
        return rows[: self.valid.shape[0]]

    def mean(self, values: Tensor) -> Tensor:
        """Mean of (M,) values over the transitions; 0 where there is none."""
        kept = torch.where(self.valid > 0, values, 0.0)
        return kept.sum() / self.valid.sum().clamp_min(1.0)

    def at_transitions(self, array: Tensor) -> Tensor:
        """(B, T) -> (M,)."""
        return array.t().flatten()

    def padded(self, values: Tensor) -> Tensor:
        """(M,) values of transitions as (B, T), zero where no transition is."""
        return torch.where(self.valid > 0, values, 0.0).view(self.steps, -1).t()

    def padded_rows(self, values: Tensor) -> Tensor:
        """(P,) values of rows as (B, T + 1); what stands after an episode's last row means nothing."""
        return values.reshape(self.steps + 1, -1).t()


BATCH_FIELDS = ("inputs", "state", "avail", "actions", "reward", "terminated", "valid")
"""The fields of a `PaddedBatch` that `gather` fills."""


def gather(rows: Rows, at: Places, steps: int) -> dict[str, Tensor]:
    """`BATCH_FIELDS` of all runs, each with a leading run axis; one gather per array of the store.

    Args:
        rows: of all episodes.
        at: the drawn ones.
        steps: T, at least the longest length.
    """
    runs, batch = at.start.shape
    time = torch.arange(steps + 1, device=at.start.device).view(-1, 1)
    length = at.length.unsqueeze(1)
    index = torch.where(time <= length, at.start.unsqueeze(1) + time, 0)  # (R, T + 1, B)

    def taken(store: Tensor) -> Tensor:
        return store.index_select(0, index.flatten()).view(runs, steps + 1, batch, *store.shape[1:])

    actions, obs = taken(rows.actions).long(), taken(rows.obs)
    n, a = rows.avail.shape[1:]
    last = obs.new_zeros(*actions.shape, a)
    last[:, 1:] = actions[:, :-1].unsqueeze(-1) == torch.arange(a, device=obs.device)
    ids = torch.eye(n, device=obs.device).expand(*actions.shape, n)
    going = time[:-1] < length
    made = {
        "inputs": torch.cat([obs, last, ids], -1),
        "state": taken(rows.state),
        "avail": taken(rows.avail).bool(),
        "actions": actions[:, :-1],
        "reward": taken(rows.reward)[:, :-1],
        "terminated": at.ended.unsqueeze(1) * (time[:-1] == length - 1),
        "valid": going.float(),
    }
    return {name: tensor.flatten(1, 2) for name, tensor in made.items()}
