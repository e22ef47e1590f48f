"""Artifacts that are valid or nearly so, and made to take memory or time; all digests are right."""

import hashlib
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.artifact import FORMAT, FORMAT_VERSION, digest_of, seal, sparsity_json
from mast_edge.artifact_header import read_header
from mast_edge.contract import AgentContract
from mast_edge.golden import golden_answers
from mast_edge.layers import DenseLayer, Layer, SparseLayer, index_dtype, pointer_dtype
from mast_edge.spec import AgentSpec
from mast_edge.topology import GATES

Metadata = dict[str, Any]


def opened(data: bytes) -> tuple[dict[str, NDArray[Any]], Metadata]:
    """Tensors and metadata of a good artifact, to be altered."""
    header = read_header("x", data)
    dtypes = {"F32": np.float32, "I8": np.int8, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32}
    tensors = {
        name: np.frombuffer(data[t.begin : t.end], dtypes[t.dtype]).reshape(t.shape).copy()
        for name, t in header.tensors.items()
    }
    return tensors, header.metadata


def put(table: NDArray[Any], at: int, value: float) -> NDArray[Any]:
    """A copy of a table with another entry."""
    table = table.copy()
    table.reshape(-1)[at] = value
    return table


def sealed(
    spec: AgentSpec,
    layers: Mapping[str, Layer],
    precision: str = "f32",
    change: Callable[[dict[str, NDArray[Any]], Metadata], object] | None = None,
) -> bytes:
    """An artifact of these layers; `change(tensors, metadata)` comes before the digests."""
    golden_q, actions = golden_answers(spec, lambda name, x: layers[name].affine(x))
    tensors: dict[str, NDArray[Any]] = {"golden.q": golden_q}
    for name, layer in layers.items():
        tensors |= {f"{name}.{section}": table for section, table in layer.sections().items()}
    contract = AgentContract(spec, "3m", "skirmish", 60)
    metadata: Metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "precision": precision,
        "contract": contract.contract_json(),
        "env": contract.env_json(),
        "sparsity": sparsity_json(layers),
        "provenance": {},
        "golden": {"actions": actions},
    }
    if change is not None:
        change(tensors, metadata)
    return seal(
        tensors, {**metadata, "sections": {name: digest_of(table) for name, table in tensors.items()}}
    )


def table(
    name: str,
    rows: int,
    cols: int,
    per_group: int = 0,
    height: int = 1,
    precision: str = "f32",
    value: float = 1.0,
) -> SparseLayer:
    """A layer with `per_group` evenly spread entries in every group of `height` rows; padding is zero."""
    gates = GATES.get(name, 1)
    gate = rows // gates
    groups = gates * -(-gate // height)
    entries = groups * per_group
    columns = (
        (np.arange(per_group) * (cols // per_group)).astype(index_dtype(cols - 1))
        if per_group
        else np.zeros(0)
    )
    dtype = np.float32 if precision == "f32" else np.int8
    values = np.full((entries, height), value, dtype)
    short = gate % height
    if short:
        values.reshape(gates, -1, per_group, height)[:, -1, :, short:] = 0
    return SparseLayer(
        cols,
        height,
        gates,
        values[:, 0] if height == 1 else values,
        np.tile(columns, groups).astype(index_dtype(cols - 1)),
        (np.arange(groups + 1) * per_group).astype(pointer_dtype(entries)),
        np.zeros(rows, np.float32),
        None if precision == "f32" else np.full(rows, 1e-3, np.float32),
    )


def tables(
    spec: AgentSpec, per_group: int = 0, height: int = 1, precision: str = "f32", value: float = 1e-3
) -> dict[str, Layer]:
    """All layers by `table`, as many entries in a group as fit; int8 values are 1."""
    value = value if precision == "f32" else 1
    return {
        name: table(name, rows, cols, min(per_group, cols), height, precision, value)
        for name, (rows, cols) in spec.layer_shapes().items()
    }


def full(spec: AgentSpec, precision: str = "f32", value: float = 1e-3) -> dict[str, Layer]:
    """All layers dense."""
    made: dict[str, Layer] = {}
    for name, (rows, cols) in spec.layer_shapes().items():
        weight = np.full(
            (rows, cols), value if precision == "f32" else 1, np.float32 if precision == "f32" else np.int8
        )
        scale = None if precision == "f32" else np.full(rows, 1e-3, np.float32)
        made[name] = DenseLayer(weight, np.zeros(rows, np.float32), scale)
    return made


def provenance(value: object) -> Callable[[object, Metadata], None]:
    """For `sealed`: another `provenance`."""

    def change(_: object, metadata: Metadata) -> None:
        metadata["provenance"] = value

    return change


def respelled(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with another spelling of a part of its header, length and file digest made right again."""
    length = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + length]
    assert header.count(old) == 1
    header = re.sub(rb'(file_sha256\\":\\")[0-9a-f]{64}', rb"\g<1>" + b"0" * 64, header.replace(old, new))
    whole = struct.pack("<Q", len(header)) + header + data[8 + length :]
    return whole.replace(b"0" * 64, hashlib.sha256(whole).hexdigest().encode(), 1)


SMALL = AgentSpec(obs_dim=2, n_actions=2, n_agents=1, hidden_dim=4)
WIDE = AgentSpec(obs_dim=60_000, n_actions=5_000, n_agents=500, hidden_dim=2_000)

CHEAP: dict[str, Callable[[], bytes]] = {
    "wide": lambda: sealed(WIDE, tables(WIDE)),
    "wide, some entries": lambda: sealed(WIDE, tables(WIDE, 20)),
    "hidden units": lambda: _sealed(AgentSpec(1, 1, 1, 65_536)),
    "hidden units in blocks": lambda: _sealed(AgentSpec(1, 8, 1, 65_500), 1, 8, "int8"),
    "actions": lambda: _sealed(AgentSpec(1, 65_000, 1, 4)),
    "observations": lambda: _sealed(AgentSpec(65_000, 1, 1, 4), 30),
    "agents": lambda: _sealed(AgentSpec(1, 1, 65_000, 4)),
    "agents and hidden units": lambda: _sealed(AgentSpec(1, 300, 65_000, 2_000)),
    "actions and hidden units": lambda: _sealed(AgentSpec(1, 60_000, 300, 1_000)),
    "one of each": lambda: _sealed(AgentSpec(1, 1, 1, 1), 1),
    "lists": lambda: sealed(SMALL, tables(SMALL, 1), change=provenance({"x": [[]] * 300_000})),
    "objects": lambda: sealed(SMALL, tables(SMALL, 1), change=provenance({"x": [{}] * 300_000})),
    "strings": lambda: sealed(
        SMALL, tables(SMALL, 1), change=provenance({"x": list(map(str, range(100_000)))})
    ),
    "deep": lambda: sealed(SMALL, tables(SMALL, 1), change=provenance(_nested(500))),
    "a long string": lambda: sealed(SMALL, tables(SMALL, 1), change=provenance({"x": "x" * 900_000})),
    "a snake before control characters": lambda: _provenance_text("\U0001f40d" + "\x7f" * 1_000_000),
}
"""Small files. A name says what there is much of."""


def _sealed(spec: AgentSpec, per_group: int = 0, height: int = 1, precision: str = "f32") -> bytes:
    return sealed(spec, tables(spec, per_group, height, precision), precision)


def _provenance_text(text: str) -> bytes:
    data = sealed(SMALL, tables(SMALL, 1), change=provenance("HERE"))
    return respelled(data, b"HERE", text.encode())


def _nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = {"x": found}
    return found


BIG = AgentSpec(obs_dim=2_000, n_actions=100, n_agents=10, hidden_dim=660)
"""4.1 million weights."""
SPARSE = AgentSpec(obs_dim=20_000, n_actions=100, n_agents=10, hidden_dim=8_000)
LARGE: dict[str, Callable[[], bytes]] = {
    "dense": lambda: sealed(BIG, full(BIG)),
    "dense int8": lambda: sealed(BIG, full(BIG, "int8"), "int8"),
    "dense denormals": lambda: sealed(BIG, full(BIG, value=1e-40)),
    "csr": lambda: _sealed(SPARSE, 70),
    "csr int8": lambda: _sealed(SPARSE, 70, 1, "int8"),
    "csr int8, narrow columns": lambda: _sealed(AgentSpec(100, 50_000, 50, 250), 80, 1, "int8"),
    "csr denormals": lambda: sealed(SPARSE, tables(SPARSE, 70, value=1e-40)),
    "8x1": lambda: _sealed(SPARSE, 70, 8),
    "8x1 int8": lambda: _sealed(SPARSE, 70, 8, "int8"),
    "4x1 int8": lambda: _sealed(SPARSE, 70, 4, "int8"),
    "too many weights": lambda: _sealed(AgentSpec(20_000, 100, 10, 8_000), 150, 1, "int8"),
}
"""Files of many MB."""
