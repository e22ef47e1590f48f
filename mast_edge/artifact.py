"""The exported agent: one safetensors file of layer tables (`mast_edge.layers`) with a JSON contract.

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

from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats, forward
from mast_edge.errors import ArtifactTooLarge
from mast_edge.golden import golden_answers
from mast_edge.layers import Layer, layers_of

FORMAT = "mast-edge/agent"
FORMAT_VERSION = 2
"""2 added blocks, int8 weights with a scale per row and the field `precision`; its `sections` are digests
alone, those of 1 repeated type and shape."""
METADATA_KEY = "mast_edge"
NO_DIGEST = "0" * 64


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
        file_bytes: of the whole file.
    """

    name: str
    contract: AgentContract
    layers: dict[str, Layer]
    metadata: dict[str, Any]
    golden_q: Floats
    golden_actions: list[int]
    sha256: str
    header_bytes: int
    file_bytes: int

    @property
    def precision(self) -> str:
        """A name in `layers.PRECISIONS`."""
        return str(self.metadata.get("precision", "f32"))

    def affine(self, layer: str, x: NDArray[Any]) -> NDArray[Any]:
        """W x + b of one layer, straight from its tables."""
        return self.layers[layer].affine(x)

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """One step on assembled rows (B, F), straight from the tables."""
        return forward(self.affine, rows, hidden)

    def dense_weights(self) -> dict[str, Floats]:
        """`<layer>.weight` and `<layer>.bias`, with the zeros back in place.

        Raises:
            ArtifactTooLarge: there is no `room` for them.
        """
        size = 4 * sum(layer.rows * layer.cols for layer in self.layers.values())
        self.require_room("dense weights", size, "Use csr.")
        weights = {f"{name}.weight": layer.dense() for name, layer in self.layers.items()}
        return weights | {f"{name}.bias": layer.bias for name, layer in self.layers.items()}

    @property
    def room(self) -> int:
        """Bytes that a runtime may take beside the tables: 2 x file + 8 MB.

        A load may take 4 x file + 16 MB at its peak (runtime.md 3); the tables are one file, what is left is
        for checking and conversion.
        """
        return 2 * self.file_bytes + 8 * 2**20

    def require_room(self, what: str, size: int, advice: str) -> None:
        """Refuses an agent for which a runtime would take more than `room`, before it does.

        Raises:
            ArtifactTooLarge: `what` takes `size` bytes, which is more.
        """
        if size > self.room:
            raise ArtifactTooLarge(
                f"{self.name}: {what} must take at most {self.room} bytes, for a file of {self.file_bytes}; "
                f"got {size}. {advice}"
            )


def sparsity_json(layers: Mapping[str, Layer], format_version: int = FORMAT_VERSION) -> dict[str, Any]:
    """The `sparsity` field: per layer kind, pattern, shape, nnz, density and bytes, and the total.

    Version 1 had one pattern, `element`, and called dense layers so too.
    """
    rows = {
        name: {
            "shape": [layer.rows, layer.cols],
            "kind": layer.kind,
            "pattern": "element" if format_version == 1 else layer.pattern,
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
    precision: str = "f32",
) -> bytes:
    """The bytes of an artifact.

    Args:
        contract: sizes and game.
        weights: `<layer>.weight` and `<layer>.bias`, float32, finite, zero outside the masks.
        masks: layer -> (out, in) bool; dense layers left out.
        provenance: where it comes from, JSON values (runtime.md section 3).
        precision: a name in `layers.PRECISIONS`; int8 weights are what the golden steps are taken with, too.
    """
    layers = layers_of(weights, masks, precision)
    golden_q, golden_actions = golden_answers(contract.spec, lambda name, x: layers[name].affine(x))
    tensors: dict[str, NDArray[Any]] = {"golden.q": golden_q}
    for name, layer in layers.items():
        tensors |= {f"{name}.{section}": table for section, table in layer.sections().items()}
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "precision": precision,
        "contract": contract.contract_json(),
        "env": contract.env_json(),
        "sparsity": sparsity_json(layers),
        "provenance": dict(provenance),
        "golden": {"actions": golden_actions},
        "sections": {name: digest_of(table) for name, table in tensors.items()},
    }
    return seal(tensors, metadata)


def digest_of(table: NDArray[Any]) -> str:
    """An entry of `sections`: SHA-256 of the tensor's bytes; its type and shape are in the header."""
    little = table.astype(table.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()


def seal(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> bytes:
    """Serialises tensors and metadata, with the digest of the whole file put in its place."""
    from safetensors.numpy import save as safetensors_bytes

    text = json.dumps(
        {**metadata, "file_sha256": NO_DIGEST}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    data = safetensors_bytes(dict(tensors), metadata={METADATA_KEY: text})
    digest = hashlib.sha256(data).hexdigest()
    slot = rb"\"file_sha256\":\""
    return data.replace(slot + NO_DIGEST.encode(), slot + digest.encode(), 1)
