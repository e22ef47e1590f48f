"""What int8 changes: weights rounded to the nearest step, against weights rounded along the recorded battles.

Decisions are compared with the float32 checkpoint's, on the recorded observations and actions. The halves:
weights are rounded along the first half of the battles and judged on the second, which took no part.

Run: python benchmarks/rounding.py [RUN ...]
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.output import add_output_options, finish
from mast_edge.checkpoint_files import AgentCheckpoint, Recorded, read_agent, read_recorded
from mast_edge.console import out, rows_table
from mast_edge.dense_agent import Floats, replay
from mast_edge.export.exporter import find_checkpoint
from mast_edge.export.rounding import rounded_weights
from mast_edge.export.verify import compare, reference_of
from mast_edge.layers import layers_of
from mast_edge.provenance import git_commit, versions

COMMITTED = Path(__file__).resolve().parent.parent / "tests/data/agents"


def benchmark_rounding(sources: Sequence[Path] = ()) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `rounding`; a value is the rms error of Q.

    Args:
        sources: run or checkpoint folders; the committed agents when empty.
    """
    rows = [row for source in sources or sorted(COMMITTED.glob("3m-*")) for row in _rows(source)]
    host = {**versions(), "git_commit": git_commit()}
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}


def _rows(source: Path) -> list[dict[str, Any]]:
    folder = find_checkpoint(source)[1]
    checkpoint, recorded = read_agent(folder), read_recorded(folder)
    first, second = halves(recorded)
    nearest, along = checkpoint.weights, rounded_weights(checkpoint, recorded)
    measured = {
        "nearest": _judged(checkpoint, nearest, recorded),
        "rounded": _judged(checkpoint, along, recorded),
        "nearest_second_half": _judged(checkpoint, nearest, second),
        "rounded_along_first_half": _judged(checkpoint, rounded_weights(checkpoint, first), second),
    }
    patterns = {layer.pattern for layer in layers_of(nearest, checkpoint.masks).values()}
    blocks = "".join(f"/{pattern}" for pattern in sorted(patterns - {"element", "dense"}))
    case = f"{checkpoint.env.map_name}@{100 * float(checkpoint.index['sparsity']):.0f}{blocks}"
    peers = {"rounded": "nearest", "rounded_along_first_half": "nearest_second_half"}
    return [
        {
            **{"suite": "rounding", "name": name, "case": case, "unit": "rms error of Q", **found},
            "ratios": {peers[name]: measured[peers[name]]["value"] / found["value"]} if name in peers else {},
        }
        for name, found in measured.items()
    ]


def halves(recorded: Recorded) -> tuple[Recorded, Recorded]:
    """The first and the second half of the recorded episodes; of a single one, it twice."""
    starts = np.flatnonzero(recorded.first)
    cut = int(starts[len(starts) // 2])
    if cut == 0:
        return recorded, recorded
    parts = (recorded.obs, recorded.avail, recorded.actions, recorded.first)
    return Recorded(*(part[:cut] for part in parts)), Recorded(*(part[cut:] for part in parts))


def _judged(checkpoint: AgentCheckpoint, weights: Mapping[str, Floats], recorded: Recorded) -> dict[str, Any]:
    """int8 layers of `weights` against the checkpoint's float32 ones, along `recorded`."""
    layers = layers_of(weights, checkpoint.masks, "int8")
    reference = reference_of(checkpoint, recorded)
    q = replay(lambda name, x: layers[name].affine(x), checkpoint.spec, recorded)
    found = compare(q, reference)
    error = float(np.sqrt(np.mean((q.astype(np.float64) - reference.q) ** 2)))
    return {"value": error, "max": found.max_abs_q_error, "flips": found.flips, "decisions": found.decisions}


def show(result: dict[str, Any]) -> None:
    """One row per agent and way of rounding."""
    body = [
        [row["case"], row["name"].replace("_", " "), row["flips"], row["decisions"], row["value"], row["max"]]
        for row in result["rows"]
    ]
    heads = ("agent", "weights", "changed", "decisions", "rms |dQ|", "max |dQ|")
    out(rows_table(heads, body, "int8 against float32"))


def main() -> None:
    """Prints the table, or the JSON object."""
    parser = argparse.ArgumentParser(description="What int8 changes, by two ways of rounding.")
    parser.add_argument("runs", nargs="*", type=Path, help="runs or checkpoints; default: committed agents")
    add_output_options(parser)
    arguments = parser.parse_args()
    finish(benchmark_rounding(arguments.runs), arguments, show)


if __name__ == "__main__":
    main()
