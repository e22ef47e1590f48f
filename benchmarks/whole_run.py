"""Whole training runs: environment steps per second, where the time goes, and what two runs at once lose.

Run: `python benchmarks/whole_run.py [--config FILE] [--steps 100000] [--set KEY=VALUE] [--json]`. The config
is trained three times in new folders, through the command line: once alone, then twice at once with two
seeds, evaluations and checkpoints included. Alone means that nothing else runs: the load is printed.

Source: training_speed.md, sections 6 and 9.6.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.output import add_output_options, finish

ROOT = Path(__file__).resolve().parent.parent
PAPER_STEPS = 2_000_000


def start(config: str, sets: Sequence[str], seed: int, runs: Path) -> subprocess.Popen[str]:
    """One training run as a process of its own."""
    command = [sys.executable, "-m", "mast_edge", "train", config, "--seed", str(seed), "--json", "--quiet"]
    for value in sets:
        command += ["--set", value]
    env = {**os.environ, "MAST_EDGE_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT)


def finished(process: subprocess.Popen[str], runs: Path) -> dict[str, Any]:
    """What a run says of itself, and the seconds of its parts."""
    out, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"whole_run: exit code of train must be 0; got {process.returncode}.")
    result: dict[str, Any] = json.loads(out)
    parts: dict[str, float] = {}
    for line in (runs / result["run"] / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if name.startswith("seconds_"):
                part = name.removeprefix("seconds_")
                parts[part] = parts.get(part, 0.0) + value
    return result | {"parts": parts}


def benchmark_whole_run(config: str, steps: int, sets: Sequence[str] = ()) -> dict[str, Any]:
    """A `mast-edge/benchmark/1` object: one row alone, two rows at once.

    Args:
        config: path of a config.
        steps: t_max; the paper's buffer and its grid of evaluations are kept.
        sets: further `--set` values.
    """
    shortened = [f"t_max={steps}", "replay.capacity=5000", "evaluation.interval=10000", *sets]
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for together in (1, 2):
            runs = Path(folder) / str(together)
            started = time.perf_counter()
            processes = [start(config, shortened, 1 + i, runs) for i in range(together)]
            results = [finished(p, runs) for p in processes]
            wall = time.perf_counter() - started
            for result in results:
                own = {"updates": result["updates"], "parts": result["parts"], "wall_of_all": wall}
                facts = {"suite": "whole_run", "name": "alone" if together == 1 else "two at once"}
                value = result["env_steps_per_second"]
                rows.append({**facts, "case": config, "value": value, "unit": "env steps/s", **own})
    for row in rows[1:]:
        row["ratios"] = {"alone": row["value"] / rows[0]["value"]}
    return {"schema": "mast-edge/benchmark/1", "host": {"load_before": load, "steps": steps}, "rows": rows}


def show(result: dict[str, Any]) -> None:
    """The table for people."""
    print(
        f"load before {result['host']['load_before']:.2f}, {result['host']['steps']:,} environment steps each"
    )
    for row in result["rows"]:
        minutes = PAPER_STEPS / row["value"] / 60
        lost = f"  {1 - row['ratios']['alone']:+.1%} lost" if "ratios" in row else ""
        print(f"{row['name']:12} {row['value']:8.0f} steps/s, at this rate 2M in {minutes:5.1f} min{lost}")
        total = sum(row["parts"].values())
        print("             " + ", ".join(f"{k} {v / total:.1%}" for k, v in row["parts"].items()))


def main() -> None:
    """Prints the table, or the object with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/qmix_3s5z.yaml")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    add_output_options(parser)
    arguments = parser.parse_args()
    result = benchmark_whole_run(arguments.config, arguments.steps, arguments.sets)
    finish(result, arguments, show)


if __name__ == "__main__":
    main()
