"""Parameters of R runs in one tensor, run by run."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast_edge.train.nets import ParameterBank


class Stack:
    """Banks of R runs as rows of one (R, total) tensor, in place: each bank goes on as a view of its row.

    Args:
        banks: of equal shapes, on one device.
    """

    def __init__(self, banks: Sequence[ParameterBank]) -> None:
        self.first = banks[0]
        trained = self.first.grad.numel() > 0
        self.flat = torch.stack([bank.flat.detach() for bank in banks])
        self.grad = torch.zeros_like(self.flat) if trained else self.flat[:, :0]
        for bank, flat, grad in zip(banks, self.flat, self.grad, strict=True):
            bank.flat, bank.grad = flat, grad
            bank.tensors = bank.views(flat)
            for name, gradient in bank.views(grad).items() if trained else ():
                bank.tensors[name].requires_grad_(True).grad = gradient

    def tensors(self, first: int, end: int) -> dict[str, Tensor]:
        """Named (end - first, ...) tensors of neighbouring runs, in place; leaves of the present graph."""
        cut = self._cut(self.flat[first:end])
        return {name: tensor.requires_grad_(self.grad.numel() > 0) for name, tensor in cut.items()}

    @torch.no_grad()
    def take_gradients(self, loss: Tensor, of: dict[str, Tensor], first: int, end: int) -> None:
        """Writes the gradients of a loss, with respect to tensors of these runs, into `grad`."""
        found = torch.autograd.grad(loss, list(of.values()), materialize_grads=True)
        torch._foreach_copy_(list(self._cut(self.grad[first:end]).values()), found)

    def _cut(self, flat: Tensor) -> dict[str, Tensor]:
        pieces = torch.split(flat, list(self.first.sizes.values()), dim=1)
        shapes = self.first.shapes.items()
        return {name: piece.view(-1, *shape) for (name, shape), piece in zip(shapes, pieces, strict=True)}

    def numpy(self, network: str) -> list[dict[str, NDArray[np.float32]]]:
        """Each run's `ParameterBank.numpy`, by one transfer."""
        sizes, prefix = self.first.sizes, network + "."
        starts = dict(self.first.offsets())
        names = [name for name in sizes if name.startswith(prefix)]
        first, last = starts[names[0]], names[-1]
        host = self.flat[:, first : starts[last] + sizes[last]].cpu().numpy().copy()
        cuts = {name: slice(starts[name] - first, starts[name] - first + sizes[name]) for name in names}
        shapes = self.first.shapes
        return [
            {name.removeprefix(prefix): row[cut].reshape(shapes[name]) for name, cut in cuts.items()}
            for row in host
        ]


def seen(bank: ParameterBank, tensors: dict[str, Tensor]) -> ParameterBank:
    """`bank` with other values under the same names."""
    view = copy.copy(bank)
    view.tensors = tensors
    return view

