"""How wide the networks are: as the config says, or narrow enough to be method tiny's.

Tiny asks what masks are good for: it trains dense networks with as many parameters as masked ones keep.

Source: algorithms.md 8.1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mast_edge.accounting import Model, biases, weights
from mast_edge.config import METHOD_PRESETS, ExperimentConfig
from mast_edge.errors import ConfigError
from mast_edge.spec import AgentSpec, EnvSpec, central_mixer_shapes, mixer_shapes
from mast_edge.topology import Shapes, erdos_renyi_densities, layer_nnz


@dataclass(frozen=True, slots=True)
class Widths:
    """Widths of all networks, in units.

    Attributes:
        hidden_dim: H of agent and cagent.
        mixer_embed_dim: E of the mixer.
        hypernet_dim: E_h, inside the mixer's hypernetworks.
        central_dim: E_c of OW-QMIX's unrestricted mixer.
    """

    hidden_dim: int
    mixer_embed_dim: int
    hypernet_dim: int
    central_dim: int


def network_widths(config: ExperimentConfig, env: EnvSpec) -> Widths:
    """The widths that a config trains with.

    For method tiny each network the algorithm trains gets the largest width that `parameter_limit` allows:
    agent and cagent their H; the mixer the largest E with E_h = 2E, then with that E the largest E_h; cmixer
    its E_c. Everything else keeps the config's widths.

    Source: algorithms.md 8.1.

    Args:
        config: its `network`, `algorithm`, `method` and `sparsity` count.
        env: the battle's sizes.

    Raises:
        ConfigError: not even width 1 fits.
    """
    own = config.network
    full = Widths(own.hidden_dim, own.mixer_embed_dim, own.hypernet_dim, own.central_dim)
    if METHOD_PRESETS[config.method].sparsity != "widths" or config.sparsity == 0.0:
        return full
    networks = Model.of(config.algorithm, env, full).networks()
    n, s = env.n_agents, env.state_dim

    def largest(network: str, shapes: Callable[[int], Shapes]) -> int:
        return _largest(network, config.sparsity, parameter_limit(networks[network], config.sparsity), shapes)

    found = replace(full, hidden_dim=largest("agent", lambda h: AgentSpec.of(env, h).layer_shapes()))
    if "mixer" in networks:
        e = largest("mixer", lambda e: mixer_shapes(n, s, e, 2 * e))
        e_h = largest("mixer", lambda e_h: mixer_shapes(n, s, e, e_h))
        found = replace(found, mixer_embed_dim=e, hypernet_dim=e_h)
    if "cmixer" in networks:
        found = replace(found, central_dim=largest("cmixer", lambda e_c: central_mixer_shapes(n, s, e_c)))
    return found


def tiny_agent(spec: AgentSpec, sparsity: float) -> AgentSpec:
    """The dense agent of as many parameters as `spec` keeps at `sparsity`: method tiny's.

    Source: algorithms.md 8.1. Raises ConfigError when not even width 1 fits.
    """

    def shapes(width: int) -> Shapes:
        return replace(spec, hidden_dim=width).layer_shapes()

    limit = parameter_limit(spec.layer_shapes(), sparsity)
    return replace(spec, hidden_dim=_largest("agent", sparsity, limit, shapes))


def parameter_limit(shapes: Shapes, sparsity: float) -> int:
    """Parameters of a masked network: nnz + biases (algorithms.md 7.2; single weights, whatever the pattern).

    Args:
        shapes: layer -> (out, in) at full width.
        sparsity: fraction of zeros in its weights.
    """
    densities = erdos_renyi_densities(shapes, sparsity)
    return sum(layer_nnz(shape, densities[name]) for name, shape in shapes.items()) + biases(shapes)


def _largest(network: str, sparsity: float, limit: int, shapes: Callable[[int], Shapes]) -> int:
    """Parameters grow with the width, so the first width that is too large ends the search."""
    width = 0
    while (needed := weights(shapes(width + 1)) + biases(shapes(width + 1))) <= limit:
        width += 1
    if width == 0:
        raise ConfigError(
            f"tiny: sparsity must be low enough for a {network} of width 1; got {sparsity}, which allows it "
            f"{limit} parameters of the {needed} it needs. Lower sparsity."
        )
    return width
