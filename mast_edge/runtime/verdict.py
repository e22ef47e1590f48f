"""The verdict of `evaluate`: what was compared, what came out, and how it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mast_edge.envs.smac_install import is_stand_in
from mast_edge.runtime.certificate import Certificate
from mast_edge.runtime.contest import Contest
from mast_edge.runtime.parity import (
    Decision,
    Design,
    Interval,
    Pairs,
    equivalent,
    mcnemar_p,
    pairs_to_settle,
    tango_interval,
    wilson,
)

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "mast-edge/evaluate/1"
EXIT_CODE: Mapping[Decision, int] = {"pass": 0, "fail": 6, "inconclusive": 7}
Judged = Literal["fidelity", "compression"]
MEANING: Mapping[Judged, str] = {
    "fidelity": "does this runtime play as the checkpoint's own weights do?",
    "compression": "does this agent win as often as the dense one?",
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
        pairs: paired outcomes.
        identical: pairs in which both sides took the same actions throughout.
        margin: largest loss of win rate that counts as parity.
        design: looks and bound, fixed before the first episode.
        looks: (pairs, z) of every look taken.
        certificate: shadow pass against the artifact's own checkpoint; None when that is not at hand.
        hidden_drift: largest difference of a hidden value when the candidate keeps its own hidden state.
        latency: of `act`.
        decision, reason: the verdict and its one-line ground.
        facts: hashes, seeds, versions, host.
        not_tested: claims that this evaluation says nothing about.
        paired: both episodes of a pair began from the same seed.
        lost: episodes that the environment broke; their pairs were left out and played again.
        worst: outcomes if every lost episode had gone against the candidate; None when none was lost.
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
    looks: tuple[tuple[int, float], ...]
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
    saved: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 parity shown, 6 failed, 7 inconclusive."""
        return EXIT_CODE[self.decision]

    @property
    def win_rate(self) -> float:
        """Of the candidate."""
        return self.wins / self.pairs.n

    @property
    def reference_win_rate(self) -> float:
        """Of the reference."""
        return self.reference_wins / self.pairs.n

    @property
    def win_rate_ci95(self) -> Interval:
        """Wilson; not adjusted for early stopping."""
        return wilson(self.wins, self.pairs.n)

    @property
    def difference_ci90(self) -> Interval:
        """Tango, paired; not adjusted for early stopping."""
        return tango_interval(self.pairs, 0.90)

    @property
    def episodes_to_settle(self) -> int | None:
        """About how many pairs in all would settle what is inconclusive; None where more would not help."""
        if self.decision != "inconclusive" or self.design.decide(self.pairs, self.margin) != "inconclusive":
            return None
        return pairs_to_settle(self.pairs, self.margin)

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
            "discordant": {"lost": self.pairs.lost, "gained": self.pairs.gained},
            "identical_episodes": self.identical,
            "equivalent": equivalent(self.pairs, self.margin),
            "mcnemar_p": mcnemar_p(self.pairs),
            "design": {
                "name": self.design.name,
                "looks": list(self.design.looks),
                "bound": self.design.bound,
                "alpha": 0.05,
                "z": [{"pairs": n, "z": z} for n, z in self.looks],
                "intervals_adjusted": False,
            },
            "action_agreement": None if shadow is None else shadow.agreement,
            "max_abs_q_error": None if shadow is None else shadow.epsilon,
            "certified_fraction": None if shadow is None else shadow.certified_fraction,
            "fidelity": None if shadow is None else {**shadow.to_json(), "hidden_drift": self.hidden_drift},
            "decision": self.decision,
            "exit_code": self.exit_code,
            "reason": self.reason,
            "episodes_to_settle": self.episodes_to_settle,
            "latency_us": {
                "median": self.latency.median,
                "p99": self.latency.p99,
                "calls": self.latency.calls,
            },
            "decentralised": False,
            "not_tested": list(self.not_tested),
            **self.facts,
        }


def _outcomes(pairs: Pairs) -> dict[str, int]:
    return {"pairs": pairs.n, "lost": pairs.lost, "gained": pairs.gained}


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
    low, _ = tango_interval(pairs, 0.90)
    if outcome == "fail":
        return outcome, f"a loss of more than {points:g} points of win rate is shown"
    if outcome == "inconclusive":
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
    if contest.worst is not None and design.decide(contest.worst, margin) != "pass":
        return "inconclusive", f"{contest.lost} episodes were lost to crashes: they could hide such a loss"
    excluded = f"a loss of more than {points:g} points of win rate is excluded"
    if judged == "fidelity" and certificate is not None:
        same = (
            "every decision" if not certificate.flips else f"{100 * certificate.agreement:.2f} % of decisions"
        )
        return outcome, f"{same} equal in {certificate.episodes} episodes; {excluded}"
    return outcome, excluded


def verdict_table(verdict: Verdict) -> "Table":
    """The verdict for people: who was compared, win rates, the two parities, the decision."""
    from rich.table import Table
    from rich.text import Text

    colour = {"pass": "green", "fail": "red", "inconclusive": "yellow"}[verdict.decision]
    table = Table(
        title=f"{verdict.map_name}: {MEANING[verdict.judged]}", title_justify="left", show_header=False
    )
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("", overflow="fold")
    if len(verdict.design.looks) > 1:
        table.caption_justify = "left"
        table.caption = "Intervals are not adjusted for early stopping; the test is."
    for label, text in _rows(verdict):
        table.add_row(label, Text(text))
    table.add_section()
    said = Text.assemble((verdict.decision.upper(), f"bold {colour}"), f"  {verdict.reason}")
    table.add_row("verdict", said)
    if verdict.decision == "inconclusive":
        table.add_row("to settle it", Text(_advice(verdict)))
    table.add_section()
    table.add_row("not tested", "\n".join(verdict.not_tested))
    if verdict.saved is not None:
        table.add_row("written to", Text(shown_path(verdict.saved)))
    return table


def shown_path(path: str | Path) -> str:
    """As short as it can be typed: relative to the working directory when it lies inside."""
    absolute, here = Path(path).resolve(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def _rows(verdict: Verdict) -> list[tuple[str, str]]:
    n = verdict.pairs.n
    how = "from equal seeds" if verdict.paired else "in the order of play (the game has no seeds)"
    low, high = verdict.difference_ci90
    rows = [
        ("candidate", f"{shown_path(verdict.artifact)}  ({verdict.runtime}, {verdict.kernel})"),
        ("reference", verdict.reference),
        ("win rate", _rate(verdict.wins, n)),
        ("reference wins", _rate(verdict.reference_wins, n)),
        (
            "difference",
            f"{100 * verdict.pairs.difference:+.1f} points  90 % [{100 * low:+.1f}, {100 * high:+.1f}]",
        ),
        (
            "pairs",
            f"{n} {how}: {verdict.pairs.lost} lost, {verdict.pairs.gained} gained, "
            f"{verdict.identical} played alike throughout",
        ),
        ("test", _test(verdict)),
    ]
    if verdict.facts.get("game"):
        game = verdict.facts["game"]
        name = "the stand-in for StarCraft II" if is_stand_in(game) else "StarCraft II"
        rows.append(("game", f"{name} {game['game_version']}, SMAC {game['smac']}"))
        rows.append(("lost episodes", f"{verdict.lost}, left out with their pairs and played again"))
    if verdict.certificate is not None:
        rows += _fidelity_rows(verdict.certificate)
    rows.append(
        (
            "one decision",
            f"{verdict.latency.median:.1f} us median, {verdict.latency.p99:.1f} us p99, one agent",
        )
    )
    return rows


def _rate(wins: int, n: int) -> str:
    low, high = wilson(wins, n)
    return f"{100 * wins / n:.1f} %  95 % [{100 * low:.1f}, {100 * high:.1f}]"


def _test(verdict: Verdict) -> str:
    seen = ", ".join(f"{z:+.2f} at {n}" for n, z in verdict.looks)
    bound = f"bound {verdict.design.bound:.3f} ({verdict.design.name})"
    return f"margin {100 * verdict.margin:g} points; z {seen}; {bound}"


def _fidelity_rows(shadow: Certificate) -> list[tuple[str, str]]:
    flips = f"{len(shadow.flips)} differ" if shadow.flips else "all equal"
    proven = f"{100 * shadow.certified_fraction:.2f} % of {shadow.choices:,} choices"
    return [
        ("same actions", f"{100 * shadow.agreement:.2f} % of {shadow.decisions:,} decisions ({flips})"),
        ("largest Q error", f"{shadow.epsilon:.2g}; proven equal: {proven}"),
    ]


def _advice(verdict: Verdict) -> str:
    if verdict.design.decide(verdict.pairs, verdict.margin) == "pass":
        better = "export again" if verdict.judged == "fidelity" else "choose or train a reference that wins"
        return f"more episodes will not: {better}, then evaluate"
    settle = verdict.episodes_to_settle
    if settle is None:
        return "the difference seen lies on the margin: more episodes would hardly help"
    if settle <= verdict.pairs.n:
        return f"about as many episodes again: --episodes {2 * verdict.pairs.n}"
    return f"about {settle:,} episodes, if what was seen is the truth: --episodes {settle}"
