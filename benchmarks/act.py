"""Microseconds per act() in every runtime that is installed, measured interleaved in one process.

The agents have random weights under Erdos-Renyi masks, element by element or in blocks of 8 rows; half of
each observation is zero; hidden states are carried. Times are thread CPU time, medians of interleaved chunks.

    csr                what mast_edge.runtime does: a table chosen for every layer
    csr_dense, csr_csr, csr_8x1, csr_4x1   the same call, every layer from one kind of table
    c                  the exported C, compiled here and called with ctypes
    numpy, torch       dense, through the same Agent; scipy_csr: scipy's products in place of numpy's
    onnx_gru_bound     onnxruntime at its best: GRU node, bound buffers, one thread, nothing checked
    onnx_run, onnx_sparse_run   session.run() of the dense file, and of the one with sparse constants
    onnx_agent         onnxruntime through the same Agent
    floor_call         the call from Python alone: both arrays taken over, nothing available, nothing computed
    floor_empty        the call of an agent of the same sizes that has no weights

and, in ns/step, the kernels without Python, 64 agents in one call: native, native_dense, ..., native_empty.
At batch 1 most of the gap to onnxruntime is call overhead that was removed, not sparsity: see csr_dense.

Source: runtime.md section 6, cli.md (`benchmark`). Run: python benchmarks/act.py [map@sparsity[/8x1] ...]
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.act_peers import Call, peers
from benchmarks.output import add_output_options, finish, host
from benchmarks.random_agents import SIZES, inputs, sizes_of, write_random_checkpoint
from mast_edge.artifact import Artifact
from mast_edge.artifact_read import read_artifact
from mast_edge.c_library import find_compiler
from mast_edge.errors import EnvironmentUnavailable
from mast_edge.export import export_run
from mast_edge.kernel_costs import TABLES, measure
from mast_edge.layers import Layer, layers_of
from mast_edge.native_agent import choose_tables, native_model
from mast_edge.runtime import Agent
from mast_edge.runtime.backends.csr import CsrModel
from mast_edge.spec import LAYERS, AgentSpec

CASES = ("3m@0", "3m@95", "3m@95/8x1", "3s5z@90", "3s5z@90/8x1", "2c_vs_64zg@90", "2c_vs_64zg@90/8x1")
BATCH = 64
GOALS = {
    ("3s5z@90", "csr"): {"onnx_gru_bound": 4},
    ("3s5z@90/8x1", "csr"): {"onnx_gru_bound": 15},
    ("3s5z@90/8x1", "native"): {"native_dense": 4},
}
"""How many times faster than a peer; `onnx_gru_bound` is onnxruntime at its best (runtime.md 6)."""
Step = Callable[[], None]


def ours(folder: Path, artifact: Artifact) -> dict[str, Call]:
    """The csr runtime as it is, with every layer from one kind of table, and its floors; the exported C."""
    path = folder / "exports/csr/agent.safetensors"
    found: dict[str, Call] = {"csr": Agent.load(path, backend="csr").act}
    for table in TABLES:
        found[f"csr_{table}"] = Agent(CsrModel(artifact, dict.fromkeys(LAYERS, table))).act
    if (folder / "exports/c").is_dir():
        found["c"] = Agent.load(folder / "exports/c", backend="c").act
    return found | floors(artifact.contract.spec)


def floors(spec: AgentSpec) -> dict[str, Call]:
    """What a call costs before anything is computed, and what an agent costs that has no weights."""
    from mast_edge.native._core import AgentCell

    cell = AgentCell(native_model(spec, empty_layers(spec), dict.fromkeys(LAYERS, "8x1")), 0)
    nothing = np.zeros(spec.n_actions, np.uint8)
    return {
        "floor_call": lambda obs, avail: cell.act(obs, nothing, False),
        "floor_empty": lambda obs, avail: cell.act(obs, avail, True),
    }


def empty_layers(spec: AgentSpec) -> dict[str, Layer]:
    """Layers of no weights."""
    shapes = spec.layer_shapes()
    weights = {f"{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    return layers_of(weights, {name: np.zeros(shape, np.bool_) for name, shape in shapes.items()})


def kernels(artifact: Artifact) -> dict[str, Step]:
    """`BATCH` agents in one call, without Python in between: chosen tables, each kind, and no weights."""
    spec, layers = artifact.contract.spec, artifact.layers
    chosen = {name: choice.table for name, choice in choose_tables(spec, layers).items()}
    models = {"native": native_model(spec, layers, chosen)}
    models |= {
        f"native_{table}": native_model(spec, layers, dict.fromkeys(LAYERS, table)) for table in TABLES
    }
    models["native_empty"] = native_model(spec, empty_layers(spec), dict.fromkeys(LAYERS, "8x1"))
    obs, _ = inputs(spec, BATCH, np.random.default_rng(1))
    last, ids = (np.arange(BATCH, dtype=np.int64) % size for size in (spec.n_actions, spec.n_agents))

    def step(model: Any) -> Step:
        hidden, q = (np.zeros((BATCH, n), np.float32) for n in (spec.hidden_dim, spec.n_actions))
        return lambda: model.step_many(obs, last, ids, hidden, q)

    return {name: step(model) for name, model in models.items()}


def measure_calls(
    calls: Mapping[str, Call], obs: np.ndarray, avail: np.ndarray, chunks: int, per_chunk: int
) -> dict[str, float]:
    """Median microseconds of thread CPU time per call; chunks of all variants in turn, the order reversed."""
    rows = [(obs[i % len(obs)], avail[i % len(obs)]) for i in range(per_chunk)]
    taken: dict[str, list[float]] = {name: [] for name in ("loop", *calls)}
    order = list(calls.items())
    for chunk in range(chunks + 1):
        for name, act in order:
            begin = time.thread_time_ns()
            for one, may in rows:
                act(one, may)
            if chunk:
                taken[name].append((time.thread_time_ns() - begin) / per_chunk / 1000)
        begin = time.thread_time_ns()
        for _one, _may in rows:
            pass
        taken["loop"].append((time.thread_time_ns() - begin) / per_chunk / 1000)
        order.reverse()
    overhead = statistics.median(taken.pop("loop"))
    return {name: statistics.median(times) - overhead for name, times in taken.items()}


def measure_kernels(steps: Mapping[str, Step], chunks: int, calls: int) -> dict[str, float]:
    """Median nanoseconds of thread CPU time per step of one agent, chunks in turn as above."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps.items())
    for chunk in range(chunks + 1):
        for name, step in order:
            begin = time.thread_time_ns()
            for _ in range(calls):
                step()
            if chunk:
                taken[name].append((time.thread_time_ns() - begin) / calls / BATCH)
        order.reverse()
    return {name: statistics.median(times) for name, times in taken.items()}


def measure_case(case: str, chunks: int, per_chunk: int) -> list[dict[str, Any]]:
    """Rows of one `<map>@<sparsity %>[/8x1]`."""
    map_name, sparsity, pattern = sizes_of(case)
    spec = SIZES[map_name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_checkpoint(folder, spec, map_name, sparsity, pattern=pattern)
        export_run(folder, formats())
        artifact = read_artifact(folder / "exports/csr/agent.safetensors")
        calls = ours(folder, artifact) | peers(folder)
        obs, avail = inputs(spec, 64, np.random.default_rng(1))
        acts = measure_calls(calls, obs, avail, chunks, per_chunk)
        steps = measure_kernels(kernels(artifact), chunks, max(1, per_chunk // BATCH))
    facts = {"kernel": CsrModel(artifact).path_taken, "nnz": sum(at.nnz for at in artifact.layers.values())}
    return _rows(case, acts, "us/act", facts) + _rows(case, steps, "ns/step", facts)


def formats() -> list[str]:
    """Exports that can be made here."""
    found = ["csr"]
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        found.append("onnx")
    try:
        find_compiler()
    except EnvironmentUnavailable:
        return found
    return [*found, "c"]


def _rows(case: str, taken: Mapping[str, float], unit: str, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`csr` or `native` is held against every other variant, those against it alone."""
    own = "csr" if "csr" in taken else "native"
    rows = []
    for variant, value in taken.items():
        peers = [peer for peer in taken if peer != variant] if variant == own else [own]
        row = {"suite": "runtime", "name": variant, "case": case, "value": round(value, 3), "unit": unit}
        row["ratios"] = {peer: round(taken[peer] / value, 3) for peer in peers}
        if variant == own:
            row |= facts
            row["goals"] = [
                {"peer": peer, "at_least": least, "reached": row["ratios"][peer] >= least}
                for peer, least in GOALS.get((case, own), {}).items()
                if peer in taken
            ]
        rows.append(row)
    return rows


def benchmark_act(
    cases: Sequence[str] = CASES,
    chunks: int = 15,
    per_chunk: int = 400,
    tell: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `runtime`.

    Args:
        cases: `<map>@<sparsity %>` or `<map>@<sparsity %>/8x1`, maps of `random_agents.SIZES`.
        chunks: medians are over this many.
        per_chunk: calls in a chunk.
        tell: told what is being measured.
    """
    rows = []
    for number, case in enumerate(cases, 1):
        tell(f"runtime {number}/{len(cases)}: {case}")
        rows += measure_case(case, chunks, per_chunk)
    begin = time.perf_counter()
    measure()
    facts = {"threads": 1, "kernel_costs_ms": round(1000 * (time.perf_counter() - begin), 1)}
    return {"schema": "mast-edge/benchmark/1", "host": host() | facts, "rows": rows}


def show(result: Mapping[str, Any]) -> None:
    """One table a case: time, over the floor of a call, and how many times longer than csr."""
    from mast_edge.console import out, rows_table

    rows = result["rows"]
    out(f"measuring the kernels' costs took {result['host']['kernel_costs_ms']:.0f} ms")
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = [row for row in rows if row["case"] == case]
        for unit, base in (("us/act", "csr"), ("ns/step", "native")):
            found = sorted(
                (row for row in of_case if row["unit"] == unit), key=lambda row: float(row["value"])
            )
            ratios = {row["name"]: row["ratios"].get(base, 1.0) for row in found}
            body = [[row["name"], f"{row['value']:.2f}", f"{1 / ratios[row['name']]:.2f}x"] for row in found]
            first = next(row for row in found if row["name"] == base)
            title = f"{case}, {first['nnz']} weights; {base}: {first['kernel'].removeprefix('native: ')}"
            out(rows_table(("variant", unit, f"over {base}"), body, title=title))
            for goal in first["goals"]:
                got, peer = first["ratios"][goal["peer"]], goal["peer"]
                met = "met" if goal["reached"] else "not met"
                out(f"goal, {base} over {peer}: {goal['at_least']}x: {met}, {got:.1f}x")


def main() -> None:
    """Prints tables, or the JSON object."""
    parser = argparse.ArgumentParser(description="Microseconds per act() in every installed runtime.")
    parser.add_argument("cases", nargs="*", default=CASES, help="<map>@<sparsity %%>[/8x1]")
    parser.add_argument("--chunks", type=int, default=15)
    parser.add_argument("--per-chunk", type=int, default=400)
    add_output_options(parser)
    asked = parser.parse_args()
    finish(benchmark_act(asked.cases, asked.chunks, asked.per_chunk), asked, show)


if __name__ == "__main__":
    main()
