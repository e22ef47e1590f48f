"""From the evidence to a verdict: pass, fail or inconclusive, why, and what would settle it."""

from dataclasses import dataclass
from typing import Literal

from mast_edge.runtime.certificate import Certificate
from mast_edge.runtime.contest import Contest
from mast_edge.runtime.designs import Decision, Design
from mast_edge.runtime.parity import Pairs
from mast_edge.runtime.sample_sizes import episodes_if_equal, episodes_to_settle

Judged = Literal["fidelity", "compression"]
"""Which claim: the same weights in another runtime, or two policies."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What would settle an inconclusive verdict.

    Attributes:
        episodes: so many in all; None where more episodes would not settle it.
        text: one line for people.
    """

    episodes: int | None
    text: str


def decide(
    judged: Judged, contest: Contest, margin: float, design: Design, certificate: Certificate | None
) -> tuple[Decision, str]:
    """The decision of the last look, and its ground in one line.

    A certified decision that differs fails at once. For fidelity, winning as often is not enough: the Q
    values must also be as close as those of two float32 runtimes of the same weights are.

    Against a reference that hardly wins, no loss beyond the margin is possible, so nothing is shown. And a
    pass must hold even if every episode lost to a crash had gone against the candidate.

    Source: parity_and_safety.md sections 2, 3, 5. Fewer wins alone are never a failure.
    Deviation: the rules after the first are ours; they only ever turn a pass into "inconclusive".
    """
    points, pairs = 100 * margin, contest.pairs
    if certificate is not None and certificate.certified_flips:
        n = certificate.certified_flips
        return "fail", f"{n} decisions differ although the gap of the Q values exceeds twice their error"
    outcome = design.decide(pairs, margin)
    if outcome == "fail":
        return outcome, f"a loss of more than {points:g} points of win rate is shown"
    if outcome == "inconclusive":
        low, _ = design.limits(pairs)
        return outcome, f"a loss of up to {-100 * low:.1f} points is not excluded; {points:g} are allowed"
    if judged == "fidelity" and certificate is not None and not certificate.same_weights:
        return (
            "inconclusive",
            f"wins as often, but Q values differ by up to {certificate.epsilon:.2g}: not the same weights",
        )
    if judged == "compression" and contest.reference_wins <= margin * pairs.n:
        return (
            "inconclusive",
            f"the reference wins too rarely ({contest.reference_wins} of {pairs.n}) to lose to",
        )
    if contest.worst is not None and design.decide(contest.worst, margin, at=pairs.n) != "pass":
        return "inconclusive", f"{contest.lost} episodes were lost to crashes: they could hide such a loss"
    excluded = f"a loss of more than {points:g} points of win rate is excluded"
    if judged == "fidelity" and certificate is not None:
        same = (
            "every decision" if not certificate.flips else f"{100 * certificate.agreement:.2f} % of decisions"
        )
        return outcome, f"{same} equal in {certificate.episodes} episodes; {excluded}"
    return outcome, excluded


def advise(judged: Judged, pairs: Pairs, worst: Pairs | None, margin: float, design: Design) -> Advice:
    """What would settle an inconclusive verdict, and how many episodes that takes.

    Args:
        judged, pairs, worst, margin, design: of the verdict.
    """
    if design.decide(pairs, margin) != "pass":
        return _more_episodes(pairs, margin)
    if worst is not None and design.decide(worst, margin, at=pairs.n) != "pass":
        wanted = episodes_to_settle(worst, margin) if worst.difference > -margin else None
        if wanted is not None:
            return Advice(wanted, f"--episodes {wanted}, in all, at this rate of crashes")
        return Advice(None, "more episodes will not, at this rate of crashes: find out why the game breaks")
    better = "export again" if judged == "fidelity" else "choose or train a reference that wins"
    return Advice(None, f"more episodes will not: {better}, then evaluate")


def _more_episodes(pairs: Pairs, margin: float) -> Advice:
    wanted, equal = episodes_to_settle(pairs, margin), episodes_if_equal(pairs, margin)
    if wanted is None:
        return Advice(equal, f"--episodes {equal} if both win as often; what was seen lies on the margin")
    ends = "show a loss beyond the margin" if pairs.difference < -margin else "pass"
    truth = f"if what was seen is the truth, 4 of 5 such evaluations {ends}"
    return Advice(wanted, f"--episodes {wanted}, in all: {truth}")
