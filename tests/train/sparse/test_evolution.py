"""Numerical check 6 of algorithms.md 13, and the invariants of evolution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.train.sparse.evolution import cosine_fraction, evolve_layer


@pytest.mark.parametrize(
    ("f", "zeta"), [(0, 0.5), (0.25, 0.42677669529663687), (0.5, 0.25), (0.75, 0.07322330470336313), (1, 0.0)]
)
def test_cosine_schedule(f, zeta) -> None:
    assert cosine_fraction(0.5, f) == pytest.approx(zeta, abs=1e-15)


@pytest.mark.parametrize(("nnz", "ks"), [(934, (467, 233, 0)), (1117, (558, 279, 0)), (341, (170, 85, 0))])
def test_connections_replaced_per_layer(nnz, ks) -> None:
    mask = np.zeros((100, 100), bool)
    mask.ravel()[:nnz] = True
    rng = np.random.default_rng(0)
    for f, k in zip((0.0, 0.5, 1.0), ks, strict=True):
        score = (~mask).astype(np.float32)  # everything new scores above everything kept
        after = evolve_layer(
            rng.normal(size=mask.shape).astype(np.float32), mask, score, cosine_fraction(0.5, f)
        )
        assert int((after & ~mask).sum()) == k


def test_the_worked_example() -> None:
    w = np.array([[0.5, -0.1, 0, 0.3], [0, -0.7, 0.2, 0]], np.float32)
    mask = np.array([[1, 1, 0, 1], [0, 1, 1, 0]], bool)
    g = np.array([[0.2, 0.9, 0.4, 0.1], [0.8, 0.3, 0.05, 0.6]], np.float32)
    after = evolve_layer(w, mask, g, 0.4)
    assert after.tolist() == [[True, True, False, True], [True, True, False, False]]


def test_ties_go_to_the_lowest_flat_index() -> None:
    mask = np.array([[True, True, True, True, False, False, False, False]])
    after = evolve_layer(np.ones((1, 8), np.float32), mask, np.zeros((1, 8), np.float32), 0.5)
    # Dropped 0 and 1, which are then the lowest candidates and grow again.
    assert after.tolist() == mask.tolist()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 12), st.integers(1, 12))
def test_nnz_never_changes(seed, fraction, out, in_) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((out, in_)) < 0.4
    weight = (rng.normal(size=(out, in_)) * mask).astype(np.float32)
    after = evolve_layer(weight, mask, np.abs(rng.normal(size=(out, in_))).astype(np.float32), fraction)
    assert after.sum() == mask.sum()
    kept = np.abs(weight[mask & after])
    dropped = np.abs(weight[mask & ~after])
    if kept.size and dropped.size:
        assert dropped.max() <= np.sort(np.abs(weight[mask]))[int(np.floor(fraction * mask.sum() + 1e-9)) - 1]
