"""The sparse learner: updates on one CPU core whose cost follows the weights that are kept.

Same formulas, states and order of events as `learners/torch.py`; forward and backward passes run in the
native core, 64 columns side by side, over kept weights only (mast_edge/native/panels.hpp). Losses are
`native_loss.py`.

Source: training_speed.md, section 4.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from mast_edge.config_fields import ExperimentConfig
from mast_edge.native import _core
from mast_edge.spec import EnvSpec
from mast_edge.topology import PATTERNS, Topology, layer_blocks, layer_pattern
from mast_edge.train.algos.base import Algorithm
from mast_edge.train.learners.native_loss import COLUMNS, LOSSES, OPERATORS, Cores, Networks, believed
from mast_edge.train.learners.torch import Divergence, Estimate, TorchLearner
from mast_edge.train.nets import ParameterBank
from mast_edge.train.replay import Episode
from mast_edge.train.sparse.base import SparseMethod

MOST_AGENTS = COLUMNS
"""Agents of a battle that fit one panel."""


def supports(config: ExperimentConfig, env: EnvSpec) -> bool:
    """Whether this learner can train the experiment; the others are `learners/torch.py`'s."""
    known = config.algorithm in LOSSES and config.target.operator in OPERATORS
    return known and env.n_agents <= MOST_AGENTS


class NativeLearner(TorchLearner):
    """`TorchLearner` whose gradients and steps are made by the native core.

    Results do not depend on the number of threads. They are reproducible on CPUs that take the same kernel
    path (`_core.kernel_path()`), and agree with the torch learner to rounding.

    Args:
        threads: cores for one update; more than one only pays for large battles.
        Others as for `TorchLearner`; the device is the CPU.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        algorithm: Algorithm,
        methods: dict[str, SparseMethod],
        env: EnvSpec,
        rng: np.random.Generator,
        device: torch.device,
        masks: Mapping[str, Topology] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        super().__init__(config, algorithm, methods, env, rng, device, masks)
        self._loss = LOSSES[config.algorithm]
        workers = _core.Workers(threads)
        self._online = {n: self._network(n, self.online, workers) for n in algorithm.networks}
        self._target = {n: self._network(n, self.target, workers) for n in algorithm.target_networks}
        # The core works on the very memory of the banks.
        self._flat, self._grad = self.online.flat.detach().numpy(), self.online.grad.numpy()
        self._target_flat, self._square_avg = self.target.flat.numpy(), self.square_avg.numpy()
        self._batch = _core.PanelBatch(env.n_agents, env.n_actions, env.obs_dim, env.state_dim)
        for network in algorithm.networks:
            self._index(network)
        self._index_targets()

    @property
    def description(self) -> str:
        """What computes the updates, for people and records."""
        return f"native, {_core.kernel_path()} kernels"

    def _network(self, name: str, bank: ParameterBank, workers: _core.Workers) -> _core.Network:
        offsets = dict(bank.offsets())
        layers = self.algorithm.networks[name]
        shapes = [
            (out, in_, offsets[f"{name}.{layer}.weight"], offsets[f"{name}.{layer}.bias"])
            for layer, (out, in_) in layers.items()
        ]
        kind = name.removeprefix("c") if name == "cagent" else name
        if kind == "agent":
            return _core.AgentNetwork(shapes, workers)
        mixers = {"mixer": _core.MixerNetwork, "cmixer": _core.CentralNetwork}
        return mixers[kind](shapes, self.env.n_agents, workers)

    def _index(self, network: str) -> None:
        """Tells the core which weights are kept; only when a mask has changed (canonical, row by row)."""
        for i, layer in enumerate(self.algorithm.networks[network]):
            self._set_mask(self._online[network], network, i, layer, self.topologies[network].get(layer))

    def _index_targets(self) -> None:
        """Targets keep what is not zero: their copies may be older than the masks."""
        for network, core in self._target.items():
            for i, layer in enumerate(self.algorithm.networks[network]):
                masked = layer in self.topologies[network]
                weight = self.target.tensors[f"{network}.{layer}.weight"].numpy()
                self._set_mask(core, network, i, layer, weight != 0 if masked else None)

    def _set_mask(
        self, core: _core.Network, network: str, index: int, layer: str, mask: NDArray[np.bool_] | None
    ) -> None:
        heights: list[int] = []
        if mask is not None:
            pattern = layer_pattern(self.config.topology.pattern, network, layer)
            grouped = layer_blocks(layer, len(mask), pattern)
            whole = np.logical_or.reduceat(mask, grouped.starts, axis=0)
            kept = grouped.spread(whole)
            # Masks of a ticket may be finer than the pattern.
            if PATTERNS[pattern] > 1 and kept.sum() <= 2 * mask.sum():
                mask, heights = kept, list(grouped.heights)
        core.set_mask(index, None if mask is None else mask.view(np.uint8), heights)

    @property
    def _agent(self) -> _core.AgentNetwork:
        return cast(_core.AgentNetwork, self._online["agent"])

    def _networks(self, batch: _core.PanelBatch, every: bool) -> Networks:
        online, target = cast(Cores, self._online), cast(Cores, self._target)
        return Networks(self.config, batch, online, target, self._grad, every)

    def _load(self, episodes: Sequence[Episode]) -> _core.PanelBatch:
        limit = self.config.timeout_is_terminal
        self._batch.load(
            [
                (e.obs, e.state, e.avail, e.actions, e.reward, e.terminated or (limit and e.timed_out))
                for e in episodes
            ]
        )
        for core in self._online.values():
            core.refresh(self._flat)
        for core in self._target.values():
            core.refresh(self._target_flat)
        return self._batch

    def update(self, episodes: Sequence[Episode], t_env: int) -> dict[str, float]:
        """As `TorchLearner.update`."""
        evolving = self.evolving(t_env)
        metrics, utilities_finite = self.gradients(episodes, t_env, every=bool(evolving))
        dense_grads = {n: self.dense_gradients(n) for n in evolving}
        if self.topologies_hold_masks:
            self.online.grad.mul_(self.mask)
        optim = self.config.optim
        norm = _core.norm(self._grad)
        fine = {
            "loss": np.isfinite(metrics["loss"]),
            "utilities": utilities_finite,
            "gradient norm": np.isfinite(norm),
            "target weights": _core.all_finite(self._target_flat),
        }
        if not all(fine.values()):
            raise Divergence.at(self.updates + 1, [n for n, good in fine.items() if not good])
        scale = min(1.0, optim.clip_norm / (norm + 1e-6))
        _core.rmsprop(self._flat, self._grad, self._square_avg, scale, optim.lr, optim.alpha, optim.eps)
        if not _core.all_finite(self._flat):
            raise Divergence.at(self.updates + 1, ["weights"])
        self.advance(dense_grads, t_env)
        return {"grad_norm": norm, **metrics}

    @property
    def topologies_hold_masks(self) -> bool:
        """Whether any weight is masked."""
        return any(self.topologies.values())

    def gradients(
        self, episodes: Sequence[Episode], t_env: int, *, every: bool = False
    ) -> tuple[dict[str, float], bool]:
        """Fills `online.grad`: the loss's gradient at the kept weights.

        Args:
            episodes: the batch.
            t_env: environment steps so far.
            every: also at the weights that are not kept, for growth.

        Returns:
            Scalars worth logging, the loss among them; and whether all utilities are finite.
        """
        batch = self._load(episodes)
        self._grad.fill(0.0)
        networks = self._networks(batch, every)
        with np.errstate(over="ignore", invalid="ignore"):  # `update` looks at what is not finite
            metrics = self._loss(networks, t_env)
        return metrics, self._agent.finite(batch)

    def greedy_actions(self, episodes: Sequence[Episode]) -> list[NDArray[np.int64]]:
        """As `TorchLearner.greedy_actions`."""
        batch, agent = self._load(episodes), self._agent
        _core.forward_agents(batch, [(agent, False)])
        columns = np.empty((batch.steps, COLUMNS), np.int32)
        _core.greedy_actions(batch, agent, columns)
        n, found = self.env.n_agents, [np.empty(0, np.int64)] * len(episodes)
        for first_step, _, first_episode, count in batch.panels:
            for e in range(count):
                given = batch.order[first_episode + e]
                steps = slice(first_step, first_step + episodes[given].length)
                found[given] = columns[steps, e * n : (e + 1) * n].astype(np.int64)
        return found

    def estimate(self, episodes: Sequence[Episode]) -> Estimate:
        """As `TorchLearner.estimate`."""
        batch, agent = self._load(episodes), self._agent
        networks = self._networks(batch, False)
        with np.errstate(over="ignore", invalid="ignore"):
            q_tot, realised = believed(networks)
        hidden = self.algorithm.networks["agent"]["fc1"][0]
        return Estimate(q_tot, realised, agent.dead_units(batch) / hidden)

    def _copy_targets(self) -> None:
        super()._copy_targets()
        if hasattr(self, "_target"):  # not yet while the first weights are drawn
            self._index_targets()

    def _evolve(self, network: str, grads: dict[str, NDArray[np.float32]], progress: float) -> None:
        super()._evolve(network, grads, progress)
        self._index(network)

    def load_state(self, arrays: dict[str, NDArray[Any]], updates: int, replaced: dict[str, float]) -> None:
        """Inverse of `state`."""
        super().load_state(arrays, updates, replaced)
        for network in self.algorithm.networks:
            self._index(network)
        self._index_targets()
