"""The verdict on a terminal: who was compared, win rates, the two parities, the decision."""

from rich.table import Table
from rich.text import Text

from mast_edge.envs.smac_install import is_stand_in
from mast_edge.runtime.certificate import Certificate
from mast_edge.runtime.decentralised_verdict import decentralised_rows
from mast_edge.runtime.designs import Look
from mast_edge.runtime.parity import mcnemar_p, tost, wilson
from mast_edge.runtime.verdict import MEANING, Verdict, shown_path

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
SHOWN_LOOKS = 5
"""The last ones."""


def verdict_table(verdict: Verdict) -> Table:
    """The verdict for people: who was compared, win rates, the two parities, the decision."""
    table = Table(
        title=f"{verdict.map_name}: {MEANING[verdict.judged]}", title_justify="left", show_header=False
    )
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("", overflow="fold")
    if len(verdict.design.looks) > 1:
        table.caption_justify = "left"
        table.caption = "Intervals of 90 and 95 % are not adjusted for early stopping; the test is."
    for label, text in _rows(verdict):
        table.add_row(label, Text(text))
    table.add_section()
    style = f"bold {COLOURS[verdict.decision]}"
    table.add_row("verdict", Text.assemble((verdict.decision.upper(), style), f"  {verdict.reason}"))
    if verdict.advice is not None:
        table.add_row("to settle it", Text(verdict.advice.text))
    table.add_section()
    table.add_row("not tested", Text("\n".join(verdict.not_tested)))
    if verdict.saved is not None:
        table.add_row("written to", Text(shown_path(verdict.saved)))
    return table


def _rows(verdict: Verdict) -> list[tuple[str, str]]:
    n, pairs = verdict.pairs.n, verdict.pairs
    how = "from equal seeds" if verdict.paired else "in the order of play (the game has no seeds)"
    played = f"{pairs.lost} lost, {pairs.gained} gained, {verdict.identical} played alike throughout"
    rows = [
        ("candidate", f"{shown_path(verdict.artifact)}  ({verdict.runtime}, {verdict.kernel})"),
        ("reference", verdict.reference),
        ("win rate", _rate(verdict.wins, n)),
        ("reference wins", _rate(verdict.reference_wins, n)),
        ("difference", _difference(verdict)),
        ("pairs", f"{n} {how}: {played}"),
        ("test", _test(verdict)),
        ("equivalence", _equivalence(verdict)),
    ]
    if verdict.facts.get("game"):
        game = verdict.facts["game"]
        name = "the stand-in for StarCraft II" if is_stand_in(game) else "StarCraft II"
        rows.append(("game", f"{name} {game['game_version']}, SMAC {game['smac']}"))
        rows.append(("lost episodes", f"{verdict.lost}, left out with their pairs and played again"))
    if verdict.certificate is not None:
        rows += _fidelity_rows(verdict.certificate)
    if verdict.decentralised is not None:
        rows += decentralised_rows(verdict.decentralised)
    time = f"{verdict.latency.median:.1f} us median, {verdict.latency.p99:.1f} us p99, one agent"
    return [*rows, ("one decision", time)]


def _rate(wins: int, n: int) -> str:
    low, high = wilson(wins, n)
    return f"{100 * wins / max(1, n):.1f} %  95 % [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(verdict: Verdict) -> str:
    low, high = verdict.difference_ci90
    seen = f"{100 * verdict.pairs.difference:+.1f} points"
    return f"{seen}  90 % [{100 * low:+.1f}, {100 * high:+.1f}] ({verdict.pairs.method})"


def _test(verdict: Verdict) -> str:
    design = verdict.design
    seen = ", ".join(_seen(look, _against(verdict)) for look in verdict.looks[-SHOWN_LOOKS:])
    more = "... " if len(verdict.looks) > SHOWN_LOOKS else ""
    if design.name == "anytime":
        claim = "against parity" if _against(verdict) else "for parity"
        needed = f"{design.bounds[0]:g} decides"
        return f"margin {100 * verdict.margin:g} points; E {claim} {more}{seen}; {needed} (anytime)"
    last = design.bound(verdict.pairs.n)
    return f"margin {100 * verdict.margin:g} points; z {more}{seen}; bound {last:.3f} ({design.name})"


def _against(verdict: Verdict) -> bool:
    """Whether the evidence speaks for a loss beyond the margin rather than for parity."""
    return verdict.pairs.difference < -verdict.margin


def _seen(look: Look, against: bool) -> str:
    e = look.e_worse if against else look.e_not_worse
    return f"{look.z:+.2f} at {look.pairs}" if e is None else f"{e:.3g} at {look.pairs}"


def _equivalence(verdict: Verdict) -> str:
    found = tost(verdict.pairs, verdict.margin)
    said = "shown" if found.equivalent else "not shown"
    within = f"{said} within {100 * verdict.margin:g} points (p {found.p_loss:.2g} and {found.p_gain:.2g})"
    return f"{within}; McNemar p {mcnemar_p(verdict.pairs):.2g}, which is no evidence of parity"


def _fidelity_rows(shadow: Certificate) -> list[tuple[str, str]]:
    flips = f"{len(shadow.flips)} differ" if shadow.flips else "all equal"
    proven = f"{100 * shadow.certified_fraction:.2f} % of {shadow.choices:,} choices"
    return [
        ("same actions", f"{100 * shadow.agreement:.2f} % of {shadow.decisions:,} decisions ({flips})"),
        ("largest Q error", f"{shadow.epsilon:.2g}; proven equal: {proven}"),
    ]
