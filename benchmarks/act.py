"""Microseconds per act() in every runtime that is installed, measured interleaved in one process.

The agents have random weights under Erdos-Renyi masks; observations are half zeros; the hidden state is
carried. Times are thread CPU time, medians over interleaved chunks. At batch 1 most of the gap to
onnxruntime is call overhead that was removed, not sparsity: see the row `csr_all_dense`, the same call with
dense tables.

Source: runtime.md section 6, cli.md (`benchmark`). Run: python benchmarks/act.py [map@sparsity ...]
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from mast_edge.artifact_read import read_artifact
from mast_edge.checkpoint_files import Recorded, write_agent_files, write_index
from mast_edge.dense_agent import DenseAgent, assemble, forward, masked_argmax
from mast_edge.export import export_run
from mast_edge.provenance import processor
from mast_edge.runtime import Agent
from mast_edge.runtime.backends.csr import CsrModel
from mast_edge.spec import LAYERS, AgentSpec, EnvSpec
from mast_edge.topology import random_topology

SIZES = {
    "3m": AgentSpec(30, 9, 3),
    "2s3z": AgentSpec(80, 11, 5),
    "3s5z": AgentSpec(128, 14, 8),
    "2c_vs_64zg": AgentSpec(332, 70, 2),
}
CASES = ("3m@0", "3m@90", "3m@95", "3s5z@90", "2c_vs_64zg@90")
Call = Callable[[np.ndarray, np.ndarray], int]


def write_random_checkpoint(
    folder: Path,
    spec: AgentSpec,
    map_name: str,
    sparsity: float,
    seed: int = 0,
    pattern: str = "element",
) -> None:
    """A checkpoint folder of an untrained agent with two recorded steps."""
    rng = np.random.default_rng(seed)
    masks = random_topology(spec.layer_shapes(), sparsity, rng, dict.fromkeys(LAYERS, pattern))
    weights = {}
    for name, (out, in_) in spec.layer_shapes().items():
        dense = rng.normal(scale=1 / np.sqrt(in_ * (1 - sparsity)), size=(out, in_)).astype(np.float32)
        weights[f"{name}.weight"] = np.where(masks.get(name, True), dense, np.float32(0))
        weights[f"{name}.bias"] = rng.normal(scale=0.1, size=out).astype(np.float32)
    obs, avail = inputs(spec, 2 * spec.n_agents, rng)
    ids = np.arange(spec.n_agents)
    hidden, last = np.zeros((spec.n_agents, spec.hidden_dim), np.float32), np.full(spec.n_agents, -1)
    agent, actions = DenseAgent(spec, weights), []
    for t in range(2):
        rows = slice(t * spec.n_agents, (t + 1) * spec.n_agents)
        q, hidden = agent.step(obs[rows], last, ids, hidden)
        last = masked_argmax(q, avail[rows])
        actions.append(last)
    n = spec.n_agents
    recorded = Recorded(
        obs.reshape(2, n, -1),
        avail.reshape(2, n, -1),
        np.array(actions, np.int32),
        np.array([1, 0], np.uint8),
    )
    env = EnvSpec(map_name, "random", n, spec.n_actions, spec.obs_dim, 1, 60)
    files = write_agent_files(folder, spec, env, weights, masks, recorded)
    write_index(folder, spec, env, files, {"map": map_name, "sparsity": sparsity, "seed": seed})


def inputs(spec: AgentSpec, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Observations (n, O), half zeros, and availability (n, A)."""
    obs = np.where(rng.random((n, spec.obs_dim)) < 0.5, rng.uniform(-1, 1, (n, spec.obs_dim)), 0)
    avail = (rng.random((n, spec.n_actions)) < 0.6).astype(np.uint8)
    avail[:, 1] = 1
    return obs.astype(np.float32), avail


def callers(folder: Path) -> dict[str, Call]:
    """Variant -> act(obs, avail), for whatever is installed."""
    artifact, onnx_file = folder / "exports/csr/agent.safetensors", folder / "exports/onnx/agent.onnx"
    found: dict[str, Call] = {
        "numpy": Agent.load(folder, backend="numpy").act,
        "csr": Agent.load(artifact, backend="csr").act,
    }
    for name, sparse in (("csr_all_dense", set[str]()), ("csr_all_csr", set(LAYERS))):
        found[name] = Agent(CsrModel(read_artifact(artifact), sparse)).act
    if onnx_file.exists():
        bound = Agent.load(onnx_file, backend="onnx")
        found["onnx_agent"] = bound.act
        found["onnx_gru_bound"] = _onnx_bound(bound)
        found["onnx_run"] = _onnx_run(bound)
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        found["torch"] = Agent.load(folder, backend="torch").act
    if importlib.util.find_spec("scipy"):
        found["scipy_csr"] = _scipy(artifact)
    return found


def _onnx_bound(agent: Agent) -> Call:
    """The peer at its best: bound buffers, nothing checked, inputs written in place."""
    model: Any = agent.model
    spec, wrap = agent.spec, model.ort.OrtValue.ortvalue_from_numpy
    row, hidden = np.zeros((1, spec.input_dim), np.float32), np.zeros((1, spec.hidden_dim), np.float32)
    q, after = np.zeros((1, spec.n_actions), np.float32), np.zeros((1, spec.hidden_dim), np.float32)
    binding = model.session.io_binding()
    binding.bind_ortvalue_input("obs", wrap(row))
    binding.bind_ortvalue_input("hidden", wrap(hidden))
    binding.bind_ortvalue_output("q", wrap(q))
    binding.bind_ortvalue_output("hidden_next", wrap(after))
    o, run, worst = spec.obs_dim, model.session.run_with_iobinding, np.float32(-np.inf)
    row[0, o + spec.n_actions] = 1.0
    last = o

    def act(obs: np.ndarray, avail: np.ndarray) -> int:
        nonlocal last
        row[0, :o] = obs
        run(binding)
        hidden[:] = after
        action = int(np.where(avail, q[0], worst).argmax())
        row[0, last] = 0.0
        last = o + action
        row[0, last] = 1.0
        return action

    return act


def _onnx_run(agent: Agent) -> Call:
    model: Any = agent.model
    spec = agent.spec
    state = {"hidden": np.zeros((1, spec.hidden_dim), np.float32), "last": np.array([-1])}
    ids = np.array([0])

    def act(obs: np.ndarray, avail: np.ndarray) -> int:
        rows = assemble(spec, obs[None], state["last"], ids)
        q, state["hidden"] = model.step_rows(rows, state["hidden"])
        state["last"] = masked_argmax(q, avail[None])
        return int(state["last"][0])

    return act


def _scipy(artifact_path: Path) -> Call:
    from scipy.sparse import csr_array

    artifact = read_artifact(artifact_path)
    spec = artifact.contract.spec
    tables = {name: csr_array(artifact.layers[name].dense()) for name in LAYERS}
    bias = {name: artifact.layers[name].bias for name in LAYERS}
    state = {"hidden": np.zeros((1, spec.hidden_dim), np.float32), "last": np.array([-1])}
    ids = np.array([0])

    def act(obs: np.ndarray, avail: np.ndarray) -> int:
        rows = assemble(spec, obs[None], state["last"], ids)
        q, state["hidden"] = forward(
            lambda name, x: (tables[name] @ x[0] + bias[name])[None], rows, state["hidden"]
        )
        state["last"] = masked_argmax(q, avail[None])
        return int(state["last"][0])

    return act


def measure(
    calls: dict[str, Call], obs: np.ndarray, avail: np.ndarray, chunks: int, per_chunk: int
) -> dict[str, float]:
    """Median microseconds of thread CPU time per call, chunks of all variants interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for chunk in range(chunks + 1):
        for name, act in calls.items():
            begin = time.thread_time_ns()
            for i in range(per_chunk):
                act(obs[i % len(obs)], avail[i % len(obs)])
            if chunk:
                taken[name].append((time.thread_time_ns() - begin) / per_chunk / 1000)
    rows = [(obs[i % len(obs)], avail[i % len(obs)]) for i in range(per_chunk)]
    begin = time.thread_time_ns()
    for i in range(per_chunk):
        rows[i], obs[i % len(obs)], avail[i % len(obs)]
    overhead = (time.thread_time_ns() - begin) / per_chunk / 1000
    return {name: statistics.median(times) - overhead for name, times in taken.items()}


def benchmark_act(cases: Sequence[str] = CASES, chunks: int = 15, per_chunk: int = 400) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `runtime`.

    Args:
        cases: `<map>@<sparsity %>`, maps of `SIZES`.
        chunks: medians are over this many.
        per_chunk: calls in a chunk.
    """
    rows = []
    for case in cases:
        map_name, percent = case.split("@")
        spec = SIZES[map_name]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_random_checkpoint(folder, spec, map_name, float(percent) / 100)
            export_run(folder, ["csr", "onnx"] if importlib.util.find_spec("onnxruntime") else ["csr"])
            calls = callers(folder)
            obs, avail = inputs(spec, 64, np.random.default_rng(1))
            taken = measure(calls, obs, avail, chunks, per_chunk)
        for variant, us in taken.items():
            ratios = {peer: round(other / us, 3) for peer, other in taken.items() if peer != variant}
            rows.append(
                {
                    "suite": "runtime",
                    "name": variant,
                    "case": case,
                    "value": round(us, 3),
                    "unit": "us/act",
                    "ratios": ratios,
                }
            )
    host = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    return {"schema": "mast-edge/benchmark/1", "host": host | {"cpu": processor()}, "rows": rows}


def main() -> None:
    """Prints the JSON object."""
    parser = argparse.ArgumentParser(description="Microseconds per act() in every installed runtime.")
    parser.add_argument("cases", nargs="*", default=CASES, help="<map>@<sparsity %%>")
    print(json.dumps(benchmark_act(parser.parse_args().cases), indent=1))


if __name__ == "__main__":
    main()
