"""What an export weighs and computes: a ledger of bytes that adds up to the file, and FLOPs from the masks.

Source: runtime.md section 3 ("Sizes in bytes"), accounting.md 3.2 and 7.2.
"""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.artifact import Layer, build_artifact, make_layer
from mast_edge.checkpoint_files import AgentCheckpoint
from mast_edge.contract import AgentContract
from mast_edge.spec import LAYERS


def size_ledger(checkpoint: AgentCheckpoint, provenance: Mapping[str, Any]) -> dict[str, int]:
    """The `size` object of the export report, for the CSR artifact.

    values, index, pointer and header bytes add up to the file; biases are counted with the values, the golden
    steps and alignment with the header. `zipped_dense_bytes` is the peer to beat: the dense arrays, deflated.

    Args:
        checkpoint: weights and masks.
        provenance: what goes into the artifact's metadata, and so into its length.
    """
    contract = AgentContract.of(checkpoint.spec, checkpoint.env)
    file_bytes = len(build_artifact(contract, checkpoint.weights, checkpoint.masks, provenance))
    values = index = pointer = 0
    for layer in _layers(checkpoint).values():
        for section, table in layer.sections().items():
            if section == "indices":
                index += table.nbytes
            elif section == "indptr":
                pointer += table.nbytes
            else:
                values += table.nbytes
    return {
        "file_bytes": file_bytes,
        "dense_f32_bytes": sum(table.nbytes for table in checkpoint.weights.values()),
        "zipped_dense_bytes": zipped_bytes(checkpoint.weights),
        "values_bytes": values,
        "index_bytes": index,
        "pointer_bytes": pointer,
        "header_bytes": file_bytes - values - index - pointer,
    }


def flops(checkpoint: AgentCheckpoint) -> dict[str, float]:
    """Forward FLOPs of one agent and one step by Rule R, dense and with the stored nnz (accounting.md 3.2).

    (2 in - 1) out per linear layer, 3H (2 (H + H) - 1) for the GRU pair, each times its density.
    """
    shapes = checkpoint.spec.layer_shapes()
    density = {name: layer.nnz / (layer.rows * layer.cols) for name, layer in _layers(checkpoint).items()}
    dense = sparse = 0.0
    for name in ("fc1", "fc2"):
        out, in_ = shapes[name]
        dense += (2 * in_ - 1) * out
        sparse += density[name] * (2 * in_ - 1) * out
    out, h = shapes["gru_hh"]
    dense += out * (4 * h - 1)
    sparse += (density["gru_ih"] + density["gru_hh"]) / 2 * out * (4 * h - 1)
    return {"dense": dense, "sparse": round(sparse, 3), "ratio": round(sparse / dense, 6)}


def layer_table(checkpoint: AgentCheckpoint) -> list[dict[str, Any]]:
    """The `layers` list: per layer shape, kind, nnz, density, empty rows and columns, bytes of each part."""
    table = []
    for name, layer in _layers(checkpoint).items():
        parts = {f"{section}_bytes": array.nbytes for section, array in layer.sections().items()}
        active = checkpoint.masks.get(name, np.ones((layer.rows, layer.cols), bool))
        table.append(
            {
                "name": name,
                "shape": [layer.rows, layer.cols],
                "kind": layer.kind,
                "pattern": "element",
                "nnz": layer.nnz,
                "density": round(layer.nnz / (layer.rows * layer.cols), 6),
                "empty_rows": int((~active.any(axis=1)).sum()),
                "empty_columns": int((~active.any(axis=0)).sum()),
                **parts,
            }
        )
    return table


def zipped_bytes(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Size of a zip archive (deflate, level 6) of the arrays in .npy form."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.save(member, array)
            file.writestr(zipfile.ZipInfo(name), member.getvalue(), zipfile.ZIP_DEFLATED, 6)
    return archive.tell()


def _layers(checkpoint: AgentCheckpoint) -> dict[str, Layer]:
    return {
        name: make_layer(
            checkpoint.weights[f"{name}.weight"],
            checkpoint.weights[f"{name}.bias"],
            checkpoint.masks.get(name),
        )
        for name in LAYERS
    }
