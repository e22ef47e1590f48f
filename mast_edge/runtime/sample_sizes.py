"""How many episodes a comparison needs. Source: parity_and_safety.md section 3, "Sizes"."""

import math

from mast_edge.runtime.parity import ALPHA, Pairs, normal_quantile, zero_discordance_pairs

SMALLEST_SAMPLE = 200
"""The normal approximation is not trusted to plan fewer pairs than this (parity_and_safety.md section 3)."""
HOPELESS = 100_000
"""Pairs beyond which a number helps nobody: the difference lies on the margin, or next to it."""


def pairs_for_non_inferiority(
    psi: float, margin: float, true_difference: float = 0.0, power: float = 0.8
) -> int:
    """Pairs that decide against the margin with this power: (z_a + z_b)^2 (psi - d^2) / (m + d)^2.

    Args:
        psi: share of discordant pairs expected.
        margin: m.
        true_difference: d; below -m the number that shows a loss beyond the margin.
        power: chance of deciding.
    """
    return _episodes(psi - true_difference**2, margin + true_difference, power)


def pairs_for_equivalence(psi: float, margin: float, power: float = 0.8) -> int:
    """Pairs that show equivalence when there is no difference; z_b is taken at (1 + power) / 2."""
    return _episodes(psi, margin, (1 + power) / 2)


def episodes_per_arm(p1: float, p2: float, margin: float, power: float = 0.8) -> int:
    """Episodes of either side when they are not paired: (z_a + z_b)^2 (p1 q1 + p2 q2) / (m + p1 - p2)^2."""
    return _episodes(p1 * (1 - p1) + p2 * (1 - p2), margin + p1 - p2, power)


def _episodes(variance: float, distance: float, power: float) -> int:
    z = normal_quantile(1 - ALPHA) + normal_quantile(power)
    return math.ceil(z * z * variance / distance**2)


def episodes_to_settle(evidence: Pairs, margin: float, power: float = 0.8) -> int | None:
    """About how many pairs in all would end an inconclusive comparison, if what was seen is the truth.

    Returns:
        None when the difference seen sits on the margin, where more pairs hardly help; twice the pairs played
        where those should have been enough.
    """
    distance = margin + evidence.difference
    if abs(distance) < 1e-9:
        return None
    wanted = _episodes(evidence.variance(evidence.difference), distance, power)
    return None if wanted > HOPELESS else _beyond(evidence, margin, wanted)


def episodes_if_equal(evidence: Pairs, margin: float, power: float = 0.8) -> int:
    """About how many pairs in all would pass if both won equally often, at the discordance that was seen."""
    return _beyond(evidence, margin, _episodes(evidence.variance(0.0), margin, power))


def _beyond(evidence: Pairs, margin: float, wanted: int) -> int:
    enough = max(wanted, SMALLEST_SAMPLE, zero_discordance_pairs(margin))
    return enough if enough > evidence.n else 2 * evidence.n
