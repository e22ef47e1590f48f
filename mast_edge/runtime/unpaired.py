"""Two independent win rates: the score test of Miettinen and Nurminen, and Newcombe's interval.

A game that takes no seed per episode cannot be played in pairs: then the two arms are compared as independent
samples. Source: parity_and_safety.md section 3, "Real StarCraft II: unpaired".
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from mast_edge.runtime.parity import Interval, Pairs, wilson


@dataclass(frozen=True, slots=True)
class Arms(Pairs):
    """Outcome of n episodes of either side, the k-th of one beside the k-th of the other.

    The test sees the two win rates alone. `lost` and `gained` belong to the order of play: a bet on the next
    pair (`betting.py`) is fair whatever joins its two episodes.

    Attributes:
        wins: of the candidate, at least `gained`.
    """

    method: ClassVar[str] = "Miettinen-Nurminen"

    wins: int

    def __post_init__(self) -> None:
        Pairs.__post_init__(self)
        if not self.gained <= self.wins <= self.n - self.lost:
            raise ValueError(f"Arms: wins must be in gained..n - lost; got {self}")

    @property
    def reference_wins(self) -> int:
        """Of the reference."""
        return self.wins - self.gained + self.lost

    def variance(self, difference: float) -> float:
        """p (1 - p) of either arm, added."""
        rates = [k / self.n if self.n else 0.0 for k in (self.wins, self.reference_wins)]
        return sum(p * (1 - p) for p in rates)

    @property
    def unanimous(self) -> bool:
        """Every episode of both arms ended alike."""
        return self.wins == self.reference_wins and self.wins in (0, self.n)

    def z(self, margin: float) -> float:
        """See `Pairs`."""
        return miettinen_nurminen_z(self.wins, self.n, self.reference_wins, self.n, -margin)


def miettinen_nurminen_z(x1: int, n1: int, x2: int, n2: int, difference: float) -> float:
    """Score statistic of H0: p1 - p2 <= difference; large values speak against it. 0 without an episode.

    Args:
        x1, n1: successes and trials of the first arm.
        x2, n2: of the second.
        difference: in (-1, 1).

    Source: Miettinen and Nurminen 1985, equations 8 and 9, with the factor N / (N - 1).
    """
    if min(n1, n2) == 0:
        return 0.0
    p1, p2 = constrained_rates(x1, n1, x2, n2, difference)
    n = n1 + n2
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * n / (n - 1)
    score = x1 / n1 - x2 / n2 - difference
    if abs(score) < 1e-15:
        return 0.0
    return score / math.sqrt(variance) if variance > 0.0 else math.copysign(math.inf, score)


def constrained_rates(x1: int, n1: int, x2: int, n2: int, difference: float) -> Interval:
    """The likeliest (p1, p2) with p1 - p2 = difference: the middle root of a cubic, by its cosine form.

    Source: Miettinen and Nurminen 1985, appendix; Farrington and Manning 1990.
    """
    d, n, x = difference, n1 + n2, x1 + x2
    cubic, square, line = n, (n1 + 2 * n2) * d - n - x, (n2 * d - n - 2 * x2) * d + x
    constant = x2 * d * (1 - d)
    shift = square / (3 * cubic)
    c = shift**3 - line * square / (6 * cubic**2) + constant / (2 * cubic)
    b = math.copysign(math.sqrt(max(0.0, shift**2 - line / (3 * cubic))), c)
    angle = math.acos(max(-1.0, min(1.0, c / b**3))) if b else 0.0
    p2 = 2 * b * math.cos((math.pi + angle) / 3) - shift
    p2 = max(0.0, -d, min(1.0, 1.0 - d, p2))
    return (max(0.0, min(1.0, p2 + d)), p2)


def newcombe_interval(x1: int, n1: int, x2: int, n2: int, confidence: float = 0.90) -> Interval:
    """Interval of p1 - p2 from the two Wilson intervals. (-1, 1) without an episode.

    Source: Newcombe 1998 (Statistics in Medicine 17:873-890), method 10.
    """
    if min(n1, n2) == 0:
        return (-1.0, 1.0)
    p1, p2 = x1 / n1, x2 / n2
    (low1, high1), (low2, high2) = wilson(x1, n1, confidence), wilson(x2, n2, confidence)
    low = p1 - p2 - math.hypot(p1 - low1, high2 - p2)
    high = p1 - p2 + math.hypot(high1 - p1, p2 - low2)
    return (max(-1.0, low), min(1.0, high))
