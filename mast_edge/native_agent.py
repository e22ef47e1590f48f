"""An agent's layers in native tables: which table each runs from, and the model made of them.

Source: runtime.md sections 2 and 6 ("Selection per layer").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mast_edge.errors import ArtifactTooLarge
from mast_edge.kernel_costs import HEIGHTS, TABLES, Costs, kernel_costs, predicted, terms
from mast_edge.layers import Layer
from mast_edge.spec import AgentSpec

if TYPE_CHECKING:
    from mast_edge.native._core import AgentModel

FREE_BYTES = 4 * 2**20
"""A table below this size may be chosen whatever the size of the file, above it only one no larger than CSR
(runtime.md section 3: loading takes at most four times the file and 16 MB)."""

TIE = 0.85
"""Another table must promise less than this share of the dense one's time (runtime.md: differences under
about 15 % are ties)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The table of one layer, and the predicted nanoseconds of a product by each that was a candidate."""

    table: str
    ns: dict[str, float]


def choose_tables(
    spec: AgentSpec, layers: Mapping[str, Layer], costs: Costs | None = None
) -> dict[str, Choice]:
    """The fastest table of every layer, as this machine's costs predict. No choice ever changes an answer.

    Args:
        spec: sizes.
        layers: the four of `spec.LAYERS`.
        costs: of the kernels; None: those of this machine (`kernel_costs`).

    Raises:
        ImportError: the native core was not built.
    """
    known = costs or kernel_costs()
    return {name: _choice(spec, name, layer, known) for name, layer in layers.items()}


def _choice(spec: AgentSpec, name: str, layer: Layer, costs: Costs) -> Choice:
    cols = spec.obs_dim if name == "fc1" else layer.cols
    pieces = _pieces(layer, cols)
    csr_bytes = 6 * pieces["csr"] + 4 * layer.rows
    sizes = {"dense": 4 * (layer.rows + 15) // 16 * 16 * cols, "csr": csr_bytes}
    sizes |= {table: (4 * HEIGHTS[table] + 2) * pieces[table] for table in ("8x1", "4x1")}
    ns = {
        table: predicted(costs, table, terms(table, name, layer.rows, cols, pieces))
        for table in TABLES
        if sizes[table] <= max(FREE_BYTES, csr_bytes)
    }
    best = min(ns, key=lambda table: ns[table])
    return Choice("dense" if ns.get("dense", np.inf) < ns[best] / TIE else best, ns)


def _pieces(layer: Layer, cols: int) -> dict[str, int]:
    """Weights in the first `cols` columns, and blocks of 8 and of 4 rows that hold any of them."""
    _, indices, indptr = layer.rows_csr()
    ends = indptr.astype(np.int64)
    row = np.repeat(np.arange(layer.rows), ends[1:] - ends[:-1])
    inner = indices < cols
    row, column = row[inner], indices[inner].astype(np.int64)
    blocks = {table: len(np.unique(row // HEIGHTS[table] * cols + column)) for table in ("8x1", "4x1")}
    return {"csr": len(column), **blocks}


def native_model(spec: AgentSpec, layers: Mapping[str, Layer], tables: Mapping[str, str]) -> "AgentModel":
    """The native core's model of an agent.

    Args:
        spec: sizes.
        layers: the four of `spec.LAYERS`; int8 ones are run as the float32 weights that they stand for.
        tables: layer -> a name in `kernel_costs.TABLES`; dense where it says nothing.

    Raises:
        ArtifactTooLarge: the columns of fc1 that one-hots choose, which are stored densely, take over 8 MB.
        ImportError: the native core was not built.
    """
    from mast_edge.native._core import AgentModel

    tails = 4 * spec.hidden_dim * (spec.n_actions + spec.n_agents)
    if tails > 2 * FREE_BYTES:
        raise ArtifactTooLarge(
            f"agent: one-hot columns of fc1 must take at most {2 * FREE_BYTES} bytes; got {tails}. "
            "Is it an exported agent?"
        )
    model = AgentModel(spec.obs_dim, spec.n_actions, spec.n_agents, spec.hidden_dim)
    for name, layer in layers.items():
        add_layer(model, name, layer, tables.get(name, "dense"))
    return model


def add_layer(model: "AgentModel", name: str, layer: Layer, table: str) -> None:
    """Hands one layer to the native core, to be run from `table`."""
    values, indices, indptr = layer.rows_csr()
    model.add(name, values, indices, indptr, layer.bias, table)
