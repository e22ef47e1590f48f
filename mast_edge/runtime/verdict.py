"""The verdict of `evaluate`: what was compared, on what evidence, and what came out."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mast_edge.runtime.certificate import Certificate
from mast_edge.runtime.decision import Advice, Judged, advise
from mast_edge.runtime.designs import Decision, Design, Look
from mast_edge.runtime.parity import ALPHA, Interval, Pairs, interval, mcnemar_p, tost, wilson
from mast_edge.runtime.unpaired import Arms, newcombe_interval

SCHEMA = "mast-edge/evaluate/1"
EXIT_CODE: Mapping[Decision, int] = {"pass": 0, "fail": 6, "inconclusive": 7}
MEANING: Mapping[Judged, str] = {
    "fidelity": "does this runtime play as the checkpoint's own weights do?",
    "compression": "does this agent win as often as the reference?",
}


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one `act` of one agent, microseconds, from a pass of its own."""

    median: float
    p99: float
    calls: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one `evaluate` may claim, and on what evidence.

    Attributes:
        judged: "fidelity" (reference = the same weights) or "compression" (reference = another policy).
        run: name of the run the artifact belongs to, if known.
        artifact: path of what was played. runtime, kernel: how it was computed.
        reference: what it was held against.
        env, map_name: game.
        wins, reference_wins: of `pairs.n` episodes each.
        pairs: outcomes; `Arms` where the game takes no seed per episode.
        identical: pairs in which both sides took the same actions throughout.
        margin: largest loss of win rate that counts as parity.
        design: looks and bounds, fixed before the first episode.
        looks: every look taken.
        certificate: shadow pass against the artifact's own checkpoint; None when that is not at hand.
        hidden_drift: largest difference of a hidden value when the candidate keeps its own hidden state.
        latency: of `act`.
        decision, reason: the verdict and its one-line ground.
        facts: hashes, seeds, versions, host.
        not_tested: claims that this evaluation says nothing about.
        paired: both episodes of a pair began from the same seed.
        lost: episodes that the environment broke; their pairs were left out and played again.
        worst: outcomes if every lost episode had gone against the candidate; None when none was lost.
        decentralised: how the agents' processes did (`decentralised_verdict`); None when there were none.
        saved: file it was written to.
    """

    judged: Judged
    run: str | None
    artifact: str
    runtime: str
    kernel: str
    reference: str
    env: str
    map_name: str
    wins: int
    reference_wins: int
    pairs: Pairs
    identical: int
    margin: float
    design: Design
    looks: tuple[Look, ...]
    certificate: Certificate | None
    hidden_drift: float | None
    latency: Latency
    decision: Decision
    reason: str
    facts: Mapping[str, Any]
    not_tested: tuple[str, ...]
    paired: bool = True
    lost: int = 0
    worst: Pairs | None = None
    decentralised: Mapping[str, Any] | None = None
    saved: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 parity shown, 6 failed, 7 inconclusive."""
        return EXIT_CODE[self.decision]

    @property
    def win_rate(self) -> float:
        """Of the candidate; 0 without an episode."""
        return self.wins / max(1, self.pairs.n)

    @property
    def reference_win_rate(self) -> float:
        """Of the reference; 0 without an episode."""
        return self.reference_wins / max(1, self.pairs.n)

    @property
    def win_rate_ci95(self) -> Interval:
        """Wilson; not adjusted for early stopping."""
        return wilson(self.wins, self.pairs.n)

    @property
    def difference_ci90(self) -> Interval:
        """By the score of `pairs`; not adjusted for early stopping."""
        return interval(self.pairs, 0.90)

    @property
    def difference_limits(self) -> Interval:
        """By the bounds of the design: adjusted for early stopping."""
        return self.design.limits(self.pairs)

    @property
    def advice(self) -> Advice | None:
        """What would settle what is inconclusive; None when nothing is."""
        if self.decision != "inconclusive":
            return None
        return advise(self.judged, self.pairs, self.worst, self.margin, self.design)

    @property
    def episodes_to_settle(self) -> int | None:
        """About how many pairs in all would settle what is inconclusive; None where more would not help."""
        return self.advice.episodes if self.advice is not None else None

    def to_json(self) -> dict[str, Any]:
        """The object of `mast-edge evaluate --json` (cli.md), with more fields."""
        shadow = self.certificate
        return {
            "schema": SCHEMA,
            "judged": self.judged,
            "run": self.run,
            "artifact": self.artifact,
            "runtime": self.runtime,
            "kernel": self.kernel,
            "reference": self.reference,
            "env": self.env,
            "map": self.map_name,
            "episodes": self.pairs.n,
            "paired": self.paired,
            "lost": self.lost,
            "worst_case": None if self.worst is None else _outcomes(self.worst),
            "win_rate": self.win_rate,
            "win_rate_ci95": list(self.win_rate_ci95),
            "reference_win_rate": self.reference_win_rate,
            "reference_win_rate_ci95": list(wilson(self.reference_wins, self.pairs.n)),
            "difference": self.pairs.difference,
            "difference_ci90": list(self.difference_ci90),
            "margin": self.margin,
            "difference_limits": list(self.difference_limits),
            "discordant": {"lost": self.pairs.lost, "gained": self.pairs.gained},
            "discordance": self.pairs.discordance,
            "identical_episodes": self.identical,
            "equivalence": _equivalence(self.pairs, self.margin),
            "mcnemar_p": mcnemar_p(self.pairs),
            "mcnemar_is_evidence_of_parity": False,
            "interval_method": self.pairs.method,
            "newcombe_ci90": _newcombe(self.pairs),
            "design": _design(self.design, self.looks),
            "action_agreement": None if shadow is None else shadow.agreement,
            "max_abs_q_error": None if shadow is None else shadow.epsilon,
            "certified_fraction": None if shadow is None else shadow.certified_fraction,
            "fidelity": None if shadow is None else {**shadow.to_json(), "hidden_drift": self.hidden_drift},
            "decision": self.decision,
            "exit_code": self.exit_code,
            "reason": self.reason,
            "episodes_to_settle": self.episodes_to_settle,
            "advice": None if self.advice is None else self.advice.text,
            "latency_us": {
                "median": self.latency.median,
                "p99": self.latency.p99,
                "calls": self.latency.calls,
            },
            "decentralised": False if self.decentralised is None else dict(self.decentralised),
            "not_tested": list(self.not_tested),
            **self.facts,
        }


def _outcomes(pairs: Pairs) -> dict[str, int]:
    return {"pairs": pairs.n, "lost": pairs.lost, "gained": pairs.gained}


def _equivalence(pairs: Pairs, margin: float) -> dict[str, Any]:
    """Two one-sided tests at the last look; infinite z as the largest float."""
    found = tost(pairs, margin)
    return {
        "equivalent": found.equivalent,
        "loss": {"z": _finite(found.z_loss), "p": found.p_loss},
        "gain": {"z": _finite(found.z_gain), "p": found.p_gain},
        "adjusted": False,
    }


def _newcombe(pairs: Pairs) -> list[float] | None:
    """A second opinion on independent arms."""
    if not isinstance(pairs, Arms):
        return None
    return list(newcombe_interval(pairs.wins, pairs.n, pairs.reference_wins, pairs.n))


def _design(design: Design, looks: tuple[Look, ...]) -> dict[str, Any]:
    def seen(look: Look) -> dict[str, Any]:
        found: dict[str, Any] = {"pairs": look.pairs, "z": _finite(look.z)}
        if look.e_not_worse is not None:
            found |= {"e_not_worse": look.e_not_worse, "e_worse": look.e_worse}
        return found

    return {
        "name": design.name,
        "looks": list(design.looks),
        "bounds": list(design.bounds),
        "statistic": "e" if design.name == "anytime" else "z",
        "alpha": ALPHA,
        "one_sided": True,
        "z": [seen(look) for look in looks],
        "intervals_adjusted": False,
    }


def _finite(z: float) -> float:
    return max(-sys.float_info.max, min(sys.float_info.max, z))


def shown_path(path: str | Path) -> str:
    """As short as it can be typed: relative to the working directory when it lies inside."""
    absolute, here = Path(path).resolve(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)
