"""The native GRU against torch's, on ragged sequences, forward and backward."""

import numpy as np
import pytest
import torch

from mast_edge.native._core import gru_forward
from mast_edge.train.recurrence import PackedRows, gru


def ragged(lengths: list[int]) -> PackedRows:
    alive = torch.tensor([sum(n > t for n in lengths) for t in range(max(lengths))])
    offsets = torch.cumsum(alive, 0) - alive
    now = torch.cat([offsets[t] + torch.arange(alive[t + 1]) for t in range(len(alive) - 1)] or [alive[:0]])
    following = torch.cat(
        [offsets[t + 1] + torch.arange(alive[t + 1]) for t in range(len(alive) - 1)] or [alive[:0]]
    )
    place = torch.cat([t * len(lengths) + torch.arange(alive[t]) for t in range(len(alive))])
    return PackedRows(alive, place, now, following)


@pytest.mark.parametrize("lengths", [[1], [5, 5, 5], [9, 7, 7, 3, 2, 1, 1], [4] * 13 + [2] * 6])
@pytest.mark.parametrize("hidden", [16, 64])
def test_values_and_gradients_equal_torch(lengths, hidden) -> None:
    rows = ragged(lengths)
    generator = torch.Generator().manual_seed(1)
    total = int(rows.alive.sum())
    shapes = [(total, hidden), (3 * hidden, hidden), (3 * hidden,), (3 * hidden, hidden), (3 * hidden,)]
    tensors = [torch.randn(s, generator=generator) * 0.3 for s in shapes]
    weight = torch.randn(total, hidden, generator=generator)
    results = []
    for native in (True, False):
        leaves = [t.clone().requires_grad_() for t in tensors]
        out = gru(*leaves, rows, native=native)
        (out * weight).sum().backward()
        results.append([out.detach(), *(t.grad for t in leaves)])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=2e-6 * float(theirs.abs().max()) + 1e-7)


def test_without_gradients_nothing_is_kept() -> None:
    rows = ragged([3, 2])
    x, w, b = torch.randn(5, 16), torch.randn(48, 16), torch.randn(48)
    with torch.no_grad():
        assert torch.equal(gru(x, w, b, w, b, rows), gru(x, w, b, w, b, rows))


@pytest.mark.parametrize(
    ("alive", "message"), [([2, 3], "never increase"), ([3, 1], "must sum"), ([0, 5], "positive")]
)
def test_row_counts_are_checked(alive, message) -> None:
    f = np.float32
    with pytest.raises(ValueError, match=message):
        gru_forward(
            np.array(alive),
            np.zeros((5, 48), f),
            np.zeros((48, 16), f),
            np.zeros(48, f),
            np.zeros((5, 16), f),
            None,
        )
