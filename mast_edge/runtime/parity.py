"""The statistics of a verdict: paired non-inferiority of win rates, intervals, and when to stop playing.

Pair i plays candidate and reference from the same environment seed. Of n pairs, `lost` were won by the
reference only and `gained` by the candidate only. Own code on the standard library, because no light package
offers it. Source: parity_and_safety.md section 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from mast_edge.errors import UsageError

Decision = Literal["pass", "fail", "inconclusive"]
Interval = tuple[float, float]

ALPHA = 0.05
"""One-sided level of every decision; the bounds of `SEQUENTIAL` hold for this level only."""
DEFAULT_MARGIN = 0.03
"""Largest loss of win rate that still counts as parity (cli.md)."""
SMALLEST_SAMPLE = 200
"""The normal approximation is not trusted to plan fewer pairs than this (parity_and_safety.md section 3)."""


def normal_quantile(p: float) -> float:
    """z with P(Z < z) = p."""
    return NormalDist().inv_cdf(p)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Outcome of n paired episodes.

    Attributes:
        n: pairs played, >= 0.
        lost: reference won, candidate did not (b).
        gained: candidate won, reference did not (c).
    """

    n: int
    lost: int
    gained: int

    def __post_init__(self) -> None:
        if min(self.n, self.lost, self.gained) < 0 or self.lost + self.gained > self.n:
            raise ValueError(f"Pairs: lost + gained must be in 0..n, none below 0; got {self}")

    @property
    def difference(self) -> float:
        """Candidate minus reference win rate, (c - b) / n."""
        return (self.gained - self.lost) / self.n

    @property
    def discordance(self) -> float:
        """psi: share of pairs whose outcomes differ, (b + c) / n."""
        return (self.lost + self.gained) / self.n


def check_margin(margin: float) -> None:
    """Raises UsageError unless 0 < margin < 1."""
    if not 0.0 < margin < 1.0:
        raise UsageError(
            f"evaluate: margin must be between 0 and 1, both excluded; got {margin}. Usual is 0.03."
        )


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion; (0, 1) when n is 0."""
    if n == 0:
        return (0.0, 1.0)
    z2 = normal_quantile(0.5 + confidence / 2) ** 2
    p = successes / n
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return (low, high)


def tango_z(pairs: Pairs, margin: float) -> float:
    """Score statistic of H0: difference <= -margin; large values speak against it.

    Args:
        pairs: at least one pair.
        margin: in (-1, 1); `-d` tests any difference d, which is how the interval is found.

    Source: Tango 1998; parity_and_safety.md section 3, "Tango score".
    """
    n, b, c, m = pairs.n, pairs.lost, pairs.gained, margin
    quadratic = 2 * n
    linear = -(b + c) - m * (2 * n - c + b)
    constant = b * m * (1 + m)
    root = math.sqrt(max(0.0, linear * linear - 4 * quadratic * constant))
    q = (root - linear) / (2 * quadratic)
    variance = n * (2 * q - m * (1 + m))
    score = c - b + n * m
    if variance <= 0.0:
        return 0.0 if score == 0 else math.copysign(math.inf, score)
    return score / math.sqrt(variance)


def tango_interval(pairs: Pairs, confidence: float = 0.90) -> Interval:
    """Every difference that the Tango score does not reject, by bisection (clamped to [-1, 1])."""
    z = normal_quantile(0.5 + confidence / 2)
    return (_crossing(pairs, z, -1.0), _crossing(pairs, -z, 1.0))


def _crossing(pairs: Pairs, z: float, edge: float) -> float:
    """Where the score falls to z, between the observed difference and the edge -1 or 1."""
    inside, outside = pairs.difference, edge
    if abs(tango_z(pairs, -edge * (1 - 1e-12))) < abs(z):
        return edge
    for _ in range(60):
        middle = (inside + outside) / 2
        if abs(tango_z(pairs, -middle)) < abs(z):
            inside = middle
        else:
            outside = middle
    return inside


def equivalent(pairs: Pairs, margin: float) -> bool:
    """Two one-sided tests at 5 %: the 90 % interval lies inside the open interval (-margin, margin)."""
    low, high = tango_interval(pairs, 1 - 2 * ALPHA)
    return -margin < low and high < margin


def mcnemar_p(pairs: Pairs) -> float:
    """Exact two-sided p of "no difference". Printed only: not finding a difference is not equivalence."""
    k, n = min(pairs.lost, pairs.gained), pairs.lost + pairs.gained
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / (1 << n))


def zero_discordance_pairs(margin: float) -> int:
    """Fewest pairs, all of equal outcome, that bound the loss rate below the margin with 95 % confidence."""
    return math.ceil(math.log(ALPHA) / math.log1p(-margin))


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
    z = normal_quantile(1 - ALPHA) + normal_quantile(power)
    return math.ceil(z * z * (psi - true_difference**2) / (margin + true_difference) ** 2)


def pairs_for_equivalence(psi: float, margin: float, power: float = 0.8) -> int:
    """Pairs that show equivalence when there is no difference; z_b is taken at (1 + power) / 2."""
    z = normal_quantile(1 - ALPHA) + normal_quantile((1 + power) / 2)
    return math.ceil(z * z * psi / margin**2)


def pairs_to_settle(pairs: Pairs, margin: float, power: float = 0.8) -> int | None:
    """About how many pairs in all would end an inconclusive comparison, if what was seen is the truth.

    Returns:
        None when the difference seen sits on the margin, where more pairs hardly help (over 10 million).
    """
    floor = max(SMALLEST_SAMPLE, zero_discordance_pairs(margin))
    distance = margin + pairs.difference
    if distance == 0.0:
        return None
    wanted = pairs_for_non_inferiority(pairs.discordance, margin, pairs.difference, power)
    return None if wanted > 10_000_000 else max(wanted, floor)


@dataclass(frozen=True, slots=True)
class Design:
    """When to look at the evidence and how strong it must be; fixed before the first episode.

    Attributes:
        name: "pocock" or "fixed".
        looks: pairs played at each look, increasing.
        bound: pass at the first z > bound, fail at the first z < -bound.
    """

    name: str
    looks: tuple[int, ...]
    bound: float

    def decide(self, pairs: Pairs, margin: float) -> Decision:
        """The verdict of one look.

        Without a discordant pair the exact rule governs as well: the score test is slightly liberal there.
        """
        z = tango_z(pairs, margin)
        if z < -self.bound:
            return "fail"
        if z <= self.bound:
            return "inconclusive"
        if pairs.lost + pairs.gained == 0 and pairs.n < zero_discordance_pairs(margin):
            return "inconclusive"
        return "pass"


SEQUENTIAL = Design("pocock", (125, 250, 500, 1000, 2000), 2.201)
"""Default design; the bound keeps false passes at or below 5 % over these five looks and no others."""


def fixed_sample(n: int) -> Design:
    """One look at n pairs.

    Raises:
        UsageError: n < 1.
    """
    if n < 1:
        raise UsageError(f"evaluate: episodes must be at least 1; got {n}.")
    return Design("fixed", (n,), normal_quantile(1 - ALPHA))


def clustered_interval(agreed: Sequence[int], decisions: Sequence[int], confidence: float = 0.95) -> Interval:
    """Interval of an agreement rate whose decisions come in episodes, and are not independent inside one.

    Ratio estimate with the variance over episodes. When every decision agreed the variance says nothing: then
    at most 1 - alpha^(1/n) of all episodes can hold any disagreement, which bounds the rate from below.

    Args:
        agreed: equal actions per episode.
        decisions: decisions per episode, each >= 1.
        confidence: of the two-sided interval (one-sided in the unanimous case).
    """
    n, total = len(agreed), sum(decisions)
    if n == 0:
        return (0.0, 1.0)
    if sum(agreed) == total:
        return ((1 - confidence) ** (1 / n), 1.0)
    if n == 1:
        return (0.0, 1.0)
    rate = sum(agreed) / total
    spread = sum((a - rate * d) ** 2 for a, d in zip(agreed, decisions, strict=True))
    half = normal_quantile(0.5 + confidence / 2) * math.sqrt(spread * n / (n - 1)) / total
    return (max(0.0, rate - half), min(1.0, rate + half))
