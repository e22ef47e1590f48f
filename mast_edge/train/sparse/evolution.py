"""Topology evolution: what a layer drops and what it grows (paper Algorithm 1; algorithms.md 7.3)."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mast_edge.topology import Topology

Arrays = Mapping[str, NDArray[np.float32]]


def cosine_fraction(initial: float, progress: float) -> float:
    """zeta = zeta0 / 2 (1 + cos(pi f)): the share of connections replaced at training progress f.

    Source: paper section 4.1; f is t_env / t_max, which is t / T_end without knowing the number of updates.
    """
    return 0.5 * initial * (1.0 + math.cos(math.pi * min(1.0, progress)))


def evolve_layer(
    weight: NDArray[np.float32], mask: NDArray[np.bool_], growth_score: NDArray[np.float32], fraction: float
) -> NDArray[np.bool_]:
    """Drops the smallest kept weights and grows as many positions of the largest score.

    Candidates for growth are all positions not kept, including those just dropped; ties go to the lowest flat
    index. The number of kept weights never changes.

    Args:
        weight: (out, in), after the optimiser step.
        mask: (out, in) bool, present topology.
        growth_score: (out, in), for example |dense gradient|; larger grows first.
        fraction: zeta, share of the kept weights to replace.

    Returns:
        The new mask.
    """
    active = np.flatnonzero(mask)
    k = math.floor(fraction * len(active) + 1e-9)
    if k == 0:
        return mask.copy()
    magnitude = np.abs(weight.ravel()[active])
    kept = mask.ravel().copy()
    kept[active[np.argsort(magnitude, kind="stable")[:k]]] = False
    candidates = np.flatnonzero(~kept)
    grown = candidates[np.argsort(-growth_score.ravel()[candidates], kind="stable")[:k]]
    kept[grown] = True
    return kept.reshape(mask.shape)


def evolve(topology: Topology, weights: Arrays, scores: Arrays, fraction: float) -> Topology:
    """`evolve_layer` for every masked layer of a network; dense layers have no entry and stay so."""
    return {
        name: evolve_layer(weights[name], mask, scores[name], fraction) for name, mask in topology.items()
    }
