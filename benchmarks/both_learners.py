"""The same runs with both learners: do they win as often, and how much sooner does the native one end?

Run: `python benchmarks/both_learners.py [--config FILE] [--seeds 1 2] [--set KEY=VALUE] [--json]`.
Every seed is trained with the torch and with the native learner, two runs at a time, under `runs/torch` and
`runs/native`; finished runs are not trained again. Runs part after some hundred updates, where rounding first
decides a tie: what can agree is the win rate, up to the spread between seeds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LEARNERS = ("torch", "native")
LAST = 20


def train(config: str, sets: Sequence[str], seed: int, learner: str, root: Path) -> dict[str, Any]:
    """One run; its score is the mean of its last 20 evaluations."""
    command = [sys.executable, "-m", "mast_edge", "train", config, "--seed", str(seed), "--learner", learner]
    for value in sets:
        command += ["--set", value]
    runs = root / learner
    env = {**os.environ, "MAST_EDGE_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    made = subprocess.run(
        [*command, "--json", "--quiet"], stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT, check=False
    )
    if made.returncode != 0:
        raise SystemExit(f"both_learners: exit code of train must be 0; got {made.returncode}.")
    result: dict[str, Any] = json.loads(made.stdout)
    lines = (runs / result["run"] / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    rates = [r["win_rate"] for r in records if r["kind"] == "evaluation"]
    learning = sum(r.get("seconds_learn", 0.0) for r in records)
    return {
        "suite": "both_learners",
        "name": learner,
        "case": f"{config} seed {seed}",
        "value": statistics.fmean(rates[-LAST:]),
        "unit": "win rate",
        "ratios": {},
        "updates": result["updates"],
        "milliseconds_per_update": 1000 * learning / result["updates"],
        "wall_seconds": result["wall_seconds"],
        "curve": rates,
    }


def main() -> None:
    """Trains, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/demo_3m.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--root", type=Path, default=ROOT / "runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    wanted = [(seed, learner) for learner in LEARNERS for seed in a.seeds]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda w: train(a.config, a.sets, *w, a.root), wanted))
    host = {"sets": a.sets, "two_at_once": True}
    result = {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if a.json:
        print(json.dumps(result))
        return
    for row in rows:
        cost = f"{row['milliseconds_per_update']:6.1f} ms/update, {row['wall_seconds']:6.0f} s"
        print(f"{row['name']:7} {row['case']:32} {row['value']:6.1%}   {cost}")
    for learner in LEARNERS:
        mean = statistics.fmean(row["value"] for row in rows if row["name"] == learner)
        print(f"{learner:7} mean of {len(a.seeds)} seeds {mean:6.1%}")


if __name__ == "__main__":
    main()
