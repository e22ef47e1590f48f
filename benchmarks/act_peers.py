"""The other runtimes that act() is held against: each given the same agent, each at its own best."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.artifact_read import read_artifact
from mast_edge.dense_agent import assemble, forward, masked_argmax
from mast_edge.runtime import Agent
from mast_edge.spec import LAYERS

Call = Callable[[np.ndarray, np.ndarray], int]


def peers(folder: Path) -> dict[str, Call]:
    """Variant -> act(obs, avail), for whatever is installed.

    Args:
        folder: a checkpoint with exports `csr` and, where onnxruntime is installed, `onnx`.
    """
    found: dict[str, Call] = {"numpy": Agent.load(folder, backend="numpy").act}
    onnx_file, sparse_file = (folder / f"exports/onnx/{name}" for name in ("agent.onnx", "agent.sparse.onnx"))
    if onnx_file.exists():
        bound = Agent.load(onnx_file, backend="onnx")
        found["onnx_gru_bound"] = onnx_bound(bound)
        found["onnx_run"] = onnx_run(bound)
        found["onnx_agent"] = bound.act
    if sparse_file.exists():
        found["onnx_sparse_run"] = onnx_run(Agent.load(sparse_file, backend="onnx"))
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        found["torch"] = Agent.load(folder, backend="torch").act
    if importlib.util.find_spec("scipy"):
        found["scipy_csr"] = scipy_csr(folder / "exports/csr/agent.safetensors")
    return found


def onnx_bound(agent: Agent) -> Call:
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


def onnx_run(agent: Agent) -> Call:
    """onnxruntime the way most people call it: new arrays in, new arrays out."""
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


def scipy_csr(artifact_path: Path) -> Call:
    """numpy's step with scipy's products."""
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
