"""Numerical check 6 of algorithms.md 13, and the invariants of evolution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.topology import blocks, layer_blocks
from mast_edge.train.sparse.evolution import cosine_fraction, evolve_layer, gradient_scores, random_scores


def floats(rows):
    return np.array(rows, np.float32)


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
            floats(rng.normal(size=mask.shape)), mask, score, cosine_fraction(0.5, f), blocks(100, 1)
        )
        assert int((after & ~mask).sum()) == k


def test_the_worked_example() -> None:
    w = np.array([[0.5, -0.1, 0, 0.3], [0, -0.7, 0.2, 0]], np.float32)
    mask = np.array([[1, 1, 0, 1], [0, 1, 1, 0]], bool)
    g = np.array([[0.2, 0.9, 0.4, 0.1], [0.8, 0.3, 0.05, 0.6]], np.float32)
    after = evolve_layer(w, mask, g, 0.4, blocks(2, 1))
    assert after.tolist() == [[True, True, False, True], [True, True, False, False]]


def test_ties_go_to_the_lowest_flat_index() -> None:
    mask = np.array([[True, True, True, True, False, False, False, False]])
    after = evolve_layer(np.ones((1, 8), np.float32), mask, np.zeros((1, 8), np.float32), 0.5, blocks(1, 1))
    # Dropped 0 and 1, which are then the lowest candidates and grow again.
    assert after.tolist() == mask.tolist()


def test_blocks_of_each_class_are_replaced_by_themselves() -> None:
    """fc2 of 3s5z in 8x1: 25 full and 25 short blocks are kept (algorithms.md 7.4), so 12 of each change."""
    grouped = layer_blocks("fc2", 14, "8x1")
    kept = np.zeros((2, 64), bool)
    kept[:, :25] = True
    mask = grouped.spread(kept)
    after = evolve_layer(np.ones((14, 64), np.float32), mask, floats(~mask), 0.5, grouped)
    assert (grouped.whole(after) & ~kept).sum(axis=1).tolist() == [12, 12]


def test_a_worked_example_of_blocks() -> None:
    """Six rows in 4x1: a full group and a short one, two of four blocks kept in each, zeta 0.5 replaces one.

    Full: |w| sums to 1.2 in column 0 and to 1.0 in column 1, although -0.97 is the largest weight: 1 goes.
    Candidates 1, 2, 3 score 0.8, 1.0 and 0.9, although 0.9 of column 3 is the largest: 2 comes.
    Short: 0.2 in column 2 and 0.3 in column 3, both less than in any full block: 2 goes. Candidates 0, 1, 2
    score 0.1, 0.2 and 0.6: 2 comes again.
    """
    grouped = layer_blocks("fc1", 6, "4x1")
    kept = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], bool)
    weight = floats(
        [
            [0.3, -0.97, 0, 0],
            [-0.3, 0.01, 0, 0],
            [0.3, 0.01, 0, 0],
            [-0.3, -0.01, 0, 0],
            [0, 0, 0.1, -0.15],
            [0, 0, -0.1, 0.15],
        ]
    )
    gradient = floats(
        [
            [9.0, 0.2, 0.25, 0.9],
            [9.0, 0.2, -0.25, 0.0],
            [9.0, -0.2, 0.25, 0.0],
            [9.0, 0.2, -0.25, 0.0],
            [0.05, -0.1, 0.3, 7.0],
            [0.05, 0.1, 0.3, 7.0],
        ]
    )
    mask = grouped.spread(kept)
    score = gradient_scores({"fc1": mask}, {"fc1": gradient})["fc1"]
    after = evolve_layer(weight, mask, score, 0.5, grouped)
    assert after.astype(int).tolist() == 4 * [[1, 0, 1, 0]] + 2 * [[0, 0, 1, 1]]
    assert mask.astype(int).tolist() == 4 * [[1, 1, 0, 0]] + 2 * [
        [0, 0, 1, 1]
    ]  # the old mask stays as it was


def test_ties_between_blocks_go_to_the_lowest_group_then_column() -> None:
    """Two full groups of three columns: blocks 0..5, kept are 1, 2, 4 and 5; two are replaced."""
    grouped = blocks(8, 4)
    kept = np.array([[0, 1, 1], [0, 1, 1]], bool)
    mask = grouped.spread(kept)
    score = np.zeros((8, 3), np.float32)
    score[4:, 0] = 1.0  # block 3 is the best to grow; the rest tie
    after = evolve_layer(np.ones((8, 3), np.float32), mask, score, 0.5, grouped)
    # Dropped 1 and 2; candidates 0, 1, 2, 3; grown 3, then the lowest, 0.
    assert grouped.whole(after).astype(int).tolist() == [[1, 0, 0], [1, 1, 1]]


def test_growth_by_gradient_takes_the_largest_of_either_sign() -> None:
    mask = np.array([[True, True, True, True, False, False, False, False]])
    gradient = floats([[0.0, 0.0, 0.0, 0.0, 0.5, -0.9, 0.7, -0.6]])
    score = gradient_scores({"fc2": mask}, {"fc2": gradient})
    after = evolve_layer(floats([[4, 3, 2, 1, 0, 0, 0, 0]]), mask, score["fc2"], 0.5, blocks(1, 1))
    assert after.astype(int).tolist() == [[1, 1, 0, 0, 0, 1, 1, 0]]


def chi_square(counts, share, draws):
    """Pearson's statistic of how often each candidate was drawn; `share` of them are, without replacement."""
    c = len(counts)
    return ((counts - draws * share) ** 2).sum() / (draws * share * (1.0 - share)) * (c - 1) / c


def test_random_growth_draws_every_candidate_alike() -> None:
    """Four of eight are kept and two dropped: 2 of 6 candidates grow; 20.5 is p 0.001."""
    mask = np.array([[True, False, True, True, False, True, False, False]])
    weight = floats([[1, 0, 2, 3, 0, 4, 0, 0]])  # drops 0 and 2
    rng = np.random.default_rng(0)
    counts = np.zeros(8, int)
    for _ in range(3000):
        score = random_scores({"fc1": mask}, rng)["fc1"]
        counts += evolve_layer(weight, mask, score, 0.5, blocks(1, 1))[0]
    assert counts[[3, 5]].tolist() == [3000, 3000]
    assert chi_square(counts[[0, 1, 2, 4, 6, 7]], 1 / 3, 3000) < 20.5


def test_random_growth_draws_blocks_of_a_class_alike() -> None:
    """In each class 2 of 6 blocks are kept and 1 is dropped: 1 of 5 candidates grows; 18.5 is p 0.001."""
    grouped = layer_blocks("fc1", 6, "4x1")
    kept = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1]], bool)
    mask = grouped.spread(kept)
    weight = mask * floats([6, 5, 4, 3, 2, 1])  # drops column 1 of the full blocks, 5 of the short ones
    rng = np.random.default_rng(0)
    counts = np.zeros((2, 6), int)
    for _ in range(3000):
        score = random_scores({"fc1": mask}, rng)["fc1"]
        counts += grouped.whole(evolve_layer(weight, mask, score, 0.5, grouped))
    assert (counts[0, 0], counts[1, 4]) == (3000, 3000)
    assert chi_square(counts[0, 1:], 1 / 5, 3000) < 18.5
    assert chi_square(counts[1, [0, 1, 2, 3, 5]], 1 / 5, 3000) < 18.5


def kept_per_class(grouped, mask):
    kept = grouped.whole(mask)
    return [int(kept[groups].sum()) for _, groups in grouped.classes()]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["fc1", "gru_hh"]),
    st.integers(1, 20),
    st.integers(1, 12),
    st.sampled_from(["element", "4x1", "8x1"]),
)
def test_counts_of_each_class_and_whole_blocks_survive_many_evolutions(
    seed, layer, rows, in_, pattern
) -> None:
    rng = np.random.default_rng(seed)
    out = 3 * rows if layer == "gru_hh" else rows
    grouped = layer_blocks(layer, out, pattern)
    mask = grouped.spread(rng.random((len(grouped.starts), in_)) < rng.random())
    nnz, classes = mask.sum(), kept_per_class(grouped, mask)
    for _ in range(20):
        weight = floats(rng.normal(size=mask.shape)) * mask
        score = np.abs(floats(rng.normal(size=mask.shape)))
        mask = evolve_layer(weight, mask, score, rng.random(), grouped)
        assert mask.sum() == nnz
        assert kept_per_class(grouped, mask) == classes
        for start, height in zip(grouped.starts, grouped.heights, strict=True):
            block = mask[start : start + height]
            assert (block == block[0]).all()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(1, 12), st.integers(1, 12))
def test_only_the_smallest_are_dropped_and_the_largest_grown(seed, fraction, out, in_) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((out, in_)) < 0.4
    weight = (rng.normal(size=(out, in_)) * mask).astype(np.float32)
    score = floats(np.abs(rng.normal(size=(out, in_))))
    after = evolve_layer(weight, mask, score, fraction, blocks(out, 1))
    k = int(np.floor(fraction * mask.sum() + 1e-9))
    assert after.sum() == mask.sum()
    assert (after & ~mask).sum() <= k
    gone, stayed = np.abs(weight[mask & ~after]), np.sort(np.abs(weight[mask]))
    assert gone.size == 0 or gone.max() <= stayed[k - 1]
    grown, left = score[after & ~mask], score[~after]
    assert grown.size == 0 or left.size == 0 or grown.min() >= left.max()
