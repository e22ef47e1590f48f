"""Every method with masks: Erdos-Renyi ones, drawn once at random, which may then evolve (paper section 4.1).

SS keeps the first masks, SET grows at random, RigL, RLx2 and MAST grow by gradient: `topology.evolve` and
`topology.growth` say which, and a method's row of `mast_edge.config.METHOD_PRESETS` sets them. What else a
method is (targets, buffers) are switches of the config too.
"""

import numpy as np
from numpy.typing import NDArray

from mast_edge.config_fields import Topology as TopologyConfig
from mast_edge.topology import Shapes, Topology, layer_blocks, layer_pattern, random_topology
from mast_edge.train.sparse.evolution import (
    Arrays,
    cosine_fraction,
    evolve_layer,
    gradient_scores,
    random_scores,
)


class Masked:
    """Masks that keep their number of blocks, evolved every `interval` updates with a cosine schedule."""

    def __init__(
        self, config: TopologyConfig, network: str, sparsity: float, rng: np.random.Generator
    ) -> None:
        self.config, self.network, self.sparsity, self.rng = config, network, sparsity, rng

    def pattern(self, layer: str) -> str:
        """Name of the layer's pattern."""
        return layer_pattern(self.config.pattern, self.network, layer)

    def initial(self, shapes: Shapes) -> Topology:
        """Erdos-Renyi masks of this network; none at sparsity 0."""
        patterns = {layer: self.pattern(layer) for layer in shapes}
        return random_topology(shapes, self.sparsity, self.rng, patterns)

    def due(self, updates: int, progress: float) -> bool:
        """Every `interval` updates until training ends, if masks evolve."""
        return bool(self.config.evolve) and updates % self.config.interval == 0 and progress < 1.0

    def update(self, topology: Topology, weights: Arrays, grads: Arrays, progress: float) -> Topology:
        """Drops the smallest magnitudes and grows what scores most, layer by layer."""
        fraction = cosine_fraction(self.config.drop_fraction, progress)
        scores: dict[str, NDArray[np.float32]] = (
            random_scores(topology, self.rng)
            if self.config.growth == "random"
            else gradient_scores(topology, grads)
        )
        return {
            layer: evolve_layer(
                weights[layer],
                mask,
                scores[layer],
                fraction,
                layer_blocks(layer, len(mask), self.pattern(layer)),
            )
            for layer, mask in topology.items()
        }
