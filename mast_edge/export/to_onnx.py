"""Export to ONNX: a dense step function with one GRU node, the host holds the state.

Source: runtime.md section 4.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.checkpoint_files import AgentCheckpoint
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import DenseAgent, Floats, assemble, forward
from mast_edge.errors import ArtifactRefused, MissingExtra
from mast_edge.export.verify import TOLERANCE, Comparison, Reference, compare
from mast_edge.golden import check_golden, golden_answers

FILE_NAME = "agent.onnx"
OPSET = 17
IR_VERSION = 8
METADATA_KEY = "mast_edge"
_RANDOM_STEPS = 256
_BATCH = 8


def export_onnx(
    checkpoint: AgentCheckpoint, reference: Reference, provenance: Mapping[str, Any], path: Path
) -> Comparison:
    """Writes the model to `path` and runs it, read back, in onnx's reference evaluator.

    Args:
        checkpoint: verified weights and masks.
        reference: recorded episodes and the Q values to reproduce.
        provenance: goes into the metadata.
        path: a temporary file; the caller moves it into place when this returns.

    Raises:
        MissingExtra: onnx is not installed.
        ArtifactRefused: the checker refuses the file, or it does not answer as the checkpoint does.
    """
    try:
        import onnx
        from onnx.reference import ReferenceEvaluator
    except ImportError as problem:
        raise MissingExtra("export onnx", "onnx", "export") from problem
    model = _model(onnx, checkpoint, provenance)
    path.write_bytes(model.SerializeToString(deterministic=True))
    try:
        written = onnx.load_model_from_string(path.read_bytes())
        onnx.checker.check_model(written, full_check=True)
        onnx.shape_inference.infer_shapes(written, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise ArtifactRefused(
            f"{path}: model must pass onnx's checker; got {problem}. Report this."
        ) from problem
    evaluator = ReferenceEvaluator(written)

    def step(rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        q, after = evaluator.run(None, {"obs": rows, "hidden": hidden})
        return np.asarray(q), np.asarray(after)

    _check_beyond_the_recording(str(path), checkpoint, step)
    return compare(str(path), checkpoint, reference, step)


def to_onnx_gates(stacked: Floats) -> Floats:
    """Reorders gates stacked along the first axis from torch's r, z, n to ONNX's z, r, h."""
    reset, update, new = np.split(stacked, 3)
    return np.concatenate([update, reset, new])


def _model(onnx: Any, checkpoint: AgentCheckpoint, provenance: Mapping[str, Any]) -> Any:
    spec, w = checkpoint.spec, checkpoint.weights
    helper, numpy_helper, f32 = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    tables = {
        "fc1.weight": w["fc1.weight"],
        "fc1.bias": w["fc1.bias"],
        "gru.W": to_onnx_gates(w["gru_ih.weight"])[None],
        "gru.R": to_onnx_gates(w["gru_hh.weight"])[None],
        "gru.B": np.concatenate([to_onnx_gates(w["gru_ih.bias"]), to_onnx_gates(w["gru_hh.bias"])])[None],
        "fc2.weight": w["fc2.weight"],
        "fc2.bias": w["fc2.bias"],
        "sequence_axis": np.array([0], np.int64),
    }
    gru_inputs = ["sequence", "gru.W", "gru.R", "gru.B", "", "hidden_sequence"]
    nodes = [
        helper.make_node("Gemm", ["obs", "fc1.weight", "fc1.bias"], ["fc1"], transB=1),
        helper.make_node("Relu", ["fc1"], ["x"]),
        helper.make_node("Unsqueeze", ["x", "sequence_axis"], ["sequence"]),
        helper.make_node("Unsqueeze", ["hidden", "sequence_axis"], ["hidden_sequence"]),
        helper.make_node(
            "GRU", gru_inputs, ["", "last_hidden"], hidden_size=spec.hidden_dim, linear_before_reset=1
        ),
        helper.make_node("Squeeze", ["last_hidden", "sequence_axis"], ["hidden_next"]),
        helper.make_node("Gemm", ["hidden_next", "fc2.weight", "fc2.bias"], ["q"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "agent",
        [
            helper.make_tensor_value_info("obs", f32, ["batch", spec.input_dim]),
            helper.make_tensor_value_info("hidden", f32, ["batch", spec.hidden_dim]),
        ],
        [
            helper.make_tensor_value_info("q", f32, ["batch", spec.n_actions]),
            helper.make_tensor_value_info("hidden_next", f32, ["batch", spec.hidden_dim]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(table), name) for name, table in tables.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "mast-edge"
    contract = AgentContract.of(spec, checkpoint.env)
    metadata = {
        "contract": contract.contract_json(),
        "env": contract.env_json(),
        "provenance": dict(provenance),
    }
    helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata, sort_keys=True, separators=(",", ":"))})
    return model


def _check_beyond_the_recording(who: str, checkpoint: AgentCheckpoint, step: Any) -> None:
    """256 random steps in a batch of 8, and the golden steps at batch 1."""
    spec = checkpoint.spec
    agent = DenseAgent(spec, checkpoint.weights)
    rng = np.random.default_rng(0)
    hidden = np.zeros((_BATCH, spec.hidden_dim), np.float32)
    for _ in range(_RANDOM_STEPS // _BATCH):
        rows = rng.standard_normal((_BATCH, spec.input_dim)).astype(np.float32)
        expected, expected_hidden = forward(agent.affine, rows, hidden)
        q, after = step(rows, hidden)
        error = np.abs(q - expected)
        if not (error <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all():
            raise ArtifactRefused(
                f"{who}: Q on random rows must be the checkpoint's within {TOLERANCE}; "
                f"got {error.max():.3g} off. "
                "Nothing was exported; report this."
            )
        if not (np.abs(after - expected_hidden) <= TOLERANCE).all():
            raise ArtifactRefused(
                f"{who}: hidden state on random rows must be the checkpoint's within {TOLERANCE}; got more. "
                "Nothing was exported; report this."
            )
        hidden = expected_hidden
    golden_q, golden_actions = golden_answers(spec, agent.affine)
    check_golden(
        who,
        spec,
        golden_q,
        golden_actions,
        lambda obs, last, ids, state: step(assemble(spec, obs, last, ids), state),
    )
