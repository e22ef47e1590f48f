"""No masks: every weight is trained, in networks of full width (dense) or narrow ones (tiny).

The widths of tiny networks are `mast_edge.widths`.
"""

import numpy as np

from mast_edge.config_fields import Topology as TopologyConfig
from mast_edge.topology import Shapes, Topology
from mast_edge.train.sparse.evolution import Arrays


class Dense:
    """The uncompressed baseline, and tiny."""

    def __init__(
        self, config: TopologyConfig, network: str, sparsity: float, rng: np.random.Generator
    ) -> None:
        pass

    def initial(self, shapes: Shapes) -> Topology:
        """No masks."""
        return {}

    def due(self, updates: int, progress: float) -> bool:
        """Never."""
        return False

    def update(self, topology: Topology, weights: Arrays, grads: Arrays, progress: float) -> Topology:
        """Unchanged."""
        return topology
