"""The sparsity from which CSR tables are no slower than dense ones here: of each layer, and of the agent.

Source: accounting.md 7.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.costs.agent import random_inputs, random_weights
from mast_edge.costs.timing import Call, act_call, interleaved, step_call
from mast_edge.dense_agent import Floats
from mast_edge.layers import layers_of
from mast_edge.native_agent import native_model
from mast_edge.spec import LAYERS, AgentSpec
from mast_edge.topology import kept_blocks, layer_blocks, random_topology

if TYPE_CHECKING:
    from mast_edge.native._core import AgentModel

SWEEP = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
ROWS = 32
"""Inputs that a layer is run on in one timed call."""
LAYER_CALLS = 40
AGENT_CALLS = 200
WARM_UP = 4


@dataclass(frozen=True, slots=True)
class Sweep:
    """Medians along `SWEEP`.

    Attributes:
        what: a layer, or the agent and how many decide in one call.
        shape: (out, in) of a layer, for fc1 without the columns of one-hots, which are added and never
            multiplied; None for the agent.
        dense, csr: microseconds of one forward pass.
    """

    what: str
    shape: tuple[int, int] | None
    dense: tuple[float, ...]
    csr: tuple[float, ...]

    @property
    def break_even(self) -> float | None:
        """Smallest sparsity at which CSR is not slower; None: nowhere in the sweep."""
        return crossing(SWEEP, [sparse - dense for dense, sparse in zip(self.dense, self.csr, strict=True)])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "what": self.what,
            "shape": None if self.shape is None else list(self.shape),
            "break_even_sparsity": self.break_even,
            "dense_us": list(self.dense),
            "csr_us": list(self.csr),
        }


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The sweeps of one agent's sizes; seeded random weights, masks and inputs.

    Attributes:
        patterns: layer -> pattern of the masks, the layers in order.
        sweeps: the four layers, then the agent one by one and as a team.
    """

    patterns: tuple[tuple[str, str], ...]
    sweeps: tuple[Sweep, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "sweep": list(SWEEP),
            "patterns": dict(self.patterns),
            "threads": 1,
            "calls": {"layer": LAYER_CALLS, "rows_per_layer_call": ROWS, "agent": AGENT_CALLS},
            "results": [sweep.to_json() for sweep in self.sweeps],
        }


def crossing(at: Sequence[float], excess: Sequence[float]) -> float | None:
    """Where `excess` first is 0 or less, between two points by a straight line; None: nowhere."""
    for k, value in enumerate(excess):
        if value <= 0:
            if k == 0:
                return at[0]
            before = excess[k - 1]
            return at[k - 1] + (at[k] - at[k - 1]) * before / (before - value)
    return None


def csr_break_even(spec: AgentSpec, patterns: Mapping[str, str] | None = None) -> BreakEven:
    """Measures both kinds of tables along `SWEEP`, once for equal sizes and patterns in a process.

    Args:
        spec: sizes of the agent.
        patterns: layer -> pattern of its masks; `element` where it says nothing.

    Raises:
        ImportError: the native core was not built.
    """
    chosen = patterns or {}
    return _measured(spec, tuple((name, chosen.get(name, "element")) for name in LAYERS))


@lru_cache(maxsize=64)
def _measured(spec: AgentSpec, patterns: tuple[tuple[str, str], ...]) -> BreakEven:
    rng = np.random.default_rng(0)
    inputs = random_inputs(spec, rng)
    named = {"agent, batch 1": 1, f"agent, batch {spec.n_agents}": spec.n_agents}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*LAYERS, *named)}
    for sparsity in SWEEP:
        dense, csr = _pair(spec, _layer_masks(spec, sparsity, dict(patterns), rng), rng)
        for name in LAYERS:
            calls = {k: _layer_call(m, spec, name) for k, m in (("dense", dense), ("csr", csr))}
            found[name].append(_medians(calls, LAYER_CALLS, ROWS))
        dense, csr = _pair(spec, random_topology(spec.layer_shapes(), sparsity, rng, dict(patterns)), rng)
        for name, batch in named.items():
            calls = {
                k: act_call(m, inputs) if batch == 1 else step_call(m, spec, inputs, batch)
                for k, m in (("dense", dense), ("csr", csr))
            }
            found[name].append(_medians(calls, AGENT_CALLS, batch))
    shapes = {**spec.layer_shapes(), "fc1": (spec.hidden_dim, spec.obs_dim)}
    return BreakEven(
        patterns,
        tuple(
            Sweep(name, shapes.get(name), tuple(d for d, _ in pairs), tuple(s for _, s in pairs))
            for name, pairs in found.items()
        ),
    )


def _pair(
    spec: AgentSpec, masks: Mapping[str, NDArray[np.bool_]], rng: np.random.Generator
) -> tuple["AgentModel", "AgentModel"]:
    """The same weights in dense and in CSR tables."""
    layers = layers_of(random_weights(spec, masks, rng), masks)
    dense, csr = (native_model(spec, layers, dict.fromkeys(layers, table)) for table in ("dense", "csr"))
    return dense, csr


def _layer_masks(
    spec: AgentSpec, sparsity: float, patterns: Mapping[str, str], rng: np.random.Generator
) -> dict[str, NDArray[np.bool_]]:
    """Masks that give each layer this sparsity, blocks drawn uniformly."""
    masks = {}
    for name, (out, in_) in spec.layer_shapes().items():
        grouped = layer_blocks(name, out, patterns[name])
        kept = np.zeros(len(grouped.starts) * in_, np.bool_)
        kept[rng.choice(kept.size, size=kept_blocks(kept.size, 1 - sparsity), replace=False)] = True
        masks[name] = grouped.spread(kept.reshape(-1, in_))
    return masks


def _layer_call(model: "AgentModel", spec: AgentSpec, name: str) -> Call:
    """One layer on inputs like those it gets: observations and what a ReLU leaves are half zeros."""
    rng = np.random.default_rng(1)
    out, in_ = spec.layer_shapes()[name]
    columns = spec.obs_dim if name == "fc1" else in_
    x: Floats = rng.uniform(-1, 1, (ROWS, columns)).astype(np.float32)
    if name in ("fc1", "gru_ih"):
        x = np.where(rng.random(x.shape) < 0.5, x, np.float32(0))
    y = np.empty((ROWS, out), np.float32)
    return lambda _: model.layer_many(name, x, y)


def _medians(calls: Mapping[str, Call], repeats: int, passes: int) -> tuple[float, float]:
    """Microseconds of one of the `passes` in a call: dense, CSR."""
    taken = interleaved(calls, repeats, WARM_UP)
    dense, csr = (float(np.median(taken[name])) / passes / 1000 for name in ("dense", "csr"))
    return dense, csr
