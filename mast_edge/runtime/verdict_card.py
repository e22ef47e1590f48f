"""The page beside a verdict: one sheet of Markdown that says what is claimed, on what evidence, and what not.

Made from the JSON object alone, so that the file is enough to make it again. Source: parity_and_safety.md 5.
"""

from collections.abc import Mapping
from typing import Any

from mast_edge.markdown import escaped, markdown_table
from mast_edge.runtime.decentralised_verdict import decentralised_rows

MEANING: Mapping[str, str] = {
    "pass": "A loss of win rate beyond the margin is excluded.",
    "fail": "Shown: the win rate falls by more than the margin, or a certified decision differs.",
    "inconclusive": "The evidence settles neither. This is no parity.",
}
FIDELITY = "## A. Runtime fidelity: does this runtime take the actions of its own weights?"
COMPRESSION = "## B. Compression cost: does it win as often as the other policy?"
LISTED_LOOKS = 16


def verdict_card(report: Mapping[str, Any]) -> str:
    """The card of one verdict.

    Args:
        report: the `mast-edge/evaluate/1` object.

    Returns:
        Markdown; whatever comes from a file is escaped. Equal reports, equal bytes.
    """
    decisions = [FIDELITY, *_fidelity(report)]
    battles = [
        "### Battles",
        _pairs(_battles(report)),
        "### Design, fixed before the first episode",
        _pairs(_design(report)),
        _looks(report["design"]),
    ]
    if report["judged"] == "fidelity":
        claims = [*decisions, *battles, COMPRESSION, "Not judged: the reference has the same weights."]
    else:
        claims = [COMPRESSION, *battles, *decisions]
    parts = [
        f"# {escaped(report['map'])}: {report['decision']}",
        f"Judged: {report['judged']}. {MEANING[report['decision']]} Ground: {escaped(report['reason'])}.",
        _pairs(_sides(report)),
        *claims,
        "## Time of one decision",
        _pairs(_time(report)),
        "## Not tested",
        "\n".join(f"- {escaped(said)}" for said in report["not_tested"]),
        "## Where it comes from",
        _pairs(_origin(report)),
    ]
    return "\n\n".join(parts) + "\n"


def _pairs(values: Mapping[str, Any]) -> str:
    return markdown_table(["", ""], [*values.items()])


def _points(low_high: list[float]) -> str:
    return f"{100 * low_high[0]:+.1f} to {100 * low_high[1]:+.1f} points"


def _percent(low_high: list[float]) -> str:
    return f"{100 * low_high[0]:.1f} to {100 * low_high[1]:.1f} %"


def _sides(report: Mapping[str, Any]) -> dict[str, Any]:
    rows = {
        "candidate": report["artifact"],
        "runtime": f"{report['runtime']}: {report['kernel']}",
        "reference": report["reference"],
        "game": f"{report['map']} ({report['env']})",
        "agents": "computed together, each from its own observation",
        "sparsity": report["sparsity"],
        "margin": f"{100 * report['margin']:g} points of win rate",
        "exit code": report["exit_code"],
    }
    if report["decentralised"]:
        rows |= {"agents": "one process each, which is given its own observation and nothing else"}
        rows |= {f"apart: {name}": text for name, text in decentralised_rows(report["decentralised"])}
    if report["advice"] is not None:
        rows["to settle it"] = report["advice"]
    return rows


def _battles(report: Mapping[str, Any]) -> dict[str, Any]:
    rate, other = report["win_rate"], report["reference_win_rate"]
    equal, lost = report["equivalence"], report["discordant"]["lost"]
    unit = "pairs from equal seeds" if report["paired"] else "episodes of either side, in the order of play"
    shown = "shown" if equal["equivalent"] else "not shown"
    rows = {
        "played": f"{report['episodes']} {unit}",
        "won": f"{100 * rate:.1f} %, Wilson 95 % {_percent(report['win_rate_ci95'])}",
        "won by the reference": f"{100 * other:.1f} %, "
        f"Wilson 95 % {_percent(report['reference_win_rate_ci95'])}",
        "lost where the reference won (b)": lost,
        "won where the reference lost (c)": report["discordant"]["gained"],
        "outcomes that differ (psi)": f"{100 * report['discordance']:.1f} %",
        "played alike throughout": report["identical_episodes"],
        "difference": f"{100 * report['difference']:+.1f} points",
        f"90 % interval ({report['interval_method']})": f"{_points(report['difference_ci90'])}, "
        "not adjusted for early stopping",
        "not excluded by the design": f"{_points(report['difference_limits'])}, adjusted for early stopping",
        "equivalence (TOST)": f"{shown}: p {equal['loss']['p']:.2g} against a loss, "
        f"{equal['gain']['p']:.2g} against a gain; not adjusted",
        "McNemar": f"p {report['mcnemar_p']:.2g}: a test of difference, no evidence of parity",
        "episodes the game broke": f"{report['lost']}, left out on both sides",
    }
    if report["newcombe_ci90"] is not None:
        rows["90 % interval (Newcombe)"] = f"{_points(report['newcombe_ci90'])}, not adjusted"
    if report["worst_case"] is not None:
        worst = report["worst_case"]
        rows["if all had gone against it"] = (
            f"{worst['lost']} lost, {worst['gained']} gained of {worst['pairs']}"
        )
    return rows


def _design(report: Mapping[str, Any]) -> dict[str, Any]:
    design, seeds = report["design"], report["seeds"]
    bounds, looks = design["bounds"], design["looks"]
    shown = looks if len(looks) <= LISTED_LOOKS else f"every {looks[0]} pairs up to {looks[-1]}"
    rows = {
        "design": design["name"],
        "looks after": shown,
        f"bounds on {design['statistic']}": [f"{b:.3f}" for b in dict.fromkeys(bounds)],
        "alpha": f"{design['alpha']:g}, one-sided",
    }
    if seeds is not None:
        rows["seeds"] = f"{seeds['count']} from {seeds['first']} on, SHA-256 {seeds['sha256']}"
    return rows


def _looks(design: Mapping[str, Any]) -> str:
    rows = [
        [
            look["pairs"],
            f"{look['z']:+.3f}",
            *(f"{look[e]:.3g}" for e in ("e_not_worse", "e_worse") if e in look),
        ]
        for look in design["z"][-LISTED_LOOKS:]
    ]
    head = ["look after", "z", "E of parity", "E of a loss"][: len(rows[0])]
    return markdown_table(head, rows)


def _fidelity(report: Mapping[str, Any]) -> list[str]:
    shadow = report["fidelity"]
    if shadow is None:
        return ["Not compared: the checkpoint is not at hand."]
    low, high = shadow["action_agreement_ci95"]
    quantiles = ", ".join(f"{name} {gap:.3g}" for name, gap in shadow["gap_quantiles"].items())
    rows = {
        "compared": f"{shadow['decisions']} decisions in {shadow['episodes']} episodes, "
        "in the reference's shadow",
        "equal": f"{100 * shadow['action_agreement']:.3f} %, 95 % {100 * low:.2f} to {100 * high:.2f} % "
        "(clustered by episode)",
        "epsilon, the largest error of Q": f"{shadow['epsilon']:.3g}",
        "the same, relative": f"{shadow['relative_error']:.3g}; at most {shadow['relative_error_target']:g} "
        "between float32 runtimes",
        "gap of the best action": quantiles,
        "certified (gap over 2 epsilon)": f"{100 * shadow['certified_fraction']:.2f} % "
        f"of {shadow['choices']} choices; {100 * shadow['certified_fraction_target']:g} % wanted",
        "single available action": shadow["trivially_certified"],
        "decisions that differ": f"{shadow['flips']}, {shadow['certified_flips']} of them certified",
        "hidden state, running freely": f"drifts by {shadow['hidden_drift']:.3g} at most",
    }
    parts = [_pairs(rows)]
    if shadow["first_flips"]:
        head = ["episode", "step", "agent", "gap", "error of Q"]
        flips = [
            [f["episode"], f["step"], f["agent"], _number(f["gap"]), _number(f["error"])]
            for f in shadow["first_flips"]
        ]
        listed = f"The first {len(flips)} of {shadow['flips']} that differ; epsilon {shadow['epsilon']:.3g}:"
        parts += [listed, markdown_table(head, flips)]
    return parts


def _number(value: float | None) -> str:
    return "one action only" if value is None else f"{value:.3g}"


def _time(report: Mapping[str, Any]) -> dict[str, Any]:
    time, host = report["latency_us"], report["host"]
    return {
        "median": f"{time['median']:.1f} us",
        "p99": f"{time['p99']:.1f} us of {time['calls']} calls, one agent, a pass of its own",
        "on": f"{host['processor']}, {host['machine']}, {host['system']}",
        "its instructions": host["flags"],
        "kernels": report["kernel"],
    }


def _origin(report: Mapping[str, Any]) -> dict[str, Any]:
    rows = {"run": report["run"], "algorithm": report["algorithm"], "method": report["method"]}
    rows |= {f"SHA-256 of {name}": digest for name, digest in report["sha256"].items()}
    rows |= report["versions"]
    if report["simulator"] is not None:
        rows["simulator"] = report["simulator"]
    if report["game"] is not None:
        rows |= report["game"]
    rows["size and FLOPs"] = "card.md beside the artifact: a count of FLOPs is not a speed-up"
    return rows
