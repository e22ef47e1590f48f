"""How often each design of the verdict errs, how often it decides, and how many pairs it plays.

Trials are drawn with a known truth and judged by the product's own `Design.decide`. Bounds are found anew
from paths of a Brownian motion at the five looks. Beside a number stands that of the specification.

Source: parity_and_safety.md section 3. Run: python benchmarks/verdict_errors.py [--trials 40000]
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.output import add_output_options, finish
from mast_edge.console import out, rows_table
from mast_edge.provenance import git_commit, versions
from mast_edge.runtime.designs import ANYTIME, BOUNDS, FIVE_LOOKS, POCOCK, TAPERED, Design, fixed_sample
from mast_edge.runtime.parity import ALPHA, DEFAULT_MARGIN, Pairs, normal_quantile
from mast_edge.runtime.unpaired import Arms

STEP = 25
"""Pairs drawn at once: divides every look."""
PSI = (0.0, 0.02, 0.05, 0.10, 0.18)
TRUTHS = (0.0, -0.01, -0.03, -0.07)
PEEKING = Design("peeking", FIVE_LOOKS, (normal_quantile(1 - ALPHA),) * len(FIVE_LOOKS))
"""What not to do: the bound of a single look at every look."""
PAIRED = (POCOCK, TAPERED, ANYTIME, fixed_sample(1000), PEEKING)
UNPAIRED = (POCOCK, fixed_sample(2000))
REFERENCE_RATES = (0.90, 0.95)
SPEC: dict[tuple[str, float, float], dict[str, float]] = {
    ("pocock", 0.0, 0.0): {"pairs": 250},
    ("pocock", 0.02, 0.0): {"pairs": 329},
    ("pocock", 0.05, 0.0): {"pairs": 533},
    ("pocock", 0.10, 0.0): {"pairs": 871, "passed": 0.98},
    ("pocock", 0.18, 0.0): {"pairs": 1220, "passed": 0.86},
    ("pocock", 0.10, -0.03): {"pairs": 1870, "passed": 0.048},
    ("tapered", 0.0, 0.0): {"pairs": 500},
    ("tapered", 0.18, 0.0): {"pairs": 1344, "passed": 0.92},
    ("tapered", 0.10, -0.03): {"passed": 0.050},
    ("anytime", 0.0, 0.0): {"pairs": 110},
    ("anytime", 0.02, 0.0): {"pairs": 277},
    ("anytime", 0.05, 0.0): {"pairs": 693},
    ("anytime", 0.10, 0.0): {"pairs": 1272},
    ("anytime", 0.10, -0.03): {"passed": 0.05},
    ("fixed 1000", 0.05, 0.0): {"passed": 0.99},
    ("fixed 1000", 0.10, 0.0): {"passed": 0.91},
    ("fixed 1000", 0.18, 0.0): {"passed": 0.72},
}
"""(design, psi, truth) -> printed there; false passes are "at most", and the mean at -3 has no psi there."""

Counts = NDArray[np.int64]


def benchmark_verdict_errors(trials: int = 40_000, seed: int = 1) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `verdict`; a value is the share of trials passed.

    Args:
        trials: per case.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    rows = [*_paired_rows(trials, rng), *_unpaired_rows(trials, rng), *_bound_rows(50 * trials, rng)]
    host = {**versions(), "git_commit": git_commit(), "trials": trials, "seed": seed}
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}


def _paired_rows(trials: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for psi, truth in itertools.product(PSI, TRUTHS):
        if psi < -truth:
            continue
        counts = draw_pairs(psi, truth, trials, rng)
        for design in PAIRED:
            name = f"fixed {design.looks[0]}" if design.name == "fixed" else design.name
            found = play(design, counts, Pairs)
            yield _row(name, f"psi {100 * psi:g} %, truth {100 * truth:+g}", found, trials) | {
                "spec": SPEC.get((name, psi, truth), {})
            }


def _unpaired_rows(trials: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for rate, truth in itertools.product(REFERENCE_RATES, (0.0, -0.03)):
        counts = draw_arms(rate + truth, rate, trials, rng)
        for design in UNPAIRED:
            found = play(design, counts, two_arms)
            name = f"unpaired, {design.name} {design.looks[-1]}"
            yield _row(name, f"reference {100 * rate:g} %, truth {100 * truth:+g}", found, trials)


def _row(name: str, case: str, found: tuple[float, float, float], trials: int) -> dict[str, Any]:
    passed, failed, pairs = found
    error = (passed * (1 - passed) / trials) ** 0.5
    return {
        **{"suite": "verdict", "name": name, "case": case, "value": passed, "unit": "share passed"},
        **{"standard_error": error, "failed": failed, "mean_pairs": pairs, "ratios": {}},
    }


def draw_pairs(psi: float, truth: float, trials: int, rng: np.random.Generator) -> Counts:
    """(lost, gained) after every `STEP` pairs, (2000 / STEP, 2, trials)."""
    steps = (FIVE_LOOKS[-1] // STEP, trials)
    differ = rng.binomial(STEP, psi, steps)
    lost = rng.binomial(differ, (psi - truth) / (2 * psi) if psi else 0.0)
    return np.cumsum(np.stack([lost, differ - lost], axis=1), axis=0)


def draw_arms(rate: float, reference: float, trials: int, rng: np.random.Generator) -> Counts:
    """(wins, reference wins) after every `STEP` episodes of either side, (2000 / STEP, 2, trials)."""
    steps = (FIVE_LOOKS[-1] // STEP, trials)
    return np.cumsum(np.stack([rng.binomial(STEP, p, steps) for p in (rate, reference)], axis=1), axis=0)


def two_arms(n: int, wins: int, reference_wins: int) -> Arms:
    """Independent arms; which episodes stand beside each other does not matter to their test."""
    gained = max(0, wins - reference_wins)
    return Arms(n, gained - wins + reference_wins, gained, wins)


def play(design: Design, counts: Counts, evidence: Any) -> tuple[float, float, float]:
    """(share passed, share failed, mean pairs) of the trials; equal counts are judged once.

    Args:
        design: whose `decide` is asked at each of its looks.
        counts: of `draw_pairs` or `draw_arms`.
        evidence: (n, first, second) -> what is judged.
    """
    trials = counts.shape[2]
    running = np.arange(trials)
    passed = failed = pairs = 0
    for n in design.looks:
        first, second = counts[n // STEP - 1][:, running]
        codes, where = np.unique(first * (n + 1) + second, return_inverse=True)
        said = [
            design.decide(evidence(n, int(code) // (n + 1), int(code) % (n + 1)), DEFAULT_MARGIN)
            for code in codes
        ]
        decided = np.array([{"pass": 1, "fail": 2, "inconclusive": 0}[d] for d in said])[where]
        passed += int((decided == 1).sum())
        failed += int((decided == 2).sum())
        pairs += n * int((decided > 0).sum())
        running = running[decided == 0]
    pairs += design.looks[-1] * len(running)
    return passed / trials, failed / trials, pairs / trials


def _bound_rows(paths: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Bounds that a Brownian motion crosses with probability 5 %: c (n / 2000)^-power at n pairs."""
    looks = np.array(FIVE_LOOKS, float)
    steps = np.sqrt(np.diff(looks, prepend=0.0))
    for name, power in (("pocock", 0.0), ("tapered", 0.25)):
        highest = np.concatenate(
            [
                (
                    np.cumsum(rng.standard_normal((100_000, 5)) * steps, axis=1)
                    / np.sqrt(looks)
                    * (looks / looks[-1]) ** power
                ).max(axis=1)
                for _ in range(max(1, paths // 100_000))
            ]
        )
        constant = float(np.quantile(highest, 1 - ALPHA))
        bounds = constant * (looks / looks[-1]) ** -power
        near = np.mean(np.abs(highest - constant) < 0.05) / 0.1
        error = float((ALPHA * (1 - ALPHA) / len(highest)) ** 0.5 / near)
        yield {
            **{"suite": "verdict", "name": f"bounds, {name}", "case": "five looks", "value": constant},
            **{"unit": "z", "standard_error": error, "bounds": [round(float(b), 3) for b in bounds]},
            **{"ratios": {}, "spec": {"bounds": list(BOUNDS[name])}},
        }


def show(result: dict[str, Any]) -> None:
    """One row per design and truth; in brackets what the specification prints."""
    rows = [row for row in result["rows"] if row["unit"] != "z"]
    body = [
        [
            row["case"],
            row["name"],
            _beside(f"{100 * row['value']:.1f}", row.get("spec", {}).get("passed"), 100),
            f"{100 * row['standard_error']:.2f}",
            f"{100 * row['failed']:.1f}",
            _beside(f"{row['mean_pairs']:.0f}", row.get("spec", {}).get("pairs"), 1),
        ]
        for row in rows
    ]
    heads = ("truth", "design", "passed %", "s.e.", "failed %", "mean pairs")
    out(rows_table(heads, body, f"{result['host']['trials']:,} trials each; margin 3 points"))
    bounds = [
        [row["name"], row["bounds"], row["spec"]["bounds"], f"{row['standard_error']:.4f}"]
        for row in result["rows"]
        if row["unit"] == "z"
    ]
    out(
        rows_table(
            ("", "found", "specification", "s.e."), bounds, "Bounds on z at 125, 250, 500, 1,000, 2,000"
        )
    )


def _beside(found: str, printed: float | None, scale: float) -> str:
    return found if printed is None else f"{found} ({scale * printed:g})"


def main() -> None:
    """Prints the table, or the JSON object."""
    parser = argparse.ArgumentParser(description="Error rates, power and length of every design.")
    parser.add_argument("--trials", type=int, default=40_000, help="per case")
    add_output_options(parser)
    arguments = parser.parse_args()
    finish(benchmark_verdict_errors(arguments.trials), arguments, show)


if __name__ == "__main__":
    main()
