"""The reference learner: masked-dense updates in PyTorch, on CPU or GPU."""

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import MastEdgeError
from mast_edge.spec import EnvSpec
from mast_edge.topology import Topology
from mast_edge.train.algos.qmix import Qmix, TensorBatch
from mast_edge.train.nets import ParameterBank, initial_weights
from mast_edge.train.replay import PackedBatch
from mast_edge.train.sparse.base import SparseMethod

INACTIVE_RESCALE_LIMIT = 3.0
"""`init_rescale` multiplies surviving weights by min(3, 1/sqrt(density)) (algorithms.md 14)."""


class Divergence(MastEdgeError):
    """Loss or gradient is not finite; the last good checkpoint is kept."""


class TorchLearner:
    """Online and target networks, their topologies, and RMSprop over one flat buffer.

    Args:
        config: resolved experiment.
        env: sizes of the environment.
        methods: network name -> its sparse method.
        rng: stream of the initial weights; methods with the same seed share them.
        device: where to compute. On a CPU one thread, so that results do not depend on the machine's load.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        env: EnvSpec,
        algorithm: Qmix,
        methods: dict[str, SparseMethod],
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self.config = config
        self.algorithm = algorithm
        self.methods = methods
        self.device = device
        self.online = ParameterBank(algorithm.networks, device, trained=True)
        self.target = ParameterBank(algorithm.networks, device, trained=False)
        self.square_avg = torch.zeros_like(self.online.flat)
        self.mask = torch.ones_like(self.online.flat)
        self.topologies: dict[str, Topology] = {
            network: methods[network].initial(shapes) for network, shapes in algorithm.networks.items()
        }
        self.updates = 0
        self.replaced = 0.0
        """Share of the kept weights that the last evolution replaced."""
        self._load_initial(initial_weights(algorithm.networks, rng))

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
            self.target.flat.copy_(self.online.flat)

    def _write_masks(self) -> None:
        views = self.online.views(self.mask)
        for network, topology in self.topologies.items():
            for layer, mask in topology.items():
                views[f"{network}.{layer}.weight"].copy_(torch.from_numpy(mask))

    def update(self, batch: PackedBatch, t_env: int) -> dict[str, float]:
        """One gradient update, then evolution and target copy when due (algorithms.md 6, steps 2 to 6).

        Args:
            batch: packed episodes.
            t_env: environment steps so far.

        Returns:
            loss, grad_norm, q_tot, target, td_error.

        Raises:
            Divergence: loss or gradient norm is not finite; the weights are as before.
        """
        self.online.grad.zero_()
        loss, metrics = self.algorithm.loss(self.online, self.target, tensor_batch(batch, self.device), t_env)
        loss.backward()  # type: ignore[no-untyped-call]
        progress = min(1.0, t_env / self.config.t_max)
        next_update = self.updates + 1
        evolving = [n for n, m in self.methods.items() if m.due(next_update, progress)]
        dense_grads = {n: self._layer_arrays(n, self.online.views(self.online.grad)) for n in evolving}

        norm = self._step(loss)
        self.updates = next_update
        for network in evolving:
            self._evolve(network, dense_grads[network], progress)
        if self.updates % self.config.target.update_interval == 0:
            self.target.flat.copy_(self.online.flat.detach())
        return {"loss": float(loss.detach()), "grad_norm": norm, **{k: float(v) for k, v in metrics.items()}}

    @torch.no_grad()
    def _step(self, loss: Tensor) -> float:
        """Masks and clips the gradient, applies RMSprop (algorithms.md 5); returns the unclipped norm."""
        optim, grad, flat = self.config.optim, self.online.grad, self.online.flat
        grad.mul_(self.mask)
        norm = float(grad.norm())
        if not (np.isfinite(norm) and bool(torch.isfinite(loss.detach()))):
            raise Divergence(
                f"learner: loss and gradient must be finite; got loss {float(loss.detach())}, gradient norm "
                f"{norm} at update {self.updates + 1}. The last checkpoint is kept; lower optim.lr or look "
                "at the rewards."
            )
        grad.mul_(min(1.0, optim.clip_norm / (norm + 1e-6)))
        self.square_avg.mul_(optim.alpha).addcmul_(grad, grad, value=1.0 - optim.alpha)
        flat.addcdiv_(grad, self.square_avg.sqrt().add_(optim.eps), value=-optim.lr)
        flat.mul_(self.mask)
        return norm

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
        kept = sum(int(m.sum()) for m in after.values())
        grown = sum(int((m & ~before[layer]).sum()) for layer, m in after.items())
        self.replaced = grown / kept if kept else 0.0

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
                arrays[f"mask.{network}.{layer}"] = mask.astype(np.uint8)
        return arrays

    @torch.no_grad()
    def load_state(self, arrays: dict[str, NDArray[Any]], updates: int, replaced: float) -> None:
        """Inverse of `state`."""
        self.online.flat.copy_(torch.from_numpy(arrays["online"]))
        self.target.flat.copy_(torch.from_numpy(arrays["target"]))
        self.square_avg.copy_(torch.from_numpy(arrays["square_avg"]))
        for network, topology in self.topologies.items():
            for layer in topology:
                topology[layer] = arrays[f"mask.{network}.{layer}"].astype(bool)
        self._write_masks()
        self.updates = updates
        self.replaced = replaced


def tensor_batch(batch: PackedBatch, device: torch.device) -> TensorBatch:
    """The batch as tensors on `device`; `alive` stays on the CPU."""
    tensors = {f.name: torch.from_numpy(getattr(batch, f.name)) for f in fields(batch)}
    alive = tensors.pop("alive")
    return TensorBatch(alive=alive, **{name: t.to(device) for name, t in tensors.items()})
