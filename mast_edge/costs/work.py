"""Operations that one forward pass of an agent executes, counted by the native kernels while they run.

Rule R counts (2 in - 1) out FLOPs per layer and never looks at a kernel; these numbers are what is done:
padded rows, columns left out because their input is zero, a one-hot as an addition.

Source: accounting.md 7.3.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mast_edge.checkpoint_files import Recorded
from mast_edge.costs.agent import CostedAgent
from mast_edge.dense_agent import Floats
from mast_edge.native_agent import choose_tables, native_model
from mast_edge.spec import AgentSpec

if TYPE_CHECKING:
    from mast_edge.native._core import AgentModel

OTHER = ("one_hot_adds", "relus", "activations")
"""Operations outside the products; a sum starts from its bias, which costs none."""


@dataclass(frozen=True, slots=True)
class LayerWork:
    """Multiply-adds of one layer, means over the forward passes that were run.

    Attributes:
        name: of the layer.
        dense: in * out.
        nnz: useful ones, if every input counts.
        kernel: the table the csr runtime runs it from, a name in `kernel_costs.TABLES`.
        predicted_ns: by table that was a candidate, what choosing it rests on (`kernel_costs`).
        executed: choice of tables (`CostedAgent.table_choices`) -> multiply-adds executed.
    """

    name: str
    dense: int
    nnz: int
    kernel: str
    predicted_ns: dict[str, float]
    executed: dict[str, float]


@dataclass(frozen=True, slots=True)
class AgentWork:
    """Operations of one forward pass of one agent.

    Attributes:
        passes: forward passes that were counted, per choice of tables.
        n_agents: forward passes of a joint step.
        layers: multiply-adds, layer by layer.
        other: operations that are no multiply-adds (`OTHER`), the same for all choices.
    """

    passes: int
    n_agents: int
    layers: list[LayerWork]
    other: dict[str, float]

    def executed(self, choice: str = "runtime") -> float:
        """Multiply-adds of a pass."""
        return sum(layer.executed[choice] for layer in self.layers)

    @property
    def dense(self) -> int:
        """in * out of all layers."""
        return sum(layer.dense for layer in self.layers)

    @property
    def nnz(self) -> int:
        """Stored weights of all layers."""
        return sum(layer.nnz for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain values. `utilisation` is nnz / executed: above 1 where inputs that are zero were left out."""
        choices = list(self.layers[0].executed)
        totals = {choice: self.executed(choice) for choice in choices}
        return {
            "passes": self.passes,
            "layers": [
                {
                    **{"name": layer.name, "kernel": layer.kernel, "dense": layer.dense, "nnz": layer.nnz},
                    "predicted_ns": {table: round(ns, 1) for table, ns in layer.predicted_ns.items()},
                    "executed": layer.executed,
                    "utilisation": _utilisation(layer.nnz, layer.executed["runtime"]),
                }
                for layer in self.layers
            ],
            "dense": self.dense,
            "nnz": self.nnz,
            "executed": totals,
            "executed_per_joint_step": {choice: self.n_agents * n for choice, n in totals.items()},
            "ratios": {choice: n / self.dense for choice, n in totals.items()},
            "utilisation": {choice: _utilisation(self.nnz, n) for choice, n in totals.items()},
            "other": self.other,
        }


def _utilisation(nnz: int, executed: float) -> float | None:
    return nnz / executed if executed else None


def agent_work(agent: CostedAgent) -> AgentWork:
    """Runs the agent's inputs with each choice of tables and reads the kernels' counters.

    Raises:
        ImportError: the native core was not built.
    """
    layers, choices = agent.layers(), agent.table_choices()
    predicted = {name: choice.ns for name, choice in choose_tables(agent.spec, layers).items()}
    counted = {choice: _counted(agent, tables) for choice, tables in choices.items()}
    passes = counted["runtime"]["steps"]
    rows = [
        LayerWork(
            name,
            layer.rows * layer.cols,
            layer.nnz,
            choices["runtime"][name],
            predicted[name],
            {choice: work[name] / passes for choice, work in counted.items()},
        )
        for name, layer in layers.items()
    ]
    other = {name: counted["runtime"][name] / passes for name in OTHER}
    return AgentWork(passes, agent.spec.n_agents, rows, other)


def _counted(agent: CostedAgent, tables: Mapping[str, str]) -> Counter[str]:
    model = native_model(agent.spec, agent.layers(), tables)
    run_inputs(model, agent.spec, agent.inputs)
    return Counter(model.work)


def run_inputs(model: "AgentModel", spec: AgentSpec, inputs: Recorded) -> Floats:
    """Q values (M, N, A) of all joint steps: recurrent, their actions fed back, from zero in each episode."""
    m, n = inputs.actions.shape
    q = np.empty((m, n, spec.n_actions), np.float32)
    ids = np.arange(n, dtype=np.int64)
    for t in range(m):
        if inputs.first[t] or t == 0:
            hidden, last = np.zeros((n, spec.hidden_dim), np.float32), np.full(n, -1, np.int64)
        model.step_many(np.ascontiguousarray(inputs.obs[t]), last, ids, hidden, q[t])
        last = inputs.actions[t].astype(np.int64)
    return q
