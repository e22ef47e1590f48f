"""What a sparse method is: it decides the masks at the start and how they change."""

from typing import Protocol

import numpy as np

from mast_edge.config_fields import Topology as TopologyConfig
from mast_edge.topology import Shapes, Topology
from mast_edge.train.sparse.evolution import Arrays


class SparseMethod(Protocol):
    """One network's topology over a run. Built as `Method(config, network, sparsity, rng)`."""

    def __init__(
        self, config: TopologyConfig, network: str, sparsity: float, rng: np.random.Generator
    ) -> None: ...

    def initial(self, shapes: Shapes) -> Topology:
        """Masks at the start; a layer without an entry is dense."""
        ...

    def due(self, updates: int, progress: float) -> bool:
        """Whether the topology evolves after update number `updates` (1-based), at training progress f."""
        ...

    def update(self, topology: Topology, weights: Arrays, grads: Arrays, progress: float) -> Topology:
        """The next topology.

        Args:
            topology: present masks.
            weights: layer -> (out, in), after the optimiser step.
            grads: layer -> (out, in), dense gradient of the loss, before masking and clipping.
            progress: f in [0, 1).
        """
        ...
