"""Topology evolution: what a layer drops and what it grows (paper Algorithm 1; algorithms.md 7.3)."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mast_edge.topology import Blocks, Topology

Arrays = Mapping[str, NDArray[np.float32]]


def cosine_fraction(initial: float, progress: float) -> float:
    """zeta = zeta0 / 2 (1 + cos(pi f)): the share of connections replaced at training progress f.

    Source: paper section 4.1; f is t_env / t_max, which is t / T_end without knowing the number of updates.
    """
    return 0.5 * initial * (1.0 + math.cos(math.pi * min(1.0, progress)))


def evolve_layer(
    weight: NDArray[np.float32],
    mask: NDArray[np.bool_],
    growth_score: NDArray[np.float32],
    fraction: float,
    grouped: Blocks,
) -> NDArray[np.bool_]:
    """Drops the blocks of the smallest kept weights and grows as many of the largest score.

    Candidates for growth are all blocks not kept, including those just dropped; ties go to the lowest flat
    index (group * in + column). Full and short blocks are classes of their own, and the number of kept blocks
    of a class never changes.

    Source: algorithms.md 7.3, 7.4.

    Args:
        weight: (out, in), after the optimiser step; a block's score is its sum of |w|.
        mask: (out, in) bool, present topology, whole blocks.
        growth_score: (out, in), for example |dense gradient|, summed over a block; larger grows first.
        fraction: zeta, share of the kept blocks to replace.
        grouped: the row groups; `blocks(out, 1)` for single weights.

    Returns:
        The new mask.
    """
    magnitude, score = grouped.sums(np.abs(weight)), grouped.sums(growth_score)
    kept = grouped.whole(mask)
    for _, groups in grouped.classes():
        members = kept[groups].ravel()
        active = np.flatnonzero(members)
        k = math.floor(fraction * len(active) + 1e-9)
        dropped = active[np.argsort(magnitude[groups].ravel()[active], kind="stable")[:k]]
        members[dropped] = False
        candidates = np.flatnonzero(~members)
        grown = candidates[np.argsort(-score[groups].ravel()[candidates], kind="stable")[:k]]
        members[grown] = True
        kept[groups] = members.reshape(len(groups), -1)
    return grouped.spread(kept)


def gradient_scores(topology: Topology, grads: Arrays) -> dict[str, NDArray[np.float32]]:
    """RigL and MAST grow where the loss would change fastest: |dense gradient| (Evci et al. 2020)."""
    return {layer: np.abs(grads[layer]) for layer in topology}


def random_scores(topology: Topology, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """SET grows at random, every candidate alike (Mocanu et al. 2018)."""
    return {layer: rng.random(mask.shape, np.float32) for layer, mask in topology.items()}
