"""A packed batch on the learner's device, and the padded arrays that return rules work on."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mast_edge.train.recurrence import PackedRows
from mast_edge.train.replay import PackedBatch
from mast_edge.train.vector.recurrence import PaddedRows


@dataclass(frozen=True, slots=True)
class TensorBatch:
    """`replay.PackedBatch` on the learner's device, field by field; `alive` stays on the CPU."""

    inputs: Tensor
    state: Tensor
    avail: Tensor
    alive: Tensor
    place: Tensor
    now: Tensor
    following: Tensor
    episode: Tensor
    time: Tensor
    actions: Tensor
    reward: Tensor
    terminated: Tensor

    def agent_rows(self, n: int) -> PackedRows | PaddedRows:
        """Row order when each episode is N sequences, one per agent."""
        agents = torch.arange(n, device=self.place.device)

        def spread(rows: Tensor) -> Tensor:
            return (rows[:, None] * n + agents).flatten()

        return PackedRows(self.alive * n, spread(self.place), spread(self.now), spread(self.following))

    def current(self, rows: Tensor) -> Tensor:
        """(P, ...) rows -> (M, ...), the row that each transition starts from."""
        return rows[self.now]

    def mean(self, values: Tensor) -> Tensor:
        """Mean of (M,) values over the transitions."""
        return values.mean()

    def at_transitions(self, array: Tensor) -> Tensor:
        """(B, T) -> (M,), the inverse of `padded`."""
        return array[self.episode, self.time]

    def padded(self, values: Tensor) -> Tensor:
        """(M,) values of transitions as (B, T), zero where no transition is."""
        array = values.new_zeros(int(self.alive[0]), len(self.alive) - 1)
        array[self.episode, self.time] = values
        return array

    def padded_rows(self, values: Tensor) -> Tensor:
        """(P,) values of rows as (B, T + 1), zero where no row is."""
        array = values.new_zeros(len(self.alive), int(self.alive[0]))
        array.view(-1)[self.place] = values
        return array.t()


def tensor_batch(batch: PackedBatch, device: torch.device) -> TensorBatch:
    """The batch as tensors on `device`; `alive` stays on the CPU."""
    tensors = {f.name: torch.from_numpy(getattr(batch, f.name)) for f in fields(batch)}
    alive = tensors.pop("alive")
    return TensorBatch(alive=alive, **{name: t.to(device) for name, t in tensors.items()})
