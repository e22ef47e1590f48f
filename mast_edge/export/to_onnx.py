"""Export to ONNX: one step of the agent as a dense model, and as a sparse one where that is smaller.

Source: runtime.md section 4.
"""

import hashlib
from collections.abc import Collection, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.artifact import build_artifact
from mast_edge.checkpoint_files import AgentCheckpoint
from mast_edge.errors import MissingExtra, UsageError
from mast_edge.export.job import Job

FILE_NAMES = {"onnx": "agent.onnx", "onnx_sparse": "agent.sparse.onnx"}
"""The sparse file is for size only: onnxruntime writes the zeros back when it loads, so it is no faster."""
_BYTES_PER_ENTRY = 12
"""Of a sparse weight: float32 value and int64 place; a dense weight takes 4."""


def export_onnx(job: Job, folder: Path) -> dict[str, Path]:
    """Writes the models and holds each against the checkpoint in onnx's reference evaluator.

    Args:
        job: what to export; float32 only.
        folder: empty, temporary; the caller moves the files out when this returns.

    Returns:
        "onnx" -> `agent.onnx`, and "onnx_sparse" -> `agent.sparse.onnx` where that is the smaller file, as it
        is not for a dense agent: a weight of 12 bytes pays from 67 % sparsity on.

    Raises:
        UsageError: precision int8.
        MissingExtra: onnx is not installed.
        ArtifactRefused: the checker refuses a file, or it does not answer as the checkpoint does.
    """
    if job.precision != "f32":
        raise UsageError(
            f"export: --format onnx must have --precision f32; got '{job.precision}'. Dynamic int8 was no "
            "faster in onnxruntime and up to 0.37 off in Q. Use --format csr or --format c for int8."
        )
    if find_spec("onnx") is None:
        raise MissingExtra("export onnx", "onnx", "export")
    # These import onnx, which a base install does not have.
    from mast_edge.export.to_onnx_check import check_file
    from mast_edge.export.to_onnx_graph import dense_model, sparse_model

    spec, weights, active = job.checkpoint.spec, job.checkpoint.weights, _active(job.checkpoint)
    sparse = [layer for layer, mask in active.items() if _BYTES_PER_ENTRY * int(mask.sum()) < 4 * mask.size]
    models = {"onnx": dense_model(spec, weights, _metadata(job, active, ()), job.with_avail)}
    smaller = sparse_model(spec, weights, active, sparse, _metadata(job, active, sparse), job.with_avail)
    if len(smaller) < len(models["onnx"]):
        models["onnx_sparse"] = smaller
    files = {entry: folder / FILE_NAMES[entry] for entry in models}
    for entry, path in files.items():
        path.write_bytes(models[entry])
        check_file(path, job.checkpoint)
    return files


def _active(checkpoint: AgentCheckpoint) -> dict[str, NDArray[np.bool_]]:
    """Layer -> (out, in): its mask, or what is not zero."""
    return {
        layer: checkpoint.masks.get(layer, checkpoint.weights[f"{layer}.weight"] != 0)
        for layer in checkpoint.spec.layer_shapes()
    }


def _metadata(
    job: Job, active: Mapping[str, NDArray[np.bool_]], sparse: Collection[str]
) -> dict[str, Any]:
    """Contract, game and origin as in the artifact, and which float32 artifact the same checkpoint gives."""
    checkpoint = job.checkpoint
    artifact = build_artifact(job.contract, checkpoint.weights, checkpoint.masks, job.provenance)
    nnz = {layer: int(mask.sum()) for layer, mask in active.items()}
    layers = {
        layer: {
            "shape": list(mask.shape),
            "nnz": nnz[layer],
            "density": round(nnz[layer] / mask.size, 6),
            "stored": "sparse" if layer in sparse else "dense",
        }
        for layer, mask in active.items()
    }
    total = round(1 - sum(nnz.values()) / sum(mask.size for mask in active.values()), 6)
    return {
        "contract": job.contract.contract_json(),
        "env": job.contract.env_json(),
        "provenance": dict(job.provenance),
        "sparsity": {"total": total, "layers": layers},
        "mast_edge": version("mast-edge"),
        "artifact_sha256": hashlib.sha256(artifact).hexdigest(),
    }
