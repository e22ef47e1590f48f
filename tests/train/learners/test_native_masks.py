"""Masks that the methods do not draw by themselves: those of tickets, degenerate ones, and every density."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mast_edge.topology import Topology
from tests.train.algos.toy import make_learner, random_episodes
from tests.train.learners.pairs import ALGORITHMS, NETWORKS, expect_agreement, make_pair

LENGTHS = [9, 3, 12, 1, 7, 7, 2, *[5] * 16]
Draw = Callable[[tuple[int, int], np.random.Generator], NDArray[np.bool_]]


def masks_of(algorithm: str, draw: Draw, seed: int = 0) -> dict[str, Topology]:
    """A mask for every layer of every network."""
    rng = np.random.default_rng(seed)
    networks = make_learner(algorithm=algorithm, method="dense").algorithm.networks
    return {n: {layer: draw(shape, rng) for layer, shape in layers.items()} for n, layers in networks.items()}


def expect_agreement_with(algorithm: str, draw: Draw, pattern: str = "element") -> None:
    """Gradients agree, and masked weights stay zero in an update."""
    topology = {"pattern": dict.fromkeys(NETWORKS, pattern)}
    masks = masks_of(algorithm, draw)
    pair = make_pair(algorithm=algorithm, method="ss", sparsity=0.5, topology=topology, masks=masks)
    expect_agreement(pair, LENGTHS)
    native = pair.native
    for t_env in range(2):
        native.update(random_episodes(np.random.default_rng(t_env), LENGTHS), t_env)
    assert not native.online.flat.detach()[native.mask == 0].any()
    assert not native.square_avg[native.mask == 0].any()


def density(share: float) -> Draw:
    return lambda shape, rng: rng.random(shape) < share


@pytest.mark.parametrize("pattern", ["element", "4x1", "8x1"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.41, 0.6, 0.75, 0.99])
def test_masks_of_any_density_finer_than_the_pattern(share, pattern) -> None:
    """Dense enough, whole blocks are worked on; else single weights."""
    expect_agreement_with("qmix", density(share), pattern)
    expect_agreement_with("ow_qmix", density(share), pattern)


def blocks_with_holes(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Blocks of eight rows, which lack a few of their weights."""
    whole = np.repeat(rng.random((-(-shape[0] // 8), shape[1])) < 0.3, 8, axis=0)[: shape[0]]
    return whole & (rng.random(shape) < 0.9)


@pytest.mark.parametrize("pattern", ["element", "4x1", "8x1"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_blocks_that_lack_some_weights(algorithm, pattern) -> None:
    expect_agreement_with(algorithm, blocks_with_holes, pattern)


def with_gaps(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A third of all rows and a third of all columns is empty, the first and the last one among them."""
    mask = rng.random(shape) < 0.6
    for axis in range(2):
        gone = rng.random(shape[axis]) < 1 / 3
        gone[[0, -1]] = shape[axis] > 1
        mask[(slice(None),) * axis + (gone,)] = False
    return mask


@pytest.mark.parametrize("pattern", ["element", "8x1"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_empty_rows_and_columns(algorithm, pattern) -> None:
    expect_agreement_with(algorithm, with_gaps, pattern)


@pytest.mark.parametrize("pattern", ["element", "8x1"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_layers_that_keep_everything(algorithm, pattern) -> None:
    expect_agreement_with(algorithm, lambda shape, rng: np.ones(shape, bool), pattern)


@pytest.mark.parametrize("pattern", ["element", "8x1"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_layers_that_keep_nothing(algorithm, pattern) -> None:
    """Every other layer: what lies before it has no gradient."""

    def draw(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
        return rng.random(shape) < 0.3 * rng.integers(0, 2)

    expect_agreement_with(algorithm, draw, pattern)


@pytest.mark.parametrize("kept", ["agent", "mixer", "cagent", "cmixer"])
def test_one_network_with_masks_beside_dense_ones(kept) -> None:
    masks = masks_of("ow_qmix", density(0.2))
    masks = {network: masks[network] if network == kept else {} for network in masks}
    pair = make_pair(algorithm="ow_qmix", method="ss", sparsity=0.5, masks=masks)
    expect_agreement(pair, LENGTHS)


def test_the_core_counts_what_is_kept() -> None:
    pair = make_pair(algorithm="ow_qmix", method="ss", sparsity=0.5, masks=masks_of("ow_qmix", density(0.3)))
    for network, topology in pair.native.topologies.items():
        layers = pair.native.algorithm.networks[network]
        assert list(topology) == list(layers)
        assert pair.native._online[network].kept == [int(mask.sum()) for mask in topology.values()]


def test_target_masks_are_as_old_as_their_copy() -> None:
    """Evolved masks of the online network reach the target with the weights, not before."""
    pair = make_pair(method="rigl", topology={"interval": 1}, target={"update_interval": 2})
    native = pair.native
    before = native._target["agent"].kept
    first = {name: tensor.clone() for name, tensor in native.target.tensors.items()}
    native.update(random_episodes(np.random.default_rng(0), LENGTHS), 1)
    assert all((native.target.tensors[name] == tensor).all() for name, tensor in first.items())
    assert native._target["agent"].kept == before
    native.update(random_episodes(np.random.default_rng(1), LENGTHS), 2)
    # What was grown in the same moment is zero: the target does not keep it.
    copied = [
        int((native.target.tensors[f"agent.{layer}.weight"] != 0).sum())
        for layer in native.topologies["agent"]
    ]
    assert native._target["agent"].kept == copied
