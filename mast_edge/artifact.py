"""The exported agent: one safetensors file of layer tables with a JSON contract, and how it is laid out.

`build_artifact` makes the bytes, `mast_edge.artifact_read` verifies and reads them. The same checkpoint
gives the same bytes: no clock, no path, no order that depends on anything but the format.

Source: runtime.md section 3.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as safetensors_bytes

from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats, forward
from mast_edge.errors import ArtifactTooLarge
from mast_edge.golden import golden_answers
from mast_edge.spec import LAYERS

FORMAT = "mast-edge/agent"
FORMAT_VERSION = 1
METADATA_KEY = "mast_edge"
MAX_FILE_BYTES = 64 * 2**20
NO_DIGEST = "0" * 64
_ENTRIES_AT_ONCE = 2**18

Unsigned = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class CsrLayer:
    """W x + b with the rows of W compressed.

    Attributes:
        cols: width of W.
        values: (nnz,) float32, row by row.
        indices: (nnz,) column of each value, strictly increasing inside a row.
        indptr: (rows + 1,) where each row begins.
        bias: (rows,) float32.
    """

    cols: int
    values: Floats
    indices: Unsigned
    indptr: Unsigned
    bias: Floats
    kind = "csr"

    @property
    def rows(self) -> int:
        """Height of W."""
        return len(self.bias)

    @property
    def nnz(self) -> int:
        """Stored weights."""
        return len(self.values)

    def sections(self) -> dict[str, NDArray[Any]]:
        """Tensor name suffix -> table."""
        return {
            "values": self.values,
            "indices": self.indices,
            "indptr": self.indptr,
            "bias": self.bias,
        }

    def affine(self, x: NDArray[Any]) -> NDArray[Any]:
        """W x + b for rows x (B, cols), in the float type of x; needs room for a part of the entries only."""
        out = np.broadcast_to(self.bias, (len(x), self.rows)).astype(x.dtype)
        indptr = self.indptr.astype(np.int64)
        row = 0
        while row < self.rows:
            end = int(np.searchsorted(indptr, indptr[row] + _ENTRIES_AT_ONCE, side="right")) - 1
            end = min(max(end, row + 1), self.rows)
            filled = row + np.flatnonzero(np.diff(indptr[row : end + 1]))
            if len(filled):
                entries = slice(indptr[row], indptr[end])
                products = x[:, self.indices[entries]] * self.values[entries]
                out[:, filled] += np.add.reduceat(products, indptr[filled] - indptr[row], axis=1)
            row = end
        return out

    def dense(self) -> Floats:
        """W with its zeros, (rows, cols)."""
        weight = np.zeros((self.rows, self.cols), np.float32)
        ends = self.indptr.astype(np.int64)
        rows = np.repeat(np.arange(self.rows), ends[1:] - ends[:-1])
        weight[rows, self.indices] = self.values
        return weight


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayer:
    """W x + b with every weight stored: weight (rows, cols) and bias (rows,), float32."""

    weight: Floats
    bias: Floats
    kind = "dense"

    @property
    def rows(self) -> int:
        """Height of W."""
        return int(self.weight.shape[0])

    @property
    def cols(self) -> int:
        """Width of W."""
        return int(self.weight.shape[1])

    @property
    def nnz(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.weight))

    def sections(self) -> dict[str, NDArray[Any]]:
        """Tensor name suffix -> table."""
        return {"dense": self.weight, "bias": self.bias}

    def affine(self, x: NDArray[Any]) -> NDArray[Any]:
        """W x + b for rows x (B, cols), in the float type of x."""
        product: NDArray[Any] = x @ self.weight.T.astype(x.dtype, copy=False) + self.bias
        return product

    def dense(self) -> Floats:
        """W, (rows, cols)."""
        return self.weight


Layer = CsrLayer | DenseLayer


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A verified exported agent.

    Attributes:
        name: file it came from, for messages.
        contract: sizes and game.
        layers: the four of `spec.LAYERS`.
        metadata: the whole JSON metadata; `provenance` and `sparsity` are for reports.
        golden_q: (8, A) float32.
        golden_actions: 8 actions.
        sha256: of the file as it is.
        header_bytes: length prefix and header.
    """

    name: str
    contract: AgentContract
    layers: dict[str, Layer]
    metadata: dict[str, Any]
    golden_q: Floats
    golden_actions: list[int]
    sha256: str
    header_bytes: int

    def affine(self, layer: str, x: NDArray[Any]) -> NDArray[Any]:
        """W x + b of one layer, straight from its tables."""
        return self.layers[layer].affine(x)

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """One step on assembled rows (B, F), straight from the tables."""
        return forward(self.affine, rows, hidden)

    def dense_weights(self) -> dict[str, Floats]:
        """`<layer>.weight` and `<layer>.bias`, with the zeros back in place.

        Raises:
            ArtifactTooLarge: written out they would take more than 64 MB.
        """
        size = 4 * sum(layer.rows * layer.cols for layer in self.layers.values())
        if size > MAX_FILE_BYTES:
            raise ArtifactTooLarge(
                f"{self.name}: dense weights must take at most {MAX_FILE_BYTES} bytes; got {size}. Use csr."
            )
        weights = {f"{name}.weight": layer.dense() for name, layer in self.layers.items()}
        return weights | {f"{name}.bias": layer.bias for name, layer in self.layers.items()}


def index_dtype(largest: int) -> np.dtype[Any]:
    """Narrowest unsigned type that holds `largest`: u8, u16 or u32."""
    return np.dtype(np.uint8 if largest <= 0xFF else np.uint16 if largest <= 0xFFFF else np.uint32)


def pointer_dtype(nnz: int) -> np.dtype[Any]:
    """Type of row pointers: u16 or u32."""
    return np.dtype(np.uint16 if nnz <= 0xFFFF else np.uint32)


def csr_table_bytes(rows: int, cols: int, nnz: int) -> int:
    """Bytes of values, indices and pointers, without the bias."""
    return nnz * (4 + index_dtype(cols - 1).itemsize) + (rows + 1) * pointer_dtype(nnz).itemsize


def make_layer(weight: Floats, bias: Floats, mask: NDArray[np.bool_] | None) -> Layer:
    """The smaller of the two kinds; a layer without a mask keeps all its weights.

    Args:
        weight: (rows, cols), zero outside the mask.
        bias: (rows,).
        mask: True = active; active weights that happen to be zero are stored too.
    """
    rows, cols = weight.shape
    if mask is None or csr_table_bytes(rows, cols, int(mask.sum())) >= 4 * rows * cols:
        return DenseLayer(np.ascontiguousarray(weight), bias)
    at_row, at_col = np.nonzero(mask)
    indptr = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    return CsrLayer(
        cols,
        weight[at_row, at_col],
        at_col.astype(index_dtype(cols - 1)),
        indptr.astype(pointer_dtype(len(at_row))),
        bias,
    )


def sparsity_json(layers: Mapping[str, Layer]) -> dict[str, Any]:
    """The `sparsity` field: per layer kind, pattern, shape, nnz, density and bytes, and the total."""
    rows = {
        name: {
            "shape": [layer.rows, layer.cols],
            "kind": layer.kind,
            "pattern": "element",
            "nnz": layer.nnz,
            "density": round(layer.nnz / (layer.rows * layer.cols), 6),
            "bytes": sum(table.nbytes for table in layer.sections().values()),
        }
        for name, layer in layers.items()
    }
    size = sum(layer.rows * layer.cols for layer in layers.values())
    return {"total": round(1 - sum(layer.nnz for layer in layers.values()) / size, 6), "layers": rows}


def build_artifact(
    contract: AgentContract,
    weights: Mapping[str, Floats],
    masks: Mapping[str, NDArray[np.bool_]],
    provenance: Mapping[str, Any],
) -> bytes:
    """The bytes of an artifact.

    Args:
        contract: sizes and game.
        weights: `<layer>.weight` and `<layer>.bias`, float32, finite, zero outside the masks.
        masks: layer -> (out, in) bool; dense layers left out.
        provenance: where it comes from, JSON values (runtime.md section 3).
    """
    layers: dict[str, Layer] = {
        name: make_layer(weights[f"{name}.weight"], weights[f"{name}.bias"], masks.get(name))
        for name in LAYERS
    }
    golden_q, golden_actions = golden_answers(contract.spec, lambda name, x: layers[name].affine(x))
    tensors: dict[str, NDArray[Any]] = {"golden.q": golden_q}
    for name, layer in layers.items():
        tensors |= {f"{name}.{section}": table for section, table in layer.sections().items()}
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "contract": contract.contract_json(),
        "env": contract.env_json(),
        "sparsity": sparsity_json(layers),
        "provenance": dict(provenance),
        "golden": {"actions": golden_actions},
        "sections": {name: describe(table) for name, table in tensors.items()},
    }
    return seal(tensors, metadata)


def describe(table: NDArray[Any]) -> list[Any]:
    """An entry of `sections`: dtype, shape, SHA-256."""
    dtype = {"float32": "F32", "uint8": "U8", "uint16": "U16", "uint32": "U32"}[table.dtype.name]
    little = table.astype(table.dtype.newbyteorder("<"), copy=False)
    return [dtype, list(table.shape), hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()]


def seal(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> bytes:
    """Serialises tensors and metadata, with the digest of the whole file put in its place."""
    text = json.dumps(
        {**metadata, "file_sha256": NO_DIGEST}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    data = safetensors_bytes(dict(tensors), metadata={METADATA_KEY: text})
    digest = hashlib.sha256(data).hexdigest()
    slot = rb"\"file_sha256\":\""
    return data.replace(slot + NO_DIGEST.encode(), slot + digest.encode(), 1)
