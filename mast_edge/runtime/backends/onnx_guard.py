"""Looks at an ONNX file before onnxruntime does, and lets only our own kind of model through.

Walks the protobuf wire format itself, so that the runtime needs no onnx package: a field that the exporter
does not write, a field given twice, an operator outside the list, a subgraph, a function, a custom domain or
data kept in another file is refused. Nothing is allocated beyond slices of the file; what sparse weights take
once onnxruntime has written out their zeros is counted before it may. `onnx_.py` then compares the graph node
by node with the one that belongs to its contract.

Source: parity_and_safety.md section 6, "ONNX input".
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from mast_edge.artifact_file import read_file
from mast_edge.contract import MAX_DIM
from mast_edge.errors import ArtifactMalformed, ArtifactTooLarge, ArtifactValue
from mast_edge.onnx_graph import FLOAT, INT64, IR_VERSION, OPSET, UNAVAILABLE, Node, Port

ALLOWED_OPERATORS = frozenset(
    {"Gemm", "GRU", "Squeeze", "Unsqueeze", "Relu"}  # dense form
    | {"Constant", "MatMul", "Add", "Sub", "Mul", "Split", "Sigmoid", "Tanh"}  # sparse form
    | {"Where", "ArgMax"}  # with avail
)
_MAX_NODES = 32
_MAX_FIELDS = 64
"""In one message, and bytes of packed dimensions: a bound on the time that a file can take."""
_MAX_METADATA_BYTES = 2**20
_VARINT, _BYTES = 0, 2

# Field numbers of onnx.proto that our exporter writes; whatever is not here is refused.
_MODEL = {1: "ir_version", 2: "producer_name", 7: "graph", 8: "opset_import", 14: "metadata_props"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {1: "name", 3: "i", 20: "type", 22: "sparse_tensor"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data"}
_SPARSE_TENSOR = {1: "values", 2: "indices", 3: "dims"}
_VALUE = {1: "name", 2: "type", 3: "doc_string"}
_TYPE = {1: "tensor_type"}
_TENSOR_TYPE = {1: "elem_type", 2: "shape"}
_SHAPE = {1: "dim"}
_DIM = {1: "dim_value", 2: "dim_param"}
_OPSET = {1: "domain", 2: "version"}
_ENTRY = {1: "key", 2: "value"}
_REPEATED = frozenset(
    {"node", "initializer", "input", "output", "attribute", "opset_import", "metadata_props", "dims", "dim"}
)
_INTEGER, _SPARSE = 2, 11
"""onnx.AttributeProto.AttributeType."""
_ITEM_BYTES = {FLOAT: 4, INT64: 8}
_MINUS_INFINITY = np.array(-np.inf, "<f4").tobytes()

Value = int | bytes
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class GuardedModel:
    """A model file that passed.

    Attributes:
        data: the bytes checked, to be handed on as they are.
        properties: metadata, not yet parsed.
        tensors: shape of each stored tensor; a sparse weight goes by the output of its `Constant`.
        nodes: in the order of the file.
        inputs, outputs: of the graph.
    """

    data: bytes
    properties: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inputs: dict[str, Port] = field(default_factory=dict)
    outputs: dict[str, Port] = field(default_factory=dict)


def read_guarded(path: Path) -> GuardedModel:
    """Reads a model file and checks it.

    Args:
        path: `agent.onnx` or `agent.sparse.onnx`.

    Raises:
        MissingInput: no such file.
        ArtifactTooLarge: more than 64 MB, or its sparse weights take too many bytes with their zeros.
        ArtifactMalformed: it holds anything but what the exporter writes.
        ArtifactValue: a weight is not finite.
    """
    model = GuardedModel(read_file(path, "exported model", "Run: mast-edge export --format onnx"))
    try:
        _walk(model)
    except (_Refused, UnicodeDecodeError) as problem:
        raise ArtifactMalformed(
            f"{path}: model must be one that mast-edge exported; got {problem}. "
            "Run: mast-edge export --format onnx"
        ) from problem
    except _TooLarge as problem:
        raise ArtifactTooLarge(
            f"{path}: sparse weights must take at most {_room(model.data)} bytes with their zeros; "
            f"got {problem}. Is it an exported agent?"
        ) from problem
    except _NotFinite as problem:
        raise ArtifactValue(
            f"{path}: {problem} must be finite; got values that are not. Export again."
        ) from problem
    return model


def _room(data: bytes) -> int:
    """Bytes for sparse weights with their zeros written out; onnxruntime takes twice as many.

    With the file itself that is at most 4 x file + 16 MB (runtime.md 3).
    """
    return 3 * len(data) // 2 + 7 * 2**20


class _Refused(ValueError):
    """Why a file is not ours."""


class _TooLarge(ValueError):
    """How many bytes."""


class _NotFinite(ValueError):
    """The name of the tensor."""


def _walk(model: GuardedModel) -> None:
    graphs = opsets = 0
    version: Value = 0
    for name, value in _fields(model.data, _MODEL, "model"):
        if name == "graph":
            graphs += 1
            _graph(model, _as_bytes(value))
        elif name == "ir_version":
            version = value
        elif name == "opset_import":
            opsets += 1
            found = dict(_fields(_as_bytes(value), _OPSET, "opset"))
            if found.get("domain", b"") != b"" or found.get("version") != OPSET:
                raise _Refused(f"opset {found}")
        elif name == "metadata_props":
            if len(_as_bytes(value)) > _MAX_METADATA_BYTES:
                raise _Refused(f"metadata of {len(_as_bytes(value))} bytes")
            entry = dict(_fields(_as_bytes(value), _ENTRY, "metadata"))
            _put(model.properties, "metadata", _text(entry.get("key", b"")), _text(entry.get("value", b"")))
    if (graphs, opsets, version) != (1, 1, IR_VERSION):
        raise _Refused(f"{graphs} graphs and {opsets} opsets in IR version {version!r:.20}")


def _graph(model: GuardedModel, data: bytes) -> None:
    dense_bytes = 0
    for name, value in _fields(data, _GRAPH, "graph"):
        if name == "node":
            node, weight = _node(_as_bytes(value))
            model.nodes.append(node)
            if weight is not None:
                _put(model.tensors, "tensor", node.outputs[0], weight)
                dense_bytes += 4 * math.prod(weight)
        elif name == "initializer":
            title, shape = _initializer(_as_bytes(value))
            _put(model.tensors, "tensor", title, shape)
        elif name in ("input", "output"):
            title, port = _port(_as_bytes(value))
            _put(model.inputs if name == "input" else model.outputs, name, title, port)
    if not 1 <= len(model.nodes) <= _MAX_NODES:
        raise _Refused(f"{len(model.nodes)} nodes")
    if dense_bytes > _room(model.data):
        raise _TooLarge(dense_bytes)


def _put(table: dict[str, Entry], what: str, key: str, value: Entry) -> None:
    if key in table:
        raise _Refused(f"{what} {key:.40} given twice")
    table[key] = value


def _node(data: bytes) -> tuple[Node, tuple[int, int] | None]:
    """The node, and the shape of the sparse weight that it holds, if any."""
    operator = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, int] = {}
    weights: list[tuple[int, int]] = []
    for name, value in _fields(data, _NODE, "node"):
        if name == "op_type":
            operator = _text(value)
        elif name == "domain" and value != b"":
            raise _Refused(f"the operator domain {value!r:.60}")
        elif name in ("input", "output"):
            (inputs if name == "input" else outputs).append(_text(value))
        elif name == "attribute":
            title, found = _attribute(_as_bytes(value))
            if isinstance(found, int):
                _put(attributes, "attribute", title, found)
            else:
                weights.append(_sparse(found))
    if operator not in ALLOWED_OPERATORS:
        raise _Refused(f"the operator {operator!r:.60}")
    is_constant = operator == "Constant"
    if len(weights) != is_constant or (is_constant and (inputs or attributes or len(outputs) != 1)):
        raise _Refused(f"a {operator} with {len(weights)} sparse weights and {len(attributes)} attributes")
    node = Node(operator, tuple(inputs), tuple(outputs), attributes)
    return node, weights[0] if weights else None


def _attribute(data: bytes) -> tuple[str, Value]:
    """(name, an integer or the bytes of a sparse tensor)."""
    found = dict(_fields(data, _ATTRIBUTE, "attribute"))
    title, kind = _text(found.get("name", b"")), found.get("type")
    if kind == _INTEGER and "sparse_tensor" not in found:
        return title, _as_int(found.get("i", 0))
    if kind == _SPARSE and title == "sparse_value" and "i" not in found:
        return title, _as_bytes(found.get("sparse_tensor", b""))
    raise _Refused(f"the attribute {title:.40} of type {kind!s:.20}")


def _sparse(data: bytes) -> tuple[int, int]:
    """(rows, cols) of a sparse float matrix whose entries lie inside it, each given once, in order."""
    dims: list[int] = []
    found: dict[str, Value] = {}
    for name, value in _fields(data, _SPARSE_TENSOR, "sparse tensor"):
        if name == "dims":
            dims.extend(_integers(value))
        else:
            found[name] = value
    if len(dims) != 2 or not all(1 <= n <= MAX_DIM for n in dims):
        raise _Refused(f"a sparse tensor of shape {dims!s:.60}")
    _, kind, shape, values = _tensor(_as_bytes(found.get("values", b"")))
    _, place_kind, place_shape, raw = _tensor(_as_bytes(found.get("indices", b"")))
    if (kind, place_kind, len(shape)) != (FLOAT, INT64, 1) or shape != place_shape:
        raise _Refused(f"a sparse tensor of values {shape!s:.60} at places {place_shape!s:.60}")
    _expect_finite("a sparse weight", values)
    places = np.frombuffer(raw, "<i8")
    # Compared, not subtracted: differences of extreme integers wrap around.
    rising = bool((places[1:] > places[:-1]).all())
    if len(places) and not (rising and places[0] >= 0 and places[-1] < dims[0] * dims[1]):
        raise _Refused(f"a sparse tensor of shape {dims} whose places are not inside it and in order")
    return dims[0], dims[1]


def _initializer(data: bytes) -> tuple[str, tuple[int, ...]]:
    title, kind, shape, raw = _tensor(data)
    if kind == FLOAT and not (title == UNAVAILABLE and raw == _MINUS_INFINITY):
        _expect_finite(title, raw)
    if kind == INT64 and any(raw):
        raise _Refused(f"the tensor {title:.40} with an axis other than 0")
    return title, shape


def _tensor(data: bytes) -> tuple[str, int, tuple[int, ...], bytes]:
    """(name, data type, shape, bytes), the bytes as many as type and shape say."""
    dims: list[int] = []
    found: dict[str, Value] = {}
    for name, value in _fields(data, _TENSOR, "tensor"):
        if name == "dims":
            dims.extend(_integers(value))
        else:
            found[name] = value
    raw, kind = _as_bytes(found.get("raw_data", b"")), _as_int(found.get("data_type", 0))
    width = _ITEM_BYTES.get(kind, 0)
    if width == 0 or len(dims) > 4 or math.prod(dims) * width != len(raw):
        raise _Refused(f"a tensor of type {kind!s:.20} and shape {dims!s:.60}")
    return _text(found.get("name", b"")), kind, tuple(dims), raw


def _expect_finite(title: str, raw: bytes) -> None:
    if not np.isfinite(np.frombuffer(raw, "<f4")).all():
        raise _NotFinite(title)


def _port(data: bytes) -> tuple[str, Port]:
    """(name, element type and shape) of a graph input or output, which must be a tensor."""
    found = dict(_fields(data, _VALUE, "value"))
    kind = dict(_fields(_as_bytes(found.get("type", b"")), _TYPE, "type"))
    tensor = dict(_fields(_as_bytes(kind.get("tensor_type", b"")), _TENSOR_TYPE, "tensor type"))
    shape: list[int | str] = []
    for _, value in _fields(_as_bytes(tensor.get("shape", b"")), _SHAPE, "shape"):
        dim = list(_fields(_as_bytes(value), _DIM, "dimension"))
        if len(dim) != 1:
            raise _Refused(f"a dimension with {len(dim)} sizes")
        name, size = dim[0]
        shape.append(_as_int(size) if name == "dim_value" else _text(size))
    return _text(found.get("name", b"")), Port(_as_int(tensor.get("elem_type", 0)), tuple(shape))


def _fields(data: bytes, known: dict[int, str], what: str) -> Iterator[tuple[str, Value]]:
    """(field name, integer or bytes) of each field of one message, refusing numbers not in `known`.

    A field that may be given once only is refused the second time: protobuf would merge the two.
    """
    at = 0
    count = 0
    seen: set[str] = set()
    while at < len(data):
        count += 1
        if count > _MAX_FIELDS:
            raise _Refused(f"more than {_MAX_FIELDS} fields in a {what}")
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number not in known:
            raise _Refused(f"field {number} in a {what}")
        name = known[number]
        value: Value
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise _Refused(f"wire type {wire} in a {what}")
        if at > len(data):
            raise _Refused(f"a {what} that ends early")
        if name in seen and name not in _REPEATED:
            raise _Refused(f"{name} of a {what} given twice")
        seen.add(name)
        yield name, value


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


def _integers(value: Value) -> list[int]:
    """A repeated integer field: one, or several packed."""
    if isinstance(value, int):
        return [value]
    if len(value) > _MAX_FIELDS:
        raise _Refused(f"dimensions of {len(value)} bytes")
    values, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        values.append(number)
    return values


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise _Refused("a number where a message was expected")
    return value


def _as_int(value: Value) -> int:
    if not isinstance(value, int):
        raise _Refused("a message where a number was expected")
    return value


def _text(value: Value) -> str:
    return _as_bytes(value).decode()
