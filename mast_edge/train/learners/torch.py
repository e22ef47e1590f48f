"""The reference learner: masked-dense updates in PyTorch, on CPU or GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import MastEdgeError
from mast_edge.spec import EnvSpec
from mast_edge.topology import Topology
from mast_edge.train.algos.base import Algorithm, Loss, utilities
from mast_edge.train.nets import ParameterBank, initial_weights
from mast_edge.train.replay import Episode, pack
from mast_edge.train.sparse.base import SparseMethod
from mast_edge.train.targets import realised_return
from mast_edge.train.tensor_batch import TensorBatch, tensor_batch

INACTIVE_RESCALE_LIMIT = 3.0
"""`init_rescale` multiplies surviving weights by min(3, 1/sqrt(density)) (algorithms.md 14)."""


class Divergence(MastEdgeError):
    """Loss, gradient, utilities or weights are not finite; the last good checkpoint is kept."""

    @classmethod
    def at(cls, update: int, wrong: Sequence[str]) -> "Divergence":
        """The error of an update, naming what is not finite."""
        return cls(
            "learner: loss, gradient, utilities and weights must be finite; got others in "
            f"{', '.join(wrong)} at update {update}. The last checkpoint is kept; lower optim.lr or look at "
            "the rewards."
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the networks believe of stored episodes, beside what happened (paper, Figure 5b).

    Attributes:
        q_tot: mean online q_tot of the taken actions.
        realised: mean discounted return that followed them.
        dead_units: share of the agent's first hidden layer that is zero on every row.
    """

    q_tot: float
    realised: float
    dead_units: float


class TorchLearner:
    """Online and target networks, their topologies, and RMSprop over one flat buffer.

    Args:
        config: resolved experiment.
        algorithm: networks and loss.
        methods: network name -> its sparse method.
        env: sizes of its episodes.
        rng: stream of the initial weights; methods with the same seed share them.
        device: where to compute. On a CPU one thread, so that results do not depend on the machine's load.
        masks: network -> masks to begin with, instead of those of the method (tickets).
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
    ) -> None:
        self.config = config
        self.algorithm = algorithm
        self.methods = methods
        self.env = env
        self.device = device
        self.online = ParameterBank(algorithm.networks, device, trained=True)
        copied = {network: algorithm.networks[network] for network in algorithm.target_networks}
        self.target = ParameterBank(copied, device, trained=False)
        self.square_avg = torch.zeros_like(self.online.flat)
        self.mask = torch.ones_like(self.online.flat)
        self.topologies: dict[str, Topology] = {
            network: methods[network].initial(shapes) if masks is None else masks[network]
            for network, shapes in algorithm.networks.items()
        }
        self.born: dict[str, dict[str, NDArray[np.int32]]] = {
            network: {layer: np.zeros(mask.shape, np.int32) for layer, mask in topology.items()}
            for network, topology in self.topologies.items()
        }
        """Update at which each kept weight was grown last; 0 = present from the start."""
        self.updates = 0
        self.replaced: dict[str, float] = {}
        """`network.layer` -> share of its kept weights that the last evolution replaced."""
        self._load_initial(initial_weights(algorithm.networks, rng))

    @property
    def description(self) -> str:
        """What computes the updates, for people and records."""
        return f"torch on {self.device}"

    def _load_initial(self, weights: dict[str, NDArray[np.float32]]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.online.tensors[name].copy_(torch.from_numpy(value))
            self._write_masks()
            if self.config.topology.init_rescale:
                for name, mask in self.online.views(self.mask).items():
                    density = float(mask.mean())
                    self.online.tensors[name].mul_(min(INACTIVE_RESCALE_LIMIT, density**-0.5))
            self.online.flat.mul_(self.mask)
            self._copy_targets()

    def _copy_targets(self) -> None:
        """Hard copy; the masks go with the weights, whose inactive ones are zero (algorithms.md 6)."""
        for network in self.algorithm.target_networks:
            self.target.part(network).copy_(self.online.part(network).detach())

    def _write_masks(self) -> None:
        views = self.online.views(self.mask)
        for network, topology in self.topologies.items():
            for layer, mask in topology.items():
                views[f"{network}.{layer}.weight"].copy_(torch.from_numpy(mask))

    def _tensors(self, episodes: Sequence[Episode]) -> TensorBatch:
        packed = pack(episodes, self.env, timeout_is_terminal=self.config.timeout_is_terminal)
        return tensor_batch(packed, self.device)

    def update(self, episodes: Sequence[Episode], t_env: int) -> dict[str, float]:
        """One gradient update, then evolution and target copy when due (algorithms.md 6, steps 2 to 6).

        Args:
            episodes: the batch.
            t_env: environment steps so far.

        Returns:
            loss, grad_norm, q_tot, target, td_error, and what the algorithm adds.

        Raises:
            Divergence: loss, utilities, gradient norm, target weights or the new weights are not finite.
        """
        self.online.grad.zero_()
        batch = self._tensors(episodes)
        made = self.algorithm.loss(self.online, self.target, batch, t_env)
        made.loss.backward()  # type: ignore[no-untyped-call]
        dense_grads = {n: self.dense_gradients(n) for n in self.evolving(t_env)}
        metrics = self._step(made, made.summary(batch))
        self.advance(dense_grads, t_env)
        return metrics

    def evolving(self, t_env: int) -> list[str]:
        """Networks whose topology moves with the next update."""
        progress = min(1.0, t_env / self.config.t_max)
        return [n for n, m in self.methods.items() if m.due(self.updates + 1, progress)]

    def dense_gradients(self, network: str) -> dict[str, NDArray[np.float32]]:
        """Copies of a network's gradients by layer."""
        return self._layer_arrays(network, self.online.views(self.online.grad))

    def advance(self, dense_grads: Mapping[str, dict[str, NDArray[np.float32]]], t_env: int) -> None:
        """What follows the optimiser's step: counts the update, evolves, and copies targets when due.

        Args:
            dense_grads: of the networks that evolve, before masking.
            t_env: environment steps so far.
        """
        self.updates += 1
        for network, grads in dense_grads.items():
            self._evolve(network, grads, min(1.0, t_env / self.config.t_max))
        if self.updates % self.config.target.update_interval == 0:
            self._copy_targets()

    @torch.no_grad()
    def _step(self, made: Loss, metrics: Mapping[str, Tensor]) -> dict[str, float]:
        """Masks and clips the gradient, applies RMSprop (algorithms.md 5).

        What the host must know is read once, at the end: until then a device runs on by itself.

        Returns:
            `metrics` and the unclipped `grad_norm` as numbers.
        """
        optim, grad, flat = self.config.optim, self.online.grad, self.online.flat
        grad.mul_(self.mask)
        norm = torch.linalg.vector_norm(grad, dtype=torch.float64)  # float32 sums err by 3e-5 at 500k weights
        # The loss may not show them: an operator skips actions, and gates bound what is infinite.
        met = {"loss": made.loss, "utilities": made.q, "gradient norm": norm}
        met["target weights"] = self.target.flat
        finite = torch.stack([torch.isfinite(value).all() for value in met.values()])
        grad.mul_((optim.clip_norm / (norm + 1e-6)).clamp_max(1.0).to(grad.dtype))
        square_avg = self.square_avg.mul(optim.alpha).addcmul_(grad, grad, value=1.0 - optim.alpha)
        moved = flat.addcdiv(grad, square_avg.sqrt().add_(optim.eps), value=-optim.lr).mul_(self.mask)
        good = finite.all()
        self.square_avg.copy_(torch.where(good, square_avg, self.square_avg))
        flat.copy_(torch.where(good, moved, flat))

        numbers = [*finite, torch.isfinite(flat).all(), norm, *metrics.values()]
        read = torch.stack([number.double() for number in numbers]).tolist()
        names = [*met, "weights"]
        # Weights are looked at where nothing else is wrong: what was wrong before has not moved them.
        wrong = [n for n, fine in zip(names, read, strict=False) if not fine]
        if wrong:
            raise Divergence.at(self.updates + 1, wrong[:-1] or wrong if wrong[-1] == "weights" else wrong)
        return dict(zip(["grad_norm", *metrics], read[len(names) :], strict=True))

    @torch.no_grad()
    def greedy_actions(self, episodes: Sequence[Episode]) -> list[NDArray[np.int64]]:
        """Best available actions of the online agent, unrolled along stored episodes: (L, N) for each."""
        tensors = self._tensors(episodes)
        q = utilities(self.online, "agent", tensors).masked_fill(~tensors.avail, -torch.inf)
        actions = q.argmax(2)[tensors.now].cpu().numpy()
        by_episode = np.argsort(tensors.episode.cpu().numpy(), kind="stable")
        order = sorted(range(len(episodes)), key=lambda i: -episodes[i].length)
        ends = np.cumsum([episodes[i].length for i in order])
        parts = np.split(actions[by_episode], ends[:-1])
        return [parts[order.index(i)] for i in range(len(episodes))]

    @torch.no_grad()
    def estimate(self, episodes: Sequence[Episode]) -> Estimate:
        """Believed and realised values of stored episodes."""
        tensors = self._tensors(episodes)
        q_tot = self.algorithm.q_tot(self.online, utilities(self.online, "agent", tensors), tensors)
        mask = tensors.padded(torch.ones_like(tensors.reward))
        realised = realised_return(tensors.padded(tensors.reward), mask, self.config.gamma)
        agent = self.online.network("agent")
        hidden = torch.nn.functional.linear(tensors.inputs, agent["fc1.weight"], agent["fc1.bias"])
        return Estimate(
            q_tot=float(q_tot.mean()),
            realised=float(realised[tensors.episode, tensors.time].mean()),
            dead_units=float((hidden.flatten(0, 1).amax(0) <= 0).float().mean()),
        )

    @torch.no_grad()
    def _evolve(self, network: str, grads: dict[str, NDArray[np.float32]], progress: float) -> None:
        """Moves one network to its next topology; what was grown or dropped starts from zero (7.3)."""
        before = self.topologies[network]
        weights = self._layer_arrays(network, self.online.tensors)
        after = self.methods[network].update(before, weights, grads, progress)
        self.topologies[network] = after
        self._write_masks()
        slots = self.online.views(self.square_avg)
        for layer, mask in after.items():
            changed = torch.from_numpy(mask != before[layer]).to(self.device)
            name = f"{network}.{layer}.weight"
            self.online.tensors[name].masked_fill_(changed, 0.0)
            slots[name].masked_fill_(changed, 0.0)
            grown = mask & ~before[layer]
            self.born[network][layer][grown] = self.updates
            self.replaced[f"{network}.{layer}"] = float(grown.sum() / mask.sum())

    def _layer_arrays(self, network: str, tensors: dict[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        return {
            layer: tensors[f"{network}.{layer}.weight"].detach().cpu().numpy().copy()
            for layer in self.topologies[network]
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """All tensors that a resumed run needs, as arrays."""
        arrays: dict[str, NDArray[Any]] = {
            "online": self.online.flat.detach().cpu().numpy(),
            "target": self.target.flat.cpu().numpy(),
            "square_avg": self.square_avg.cpu().numpy(),
        }
        for network, topology in self.topologies.items():
            for layer, mask in topology.items():
                arrays[f"mask.{network}.{layer}"] = np.packbits(mask)
                arrays[f"born.{network}.{layer}"] = self.born[network][layer]
        return arrays

    @torch.no_grad()
    def load_state(self, arrays: dict[str, NDArray[Any]], updates: int, replaced: dict[str, float]) -> None:
        """Inverse of `state`."""
        self.online.flat.copy_(torch.from_numpy(arrays["online"]))
        self.target.flat.copy_(torch.from_numpy(arrays["target"]))
        self.square_avg.copy_(torch.from_numpy(arrays["square_avg"]))
        for network, topology in self.topologies.items():
            for layer, mask in topology.items():
                bits = np.unpackbits(arrays[f"mask.{network}.{layer}"], count=mask.size)
                topology[layer] = bits.reshape(mask.shape).astype(bool)
                self.born[network][layer] = arrays[f"born.{network}.{layer}"].copy()
        self._write_masks()
        self.updates = updates
        self.replaced = replaced
