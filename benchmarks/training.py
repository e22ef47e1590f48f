"""What finished runs reached: last evaluations, 200 greedy battles, and whether the exports play alike.

Run: `python benchmarks/training.py RUN... > benchmarks/results/training.json`. For every run: the mean of its
last 20 evaluations (32 battles each), then 200 greedy battles of the csr and the onnx export, paired with the
checkpoint's own weights run by torch. All battles are in the embedded simulator as it is now;
`trained_on` names the version of it in which the run learned.
"""

import json
import sys
from typing import Any

from mast_edge.config import load_config
from mast_edge.experiments.plots import evaluations
from mast_edge.export import export_run
from mast_edge.runs import find_run
from mast_edge.runtime.evaluate import evaluate

EPISODES = 200
RUNTIMES = ("csr", "onnx")
KEPT = (
    "win_rate",
    "win_rate_ci95",
    "action_agreement",
    "max_abs_q_error",
    "identical_episodes",
    "decision",
)


def measured(name: str) -> dict[str, Any]:
    """One row: what the run is, and what it reached."""
    run = find_run(name)
    config = load_config(run.path / "config.resolved.yaml", environ={})
    exported = export_run(run.checkpoint, RUNTIMES, run.path / "exports")
    _, win_rates = evaluations(run.path)
    row: dict[str, Any] = {
        "run": run.path.name,
        "map": config.env.map,
        "method": config.method,
        "sparsity": config.sparsity,
        "seed": config.seed,
        "t_max": config.t_max,
        "updates": run.manifest.updates,
        "git_commit": run.manifest.git_commit,
        "trained_on": f"skirmish {run.manifest.versions.get('skirmish', '1')}",
        "last_20_evaluations": round(float(win_rates[-20:].mean()), 4),
        "bytes": {f["format"]: f["bytes"] for f in exported.files},
    }
    for runtime in RUNTIMES:
        verdict = evaluate(run=name, runtime=runtime, reference="torch", episodes=EPISODES).to_json()
        row[runtime] = {key: verdict[key] for key in KEPT}
    return row


if __name__ == "__main__":
    rows = []
    for name in sys.argv[1:]:
        rows.append(measured(name))
        print(json.dumps(rows[-1]), file=sys.stderr)
    print(json.dumps({"schema": "mast-edge/training/1", "episodes": EPISODES, "rows": rows}, indent=1))
