"""OW-QMIX: optimistically weighted QMIX (Rashid et al. 2020b; algorithms.md 2.3, 4.2, 5).

A central agent and an unrestricted mixer learn Q*; the restricted agent and the monotonic mixer follow the
same targets, and joint actions that they overestimate weigh less. Only the restricted agent plays.
"""

import torch
from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import EnvSpec, central_mixer_shapes
from mast_edge.train.algos.base import Loss, taken, utilities
from mast_edge.train.algos.qmix import Qmix
from mast_edge.train.nets import ParameterBank, central_q_star
from mast_edge.train.targets import learning_targets, operator_values
from mast_edge.train.tensor_batch import TensorBatch
from mast_edge.widths import Widths


class OwQmix(Qmix):
    """QMIX's networks, the central agent and the central mixer; the central two have target copies."""

    target_networks = ("cagent", "cmixer")

    def __init__(self, config: ExperimentConfig, env: EnvSpec, widths: Widths) -> None:
        super().__init__(config, env, widths)
        self.networks["cagent"] = self.networks["agent"]
        self.networks["cmixer"] = central_mixer_shapes(env.n_agents, env.state_dim, widths.central_dim)

    def loss(self, online: ParameterBank, target: ParameterBank, batch: TensorBatch, t_env: int) -> Loss:
        """Weighted error of q_tot plus error of Q*, over the transitions (algorithms.md 5)."""
        q = utilities(online, "agent", batch)
        q_tot = self.q_tot(online, q, batch)
        central = taken(utilities(online, "cagent", batch), batch)
        q_star = central_q_star(online.network("cmixer"), central, batch.current(batch.state))
        with torch.no_grad():
            values = self.values(online, target, q.detach(), batch)
            y = learning_targets(self.config.target, self.config.gamma, values, batch, t_env)
            weight = torch.where(q_tot < y, 1.0, self.config.ow_qmix.alpha)
        restricted = batch.mean(weight * (q_tot - y).square())
        central_error = batch.mean((q_star - y).square())
        metrics = {
            "q_star": batch.mean(q_star.detach()),
            "loss_central": central_error.detach(),
            "weight": batch.mean(weight),
        }
        return Loss(restricted + central_error, q.detach(), q_tot.detach(), y, metrics)

    def values(
        self, online: ParameterBank, target: ParameterBank, online_q: Tensor, batch: TensorBatch
    ) -> Tensor:
        """(P,) central target value; with max_double at the restricted agent's greedy actions (4.2)."""
        chosen = operator_values(
            self.config.target, online_q, utilities(target, "cagent", batch), batch.avail
        )
        return central_q_star(target.network("cmixer"), chosen, batch.state)
