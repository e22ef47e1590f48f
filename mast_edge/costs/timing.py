"""Time of one decision: dense and CSR tables of the same weights, in the same process, call by call in turn.

These are times of this machine, with its date and versions. Energy is not measured.

Source: accounting.md 7.4.
"""

import datetime
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from mast_edge.checkpoint_files import Recorded
from mast_edge.costs.agent import SEED, CostedAgent, random_weights
from mast_edge.costs.work import run_inputs
from mast_edge.dense_agent import Floats, masked_argmax
from mast_edge.errors import ConfigError
from mast_edge.layers import layers_of
from mast_edge.native_agent import native_model
from mast_edge.provenance import processor, versions
from mast_edge.spec import AgentSpec
from mast_edge.widths import tiny_agent

if TYPE_CHECKING:
    from mast_edge.native._core import AgentModel

CALLS = 1000
WARM_UP = 100
LARGE_BATCH = 64
PACKAGES = ("python", "numpy", "mast-edge")
"""Whose versions a time is read with."""

Call = Callable[[int], object]
"""Given the number of the call."""


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds of one call."""

    median: float
    p10: float
    p90: float

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return {"median": self.median, "p10": self.p10, "p90": self.p90}


@dataclass(frozen=True, slots=True)
class Latency:
    """How long decisions take.

    Attributes:
        host: machine, date and versions.
        calls: timed calls per number, after `WARM_UP` more.
        batches: agents decided for in one call -> choice of tables (`CostedAgent.table_choices`) -> times;
            `tiny`, where the sparsity is known, is a dense agent of as many parameters (random weights).
            Batch 1 is `AgentCell.act`, observations checked; others are `AgentModel.step_many`, which runs
            the agents one after the other. The call from Python is part of all.
        max_abs_q_difference: between dense and CSR tables, along the agent's inputs.
        same_actions: share of equal greedy actions there.
    """

    host: dict[str, Any]
    calls: int
    batches: dict[int, dict[str, Times]]
    max_abs_q_difference: float
    same_actions: float

    def to_json(self) -> dict[str, Any]:
        """Plain values. `dense_over` tells how many times longer the dense tables take, by medians."""
        return {
            "host": self.host,
            "calls": self.calls,
            "unit": "us per call",
            "energy": "not measured",
            "batches": [
                {
                    "batch": batch,
                    **{choice: times.to_json() for choice, times in found.items()},
                    "dense_over": {
                        choice: found["dense"].median / times.median
                        for choice, times in found.items()
                        if choice != "dense"
                    },
                }
                for batch, found in self.batches.items()
            ],
            "max_abs_q_difference": self.max_abs_q_difference,
            "same_actions": self.same_actions,
        }


def latency(agent: CostedAgent, calls: int = CALLS) -> Latency:
    """Times single decisions, joint steps and a large batch, with each choice of tables.

    Args:
        agent: what to run, and on which inputs.
        calls: timed calls per number.

    Raises:
        ImportError: the native core was not built.
    """
    models = {
        choice: native_model(agent.spec, agent.layers(), tables)
        for choice, tables in agent.table_choices().items()
    }
    specs = dict.fromkeys(models, agent.spec)
    tiny = tiny_rival(agent)
    if tiny is not None:
        specs["tiny"], models["tiny"] = tiny
    n = agent.spec.n_agents
    batches = {1: _times({name: act_call(m, agent.inputs) for name, m in models.items()}, calls)}
    for batch in dict.fromkeys((n, LARGE_BATCH)):
        if batch > 1:
            steps = {name: step_call(m, specs[name], agent.inputs, batch) for name, m in models.items()}
            batches[batch] = _times(steps, calls)
    dense, csr = (run_inputs(models[choice], agent.spec, agent.inputs) for choice in ("dense", "csr"))
    actions = masked_argmax(dense, agent.inputs.avail), masked_argmax(csr, agent.inputs.avail)
    return Latency(
        host=host(),
        calls=calls,
        batches=batches,
        max_abs_q_difference=float(np.abs(dense - csr).max()),
        same_actions=float((actions[0] == actions[1]).mean()),
    )


def tiny_rival(agent: CostedAgent) -> "tuple[AgentSpec, AgentModel] | None":
    """A narrow dense agent of as many parameters; None for one without zeros, or too few weights for any."""
    if not agent.masks or not agent.sparsity:
        return None
    try:
        spec = tiny_agent(agent.spec, agent.sparsity)
    except ConfigError:
        return None
    weights = random_weights(spec, {}, np.random.default_rng(SEED))
    return spec, native_model(spec, layers_of(weights, {}), {})


def act_call(model: "AgentModel", inputs: Recorded) -> Call:
    """The first agent's decisions along the inputs, over and over; its hidden state is carried."""
    from mast_edge.native._core import AgentCell

    cell = AgentCell(model, 0)
    obs, avail = ([np.ascontiguousarray(row[0]) for row in part] for part in (inputs.obs, inputs.avail))
    n = len(obs)
    return lambda k: cell.act(obs[k % n], avail[k % n], True)


def step_call(model: "AgentModel", spec: AgentSpec, inputs: Recorded, batch: int) -> Call:
    """Steps of `batch` agents, observations of the inputs repeated as needed; hidden states are carried."""
    flat = inputs.obs.reshape(-1, spec.obs_dim)
    rounds = [_row(flat, at * batch, batch) for at in range(max(1, min(16, len(flat) // batch)))]
    hidden = np.zeros((batch, spec.hidden_dim), np.float32)
    q = np.empty((batch, spec.n_actions), np.float32)
    last, ids = (np.arange(batch, dtype=np.int64) % size for size in (spec.n_actions, spec.n_agents))
    return lambda k: model.step_many(rounds[k % len(rounds)], last, ids, hidden, q)


def interleaved(calls: Mapping[str, Call], repeats: int, warm_up: int = WARM_UP) -> dict[str, Floats]:
    """Nanoseconds of each call, all variants in turn, the order reversed every time.

    Args:
        calls: variant -> what to time.
        repeats: timed calls of each variant.
        warm_up: calls before, not timed.
    """
    taken = {name: np.empty(repeats, np.float32) for name in calls}
    order: Sequence[tuple[str, Call]] = list(calls.items())
    for k in range(warm_up + repeats):
        for name, call in order:
            begin = perf_counter_ns()
            call(k)
            end = perf_counter_ns()
            if k >= warm_up:
                taken[name][k - warm_up] = end - begin
        order = order[::-1]
    return taken


def host() -> dict[str, Any]:
    """What a time must be read with: CPU, vectors, compiler, versions, threads, date (UTC)."""
    from mast_edge.native import _core

    return {
        "cpu": processor(),
        "machine": platform.machine(),
        "vectors": _core.kernel_path(),
        "compiler": _core.agent_compiler(),
        "versions": {name: found for name, found in versions().items() if name in PACKAGES},
        "threads": 1,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _times(calls: Mapping[str, Call], repeats: int) -> dict[str, Times]:
    result = {}
    for name, taken in interleaved(calls, repeats).items():
        p10, median, p90 = np.quantile(taken / 1000, (0.1, 0.5, 0.9))
        result[name] = Times(float(median), float(p10), float(p90))
    return result


def _row(flat: Floats, begin: int, batch: int) -> Floats:
    return np.ascontiguousarray(flat[np.arange(begin, begin + batch) % len(flat)])
