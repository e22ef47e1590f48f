"""When to look at the evidence and how strong it must be: fixed before the first episode.

Source: parity_and_safety.md section 3. The error rates of every design are simulated by
`benchmarks/verdict_errors.py`.
"""

from dataclasses import dataclass
from typing import Literal

from mast_edge.errors import UsageError
from mast_edge.registry import nearest
from mast_edge.runtime.betting import e_not_worse, e_worse
from mast_edge.runtime.parity import (
    ALPHA,
    Interval,
    Pairs,
    farthest,
    normal_quantile,
    score_interval,
    zero_discordance_pairs,
)

Decision = Literal["pass", "fail", "inconclusive"]

FIVE_LOOKS = (125, 250, 500, 1000, 2000)
BOUNDS = {"pocock": (2.201,) * 5, "tapered": (3.551, 2.986, 2.511, 2.112, 1.776)}
"""Bounds on z that keep false passes at 5 % over `FIVE_LOOKS`, one-sided, and over no others."""
ANYTIME_LOOKS = tuple(range(25, 2001, 25))
ENOUGH = 1 / ALPHA
"""E that decides: a player who cannot gain on average reaches 20 with probability 5 % at most."""
DESIGNS = ("pocock", "tapered", "anytime")
"""Names for `--design`; a fixed sample is asked for by its size."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw.

    Attributes:
        pairs: played so far.
        z: score statistic of "worse by the margin or more".
        e_not_worse, e_worse: evidence by betting for and against parity; None except for `anytime`.
    """

    pairs: int
    z: float
    e_not_worse: float | None = None
    e_worse: float | None = None


@dataclass(frozen=True, slots=True)
class Design:
    """A plan of looks.

    Attributes:
        name: "pocock", "tapered", "fixed" or "anytime".
        looks: pairs played at each look, increasing.
        bounds: per look. Of z: pass at the first z above it, fail at the first below its negative. For
            `anytime` of E: pass or fail at the first E that reaches it.

    Raises:
        UsageError: bounds of one design with looks of another.
    """

    name: str
    looks: tuple[int, ...]
    bounds: tuple[float, ...]

    def __post_init__(self) -> None:
        known = BOUNDS.get(self.name)
        if known is not None and (self.looks, self.bounds) != (FIVE_LOOKS, known):
            raise UsageError(
                f"evaluate: looks of the {self.name} design must be {FIVE_LOOKS} with bounds {known}; got "
                f"{self.looks} with {self.bounds}. Others need simulation: benchmarks/verdict_errors.py"
            )

    def bound(self, at: int) -> float:
        """Of the last look at or before `at` pairs; of the first look when there is none."""
        passed = sum(look <= at for look in self.looks)
        return self.bounds[max(0, passed - 1)]

    def look(self, evidence: Pairs, margin: float) -> Look:
        """The statistics of one look."""
        z = evidence.z(margin)
        if self.name != "anytime":
            return Look(evidence.n, z)
        return Look(evidence.n, z, e_not_worse(evidence, margin), e_worse(evidence, margin))

    def decide(self, evidence: Pairs, margin: float, at: int | None = None) -> Decision:
        """The verdict of one look.

        Without a discordant pair the exact rule governs as well: the score test is slightly liberal there.

        Args:
            evidence: outcomes so far.
            margin: largest loss that counts as parity.
            at: pairs of the look whose bound applies; those of `evidence` when None.
        """
        look, bound = self.look(evidence, margin), self.bound(evidence.n if at is None else at)
        if look.e_not_worse is not None and look.e_worse is not None:
            if look.e_worse >= bound:
                return "fail"
            return "pass" if look.e_not_worse >= bound else "inconclusive"
        if look.z < -bound:
            return "fail"
        few = evidence.unanimous and evidence.n < zero_discordance_pairs(margin)
        return "pass" if look.z > bound and not few else "inconclusive"

    def limits(self, evidence: Pairs) -> Interval:
        """Differences that this look does not exclude, at the bounds of the design.

        Adjusted for early stopping: over all looks together a limit is wrong with at most about 5 %, on each
        side (a repeated confidence interval).
        """
        bound = self.bound(evidence.n)
        if self.name == "anytime":
            return (
                farthest(evidence.difference, -1.0, lambda d: e_not_worse(evidence, -d) < bound),
                farthest(evidence.difference, 1.0, lambda d: e_worse(evidence, -d) < bound),
            )
        low, high = score_interval(evidence, bound)
        if evidence.unanimous:
            exact = 1.0 - ALPHA ** (1 / max(1, evidence.n))
            return (min(low, -exact), max(high, exact))
        return (low, high)


POCOCK = Design("pocock", FIVE_LOOKS, BOUNDS["pocock"])
TAPERED = Design("tapered", FIVE_LOOKS, BOUNDS["tapered"])
ANYTIME = Design("anytime", ANYTIME_LOOKS, (ENOUGH,) * len(ANYTIME_LOOKS))


def fixed_sample(n: int) -> Design:
    """One look at n pairs.

    Raises:
        UsageError: n < 1.
    """
    if n < 1:
        raise UsageError(f"evaluate: episodes must be at least 1; got {n}.")
    return Design("fixed", (n,), (normal_quantile(1 - ALPHA),))


def choose_design(name: str | None, episodes: int | None) -> Design:
    """The design asked for; Pocock's when nothing was.

    Args:
        name: of `DESIGNS`.
        episodes: size of a fixed sample.

    Raises:
        UsageError: both were given, or no such design, or fewer than one episode.
    """
    if name is not None and episodes is not None:
        raise UsageError(
            f"evaluate: episodes must be left out with a design; got {episodes} and {name}. "
            "A number of episodes is a design of its own: one look at the end."
        )
    if episodes is not None:
        return fixed_sample(episodes)
    known = {d.name: d for d in (POCOCK, TAPERED, ANYTIME)}
    if (name or "pocock") not in known:
        raise UsageError(
            f"evaluate: design must be one of {', '.join(known)}; got '{name}'.{nearest(str(name), known)}"
        )
    return known[name or "pocock"]
