"""Masks: how many weights each layer keeps, in which pattern, and which ones at first.

A topology maps layer name -> boolean mask (out, in). A layer that keeps everything has no entry: it is dense
and never evolves. Biases are never masked.

What is kept or dropped at once is a block: some consecutive rows of one column, inside one gate. `element` is
the pattern whose blocks are one row high.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mast_edge.errors import ConfigError

Shapes = Mapping[str, tuple[int, int]]
Topology = dict[str, NDArray[np.bool_]]
PATTERNS = {"element": 1, "4x1": 4, "8x1": 8}
"""Pattern -> rows of a block."""
GATES = {"gru_ih": 3, "gru_hh": 3}
"""Layers that stack several matrices along their rows; no block spans two of them."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the rows of a layer are grouped; a block is one column of one group.

    Source: algorithms.md 7.4. Groups start at the first row of each gate; a remainder gives one short group.

    Attributes:
        starts: first row of every group, ascending.
        heights: rows of every group.
    """

    starts: tuple[int, ...]
    heights: tuple[int, ...]

    def classes(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Height -> groups of that height, the tallest first. Each class keeps its own number of blocks."""
        heights = np.array(self.heights)
        for height in sorted(set(self.heights), reverse=True):
            yield height, np.flatnonzero(heights == height)

    def sums(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(out, in) -> (groups, in), the sum over the rows of each block."""
        if len(self.starts) == len(values):
            return values
        return np.add.reduceat(values, self.starts, axis=0)

    def whole(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(out, in) -> (groups, in): which blocks are kept. A mask of blocks is read at their first rows."""
        return mask[list(self.starts)]

    def spread(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(groups, in) -> (out, in), the inverse of `whole`."""
        return np.repeat(kept, self.heights, axis=0)


def group_heights(out: int, height: int, gates: int = 1) -> NDArray[np.int64]:
    """(groups,): rows of every group, which follow one another; arguments as in `blocks`."""
    rows = out // gates
    height = height if rows >= height else 1
    heights = np.full((gates, -(-rows // height)), height)
    heights[:, -1] = rows - height * (heights.shape[1] - 1)
    return heights.ravel()


@lru_cache(maxsize=256)
def blocks(out: int, height: int, gates: int = 1) -> Blocks:
    """The row groups of a layer.

    Args:
        out: rows of the layer, a multiple of `gates`.
        height: rows of a full block; a gate with fewer rows stays unstructured.
        gates: matrices stacked along the rows.
    """
    heights = group_heights(out, height, gates)
    return Blocks(tuple((np.cumsum(heights) - heights).tolist()), tuple(heights.tolist()))


def layer_blocks(layer: str, out: int, pattern: str) -> Blocks:
    """`blocks` of a layer by its name and the name of its pattern."""
    return blocks(out, PATTERNS[pattern], GATES.get(layer, 1))


def layer_pattern(chosen: str | Mapping[str, str], network: str, layer: str) -> str:
    """The pattern of one layer.

    Args:
        chosen: `topology.pattern` of a config: one name for the agent, or names of networks, of layers
            (`mixer.V.0`), or of layers of the agent alone (`fc1`) -> pattern; the longer name wins.
        network, layer: which one.
    """
    if isinstance(chosen, str):
        return chosen if network == "agent" else "element"
    own = chosen.get(layer) if network == "agent" else None
    return chosen.get(f"{network}.{layer}") or own or chosen.get(network) or "element"


def erdos_renyi_densities(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """Density per layer: proportional to (in + out) / (in * out), layers that would exceed 1 made dense.

    Source: algorithms.md 7.2 (paper 4.1; Mocanu et al. 2018), per network.

    Args:
        shapes: layer name -> (out, in).
        sparsity: fraction of zeros over all layers of the network, in [0, 1).

    Returns:
        Layer name -> density in (0, 1].

    Raises:
        ConfigError: sparsity out of range, or so low that every layer saturates.
    """
    from fractions import Fraction

    if not 0.0 <= sparsity < 1.0:
        raise ConfigError(f"topology: sparsity must be in [0, 1); got {sparsity}.")
    if sparsity == 0.0:
        return dict.fromkeys(shapes, 1.0)
    size = {name: out * in_ for name, (out, in_) in shapes.items()}
    rim = {name: out + in_ for name, (out, in_) in shapes.items()}
    dense: set[str] = set()
    while True:
        free = [name for name in shapes if name not in dense]
        if not free:
            raise ConfigError(
                f"topology: sparsity must leave some layer sparse; got {sparsity}, which saturates all. "
                "Use method dense."
            )
        kept = (1.0 - sparsity) * sum(size[n] for n in free) - sparsity * sum(size[n] for n in dense)
        eps = kept / sum(rim[n] for n in free)
        # Ratios are compared exactly, so that equal layers saturate together.
        quotient = {n: Fraction(rim[n], size[n]) for n in free}
        largest = max(quotient.values())
        if eps * float(largest) <= 1.0:
            return {n: 1.0 if n in dense else eps * rim[n] / size[n] for n in shapes}
        dense |= {n for n in free if quotient[n] == largest}


def layer_nnz(shape: tuple[int, int], density: float) -> int:
    """Kept weights of a layer: ceil(density * size), 1e-6 for float rounding (algorithms.md 7.2)."""
    return kept_blocks(shape[0] * shape[1], density)


def kept_blocks(total: int, density: float) -> int:
    """Kept blocks of a class of `total`: ceil(density * total), as `layer_nnz` counts weights."""
    return math.ceil(density * total - 1e-6)


def pattern_nnz(layer: str, shape: tuple[int, int], density: float, pattern: str) -> int:
    """Kept weights of a layer whose blocks are drawn class by class (algorithms.md 7.4)."""
    return sum(
        height * kept_blocks(len(groups) * shape[1], density)
        for height, groups in layer_blocks(layer, shape[0], pattern).classes()
    )


def random_topology(
    shapes: Shapes, sparsity: float, rng: "np.random.Generator", patterns: Mapping[str, str] | None = None
) -> Topology:
    """Fresh masks: positions drawn uniformly, layer by layer in the order of `shapes`, class by class.

    Args:
        shapes: layer name -> (out, in).
        sparsity: fraction of zeros of the whole network.
        rng: the run's topology stream.
        patterns: layer -> pattern; `element` where it says nothing.
    """
    topology: Topology = {}
    for name, density in erdos_renyi_densities(shapes, sparsity).items():
        out, in_ = shapes[name]
        if density >= 1.0:
            continue
        grouped = layer_blocks(name, out, (patterns or {}).get(name, "element"))
        kept = np.zeros((len(grouped.starts), in_), bool)
        for _, groups in grouped.classes():
            members = np.zeros(len(groups) * in_, bool)
            members[rng.choice(members.size, size=kept_blocks(members.size, density), replace=False)] = True
            kept[groups] = members.reshape(-1, in_)
        topology[name] = grouped.spread(kept)
    return topology
