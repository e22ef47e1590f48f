"""MAST's topology: Erdos-Renyi masks that evolve by magnitude and gradient (paper section 4.1, after RigL).

MAST's other parts are switches of the config: hybrid TD(lambda) and soft mellowmax in `target`, dual buffers
in `replay`. Their MAST values are the method's row of presets in `mast_edge.config`.
"""

import numpy as np
from numpy.typing import NDArray

from mast_edge.config_fields import Topology as TopologyConfig
from mast_edge.topology import Shapes, Topology, random_topology
from mast_edge.train.sparse.evolution import cosine_fraction, evolve


class Mast:
    """Masks drawn once at random, then evolved every `interval` updates with a cosine schedule.

    `evolve: false` keeps the first masks (a static topology); `growth: random` grows SET's way.
    """

    def __init__(self, config: TopologyConfig, sparsity: float, rng: np.random.Generator) -> None:
        self.config = config
        self.sparsity = sparsity
        self.rng = rng

    def initial(self, shapes: Shapes) -> Topology:
        """Erdos-Renyi masks of this network; none at sparsity 0."""
        return random_topology(shapes, self.sparsity, self.rng)

    def due(self, updates: int, progress: float) -> bool:
        """Every `interval` updates until training ends."""
        return bool(self.config.evolve) and updates % self.config.interval == 0 and progress < 1.0

    def update(
        self,
        topology: Topology,
        weights: dict[str, NDArray[np.float32]],
        grads: dict[str, NDArray[np.float32]],
        progress: float,
    ) -> Topology:
        """Drop by smallest magnitude, grow by largest gradient (or at random, SET)."""
        fraction = cosine_fraction(self.config.drop_fraction, progress)
        if self.config.growth == "random":
            scores = {n: self.rng.random(m.shape, np.float32) for n, m in topology.items()}
        else:
            scores = {n: np.abs(grads[n]) for n in topology}
        return evolve(topology, weights, scores, fraction)
