"""The layer tables inside an artifact, taken over one check at a time.

Source: runtime.md section 3, "Validation on load", rows from sizes to values.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.artifact_header import Tensor
from mast_edge.errors import ArtifactInconsistent, ArtifactTooLarge, ArtifactValue
from mast_edge.layers import DenseLayer, Layer, SparseLayer, index_dtype, pointer_dtype
from mast_edge.spec import AgentSpec
from mast_edge.topology import GATES, PATTERNS, group_heights

_SECTIONS = {
    "csr": ("values", "indices", "indptr"),
    "block": ("blocks", "bcols", "bptr"),
    "dense": ("dense",),
}
"""Kind -> its tensors: values, columns, pointers. Every layer also has a bias, int8 layers a scale."""
MAX_WEIGHTS = 2**22
"""Stored values of all layers: bounds the time that a load takes. 800 dense hidden units have 3.9 million."""
LARGEST_VALUE = 2.0**20
"""Of a weight, bias or scale. Sums of 65,536 such products three layers deep stay finite in float32."""
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
}


def _kind(pattern: str) -> str:
    return {"dense": "dense", "element": "csr"}.get(pattern, "block")


def table_class(name: str, precision: str) -> str:
    """What a tensor must hold, by its name: `F32`, `I8` or `unsigned integers`."""
    part = name.rpartition(".")[2]
    if part in {pointer for parts in _SECTIONS.values() for pointer in parts[1:]}:
        return "unsigned integers"
    values = {parts[0] for parts in _SECTIONS.values()}
    return "I8" if part in values and precision == "int8" else "F32"


def table_names(pattern: str, precision: str) -> tuple[str, ...]:
    """Tensor name suffixes of a layer."""
    return (*_SECTIONS[_kind(pattern)], "bias", *(() if precision == "f32" else ("scale",)))


def expect_table(
    who: str, tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], dtype: str
) -> None:
    """Refuses a tensor of another shape or dtype (ArtifactInconsistent)."""
    found = tensors[name]
    if found.shape != shape or found.dtype != dtype:
        raise ArtifactInconsistent(
            f"{who}: {name} must be {dtype} {shape}; got {found.dtype} {found.shape}. Export again."
        )


def layer_of(
    who: str,
    data: bytes,
    tensors: Mapping[str, Tensor],
    name: str,
    pattern: str,
    precision: str,
    spec: AgentSpec,
) -> Layer:
    """Checks the tables of a layer, shapes before contents, and takes them over.

    Args:
        who: file name, for messages.
        data: the whole file.
        tensors: where its tensors lie.
        name: of the layer.
        pattern: of its tables (`topology.PATTERNS`), or `dense`.
        precision: a name in `layers.PRECISIONS`.
        spec: sizes that the layer must have.

    Raises:
        ArtifactInconsistent: a shape, a pointer or an index is wrong.
        ArtifactValue: a value is not finite, a scale not positive, or padding not zero.
    """
    rows, cols = spec.layer_shapes()[name]
    value = "F32" if precision == "f32" else "I8"
    expect_table(who, tensors, f"{name}.bias", (rows,), "F32")
    if precision != "f32":
        expect_table(who, tensors, f"{name}.scale", (rows,), "F32")
    values, *pointers = (f"{name}.{part}" for part in _SECTIONS[_kind(pattern)])
    if pattern == "dense":
        expect_table(who, tensors, values, (rows, cols), value)
        return DenseLayer(
            _values(who, data, tensors, values),
            _values(who, data, tensors, f"{name}.bias"),
            _scale(who, data, tensors, name, precision),
        )
    height, gates = PATTERNS[pattern], GATES.get(name, 1)
    if rows // gates < height:
        raise ArtifactInconsistent(
            f"{who}: {name} must have {height} rows or more in a gate for {pattern} blocks; "
            f"got {rows} rows. Export again."
        )
    groups = len(group_heights(rows, height, gates))
    entries = tensors[values].shape[0] if tensors[values].shape else -1
    if not 0 <= entries <= groups * cols:
        raise ArtifactInconsistent(
            f"{who}: {values} must be at most {groups} x {cols} entries; got {tensors[values].shape}. "
            "Export again."
        )
    expect_table(who, tensors, values, (entries,) if height == 1 else (entries, height), value)
    expect_table(who, tensors, pointers[0], (entries,), _code(index_dtype(cols - 1)))
    expect_table(who, tensors, pointers[1], (groups + 1,), _code(pointer_dtype(entries)))
    indices, indptr = (array_of(data, tensors[pointer]) for pointer in pointers)
    _check_pointers(who, pointers[1], indptr, entries)
    _check_indices(who, pointers[0], indices, indptr, cols)
    layer = SparseLayer(
        cols,
        height,
        gates,
        _values(who, data, tensors, values),
        indices,
        indptr,
        _values(who, data, tensors, f"{name}.bias"),
        _scale(who, data, tensors, name, precision),
    )
    if layer.padding().any():
        raise ArtifactValue(
            f"{who}: {values} must be 0 in rows beyond the layer's; got other values. Export again."
        )
    return layer


def _values(who: str, data: bytes, tensors: Mapping[str, Tensor], name: str) -> NDArray[Any]:
    table = array_of(data, tensors[name])
    expect_finite(who, name, table, LARGEST_VALUE)
    return table


def _scale(
    who: str, data: bytes, tensors: Mapping[str, Tensor], name: str, precision: str
) -> NDArray[np.float32] | None:
    if precision == "f32":
        return None
    scale = _values(who, data, tensors, f"{name}.scale")
    if not (scale > 0).all():
        raise ArtifactValue(f"{who}: {name}.scale must be above 0; got {scale.min()}. Export again.")
    return scale


def _check_pointers(who: str, name: str, indptr: NDArray[Any], entries: int) -> None:
    if indptr[0] != 0 or indptr[-1] != entries or (indptr[1:] < indptr[:-1]).any():
        raise ArtifactInconsistent(
            f"{who}: {name} must rise from 0 to {entries}; got {indptr[0]} to {indptr[-1]}"
            f"{', falling between' if (indptr[1:] < indptr[:-1]).any() else ''}. Export again."
        )


def _check_indices(who: str, name: str, indices: NDArray[Any], indptr: NDArray[Any], cols: int) -> None:
    if len(indices) and indices.max() >= cols:
        raise ArtifactInconsistent(f"{who}: {name} must be below {cols}; got {indices.max()}. Export again.")
    rising = indices[1:] > indices[:-1]
    begins = indptr[1:-1].astype(np.int64)
    begins = begins[(begins > 0) & (begins < len(indices))]
    rising[begins - 1] = True
    if not rising.all():
        at = int(np.flatnonzero(~rising)[0]) + 1
        raise ArtifactInconsistent(
            f"{who}: {name} must rise inside a row; got {indices[at - 1]} then {indices[at]} "
            f"at entry {at}. Export again."
        )


def expect_number_of_weights(who: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuses tables of more than `MAX_WEIGHTS` values together (ArtifactTooLarge), by their shapes alone."""
    names = {parts[0] for parts in _SECTIONS.values()}
    stored = sum(math.prod(tensor.shape) for name, tensor in tensors.items() if name.split(".")[-1] in names)
    if stored > MAX_WEIGHTS:
        raise ArtifactTooLarge(
            f"{who}: tables must hold at most {MAX_WEIGHTS} weights; got {stored}. Is it an exported agent?"
        )


def expect_finite(who: str, section: str, table: NDArray[Any], largest: float = np.inf) -> None:
    """Refuses a table that holds NaN, an infinity or a value beyond +-largest (ArtifactValue)."""
    # Both ends are NaN where a value is; nothing of the table's size is allocated.
    low, high = table.min(initial=0), table.max(initial=0)
    if not (np.isfinite(low) and np.isfinite(high) and -largest <= low and high <= largest):
        within = f" and within +-{largest:.0f}" if largest < np.inf else ""
        raise ArtifactValue(f"{who}: {section} must be finite{within}; got {low} to {high}. Export again.")


def array_of(data: bytes, tensor: Tensor) -> NDArray[Any]:
    """A copy of a tensor in the byte order of this machine."""
    dtype = _DTYPES[tensor.dtype]
    count = (tensor.end - tensor.begin) // dtype.itemsize
    table = np.frombuffer(data, dtype, count, tensor.begin).reshape(tensor.shape)
    native: NDArray[Any] = table.astype(dtype.newbyteorder("="), copy=True)
    return native


def _code(dtype: np.dtype[Any]) -> str:
    return {1: "U8", 2: "U16", 4: "U32"}[dtype.itemsize]
