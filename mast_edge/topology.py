"""Masks: how many weights each layer keeps, and which ones at first.

A topology maps layer name -> boolean mask (out, in). A layer that keeps everything has no entry: it is dense
and never evolves. Biases are never masked.
"""

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mast_edge.errors import ConfigError

Shapes = Mapping[str, tuple[int, int]]
Topology = dict[str, NDArray[np.bool_]]


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
    return math.ceil(density * shape[0] * shape[1] - 1e-6)


def random_topology(shapes: Shapes, sparsity: float, rng: np.random.Generator) -> Topology:
    """Fresh masks: nnz positions per layer drawn uniformly, layer by layer in the order of `shapes`.

    Args:
        shapes: layer name -> (out, in).
        sparsity: fraction of zeros of the whole network.
        rng: the run's topology stream.
    """
    topology: Topology = {}
    for name, density in erdos_renyi_densities(shapes, sparsity).items():
        out, in_ = shapes[name]
        if density >= 1.0:
            continue
        mask = np.zeros(out * in_, dtype=bool)
        mask[rng.choice(out * in_, size=layer_nnz((out, in_), density), replace=False)] = True
        topology[name] = mask.reshape(out, in_)
    return topology
