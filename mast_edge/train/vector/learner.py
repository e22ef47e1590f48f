"""R learners updated at once: one tensor holds all their parameters, run by run.

Every learner stays a `TorchLearner`; its flat buffers become rows of the stacked ones, so that evolution,
target copies and checkpoints are its own code. The losses are the algorithms' own, seen by `torch.func.vmap`.

Source: training_speed.md 7, "many runs on one GPU".
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast_edge.train.algos.base import Algorithm
from mast_edge.train.learners.torch import TorchLearner
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.vector.batch import (
    BATCH_FIELDS,
    PaddedBatch,
    Places,
    Rows,
    bucket,
    gather,
    joined,
    places,
)
from mast_edge.train.vector.cache import EpisodeCache
from mast_edge.train.vector.graphs import GraphedUpdates
from mast_edge.train.vector.settings import branches, numbers, with_numbers
from mast_edge.train.vector.stack import Stack, seen
from mast_edge.train.vector.updated import Told, Updated, read_updates


class VectorLearner:
    """Makes the updates of R learners of equal shape together.

    A run whose numbers are no longer finite is frozen by a mask: its weights stay as they were before that
    update, and nothing else happens to the others.

    Args:
        learners: equal networks, batch size and device. Runs beside each other that agree in `branches` share
            every launch.
        replays: what each learner draws from; with them the episodes live on the device, and on a GPU the
            updates are captured as graphs. Without, a batch is uploaded whole, which is the way of a CPU.

    Raises:
        TypeError: a learner is not the torch one.
    """

    def __init__(
        self,
        learners: Sequence[TorchLearner],
        replays: Sequence[ReplayBuffers] | None = None,
    ) -> None:
        other = next((learner for learner in learners if type(learner) is not TorchLearner), None)
        if other is not None:  # its buffers may not be moved
            raise TypeError(f"vector: learners must be TorchLearner; got {type(other).__name__}.")
        self.learners, self.device = learners, learners[0].device
        self.batch_size = learners[0].config.replay.batch_size
        self.online = Stack([learner.online for learner in learners])
        self.target = Stack([learner.target for learner in learners])
        self.square_avg = torch.stack([learner.square_avg for learner in learners])
        self.mask = torch.stack([learner.mask for learner in learners])
        for learner, square_avg, mask in zip(learners, self.square_avg, self.mask, strict=True):
            learner.square_avg, learner.mask = square_avg, mask
        configs = [learner.config for learner in learners]
        self.numbers = self._column([numbers(config) for config in configs])
        self.optim = self._column([msgspec.structs.asdict(config.optim) for config in configs])
        self.alive = torch.ones(len(learners), dtype=torch.bool, device=self.device)
        self.cache = None if replays is None else EpisodeCache(replays, learners[0].env, self.device)
        captured = self.cache is not None and self.device.type == "cuda"
        self.graphs = GraphedUpdates() if captured else None
        self.pending: list[tuple[Updated, list[int]]] = []
        """Updates that the host has not read yet, and each run's count of updates after them."""

    def _column(self, values: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
        """Name -> (R,)."""
        return {name: torch.tensor([v[name] for v in values], device=self.device) for name in values[0]}

    def update(self, drawn: Sequence[Sequence[Episode]], t_envs: Sequence[int]) -> None:
        """One gradient update of every run that has a batch, then evolution and target copies when due.

        Nothing is read back, unless a topology moves; `read` tells how it went.

        Args:
            drawn: each run's batch; empty where it takes no part.
            t_envs: environment steps so far, by run.
        """
        if self.cache is None:
            rows, starts = joined(drawn, self.learners[0].env, self.device)
        else:
            self.cache.follow()
            rows, starts = self.cache.rows, self.cache.starts(drawn)
        terminal = [learner.config.timeout_is_terminal for learner in self.learners]
        at = places(drawn, starts, self.batch_size, terminal).to(self.device)
        longest = max(e.length for episodes in drawn for e in episodes)
        steps = longest if self.cache is None else bucket(longest)
        groups = self._groups(t_envs)

        def compute(at: Places) -> Updated:
            return self._compute(rows, at, steps, groups)

        if self.graphs is None or self.cache is None:
            made = compute(at)
        else:
            made = self.graphs.run((steps, *groups), self.cache.generation, compute, at)
        self._advance([len(episodes) > 0 for episodes in drawn], t_envs)
        self.pending.append((made, [learner.updates for learner in self.learners]))

    def _groups(self, t_envs: Sequence[int]) -> list[tuple[int, int, str]]:
        """Neighbours that agree in what the loss branches on: first run, end, return rule."""
        found, first = [], 0
        of_runs = [branches(x.config, t) for x, t in zip(self.learners, t_envs, strict=True)]
        for branch, members in groupby(of_runs):
            end = first + len(list(members))
            found.append((first, end, branch[2]))
            first = end
        return found

    def _compute(self, rows: Rows, at: Places, steps: int, groups: Sequence[tuple[int, int, str]]) -> Updated:
        """Losses, gradients and the optimiser's step; only device work, so that a graph can hold it."""
        batch = gather(rows, at, steps)
        parts = []
        for first, end, returns in groups:
            in_group = {name: tensor[first:end] for name, tensor in batch.items()}
            parts.append(self._gradients(in_group, steps, first, end, returns))
        finite = torch.cat([part[0] for part in parts])
        metrics = {name: torch.cat([part[1][name] for part in parts]) for name in parts[0][1]}
        return self._step(at.active, finite, metrics)

    def _gradients(
        self, batch: dict[str, Tensor], steps: int, first: int, end: int, returns: str
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of runs first .. end - 1: (runs, 2) whether loss and utilities are finite, and metrics."""
        one = torch.func.vmap(self._loss_of_one(self.learners[first], returns, steps))
        columns = {name: column[first:end] for name, column in self.numbers.items()}
        online = self.online.tensors(first, end)
        loss, finite, metrics = one(online, self.target.tensors(first, end), columns, batch)
        self.online.take_gradients(loss.sum(), online, first, end)
        return finite, metrics

    def _loss_of_one(
        self, learner: TorchLearner, returns: str, steps: int
    ) -> Callable[..., tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """The algorithm's loss as a function of one run's tensors."""
        online_bank, target_bank = self.online.first, self.target.first

        def one(
            online: dict[str, Tensor],
            target: dict[str, Tensor],
            columns: dict[str, Tensor],
            fields: dict[str, Tensor],
        ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            algorithm: Algorithm = copy.copy(learner.algorithm)
            algorithm.config = with_numbers(learner.config, returns, columns)
            nothing = fields["valid"][:0]
            unused = dict.fromkeys(("alive", "place", "now", "following", "episode", "time"), nothing)
            batch = PaddedBatch(**{name: fields[name] for name in BATCH_FIELDS}, **unused, steps=steps)
            made = algorithm.loss(seen(online_bank, online), seen(target_bank, target), batch, 0)
            utilities = torch.where(batch.present[:, None, None], made.q, 0.0)
            finite = torch.stack([torch.isfinite(made.loss.detach()), torch.isfinite(utilities).all()])
            return made.loss, finite, made.summary(batch)

        return one

    @torch.no_grad()
    def _step(self, active: Tensor, finite: Tensor, metrics: dict[str, Tensor]) -> Updated:
        """`TorchLearner._step` along the run axis. The dense gradients stay, for evolution."""
        flat, o = self.online.flat, {name: column.unsqueeze(1) for name, column in self.optim.items()}
        grad = self.online.grad * self.mask
        norm = torch.linalg.vector_norm(grad, dim=1, dtype=torch.float64)
        grad *= (o["clip_norm"] / (norm.unsqueeze(1) + 1e-6)).clamp_max(1.0).to(grad.dtype)
        square = o["alpha"] * self.square_avg + (1.0 - o["alpha"]) * grad * grad
        moved = (flat - o["lr"] * grad / (square.sqrt() + o["eps"])) * self.mask
        all_finite = [torch.isfinite(rows).all(1) for rows in (self.target.flat, moved)]
        checks = torch.stack([*finite.t(), torch.isfinite(norm), *all_finite])
        active = active & self.alive
        self.alive &= checks.all(0) | ~active
        kept = (active & self.alive).unsqueeze(1)
        self.square_avg.copy_(torch.where(kept, square, self.square_avg))
        flat.copy_(torch.where(kept, moved, flat))
        return Updated.of(active, checks, {"grad_norm": norm, **metrics})

    def _advance(self, active: Sequence[bool], t_envs: Sequence[int]) -> None:
        """Counts, evolution and target copies: each learner's own. Evolution waits for the device."""
        due = [
            learner.evolving(t) if takes_part else []
            for learner, takes_part, t in zip(self.learners, active, t_envs, strict=True)
        ]
        alive = self.alive.tolist() if any(due) else [True] * len(due)
        for r, learner in enumerate(self.learners):
            if active[r]:
                grads = {n: learner.dense_gradients(n) for n in due[r] if alive[r]}
                learner.advance(grads, t_envs[r])

    def read(self) -> list[Told]:
        """Metrics of the updates since the last call, by run, or the error with which a run was frozen.

        This waits for the device, once.
        """
        pending, self.pending = self.pending, []
        if not pending:
            return [[] for _ in self.learners]
        made, counts = zip(*pending, strict=True)
        return read_updates(made, counts)

    def agents(self) -> list[dict[str, NDArray[np.float32]]]:
        """Each run's agent, for acting; one transfer."""
        return self.online.numpy("agent")
