"""Dense, static, RigL and MAST on the quick schedule, dense and MAST on the paper's: curves, scores, values
and turnover of every run.

Run: `python benchmarks/quick.py` trains what is missing under `runs/` (two at a time; a stopped run goes on),
then writes `benchmarks/results/quick_TABLE.json` and a picture a map. `--table full --maps 3m 2s3z 3s5z` is
2M steps each, in `full_length.json`. A row holds the evaluation curve, the mean of its last 20
evaluations, the believed and realised values along it (paper, Figure 5b) and what the topology did, with seed
and commit. One run per row: read the spread between evaluations, and between seeds where there are several,
before any difference.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mast_edge.config import load_config
from mast_edge.console import console_on
from mast_edge.experiments.plots import plot_win_rates
from mast_edge.experiments.sweep import Task, train_together
from mast_edge.runs import Run, find_run, runs_root

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
OVERLAY = "configs/quick.yaml"
TABLES = {
    "methods": {
        "dense": ("method=dense",),
        "static": ("method=ss",),
        "RigL": ("method=rigl",),
        "MAST": (),
        "MAST 8x1": ("topology.pattern=8x1",),
    },
    "sensitivity": {
        "MAST, lr x3": ("optim.lr=1.5e-3",),
        "dense, lr x3": ("method=dense", "optim.lr=1.5e-3"),
        "MAST 8x1, lr x3": ("topology.pattern=8x1", "optim.lr=1.5e-3"),
        "MAST, init_rescale": ("topology.init_rescale=true",),
        "dense, MAST's targets and buffers": (
            "method=dense",
            "target.operator=soft_mellowmax",
            "target.returns=td_lambda",
            "replay.online_share=12",
        ),
        "MAST, interval x5": ("topology.interval=1000",),
    },
    "step": {"MAST, lr x3": ("optim.lr=1.5e-3",)},
    "full": {"dense": ("method=dense",), "MAST": ()},
}
"""Table -> label -> what differs from the map's MAST, which is the quick one but in `full`."""
LAST = 20


def tasks(table: str, maps: Iterable[str], extra: tuple[str, ...]) -> list[Task]:
    """One task per row of the table and map."""
    overlays = () if table == "full" else (OVERLAY,)
    return [
        Task(f"{name} {where}", f"configs/qmix_{where}.yaml", (*sets, *extra), overlays)
        for where in maps
        for name, sets in TABLES[table].items()
    ]


def row(label: str, run: Run) -> dict[str, Any]:
    """What one run was and how it went."""
    config = load_config(run.path / "config.resolved.yaml", environ={})
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    curve, values, trained, layers = (
        [r for r in records if r["kind"] == kind] for kind in ("evaluation", "estimate", "train", "topology")
    )
    rates = [r["win_rate"] for r in curve]
    norms = [r["grad_norm"] for r in trained if "grad_norm" in r]
    return {
        "label": label,
        "run": run.path.name,
        "map": config.env.map,
        "method": config.method,
        "pattern": config.topology.pattern,
        "sparsity": config.sparsity,
        "seed": config.seed,
        "t_max": config.t_max,
        "updates": run.manifest.updates,
        "git_commit": run.manifest.git_commit,
        "learner": run.manifest.learner,
        "last_20_mean": round(statistics.fmean(rates[-LAST:]), 4),
        "last_20_sd": round(statistics.stdev(rates[-LAST:]), 4),
        "curve": [[r["t_env"], round(r["win_rate"], 4)] for r in curve],
        "q_tot_last": round(statistics.fmean(r["q_tot"] for r in values[-3 * LAST :]), 3),
        "realised_last": round(statistics.fmean(r["realised_return"] for r in values[-3 * LAST :]), 3),
        "estimate": [
            [r["t_env"], round(r["q_tot"], 3), round(r["realised_return"], 3)] for r in values[::10]
        ],
        "dead_units": round(values[-1]["dead_units"], 4),
        "grad_norm_last": round(statistics.fmean(norms[-4 * LAST :]), 3),
        "layers_at_end": layers[-1]["layers"] if layers else {},
        "seconds": {
            name: round(sum(r[f"seconds_{name}"] for r in trained), 1)
            for name in ("env", "act", "learn", "evaluate", "checkpoint", "other")
        },
    }


def main() -> None:
    """Trains, collects, draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="methods")
    parser.add_argument("--maps", nargs="+", default=["3m", "2s3z"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="for every run, as in mast-edge train")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/quick_TABLE.json")
    arguments = parser.parse_args()
    name = "full_length" if arguments.table == "full" else f"quick_{arguments.table}"
    arguments.out = arguments.out or RESULTS / f"{name}.json"
    chosen = tasks(arguments.table, arguments.maps, tuple(arguments.set))
    done = train_together(chosen, console_on(sys.stderr), runs_root() / "quick-logs", arguments.workers)
    runs = [(task.label, find_run(result["run"])) for task, result in zip(chosen, done, strict=True)]
    rows = [row(label, run) for label, run in runs]
    text = json.dumps({"schema": "mast-edge/quick/1", "settings": arguments.set, "rows": rows})
    arguments.out.write_text(text.replace('{"label"', '\n{"label"') + "\n", encoding="utf-8")
    for where in arguments.maps:
        of_map = [(label.removesuffix(f" {where}"), run) for label, run in runs if label.endswith(where)]
        plot_win_rates(of_map, DOCS / f"{arguments.out.stem}_{where}.png")
    for r in rows:
        wins = f"{100 * r['last_20_mean']:5.1f} % (sd {100 * r['last_20_sd']:4.1f})"
        values = f"q_tot {r['q_tot_last']:5.2f} where {r['realised_last']:5.2f} followed"
        print(f"{r['label']:36} {wins}  {values}  {100 * r['dead_units']:3.0f} % dead units  {r['run']}")


if __name__ == "__main__":
    main()
