"""What a sparse method is: it decides the masks at the start and how they change."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mast_edge.config_fields import Topology as TopologyConfig
from mast_edge.topology import Shapes, Topology


class SparseMethod(Protocol):
    """One network's topology over a run. Built as `Method(config, sparsity, rng)`."""

    def __init__(self, config: TopologyConfig, sparsity: float, rng: np.random.Generator) -> None: ...

    def initial(self, shapes: Shapes) -> Topology:
        """Masks at the start; a layer without an entry is dense."""
        ...

    def due(self, updates: int, progress: float) -> bool:
        """Whether the topology evolves after update number `updates` (1-based), at training progress f."""
        ...

    def update(
        self,
        topology: Topology,
        weights: dict[str, NDArray[np.float32]],
        grads: dict[str, NDArray[np.float32]],
        progress: float,
    ) -> Topology:
        """The next topology.

        Args:
            topology: present masks.
            weights: layer -> (out, in), after the optimiser step.
            grads: layer -> (out, in), dense gradient of the loss, before masking and clipping.
            progress: f in [0, 1).
        """
        ...
