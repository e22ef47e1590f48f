"""Rule R: parameters and FLOPs of a setting as the paper counts them, sparse over dense.

These are formulas, not measurements: a FLOPs ratio is not a speed-up. Bytes, executed operations and time are
measured elsewhere. Source: accounting.md sections 1-4; paper appendix B.4, equations 9-25 and Table 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mast_edge import published
from mast_edge.errors import ConfigError
from mast_edge.registry import nearest
from mast_edge.spec import AgentSpec, EnvSpec, central_mixer_shapes, mixer_shapes
from mast_edge.topology import Shapes, erdos_renyi_densities, layer_blocks, layer_pattern, pattern_nnz

if TYPE_CHECKING:
    from mast_edge.config_fields import Network
    from mast_edge.widths import Widths

GRU_LAYERS = ("gru_ih", "gru_hh")
ALGORITHMS = ("qmix", "ow_qmix", "res", "vdn")
SCHEMA = "mast-edge/account/1"


@dataclass(frozen=True, slots=True)
class Model:
    """The networks that one algorithm trains on one map.

    Attributes:
        algorithm: qmix, ow_qmix, res or vdn.
        agent: sizes of the recurrent agent.
        state_dim: S, length of the global state.
        embed_dim: E, width of the mixing layer (algorithms.md 11: 32).
        hypernet_dim: E_h, width inside the hypernetworks (64).
        central_dim: E_c, width of OW-QMIX's unrestricted mixer (256).
    """

    algorithm: str
    agent: AgentSpec
    state_dim: int
    embed_dim: int = 32
    hypernet_dim: int = 64
    central_dim: int = 256

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(
                f"account: algorithm must be one of {', '.join(ALGORITHMS)}; got '{self.algorithm}'."
                f"{nearest(self.algorithm, list(ALGORITHMS))}"
            )

    @classmethod
    def of(cls, algorithm: str, env: EnvSpec, widths: "Widths | Network") -> "Model":
        """The networks of these widths on `env`."""
        agent = AgentSpec.of(env, widths.hidden_dim)
        mixer = (widths.mixer_embed_dim, widths.hypernet_dim)
        return cls(algorithm, agent, env.state_dim, *mixer, widths.central_dim)

    def networks(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Network -> matrix -> (out, in), targets not repeated (accounting.md section 1; VDN only sums)."""
        n = self.agent.n_agents
        nets = {"agent": self.agent.layer_shapes()}
        if self.algorithm != "vdn":
            nets["mixer"] = mixer_shapes(n, self.state_dim, self.embed_dim, self.hypernet_dim)
        if self.algorithm == "ow_qmix":
            nets["cagent"] = self.agent.layer_shapes()
            nets["cmixer"] = central_mixer_shapes(n, self.state_dim, self.central_dim)
        return nets


def weights(shapes: Shapes) -> int:
    """W(net): entries of all matrices."""
    return sum(out * in_ for out, in_ in shapes.values())


def biases(shapes: Shapes) -> int:
    """b(net): one bias per output of every matrix, so the GRU has two. Never masked."""
    return sum(out for out, _ in shapes.values())


def size(shapes: Shapes, sparsity: float) -> float:
    """Parameters one network keeps: (1 - sp) W + b.

    Source: accounting.md 3.1; paper equations 9 (linear) and 10 (GRU).
    Deviation: the equations leave biases out, Table 1 counts them, dense; so do we.
    """
    return (1.0 - sparsity) * weights(shapes) + biases(shapes)


def linear_flops(shape: tuple[int, int], density: float) -> float:
    """One sample through one matrix: density (2 in - 1) out. Source: paper equation 11."""
    out, in_ = shape
    return density * (2 * in_ - 1) * out


def gru_flops(hidden_dim: int, density: float) -> float:
    """One sample through both GRU matrices: density 3H (2 (H + H) - 1). Source: paper equation 12."""
    return density * 3 * hidden_dim * (2 * (hidden_dim + hidden_dim) - 1)


def layer_flops(name: str, shape: tuple[int, int], density: float) -> float:
    """One sample through a layer; each GRU matrix has half of what Rule R gives to the pair."""
    return gru_flops(shape[1], density) / 2 if name in GRU_LAYERS else linear_flops(shape, density)


def network_flops(shapes: Shapes, sparsity: float) -> float:
    """One forward pass of a network under Erdos-Renyi densities; no bias or activation terms.

    Source: accounting.md 3.2; paper equations 11 and 12.
    """
    density = erdos_renyi_densities(shapes, sparsity)
    return sum(layer_flops(name, shape, density[name]) for name, shape in shapes.items())


def mixing_flops(n_agents: int, embed_dim: int) -> float:
    """The mixing layer with generated weights, which no mask reduces: (2N - 1) E + (2E - 1).

    Source: accounting.md 3.2. Deviation: the paper's equations do not name this term; Table 1 needs it.
    """
    return (2 * n_agents - 1) * embed_dim + (2 * embed_dim - 1)


def forward_flops(model: Model, sparsity: float) -> dict[str, float]:
    """Network -> FLOPs of one forward pass; agents for ONE agent, mixers for one state."""
    flops = {name: network_flops(shapes, sparsity) for name, shapes in model.networks().items()}
    return _with_mixing(model, flops)


def _with_mixing(model: Model, flops: dict[str, float]) -> dict[str, float]:
    if "mixer" in flops:
        flops["mixer"] += mixing_flops(model.agent.n_agents, model.embed_dim)
    return flops


def total_size(model: Model, sparsity: float) -> float:
    """Parameters held in training, target copies included.

    Source: accounting.md 3.1; paper Table 6.
        QMIX, RES: 2 agent + 2 mixer.   OW-QMIX: agent + mixer + 2 cagent + 2 cmixer.
        VDN, which the paper has not: QMIX's without the mixer.
    """
    return _total_of(model, {name: size(shapes, sparsity) for name, shapes in model.networks().items()})


def _total_of(model: Model, part: Mapping[str, float]) -> float:
    if model.algorithm == "ow_qmix":
        return part["agent"] + part["mixer"] + 2 * part["cagent"] + 2 * part["cmixer"]
    return 2 * part["agent"] + 2 * part.get("mixer", 0.0)


def train_flops(model: Model, sparsity: float) -> float:
    """FLOPs of one update per sample of the batch; a backward pass is two forward passes.

    Source: accounting.md 3.3; paper equations 17 (QMIX), 22 (OW-QMIX), 25 (RES).
    Deviation: an agent's term counts N times, once per agent, as Table 1 requires. VDN, which the paper has
        not: QMIX's without the mixer.
    """
    return _train_of(model, forward_flops(model, sparsity))


def _train_of(model: Model, f: Mapping[str, float]) -> float:
    n, a = model.agent.n_agents, model.agent.n_actions
    if model.algorithm == "ow_qmix":
        return 3 * n * f["agent"] + 3 * f["mixer"] + 4 * n * f["cagent"] + 4 * f["cmixer"]
    if model.algorithm == "res":
        return 4 * n * f["agent"] + (3 + 2 * n * a) * f["mixer"]
    return 4 * (n * f["agent"] + f.get("mixer", 0.0))


def acting_flops(model: Model, sparsity: float) -> float:
    """FLOPs of one decision of one agent ("FLOPs (Test)"). Source: accounting.md 3.4; paper Table 6."""
    return network_flops(model.networks()["agent"], sparsity)


def realised_layers(
    model: Model, sparsity: float, pattern: str | Mapping[str, str] = "element"
) -> list[dict[str, Any]]:
    """What training really keeps, layer by layer: integer nnz, so a little above Rule R (accounting.md 6).

    Args:
        model: the networks.
        sparsity: fraction of zeros in every network.
        pattern: `topology.pattern` of a config (algorithms.md 7.4).

    Returns:
        Rows of the `layers` list of `account --json`. `pattern` is what the layer gets: `dense` where it
        keeps everything, `element` where it has fewer rows than a block. `target_density` is Erdos-Renyi's,
        `flops` of a forward pass are Rule R's at the density that is kept, `dense_flops` at 1.
    """
    rows = []
    for network, shapes in model.networks().items():
        target = erdos_renyi_densities(shapes, sparsity)
        for name, shape in shapes.items():
            chosen = layer_pattern(pattern, network, name)
            nnz = pattern_nnz(name, shape, target[name], chosen)
            density = nnz / (shape[0] * shape[1])
            rows.append(
                {
                    "network": network,
                    "name": name,
                    "shape": list(shape),
                    "pattern": _realised_pattern(name, shape, target[name], chosen),
                    "density": density,
                    "nnz": nnz,
                    "target_density": target[name],
                    "flops": layer_flops(name, shape, density),
                    "dense_flops": layer_flops(name, shape, 1.0),
                }
            )
    return rows


def realised(model: Model, layers: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """As `absolutes`, of the layers that training really keeps (`realised_layers`)."""
    part: dict[str, float] = {name: biases(shapes) for name, shapes in model.networks().items()}
    flops = dict.fromkeys(part, 0.0)
    for layer in layers:
        part[layer["network"]] += layer["nnz"]
        flops[layer["network"]] += layer["flops"]
    return {
        "agent_params": part["agent"],
        "mixer_params": part.get("mixer", 0),
        "total_size": _total_of(model, part),
        "train_flops": _train_of(model, _with_mixing(model, dict(flops))),
        "test_flops": flops["agent"],
    }


def _realised_pattern(layer: str, shape: tuple[int, int], density: float, chosen: str) -> str:
    if density >= 1.0:
        return "dense"
    return chosen if max(layer_blocks(layer, shape[0], chosen).heights) > 1 else "element"


@dataclass(frozen=True, slots=True)
class Setting:
    """One config as far as accounting needs it.

    Attributes:
        config: how the row is called: the config's path or the run's name.
        map_name: SMAC map.
        method: a name of registry.SPARSE_METHODS; every masked one keeps the same counts.
        sparsity: fraction of zeros in every network, in [0, 1); 0 for dense.
        model: the networks at full width, which the ratios are over.
        narrow: the dense networks that are trained in place of sparse ones (method tiny), or None.
        pattern: `topology.pattern` of the config.
        variant: which of the config's variants, or None.
    """

    config: str
    map_name: str
    method: str
    sparsity: float
    model: Model
    narrow: Model | None = None
    pattern: str | Mapping[str, str] = "element"
    variant: str | None = None


def absolutes(model: Model, sparsity: float) -> dict[str, float]:
    """Rule R's counts of one setting; at sparsity 0 they are whole numbers (accounting.md section 4).

    Returns:
        agent_params and mixer_params of one network each (VDN's mixer has none), total_size with targets,
        train_flops per sample of an update, test_flops of one agent's decision.
    """
    nets = model.networks()
    return {
        "agent_params": size(nets["agent"], sparsity),
        "mixer_params": size(nets.get("mixer", {}), sparsity),
        "total_size": total_size(model, sparsity),
        "train_flops": train_flops(model, sparsity),
        "test_flops": acting_flops(model, sparsity),
    }


def account(*settings: Setting) -> dict[str, Any]:
    """Sizes and FLOPs of settings, with no training: the object of `mast-edge account --json` (cli.md).

    The three ratios and the absolutes are Rule R's formulas; `layers` and `realised` are what training really
    keeps. For method tiny all are those of the narrow networks. `published` holds what the paper prints for
    this very setting, with the paper's widths and the map's own sizes; else it is None.
    """
    rows = [_row(setting) for setting in settings]
    return {"schema": SCHEMA, "rows": rows, "published": published.summary(rows)}


def _row(setting: Setting) -> dict[str, Any]:
    trained, sparsity = (setting.narrow, 0.0) if setting.narrow else (setting.model, setting.sparsity)
    dense, sparse = absolutes(setting.model, 0.0), absolutes(trained, sparsity)
    layers = realised_layers(trained, sparsity, setting.pattern)
    ratios = _ratios(sparse, dense)
    cell = _published_cell(setting)
    beside, note = (None, None) if cell is None else published.compare(cell, ratios)
    kept = realised(trained, layers)
    return {
        "config": setting.config,
        "variant": setting.variant,
        "algorithm": setting.model.algorithm,
        "map": setting.map_name,
        "method": setting.method,
        "sparsity": setting.sparsity,
        **ratios,
        "rule": "Rule R",
        "dense": dense,
        "sparse": sparse,
        "realised": {**kept, **_ratios(kept, dense)},
        "published": beside,
        "note": note,
        "layers": layers,
    }


def _ratios(sparse: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float]:
    return {f"{key}_ratio": sparse[key] / dense[key] for key in ("total_size", "train_flops", "test_flops")}


def _published_cell(setting: Setting) -> published.Cell | None:
    """The cell of Table 1 that this setting is, or None where anything that counts differs."""
    model = setting.model
    cell = published.cell_of(model.algorithm, setting.map_name, setting.method, setting.sparsity)
    if cell is None or model != Model(model.algorithm, *published.GAMES[cell.map_name]):
        return None
    return cell
