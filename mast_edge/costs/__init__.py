"""What one agent really costs: bytes on disk, multiply-adds executed, time, and from where sparsity pays.

Not one of these numbers is a formula of the paper; `mast_edge.accounting` has those.

Source: accounting.md sections 7 and 8.
"""

from dataclasses import dataclass
from typing import Any

from mast_edge.costs.agent import CostedAgent
from mast_edge.costs.break_even import BreakEven, csr_break_even
from mast_edge.costs.disk_bytes import AgentBytes, agent_bytes
from mast_edge.costs.timing import Latency, latency
from mast_edge.costs.work import AgentWork, agent_work

NOT_BUILT = "not measured: the native core is not built. Run: pip install -e ."
NOT_ASKED = "not measured"


@dataclass(frozen=True, slots=True)
class AgentCosts:
    """The costs of one agent.

    Attributes:
        agent: what it is: trained or random weights, which inputs.
        precision: a name in `layers.PRECISIONS`.
        bytes: of its csr artifact.
        macs: operations executed; None without the native core.
        latency: times; None where not measured.
        break_even: sparsity from which CSR tables are no slower; None where not measured.
        note: why something is None, else None.
    """

    agent: str
    precision: str
    bytes: AgentBytes
    macs: AgentWork | None
    latency: Latency | None
    break_even: BreakEven | None
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values; the field `real` of `account` and of export reports."""
        parts = {name: getattr(self, name) for name in ("macs", "latency", "break_even")}
        return {
            "agent": self.agent,
            "precision": self.precision,
            "bytes": self.bytes.to_json(),
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
            "note": self.note,
        }


def agent_costs(agent: CostedAgent, measure: bool = True) -> AgentCosts:
    """Costs of an agent.

    Args:
        agent: a trained one, or `agent.random_agent`.
        measure: also take times, one to two seconds for the first agent of its sizes. Without them the answer
            is the same every time.
    """
    sizes = agent_bytes(agent)
    try:
        macs = agent_work(agent)
        times = latency(agent) if measure else None
        sweeps = csr_break_even(agent.spec, patterns_of(agent)) if measure else None
    except ImportError:
        return AgentCosts(agent.kind, agent.precision, sizes, None, None, None, NOT_BUILT)
    note = None if measure else NOT_ASKED
    return AgentCosts(agent.kind, agent.precision, sizes, macs, times, sweeps, note)


def patterns_of(agent: CostedAgent) -> dict[str, str]:
    """Layer -> pattern that its mask is made of."""
    return {name: layer.pattern for name, layer in agent.layers().items() if layer.kind != "dense"}
