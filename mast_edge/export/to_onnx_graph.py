"""Weights and the nodes of `mast_edge.onnx_graph` as ONNX protobuf, made with `onnx.helper` alone.

Source: runtime.md section 4.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from mast_edge.dense_agent import Floats
from mast_edge.onnx_graph import (
    IR_VERSION,
    METADATA_KEY,
    OPSET,
    UNAVAILABLE,
    Node,
    Port,
    dense_nodes,
    ports,
    sparse_nodes,
    weight_name,
)
from mast_edge.spec import LAYERS, AgentSpec


def dense_model(
    spec: AgentSpec, weights: Mapping[str, Floats], metadata: Mapping[str, Any], with_avail: bool
) -> bytes:
    """The dense form (`onnx_graph.dense_nodes`), serialised.

    Args:
        spec: sizes.
        weights: `<layer>.weight` (out, in) and `<layer>.bias` (out,), float32, gates in torch's order.
        metadata: JSON values.
        with_avail: see `onnx_graph.ports`.
    """
    tables: dict[str, NDArray[Any]] = {
        "fc1.weight": weights["fc1.weight"],
        "fc1.bias": weights["fc1.bias"],
        "gru.W": to_onnx_gates(weights["gru_ih.weight"])[None],
        "gru.R": to_onnx_gates(weights["gru_hh.weight"])[None],
        "gru.B": np.concatenate(
            [to_onnx_gates(weights["gru_ih.bias"]), to_onnx_gates(weights["gru_hh.bias"])]
        )[None],
        "fc2.weight": weights["fc2.weight"],
        "fc2.bias": weights["fc2.bias"],
        "sequence_axis": np.array([0], np.int64),
    }
    nodes = [_operator(node) for node in dense_nodes(spec, with_avail)]
    return _serialised(spec, nodes, tables, metadata, with_avail)


def sparse_model(
    spec: AgentSpec,
    weights: Mapping[str, Floats],
    active: Mapping[str, NDArray[np.bool_]],
    sparse_layers: Collection[str],
    metadata: Mapping[str, Any],
    with_avail: bool,
) -> bytes:
    """The sparse form (`onnx_graph.sparse_nodes`), serialised.

    Args:
        spec, weights, metadata, with_avail: as in `dense_model`.
        active: layer -> (out, in), the weights that a sparse layer keeps.
        sparse_layers: layers stored as `Constant(sparse_value)`; the others are dense initializers.
    """
    constants: dict[str, SparseTensorProto] = {}
    tables: dict[str, NDArray[Any]] = {}
    for layer in LAYERS:
        weight = weights[f"{layer}.weight"].T
        if layer in sparse_layers:
            constants[weight_name(layer)] = _sparse_tensor(weight, active[layer].T)
        else:
            tables[weight_name(layer)] = weight
        tables[f"{layer}.bias"] = weights[f"{layer}.bias"]
    nodes = [
        helper.make_node("Constant", [], [node.outputs[0]], sparse_value=constants[node.outputs[0]])
        if node.operator == "Constant"
        else _operator(node)
        for node in sparse_nodes(sparse_layers, with_avail)
    ]
    return _serialised(spec, nodes, tables, metadata, with_avail)


def to_onnx_gates(stacked: Floats) -> Floats:
    """Reorders gates stacked along the first axis from torch's r, z, n to ONNX's z, r, h."""
    reset, update, new = np.split(stacked, 3)
    return np.concatenate([update, reset, new])


def _operator(node: Node) -> NodeProto:
    attributes: dict[str, Any] = dict(node.attributes)
    return helper.make_node(node.operator, node.inputs, node.outputs, **attributes)


def _sparse_tensor(matrix: Floats, active: NDArray[np.bool_]) -> SparseTensorProto:
    """The active entries of a matrix with their places counted row by row: 12 bytes an entry."""
    at = np.flatnonzero(active).astype("<i8")
    values = matrix[active].astype("<f4")
    return helper.make_sparse_tensor(
        helper.make_tensor("", TensorProto.FLOAT, [len(at)], values.tobytes(), raw=True),
        helper.make_tensor("", TensorProto.INT64, [len(at)], at.tobytes(), raw=True),
        list(matrix.shape),
    )


def _serialised(
    spec: AgentSpec,
    nodes: list[NodeProto],
    tables: dict[str, NDArray[Any]],
    metadata: Mapping[str, Any],
    with_avail: bool,
) -> bytes:
    if with_avail:
        tables = {**tables, UNAVAILABLE: np.array(-np.inf, np.float32)}
    inputs, outputs = ports(spec, with_avail)
    notes = _notes(spec)

    def value(name: str, port: Port) -> Any:
        return helper.make_tensor_value_info(name, port.element, port.shape, doc_string=notes[name])

    tensors = [numpy_helper.from_array(np.array(table, order="C"), name) for name, table in tables.items()]
    graph = helper.make_graph(
        nodes,
        "agent",
        [value(name, port) for name, port in inputs.items()],
        [value(name, port) for name, port in outputs.items()],
        tensors,
    )
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    model.producer_name = "mast-edge"
    text = json.dumps(dict(metadata), sort_keys=True, separators=(",", ":"), allow_nan=False)
    helper.set_model_props(model, {METADATA_KEY: text})
    serialise: Callable[..., bytes] = model.SerializeToString
    return serialise(deterministic=True)


def _notes(spec: AgentSpec) -> dict[str, str]:
    """What each input and output is, for whoever opens the file."""
    return {
        "obs": f"observation ({spec.obs_dim}), one-hot of the last action ({spec.n_actions}; zeros before "
        f"the first), one-hot of the agent id ({spec.n_agents})",
        "hidden": "hidden_next of the step before; zeros at the start of an episode",
        "avail": "actions that may be taken; at least one a row",
        "q": "value of each action",
        "hidden_next": "hidden of the next step",
        "action": "available action of largest q; ties go to the lowest index",
    }
