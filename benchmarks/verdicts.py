"""Verdicts on runs in every runtime that is installed, in one process and with a process per agent.

Fidelity: each runtime against the checkpoint's own weights, by torch (torch itself by numpy). Compression,
with --reference: the csr runtime against another run, usually a dense one. All as `mast-edge evaluate` does.

Source: parity_and_safety.md sections 2 and 3. Run: python benchmarks/verdicts.py RUN... [--reference RUN]
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.output import add_output_options, finish, host
from mast_edge.export import export_run
from mast_edge.runs import find_run
from mast_edge.runtime.evaluate import evaluate
from mast_edge.runtime.opponents import missing_export
from mast_edge.runtime.verdict import Verdict

RUNTIMES = {"torch": "torch", "numpy": None, "csr": None, "onnx": "onnxruntime", "c": None}
"""Runtime -> package that it needs."""
COLUMNS = (
    *("judged", "runtime", "agents", "verdict", "pairs", "wins", "reference"),
    *("same actions", "|dQ|", "us/act", "s"),
)


def benchmark_verdicts(
    runs: Sequence[str],
    reference: str | None = None,
    episodes: int | None = None,
    root: Path | None = None,
    runtimes: Sequence[str] = tuple(RUNTIMES),
    tell: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Rows of verdicts; `decentralised` holds what `mast-edge evaluate --decentralised` reports.

    Args:
        runs: names or folders of complete runs; missing exports are made.
        reference: a run, for a verdict on compression besides.
        episodes: of a fixed sample; None takes the sequential design.
        root: where run folders live.
        runtimes: names in `RUNTIMES`; those whose package is missing are left out.
        tell: told what is being judged.
    """
    rows = []
    for name in runs:
        run = find_run(name, root)
        asked = [
            (runtime, "numpy" if runtime == "torch" else "torch")
            for runtime in runtimes
            if (package := RUNTIMES[runtime]) is None or importlib.util.find_spec(package)
        ]
        for runtime, against in [*asked, *([("csr", reference)] if reference else [])]:
            if (kind := missing_export(run, runtime)) is not None:
                export_run(run.path, [kind], measure=False)
            for apart in (False, True):
                tell(
                    f"{run.path.name}: {runtime} against {against}{', a process per agent' if apart else ''}"
                )
                begin = time.perf_counter()
                judged = evaluate(
                    run=str(run.path),
                    runtime=runtime,
                    reference=against,
                    episodes=episodes,
                    decentralised=apart,
                    root=root,
                )
                rows.append(_row(run.path.name, judged) | {"seconds": time.perf_counter() - begin})
    return {"schema": "mast-edge/benchmark/1", "host": host(), "rows": rows}


def _row(run: str, verdict: Verdict) -> dict[str, Any]:
    found = verdict.to_json()
    kept = ("judged", "kernel", "reference", "map", "episodes", "decision", "reason", "win_rate")
    kept += ("reference_win_rate", "difference_ci90", "discordant", "identical_episodes", "action_agreement")
    kept += ("max_abs_q_error", "certified_fraction", "latency_us", "decentralised")
    return {
        **{"suite": "verdicts", "name": found["runtime"], "case": run},
        **{"value": found["difference"], "unit": "win rate", "ratios": {}},
        **{name: found[name] for name in kept},
    }


def show(result: dict[str, Any]) -> None:
    """A table per run."""
    from mast_edge.console import out, rows_table

    for case in dict.fromkeys(row["case"] for row in result["rows"]):
        body = [_shown(row) for row in result["rows"] if row["case"] == case]
        out(rows_table(COLUMNS, body, title=case))


def _shown(row: dict[str, Any]) -> list[str]:
    apart = row["decentralised"]
    alike = f"{apart['in_process_identical']} of {apart['battles']} alike" if apart else "one process"
    rates = [f"{100 * row[name]:.1f} %" for name in ("win_rate", "reference_win_rate")]
    shadow = ["-", "-"]
    if row["action_agreement"] is not None:
        shadow = [f"{100 * row['action_agreement']:.2f} %", f"{row['max_abs_q_error']:.1e}"]
    return [
        *(row["judged"], row["name"], alike, row["decision"], str(row["episodes"]), *rates, *shadow),
        *(f"{row['latency_us']['median']:.2f}", f"{row['seconds']:.1f}"),
    ]


def main() -> None:
    """Prints tables, or the JSON object."""
    parser = argparse.ArgumentParser(
        description="Verdicts in every installed runtime, and a process per agent."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--reference", metavar="RUN", help="also judge csr against this run")
    parser.add_argument("--runtimes", nargs="+", choices=list(RUNTIMES), default=list(RUNTIMES))
    parser.add_argument("--episodes", type=int, help="a fixed number of pairs instead of looks")
    add_output_options(parser)
    asked = parser.parse_args()
    finish(benchmark_verdicts(asked.runs, asked.reference, asked.episodes, None, asked.runtimes), asked, show)


if __name__ == "__main__":
    main()
