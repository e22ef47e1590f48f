"""Bytes and microseconds per step of agent.onnx and agent.sparse.onnx, measured interleaved in one process.

What it shows: the sparse file is smaller and not faster. onnxruntime writes the zeros back when it loads it,
and the gates are a dozen small operators instead of one GRU node.

The agents have random weights under Erdos-Renyi masks, the rows are half zeros, the hidden state is carried,
one thread, batch 1. Times are thread CPU time, medians over interleaved chunks: `run` is session.run with
dictionaries, `bound` is run_with_iobinding with buffers bound once.

Source: runtime.md section 4. Run: python benchmarks/onnx_forms.py [map@sparsity ...]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from random_agents import SIZES, write_random_checkpoint

from mast_edge.checkpoint_files import read_agent, read_recorded
from mast_edge.export.job import Job
from mast_edge.export.to_onnx import export_onnx
from mast_edge.export.verify import reference_of
from mast_edge.runtime import Agent

CASES = ("3m@95", "2s3z@95", "3s5z@90", "2c_vs_64zg@90")
Step = Callable[[np.ndarray], None]


def steps(path: Path) -> dict[str, Step]:
    """`run` and `bound`: one step of an exported file on a row (1, F)."""
    model: Any = Agent.load(path).model
    spec, session, wrap = model.contract.spec, model.session, model.ort.OrtValue.ortvalue_from_numpy
    state = [np.zeros((1, spec.hidden_dim), np.float32)]
    row, hidden = np.zeros((1, spec.input_dim), np.float32), np.zeros((1, spec.hidden_dim), np.float32)
    q, after = np.zeros((1, spec.n_actions), np.float32), np.zeros((1, spec.hidden_dim), np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("obs", wrap(row))
    binding.bind_ortvalue_input("hidden", wrap(hidden))
    binding.bind_ortvalue_output("q", wrap(q))
    binding.bind_ortvalue_output("hidden_next", wrap(after))

    def run(seen: np.ndarray) -> None:
        state[0] = model.step_rows(seen, state[0])[1]

    def bound(seen: np.ndarray) -> None:
        row[:] = seen
        session.run_with_iobinding(binding)
        hidden[:] = after

    return {"run": run, "bound": bound}


def measure(calls: dict[str, Step], rows: np.ndarray, chunks: int, per_chunk: int) -> dict[str, float]:
    """Median microseconds per call; every chunk measures all of them, in turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for chunk in range(chunks + 1):
        for name, step in calls.items():
            begin = time.thread_time_ns()
            for i in range(per_chunk):
                step(rows[i % len(rows)])
            if chunk:
                taken[name].append((time.thread_time_ns() - begin) / per_chunk / 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def benchmark_case(case: str, chunks: int, per_chunk: int) -> dict[str, Any]:
    """Sizes and times of one `<map>@<sparsity %>`."""
    map_name, percent = case.split("@")
    spec, rng = SIZES[map_name], np.random.default_rng(1)
    rows = np.where(rng.random((64, 1, spec.input_dim)) < 0.5, rng.uniform(-1, 1, (64, 1, spec.input_dim)), 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_checkpoint(folder, spec, map_name, float(percent) / 100)
        checkpoint = read_agent(folder)
        job = Job(checkpoint, reference_of(checkpoint, read_recorded(folder)), {})
        files = export_onnx(job, folder)
        sizes = {entry: path.stat().st_size for entry, path in files.items()}
        calls = {
            f"{entry} {how}": step for entry, path in files.items() for how, step in steps(path).items()
        }
        taken = measure(calls, rows.astype(np.float32), chunks, per_chunk)
    return {"case": case, "bytes": sizes, "us/step": {name: round(us, 2) for name, us in taken.items()}}


def main() -> None:
    """Prints one JSON object a line."""
    parser = argparse.ArgumentParser(description="Bytes and microseconds of both ONNX forms.")
    parser.add_argument("cases", nargs="*", default=CASES, help="<map>@<sparsity %%>")
    parser.add_argument("--chunks", type=int, default=25)
    parser.add_argument("--per-chunk", type=int, default=400)
    asked = parser.parse_args()
    for case in asked.cases:
        print(json.dumps(benchmark_case(case, asked.chunks, asked.per_chunk)), flush=True)


if __name__ == "__main__":
    main()
