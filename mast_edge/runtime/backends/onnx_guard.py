"""Looks at an ONNX file before onnxruntime does, and lets only our own kind of model through.

Walks the protobuf wire format itself, so that the runtime needs no onnx package: a field that the exporter
does not write, an operator outside the list, a subgraph, a function, a custom domain or data kept in
another file is refused. Nothing is allocated beyond slices of the file.

Source: parity_and_safety.md section 6, "ONNX input".
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mast_edge.errors import ArtifactMalformed, ArtifactTooLarge, ArtifactValue, MissingInput

MAX_BYTES = 64 * 2**20
ALLOWED_OPERATORS = frozenset({b"Gemm", b"Relu", b"Unsqueeze", b"Squeeze", b"GRU"})
OPSET = 17
_MAX_NODES = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Field numbers of onnx.proto that our exporter writes; whatever is not here is refused.
_MODEL = {1: "ir_version", 2: "producer_name", 7: "graph", 8: "opset_import", 14: "metadata_props"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}
_OPSET = {1: "domain", 2: "version"}
_ENTRY = {1: "key", 2: "value"}
_ITEM_BYTES = {1: 4, 7: 8}
"""onnx.TensorProto.DataType FLOAT and INT64."""

Value = int | bytes


@dataclass(frozen=True, slots=True)
class GuardedModel:
    """A model file that passed.

    Attributes:
        data: the bytes checked, to be handed on as they are.
        properties: metadata, not yet parsed.
        tensors: shape of each stored tensor.
    """

    data: bytes
    properties: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)


def read_guarded(path: Path) -> GuardedModel:
    """Reads a model file and checks it.

    Args:
        path: `agent.onnx`.

    Raises:
        MissingInput: no such file.
        ArtifactTooLarge: more than 64 MB.
        ArtifactMalformed: it holds anything but what the exporter writes.
        ArtifactValue: a weight is not finite.
    """
    if not path.is_file():
        raise MissingInput(
            f"{path}: exported model must exist; got no file. Run: mast-edge export --format onnx"
        )
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ArtifactTooLarge(
            f"{path}: file must be at most {MAX_BYTES} bytes; got more. Is it an exported agent?"
        )
    model = GuardedModel(data)
    try:
        _walk(model)
    except (_Refused, UnicodeDecodeError) as problem:
        raise ArtifactMalformed(
            f"{path}: model must be one that mast-edge exported; got {problem}. "
            "Run: mast-edge export --format onnx"
        ) from problem
    except _NotFinite as problem:
        raise ArtifactValue(
            f"{path}: {problem} must be finite; got values that are not. Export again."
        ) from problem
    return model


class _Refused(ValueError):
    """Why a file is not ours."""


class _NotFinite(ValueError):
    """The name of the tensor."""


def _walk(model: GuardedModel) -> None:
    graphs = opsets = 0
    for name, value in _fields(model.data, _MODEL, "model"):
        if name == "graph":
            graphs += 1
            _graph(model, _as_bytes(value))
        elif name == "opset_import":
            opsets += 1
            found = dict(_fields(_as_bytes(value), _OPSET, "opset"))
            if found.get("domain", b"") != b"" or found.get("version") != OPSET:
                raise _Refused(f"opset {found}")
        elif name == "metadata_props":
            entry = dict(_fields(_as_bytes(value), _ENTRY, "metadata"))
            key = _as_bytes(entry.get("key", b"")).decode()
            if key in model.properties:
                raise _Refused(f"metadata {key:.40} given twice")
            model.properties[key] = _as_bytes(entry.get("value", b"")).decode()
    if graphs != 1 or opsets != 1:
        raise _Refused(f"{graphs} graphs and {opsets} opsets")


def _graph(model: GuardedModel, data: bytes) -> None:
    nodes = 0
    for name, value in _fields(data, _GRAPH, "graph"):
        if name == "node":
            nodes += 1
            _node(_as_bytes(value))
        elif name == "initializer":
            _tensor(model, _as_bytes(value))
    if not 1 <= nodes <= _MAX_NODES:
        raise _Refused(f"{nodes} nodes")


def _node(data: bytes) -> None:
    operator: Value = b""
    for name, value in _fields(data, _NODE, "node"):
        if name == "op_type":
            operator = value
        elif name == "domain" and value != b"":
            raise _Refused(f"the operator domain {value!r:.60}")
        elif name == "attribute":
            for _ in _fields(_as_bytes(value), _ATTRIBUTE, "attribute"):
                pass
    if operator not in ALLOWED_OPERATORS:
        raise _Refused(f"the operator {operator!r:.60}")


def _tensor(model: GuardedModel, data: bytes) -> None:
    dims: list[int] = []
    found: dict[str, Value] = {}
    for name, value in _fields(data, _TENSOR, "tensor"):
        if name == "dims":
            dims.extend(_varints(value) if isinstance(value, bytes) else [value])
        else:
            found[name] = value
    raw = _as_bytes(found.get("raw_data", b""))
    title = _as_bytes(found.get("name", b"")).decode()
    kind = found.get("data_type")
    width = _ITEM_BYTES.get(kind, 0) if isinstance(kind, int) else 0
    if width == 0 or len(dims) > 4 or math.prod(dims) * width != len(raw):
        raise _Refused(f"a tensor of type {kind!s:.20} and shape {dims!s:.60}")
    if width == 4 and not np.isfinite(np.frombuffer(raw, "<f4")).all():
        raise _NotFinite(title)
    if title in model.tensors:
        raise _Refused(f"tensor {title:.40} given twice")
    model.tensors[title] = tuple(dims)


def _fields(data: bytes, known: dict[int, str], what: str) -> Iterator[tuple[str, Value]]:
    """(field name, integer or bytes) of each field of one message, refusing numbers not in `known`."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number not in known:
            raise _Refused(f"field {number} in a {what}")
        value: Value
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
            value, at = data[at : at + length], at + length
        else:
            raise _Refused(f"wire type {wire} in a {what}")
        if at > len(data):
            raise _Refused(f"a {what} that ends early")
        yield known[number], value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Refused("a number that ends early")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Refused("a number of more than 10 bytes")


def _varints(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise _Refused("a number where a message was expected")
    return value
