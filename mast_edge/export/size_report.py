"""What an export weighs and computes: a ledger of bytes that adds up to the file, and FLOPs from the masks.

Source: runtime.md section 3 ("Sizes in bytes"), accounting.md 3.2 and 7.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mast_edge.accounting import GRU_LAYERS, gru_flops, linear_flops
from mast_edge.costs import agent_costs
from mast_edge.costs.agent import CostedAgent
from mast_edge.costs.disk_bytes import AgentBytes
from mast_edge.export.job import Job
from mast_edge.layers import Layer, SparseLayer
from mast_edge.topology import erdos_renyi_densities


def describe(job: Job, measure: bool) -> dict[str, Any]:
    """The parts `size`, `flops`, `layers` and `real` of the export report, for the csr artifact of this job.

    Args:
        job: what is exported.
        measure: also take times, about a second (`agent_costs`).
    """
    checkpoint, layers = job.checkpoint, job.layers()
    costs = agent_costs(
        CostedAgent(
            job.contract,
            job.weights,
            checkpoint.masks,
            job.reference.recorded,
            checkpoint.index.get("sparsity"),
            job.precision,
            job.provenance,
            dense=(job.contract.spec, checkpoint.weights),
        ),
        measure,
    )
    return {
        "size": size_ledger(costs.bytes),
        "flops": flops(job, layers),
        "layers": layer_table(job, layers),
        "real": costs.to_json(),
    }


def size_ledger(found: AgentBytes) -> dict[str, int]:
    """The `size` object of the export report: values, index, pointer and header bytes add up to the file.

    Biases and scales are counted with the values, the golden steps and alignment with the header.
    `zipped_dense_bytes` is the peer to beat: the dense arrays, deflated.
    """
    parts = found.parts
    return {
        "file_bytes": found.file,
        "dense_f32_bytes": found.dense_arrays,
        "zipped_dense_bytes": found.zipped_dense,
        "values_bytes": parts["values"] + parts["biases"] + parts["scales"],
        "index_bytes": parts["indices"],
        "pointer_bytes": parts["pointers"],
        "header_bytes": parts["golden"] + parts["padding"] + parts["header"],
    }


def flops(job: Job, layers: Mapping[str, Layer]) -> dict[str, float]:
    """Forward FLOPs of one agent and one step by Rule R, dense and with the stored nnz."""
    shapes = job.checkpoint.spec.layer_shapes()
    density = {name: layer.nnz / (layer.rows * layer.cols) for name, layer in layers.items()}
    gru = sum(density[name] for name in GRU_LAYERS) / len(GRU_LAYERS)
    width = job.checkpoint.spec.hidden_dim
    linear = [name for name in shapes if name not in GRU_LAYERS]
    dense = sum(linear_flops(shapes[name], 1.0) for name in linear) + gru_flops(width, 1.0)
    sparse = sum(linear_flops(shapes[name], density[name]) for name in linear) + gru_flops(width, gru)
    return {"dense": dense, "sparse": round(sparse, 3), "ratio": round(sparse / dense, 6)}


def layer_table(job: Job, layers: Mapping[str, Layer]) -> list[dict[str, Any]]:
    """The `layers` list: shape, kind, pattern, nnz, density, empty rows and columns, bytes of each part.

    `target_density` is what Erdos-Renyi asks of the layer at the sparsity it was trained with, `saturated`
    says that this is everything; `blocks` and `short_blocks` are stored blocks of full and of lesser height.
    """
    shapes = job.checkpoint.spec.layer_shapes()
    sparsity = job.checkpoint.index.get("sparsity")
    # A dense agent, or one whose checkpoint does not say, has no target.
    targets = erdos_renyi_densities(shapes, sparsity) if isinstance(sparsity, float) and sparsity > 0 else {}
    table = []
    for name, layer in layers.items():
        active = job.checkpoint.masks.get(name, np.ones((layer.rows, layer.cols), bool))
        parts = {f"{section}_bytes": array.nbytes for section, array in layer.sections().items()}
        table.append(
            {
                "name": name,
                "shape": [layer.rows, layer.cols],
                "kind": layer.kind,
                "pattern": layer.pattern,
                "nnz": layer.nnz,
                "density": round(layer.nnz / (layer.rows * layer.cols), 6),
                "target_density": round(targets[name], 6) if name in targets else None,
                "saturated": targets.get(name, 1.0) >= 1.0,
                "empty_rows": int((~active.any(axis=1)).sum()),
                "empty_columns": int((~active.any(axis=0)).sum()),
                **_blocks(layer),
                **parts,
            }
        )
    return table


def _blocks(layer: Layer) -> dict[str, int]:
    if not isinstance(layer, SparseLayer) or layer.height == 1:
        return {}
    ends = layer.indptr.astype(np.int64)
    full = np.array(layer.groups.heights) == layer.height
    stored = ends[1:] - ends[:-1]
    return {"blocks": int(stored[full].sum()), "short_blocks": int(stored[~full].sum())}
