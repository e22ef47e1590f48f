"""An agent whose costs are asked for: a trained one, or one of random weights in a config's sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.checkpoint_files import Recorded
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats
from mast_edge.layers import Layer, layers_of
from mast_edge.native_agent import choose_tables
from mast_edge.spec import AgentSpec
from mast_edge.topology import random_topology

SEED = 0
STEPS = 64
EPISODE = 32
"""Joint steps of a random agent's inputs, and of one of their episodes."""
RANDOM = "random weights and masks; random observations, half of them zero"

Weights = Mapping[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class CostedAgent:
    """One agent and what it sees.

    Attributes:
        contract: sizes and game.
        weights: `<layer>.weight` and `<layer>.bias`, float32, zero outside the masks.
        masks: layer -> (out, in) bool; dense layers left out.
        inputs: joint steps to run it on; their actions are fed back as last actions.
        sparsity: what it was trained with, for Rule R; None where nothing says.
        precision: a name in `layers.PRECISIONS`.
        provenance: goes into the artifact's metadata, and so into its length.
        dense: sizes and weights of the dense agent that bytes are compared with; None: this one with its
            zeros stored.
        kind: what it is, for reports.
    """

    contract: AgentContract
    weights: Weights
    masks: Mapping[str, NDArray[np.bool_]]
    inputs: Recorded
    sparsity: float | None
    precision: str = "f32"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    dense: tuple[AgentSpec, Weights] | None = None
    kind: str = "trained weights; recorded observations"

    @property
    def spec(self) -> AgentSpec:
        """Sizes."""
        return self.contract.spec

    def layers(self) -> dict[str, Layer]:
        """The tables that are stored."""
        return layers_of(self.weights, self.masks, self.precision)

    def table_choices(self) -> dict[str, dict[str, str]]:
        """How the layers can be run: choice -> layer -> table. `runtime` is what the csr runtime takes here.

        Raises:
            ImportError: the native core was not built.
        """
        layers = self.layers()
        return {
            "dense": dict.fromkeys(layers, "dense"),
            "csr": dict.fromkeys(layers, "csr"),
            "runtime": {name: choice.table for name, choice in choose_tables(self.spec, layers).items()},
        }


def random_agent(
    contract: AgentContract,
    sparsity: float,
    patterns: Mapping[str, str] | None = None,
    full: AgentSpec | None = None,
    seed: int = SEED,
) -> CostedAgent:
    """An untrained agent that costs what a trained one of its sizes, sparsity and patterns does.

    Args:
        contract: sizes and game.
        sparsity: fraction of zeros, in [0, 1).
        patterns: layer -> pattern; `element` where it says nothing.
        full: sizes of the dense agent that it is compared with (method tiny); None: its own. A narrow agent
            keeps all its weights, `sparsity` is then only what it is matched to.
        seed: of weights, masks and observations.
    """
    rng = np.random.default_rng(seed)
    zeros = 0.0 if full is not None else sparsity
    masks = random_topology(contract.spec.layer_shapes(), zeros, rng, patterns)
    weights = random_weights(contract.spec, masks, rng)
    dense = None if full is None else (full, random_weights(full, {}, rng))
    inputs = random_inputs(contract.spec, rng)
    return CostedAgent(contract, weights, masks, inputs, sparsity, dense=dense, kind=f"{RANDOM}; seed {seed}")


def random_weights(
    spec: AgentSpec, masks: Mapping[str, NDArray[np.bool_]], rng: np.random.Generator
) -> dict[str, Floats]:
    """Weights that keep activations in range: normal, of variance one over the inputs that are kept."""
    weights = {}
    for name, shape in spec.layer_shapes().items():
        mask = masks.get(name, np.ones(shape, np.bool_))
        scale = 1 / np.sqrt(max(1.0, mask.sum() / shape[0]))
        values = rng.normal(scale=scale, size=shape).astype(np.float32)
        weights[f"{name}.weight"] = np.where(mask, values, np.float32(0))
        weights[f"{name}.bias"] = rng.normal(scale=0.1, size=shape[0]).astype(np.float32)
    return weights


def random_inputs(spec: AgentSpec, rng: np.random.Generator) -> Recorded:
    """Observations in [-1, 1], half of them zero, and random available actions."""
    shape = (STEPS, spec.n_agents)
    seen = rng.random((*shape, spec.obs_dim)) < 0.5
    obs = np.where(seen, rng.uniform(-1, 1, seen.shape), 0).astype(np.float32)
    actions = rng.integers(0, spec.n_actions, shape).astype(np.int32)
    avail = (rng.random((*shape, spec.n_actions)) < 0.6).astype(np.uint8)
    np.put_along_axis(avail, actions[..., None].astype(np.int64), 1, axis=2)
    return Recorded(obs, avail, actions, (np.arange(STEPS) % EPISODE == 0).astype(np.uint8))
