"""Losses of the native learner and their gradients, written out: what `algos/` says, without autograd.

Arrays are in the core's order: (row panels, N, 64) for utilities, (row panels * 64,) for what a row has one
of. Rows after an episode's last transition, and places without a row, weigh nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from mast_edge.config_fields import ExperimentConfig
from mast_edge.native import _core
from mast_edge.train.algos.qmix import UNAVAILABLE_UTILITY

Floats = NDArray[np.float32]
COLUMNS = 64
"""Columns of a panel (native/panels.hpp)."""
AgentName = Literal["agent", "cagent"]


class Cores(TypedDict, total=False):
    """An algorithm's networks in the native core, by name."""

    agent: _core.AgentNetwork
    mixer: _core.MixerNetwork
    cagent: _core.AgentNetwork
    cmixer: _core.CentralNetwork


@dataclass
class Networks:
    """What an update works with.

    Attributes:
        config: of the experiment.
        batch: loaded.
        online, target: networks by name, with their present weights.
        grad: flat gradient that backward passes add to.
        every: also at weights that are not kept.
    """

    config: ExperimentConfig
    batch: _core.PanelBatch
    online: Cores
    target: Cores
    grad: Floats
    every: bool
    mask: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.mask = self.rows()
        self.batch.mask(self.mask[: self.batch.rows])

    def rows(self) -> Floats:
        """Room for one number per row, zero."""
        return np.zeros(self.batch.row_panels * COLUMNS, np.float32)

    def agents(self, each: int = 1) -> Floats:
        """Room for `each` numbers per row and agent."""
        n = self.n_agents * each
        return np.empty((self.batch.row_panels, n, COLUMNS), np.float32)

    @property
    def n_agents(self) -> int:
        """N."""
        return self.batch.n_agents

    def mean(self, values: Floats) -> float:
        """Mean over the transitions."""
        return float(np.dot(self.mask.astype(np.float64), values)) / self.transitions

    @property
    def transitions(self) -> int:
        """M."""
        return self.batch.transitions

    def taken(self, network: AgentName) -> Floats:
        """Utilities of the actions that were taken, after a forward pass of an online network."""
        q = self.agents()
        self.batch.taken(self.online[network], q)
        return q

    def mix(self, networks: Cores, q: Floats, *, keep: bool = False) -> Floats:
        """q_tot of one joint action per row; VDN has no mixer. keep: a backward pass follows."""
        if "mixer" not in networks:
            return np.ascontiguousarray(q.sum(1).ravel())
        q_tot = self.rows()
        networks["mixer"].forward(self.batch, q, q_tot, keep)
        return q_tot

    def mix_backward(self, q: Floats, d_q_tot: Floats) -> Floats:
        """Gradient of the utilities, and of the mixer's weights into `grad`."""
        if "mixer" not in self.online:
            return np.repeat(d_q_tot.reshape(-1, 1, COLUMNS), self.n_agents, axis=1)
        d_q = self.agents()
        self.online["mixer"].backward(self.batch, q, d_q_tot, d_q, self.every, self.grad)
        return d_q

    def agent_backward(self, network: AgentName, d_q: Floats) -> None:
        """Gradient of an agent's weights into `grad`."""
        self.online[network].backward(self.batch, d_q, self.every, self.grad)


Loss = Callable[[Networks, int], dict[str, float]]


def operator_values(x: Networks, target: AgentName) -> Floats:
    """One value per agent by `target.operator` of the target network (algorithms.md 4.1)."""
    config, online, out = x.config.target, None, x.agents()
    name, first, second = config.operator, config.beta, 0.0
    if name == "max_double":
        online = x.online["agent"]
    elif name in ("mellowmax", "soft_mellowmax"):
        first, second = (config.alpha if name == "soft_mellowmax" else 0.0), config.omega
        name = "soft_mellowmax"
    _core.agent_values(x.batch, name, online, x.target[target], first, second, out)
    return out


def joint_softmax(x: Networks) -> Floats:
    """RES's value of every row (algorithms.md 4.3): see `algos.qmix.Qmix.joint_softmax`."""
    batch, config, agent = x.batch, x.config.target, x.online["agent"]
    avail = np.empty((batch.row_panels, x.n_agents * batch.n_actions, COLUMNS), np.uint8)
    batch.avail_to_rows(avail)
    joint: list[Floats] = []
    for networks in (x.online, x.target):
        chosen, q = x.agents(), x.agents(batch.n_actions)
        _core.agent_values(batch, "max_double", agent, networks["agent"], 0.0, 0.0, chosen)
        batch.actions_to_rows(networks["agent"], q)
        if not config.mask_unavailable:
            q[avail == 0] = UNAVAILABLE_UTILITY
        joint.append(_alternatives(x, networks, chosen, q))
    values, (scores, mixed) = x.rows(), joint
    _core.softmax_mean(batch, scores, mixed, avail if config.mask_unavailable else None, config.beta, values)
    return values


def _alternatives(x: Networks, networks: Cores, chosen: Floats, q: Floats) -> Floats:
    if "mixer" in networks:
        out = np.empty_like(q)
        networks["mixer"].alternatives(x.batch, chosen, q, out)
        return out
    moved = q.reshape(len(q), x.n_agents, -1, COLUMNS) - chosen[:, :, None]
    return np.ascontiguousarray((moved + chosen.sum(1)[:, None, None]).reshape(q.shape))


def learning_targets(x: Networks, values: Floats, t_env: int) -> Floats:
    """y of every transition from V of every row (algorithms.md 4.4)."""
    config, y, rows = x.config.target, x.rows(), x.batch.rows
    returns = "one_step" if t_env < config.start else config.returns
    if returns == "n_step":
        x.batch.n_step(values[:rows], config.n_step, x.config.gamma, y[:rows])
    else:
        lambda_ = config.lambda_ if returns == "td_lambda" else 0.0
        x.batch.td_lambda(values[:rows], x.config.gamma, lambda_, y[:rows])
    return y


def qmix(x: Networks, t_env: int, penalty: float = 0.0) -> dict[str, float]:
    """Mean squared TD error, plus `penalty` times the mean squared distance to realised returns
    (algorithms.md 5).
    """
    _core.forward_agents(x.batch, [(x.online["agent"], True), (x.target["agent"], False)])
    if x.config.target.operator == "joint_softmax":
        values = joint_softmax(x)
    else:
        values = x.mix(x.target, operator_values(x, "agent"))
    y = learning_targets(x, values, t_env)
    q = x.taken("agent")
    q_tot = x.mix(x.online, q, keep=True)
    error = (q_tot - y) * x.mask
    loss, slope = x.mean(error * error), 2.0 * error
    if penalty:
        realised = x.rows()
        x.batch.realised(x.config.gamma, realised[: x.batch.rows])
        distance = (q_tot - realised) * x.mask
        loss += penalty * x.mean(distance * distance)
        slope += 2.0 * penalty * distance
    x.agent_backward("agent", x.mix_backward(q, slope / np.float32(x.transitions)))
    return {"loss": loss, **_summary(x, q_tot, y)}


def res(x: Networks, t_env: int) -> dict[str, float]:
    """QMIX's loss, kept near the returns that were realised (algorithms.md 4.3, 5)."""
    return qmix(x, t_env, x.config.res.penalty)


def ow_qmix(x: Networks, t_env: int) -> dict[str, float]:
    """Weighted error of q_tot plus error of Q* (algorithms.md 2.3, 5)."""
    batch, mixer, target = x.batch, x.online["cmixer"], x.target["cmixer"]
    agents = [(x.online["agent"], True), (x.online["cagent"], True), (x.target["cagent"], False)]
    _core.forward_agents(batch, agents)
    values = x.rows()
    target.forward(batch, operator_values(x, "cagent"), values)
    y = learning_targets(x, values, t_env)
    q, central, q_star = x.taken("agent"), x.taken("cagent"), x.rows()
    q_tot = x.mix(x.online, q, keep=True)
    mixer.forward(batch, central, q_star)
    weight: Floats = np.where(q_tot < y, np.float32(1.0), np.float32(x.config.ow_qmix.alpha))
    error, central_error = (q_tot - y) * x.mask, (q_star - y) * x.mask
    count = np.float32(x.transitions)
    weighted: Floats = weight * error
    x.agent_backward("agent", x.mix_backward(q, 2.0 * weighted / count))
    d_central = x.agents()
    mixer.backward(batch, central, 2.0 * central_error / count, d_central, x.every, x.grad)
    x.agent_backward("cagent", d_central)
    loss_central = x.mean(central_error * central_error)
    return {
        "loss": x.mean(weighted * error) + loss_central,
        **_summary(x, q_tot, y),
        "q_star": x.mean(q_star),
        "loss_central": loss_central,
        "weight": x.mean(weight),
    }


def _summary(x: Networks, q_tot: Floats, y: Floats) -> dict[str, float]:
    return {"q_tot": x.mean(q_tot), "target": x.mean(y), "td_error": x.mean(np.abs(q_tot - y))}


def believed(x: Networks) -> tuple[float, float]:
    """Mean q_tot of the taken actions, and mean realised return."""
    _core.forward_agents(x.batch, [(x.online["agent"], False)])
    realised = x.rows()
    x.batch.realised(x.config.gamma, realised[: x.batch.rows])
    return x.mean(x.mix(x.online, x.taken("agent"))), x.mean(realised)


LOSSES: dict[str, Loss] = {"qmix": qmix, "res": res, "vdn": qmix, "ow_qmix": ow_qmix}
"""Algorithms that this learner knows."""
OPERATORS = {"max_double", "max", "softmax", "mellowmax", "soft_mellowmax", "joint_softmax"}
"""Value operators that it knows (algorithms.md 4.1, 4.3)."""
