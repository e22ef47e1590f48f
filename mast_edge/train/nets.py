"""Networks as functions of named tensors, and the flat bank that holds the tensors.

All parameters of all trained networks lie in one flat buffer, so that masking, clipping, the optimiser and
target copies are each a handful of operations over one tensor. Names are `<network>.<layer>.weight`, `.bias`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mast_edge.topology import Shapes
from mast_edge.train.recurrence import PackedRows, gru
from mast_edge.train.vector.recurrence import PaddedRows

NetworkShapes = Mapping[str, Shapes]
"""Network name -> layer name -> (out, in)."""


class ParameterBank:
    """Named views into one flat float32 tensor; `grad` is a flat tensor with the same layout.

    Args:
        networks: which networks and layers to hold. Every layer has a weight (out, in) and a bias (out,).
        device: where the tensors live.
        trained: whether gradients are kept (targets have none).
    """

    def __init__(self, networks: NetworkShapes, device: torch.device, *, trained: bool) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        for network, layers in networks.items():
            for layer, (out, in_) in layers.items():
                self.shapes[f"{network}.{layer}.weight"] = (out, in_)
                self.shapes[f"{network}.{layer}.bias"] = (out,)
        self.sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}
        total = sum(self.sizes.values())
        self.flat = torch.zeros(total, device=device)
        self.grad = torch.zeros(total if trained else 0, device=device)
        self.tensors: dict[str, Tensor] = {}
        for name, view in self.views(self.flat).items():
            self.tensors[name] = view
        if trained:
            gradients = self.views(self.grad)
            for name, view in self.tensors.items():
                view.requires_grad_(True)
                view.grad = gradients[name]

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """`flat`, laid out like this bank, cut into named tensors that share its memory."""
        return {name: flat[i : i + self.sizes[name]].view(self.shapes[name]) for name, i in self.offsets()}

    def offsets(self) -> Iterator[tuple[str, int]]:
        """Name and first position in `flat` of every tensor, in order."""
        start = 0
        for name, size in self.sizes.items():
            yield name, start
            start += size

    def part(self, network: str) -> Tensor:
        """The flat tensors of one network, in one piece."""
        of_network = [(i, self.sizes[name]) for name, i in self.offsets() if name.startswith(network + ".")]
        (first, _), (last, size) = of_network[0], of_network[-1]
        return self.flat[first : last + size]

    def network(self, network: str) -> dict[str, Tensor]:
        """The tensors of one network, without its prefix: `fc1.weight` and so on."""
        prefix = network + "."
        return {name[len(prefix) :]: t for name, t in self.tensors.items() if name.startswith(prefix)}

    def numpy(self, network: str) -> dict[str, NDArray[np.float32]]:
        """Copies of one network's tensors, for acting and for files."""
        return {name: t.detach().cpu().numpy().copy() for name, t in self.network(network).items()}


def initial_weights(networks: NetworkShapes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """PyTorch's default initialisation, drawn in the order of `networks` (algorithms.md 2).

    Linear weights and biases are uniform in +-1/sqrt(in), GRU ones in +-1/sqrt(H).
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for network, layers in networks.items():
        for layer, (out, in_) in layers.items():
            bound = 1.0 / np.sqrt(in_)  # for both GRU matrices in = H
            weights[f"{network}.{layer}.weight"] = rng.uniform(-bound, bound, (out, in_)).astype(np.float32)
            weights[f"{network}.{layer}.bias"] = rng.uniform(-bound, bound, out).astype(np.float32)
    return weights


def agent_q(p: Mapping[str, Tensor], inputs: Tensor, rows: PackedRows | PaddedRows) -> Tensor:
    """Utilities of the recurrent agent over whole episodes, hidden state zero at the start of each.

    Source: algorithms.md 2.1.

    Args:
        p: `fc1.weight` (H, F), ... as named in `mast_edge.spec`.
        inputs: (P, F) float32, packed rows.
        rows: their order.

    Returns:
        (P, A) float32.
    """
    x = torch.relu(F.linear(inputs, p["fc1.weight"], p["fc1.bias"]))
    hidden = gru(x, p["gru_ih.weight"], p["gru_ih.bias"], p["gru_hh.weight"], p["gru_hh.bias"], rows)
    return F.linear(hidden, p["fc2.weight"], p["fc2.bias"])


@dataclass(frozen=True, slots=True)
class Mixing:
    """The mixing weights that a state generates, for any number of joint actions (algorithms.md 2.2).

    Attributes:
        w1: (M, N, E), not negative. b1: (M, E). wf: (M, E), not negative. v: (M,).
    """

    w1: Tensor
    b1: Tensor
    wf: Tensor
    v: Tensor

    def q_tot(self, q: Tensor) -> Tensor:
        """(M, N) utilities of one joint action per state -> (M,)."""
        hidden = F.elu((q.unsqueeze(2) * self.w1).sum(1) + self.b1)
        return (hidden * self.wf).sum(1) + self.v

    def alternatives(self, chosen: Tensor, q: Tensor) -> Tensor:
        """q_tot of every joint action that differs from `chosen` in one agent's action at most.

        The hypernetworks have run once; only the hidden sum of the changed agent moves (algorithms.md 12).

        Args:
            chosen: (M, N) utilities of the joint action.
            q: (M, N, A) all utilities.

        Returns:
            (M, N, A); entry (i, k) has agent i take action k.
        """
        hidden = (chosen.unsqueeze(2) * self.w1).sum(1) + self.b1
        moved = (q - chosen.unsqueeze(2)).unsqueeze(3) * self.w1.unsqueeze(2)
        moved += hidden[:, None, None, :]
        return (F.elu(moved, inplace=True) * self.wf[:, None, None, :]).sum(3) + self.v[:, None, None]


def mixing(p: Mapping[str, Tensor], state: Tensor, n_agents: int) -> Mixing:
    """Runs the hypernetworks of QMIX's mixer (algorithms.md 2.2; Rashid et al. 2020).

    Args:
        p: `hyper_w_1.0.weight` and so on.
        state: (M, S).
        n_agents: N.
    """
    # The four layers that read the state run as one product.
    first = ("hyper_w_1.0", "hyper_w_final.0", "V.0", "hyper_b_1")
    stacked = F.linear(
        state, torch.cat([p[f"{n}.weight"] for n in first]), torch.cat([p[f"{n}.bias"] for n in first])
    )
    hyper, embed = p["hyper_w_1.0.weight"].shape[0], p["V.0.weight"].shape[0]
    w1_in, wf_in, v_in, b1 = torch.split(stacked, [hyper, hyper, embed, embed], dim=1)
    w1 = F.linear(torch.relu(w1_in), p["hyper_w_1.2.weight"], p["hyper_w_1.2.bias"]).abs()
    wf = F.linear(torch.relu(wf_in), p["hyper_w_final.2.weight"], p["hyper_w_final.2.bias"]).abs()
    v = F.linear(torch.relu(v_in), p["V.2.weight"], p["V.2.bias"]).squeeze(1)
    return Mixing(w1.view(-1, n_agents, embed), b1, wf, v)


def mixer_q_tot(p: Mapping[str, Tensor], q: Tensor, state: Tensor) -> Tensor:
    """QMIX mixing network: monotonic in every agent's utility; (M, N), (M, S) -> (M,) q_tot."""
    return mixing(p, state, q.shape[1]).q_tot(q)


def central_q_star(p: Mapping[str, Tensor], q: Tensor, state: Tensor) -> Tensor:
    """OW-QMIX's unrestricted mixer (algorithms.md 2.3): no sign constraint, no hypernetwork.

    Args:
        p: `net.0.weight` and so on.
        q: (M, N) central utilities.
        state: (M, S).

    Returns:
        (M,) Q*.
    """
    x = torch.cat([state, q], 1)
    for layer in ("net.0", "net.2", "net.4"):
        x = torch.relu(F.linear(x, p[f"{layer}.weight"], p[f"{layer}.bias"]))
    v = torch.relu(F.linear(state, p["V.0.weight"], p["V.0.bias"]))
    q_star = F.linear(x, p["net.6.weight"], p["net.6.bias"]) + F.linear(v, p["V.2.weight"], p["V.2.bias"])
    return q_star.squeeze(1)
