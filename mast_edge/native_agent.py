"""An agent's layers in native tables: which table each runs from, and the model made of them.

Source: runtime.md sections 2 and 6 ("Selection per layer").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
    """The table of one layer, its bytes, and the predicted nanoseconds of a product by each candidate."""

    table: str
    bytes: int
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
    sizes = {"dense": 4 * ((layer.rows + 15) // 16 * 16) * cols, "csr": 6 * pieces["csr"] + 4 * layer.rows}
    sizes |= {table: (4 * HEIGHTS[table] + 2) * pieces[table] for table in ("8x1", "4x1")}
    ns = {
        table: predicted(costs, table, terms(table, name, layer.rows, cols, pieces))
        for table in TABLES
        if sizes[table] <= max(FREE_BYTES, sizes["csr"])
    }
    best = min(ns, key=lambda table: ns[table])
    table = "dense" if ns.get("dense", np.inf) < ns[best] / TIE else best
    return Choice(table, sizes[table], ns)


def _pieces(layer: Layer, cols: int) -> dict[str, int]:
    """Weights in the first `cols` columns, and blocks of 8 and of 4 rows that hold any of them.

    Large layers are counted in parts; blocks that lie in two of them count twice.
    """
    pieces = {"csr": 0, "8x1": 0, "4x1": 0}
    for _, rows, columns in layer.by_row():
        inner = columns < cols
        rows, columns = rows[inner], columns[inner]
        pieces["csr"] += len(rows)
        for table in ("8x1", "4x1"):
            block = np.sort(rows // HEIGHTS[table] * cols + columns)
            pieces[table] += min(1, len(block)) + int(np.count_nonzero(block[1:] != block[:-1]))
    return pieces


def one_hot_bytes(spec: AgentSpec) -> int:
    """Of the columns of fc1 that one-hots choose, which are stored densely."""
    return 4 * ((spec.hidden_dim + 15) // 16 * 16) * (spec.n_actions + spec.n_agents)


def hand_over_bytes(layers: Mapping[str, Layer]) -> int:
    """What the largest layer takes while it is handed over: a float32 value and a column for each weight."""
    return 8 * max(layer.nnz for layer in layers.values())


def native_model(spec: AgentSpec, layers: Mapping[str, Layer], tables: Mapping[str, str]) -> "AgentModel":
    """The native core's model of an agent.

    Args:
        spec: sizes.
        layers: the four of `spec.LAYERS`; int8 ones are run as the float32 weights that they stand for.
        tables: layer -> a name in `kernel_costs.TABLES`; dense where it says nothing.

    Raises:
        ImportError: the native core was not built.
    """
    from mast_edge.native._core import AgentModel

    model = AgentModel(spec.obs_dim, spec.n_actions, spec.n_agents, spec.hidden_dim)
    for name, layer in layers.items():
        add_layer(model, name, layer, tables.get(name, "dense"))
    return model


def add_layer(model: "AgentModel", name: str, layer: Layer, table: str) -> None:
    """Hands one layer to the native core, to be run from `table`."""
    values, indices, indptr = layer.rows_csr()
    model.add(name, values, indices, indptr, layer.bias, table)
