"""No sparsity: every weight is trained."""

import numpy as np
from numpy.typing import NDArray

from mast_edge.config_fields import Topology as TopologyConfig
from mast_edge.topology import Shapes, Topology


class Dense:
    """The uncompressed baseline."""

    def __init__(self, config: TopologyConfig, sparsity: float, rng: np.random.Generator) -> None:
        pass

    def initial(self, shapes: Shapes) -> Topology:
        """No masks."""
        return {}

    def due(self, updates: int, progress: float) -> bool:
        """Never."""
        return False

    def update(
        self,
        topology: Topology,
        weights: dict[str, NDArray[np.float32]],
        grads: dict[str, NDArray[np.float32]],
        progress: float,
    ) -> Topology:
        """Unchanged."""
        return topology
