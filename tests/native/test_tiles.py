"""Products and gates of every instruction set that this CPU has, through the GRU that trains on them."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from mast_edge.native import _core

SETS = _core.instruction_sets()


@pytest.fixture(autouse=True)
def same_set_afterwards() -> Iterator[None]:
    before = _core.kernel_path()
    yield
    _core.use_instruction_set(before)


def recurrence(sequences: int, steps: int, hidden: int) -> list[NDArray[np.float32]]:
    """States, gates and both gradients of random sequences of one length."""
    rng = np.random.default_rng(4)
    rows = sequences * steps
    alive = np.full(steps, sequences)
    from_input, d_hidden = (rng.normal(size=(rows, k * hidden)).astype(np.float32) for k in (3, 1))
    w_hh = rng.normal(scale=hidden**-0.5, size=(3 * hidden, hidden)).astype(np.float32)
    b_hh = rng.normal(size=3 * hidden).astype(np.float32)
    states, gates, d_input, d_recurrent = (np.empty((rows, k * hidden), np.float32) for k in (1, 4, 3, 3))
    _core.gru_forward(alive, from_input, w_hh, b_hh, states, gates)
    _core.gru_backward(alive, w_hh, states, gates, d_hidden, d_input, d_recurrent)
    return [states, gates, d_input, d_recurrent]


@pytest.mark.parametrize("hidden", [16, 48, 64])
@pytest.mark.parametrize("sequences", range(1, 18))
def test_all_instruction_sets_compute_the_same(sequences: int, hidden: int) -> None:
    found = []
    for name in reversed(SETS):
        _core.use_instruction_set(name)
        found.append(recurrence(sequences, 3, hidden))
    for other in found[1:]:
        for ours, plain in zip(other, found[0], strict=True):
            np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)
