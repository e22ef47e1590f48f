"""The statistics of pairs: non-inferiority of a win rate, equivalence, and intervals.

Pair i plays candidate and reference from the same environment seed. Of n pairs, `lost` were won by the
reference only and `gained` by the candidate only. Own code on the standard library, because no light package
offers it. Source: parity_and_safety.md section 3. Unpaired play: `unpaired.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

from mast_edge.errors import UsageError

Interval = tuple[float, float]

ALPHA = 0.05
"""One-sided level of every decision; the bounds of `designs` hold for this level only."""
DEFAULT_MARGIN = 0.03
"""Largest loss of win rate that still counts as parity (cli.md)."""


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

    method: ClassVar[str] = "Tango"

    n: int
    lost: int
    gained: int

    def __post_init__(self) -> None:
        if min(self.n, self.lost, self.gained) < 0 or self.lost + self.gained > self.n:
            raise ValueError(f"Pairs: lost + gained must be in 0..n, none below 0; got {self}")

    @property
    def difference(self) -> float:
        """Candidate minus reference win rate, (c - b) / n; 0 without a pair."""
        return (self.gained - self.lost) / self.n if self.n else 0.0

    @property
    def discordance(self) -> float:
        """psi: share of pairs whose outcomes differ, (b + c) / n; 0 without a pair."""
        return (self.lost + self.gained) / self.n if self.n else 0.0

    def variance(self, difference: float) -> float:
        """Of one pair's outcome if that is the true difference: psi - d^2. It decides how many are needed."""
        return self.discordance - difference**2

    @property
    def unanimous(self) -> bool:
        """Nothing speaks against equality: the exact rule of `zero_discordance_pairs` applies."""
        return self.lost + self.gained == 0

    def z(self, margin: float) -> float:
        """Score statistic of H0: difference <= -margin, for a margin in (-1, 1)."""
        return tango_z(self, margin)


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
    """Score statistic of H0: difference <= -margin; large values speak against it. 0 without a pair.

    Args:
        pairs: outcomes.
        margin: in (-1, 1); `-d` tests any difference d, which is how the interval is found.

    Source: Tango 1998; parity_and_safety.md section 3, "Tango score".
    """
    n, b, c, m = pairs.n, pairs.lost, pairs.gained, margin
    if n == 0:
        return 0.0
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


def score_interval(evidence: Pairs, z: float) -> Interval:
    """Every difference that the score of `evidence` does not reject at |z|, within [-1, 1], by bisection."""

    def kept(difference: float) -> bool:
        return abs(evidence.z(-difference)) < z

    return (farthest(evidence.difference, -1.0, kept), farthest(evidence.difference, 1.0, kept))


def farthest(inside: float, edge: float, kept: Callable[[float], bool]) -> float:
    """The last value that is kept on the way from `inside` to `edge` (-1 or 1)."""
    if kept(edge * (1 - 1e-12)):
        return edge
    outside = edge
    for _ in range(60):
        middle = (inside + outside) / 2
        if kept(middle):
            inside = middle
        else:
            outside = middle
    return inside


def interval(evidence: Pairs, confidence: float = 0.90) -> Interval:
    """Two-sided interval of the difference by the score of `evidence`; not adjusted for early stopping."""
    return score_interval(evidence, normal_quantile(0.5 + confidence / 2))


@dataclass(frozen=True, slots=True)
class Tost:
    """Two one-sided tests of equivalence at one look; not adjusted for early stopping.

    Attributes:
        z_loss, p_loss: against H0 "the candidate is worse by the margin or more".
        z_gain, p_gain: against H0 "the candidate is better by the margin or more".
        equivalent: both are rejected at 5 %, so the 90 % interval lies inside (-margin, margin).
    """

    z_loss: float
    p_loss: float
    z_gain: float
    p_gain: float
    equivalent: bool


def tost(evidence: Pairs, margin: float) -> Tost:
    """Equivalence within the margin. Without a discordant pair the exact rule governs as well.

    Source: parity_and_safety.md sections 2 ("Zero discordant outcomes") and 3.
    """
    z_loss, z_gain = evidence.z(margin), -evidence.z(-margin)
    bound = normal_quantile(1 - ALPHA)
    few = evidence.unanimous and evidence.n < zero_discordance_pairs(margin)
    both = min(z_loss, z_gain) > bound and not few
    return Tost(z_loss, upper_tail(z_loss), z_gain, upper_tail(z_gain), both)


def upper_tail(z: float) -> float:
    """P(Z > z), accurate far out in the tail."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def mcnemar_p(pairs: Pairs) -> float:
    """Exact two-sided p of "no difference". Printed only: not finding a difference is not equivalence."""
    k, n = min(pairs.lost, pairs.gained), pairs.lost + pairs.gained
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / (1 << n))


def zero_discordance_pairs(margin: float) -> int:
    """Fewest pairs, all of equal outcome, that bound the loss rate below the margin with 95 % confidence."""
    return math.ceil(math.log(ALPHA) / math.log1p(-margin))


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
