"""An agent's layers in native tables: which run from CSR, and the model made of them.

Source: runtime.md sections 2 and 6 ("Selection per layer").
"""

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from mast_edge.layers import Layer
from mast_edge.spec import AgentSpec

if TYPE_CHECKING:
    from mast_edge.native._core import AgentModel

CSR_FROM_SPARSITY = {"fc1": 0.975, "gru_ih": 0.975, "gru_hh": 0.95, "fc2": 0.95}
"""Below this a dense table is faster than CSR on x86 with AVX2 (benchmarks/act.py).

Observations and what a ReLU leaves are about half zeros; the dense kernel skips those columns, so CSR has
to be sparser to win there (runtime.md section 6, "Selection per layer").
"""


def csr_layers(layers: Mapping[str, Layer]) -> set[str]:
    """The layers that run from CSR tables. The choice never changes an answer: both add in the same order."""
    return {
        name
        for name, layer in layers.items()
        if layer.kind != "dense" and layer.nnz <= (1 - CSR_FROM_SPARSITY[name]) * layer.rows * layer.cols
    }


def native_model(spec: AgentSpec, layers: Mapping[str, Layer], sparse: Set[str]) -> "AgentModel":
    """The native core's model of an agent.

    Args:
        spec: sizes.
        layers: the four of `spec.LAYERS`; int8 ones are run as the float32 weights that they stand for.
        sparse: which of them run from CSR tables, the others from dense ones.

    Raises:
        ImportError: the native core was not built.
    """
    from mast_edge.native._core import AgentModel

    model = AgentModel(spec.obs_dim, spec.n_actions, spec.n_agents, spec.hidden_dim)
    for name, layer in layers.items():
        add_layer(model, name, layer, name in sparse)
    return model


def add_layer(model: "AgentModel", name: str, layer: Layer, sparse: bool) -> None:
    """Hands one layer to the native core, to be run from CSR (`sparse`) or from a dense table."""
    values, indices, indptr = layer.rows_csr()
    model.add(name, values, indices, indptr, layer.bias, sparse)
