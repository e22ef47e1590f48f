"""QMIX: monotonic value factorisation (Rashid et al. 2020; algorithms.md 2 to 5)."""

import torch
from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import AgentSpec, EnvSpec, mixer_shapes
from mast_edge.topology import Shapes
from mast_edge.train.algos.base import Loss, taken, utilities
from mast_edge.train.nets import ParameterBank, mixer_q_tot, mixing
from mast_edge.train.targets import learning_targets, operator_values
from mast_edge.train.tensor_batch import TensorBatch
from mast_edge.widths import Widths

CANDIDATE_FLOATS = 2**21
"""Values of the mixer's hidden layer held at once while candidates are mixed: what a cache keeps."""
UNAVAILABLE_UTILITY = -9999999.0
"""What unavailable actions enter the published joint softmax with (algorithms.md 4.3)."""


class Qmix:
    """Agents with shared weights and a mixer whose weights the state generates; both have target copies."""

    target_networks: tuple[str, ...] = ("agent", "mixer")

    def __init__(self, config: ExperimentConfig, env: EnvSpec, widths: Widths) -> None:
        self.config = config
        self.networks: dict[str, Shapes] = {
            "agent": AgentSpec.of(env, widths.hidden_dim).layer_shapes(),
            "mixer": mixer_shapes(env.n_agents, env.state_dim, widths.mixer_embed_dim, widths.hypernet_dim),
        }

    def loss(self, online: ParameterBank, target: ParameterBank, batch: TensorBatch, t_env: int) -> Loss:
        """Mean squared TD error over the transitions (algorithms.md 5)."""
        q = utilities(online, "agent", batch)
        q_tot = self.q_tot(online, q, batch)
        with torch.no_grad():
            values = self.values(online, target, q.detach(), batch)
            y = learning_targets(self.config.target, self.config.gamma, values, batch, t_env)
        loss = batch.mean((q_tot - y).square()) + self.penalty(q_tot, batch)
        return Loss(loss, q.detach(), q_tot.detach(), y, {})

    def penalty(self, q_tot: Tensor, batch: TensorBatch) -> Tensor | float:
        """What an algorithm built on this one adds to the loss; nothing here."""
        return 0.0

    def q_tot(self, online: ParameterBank, q: Tensor, batch: TensorBatch) -> Tensor:
        """(M,) joint value of the taken actions from (P, N, A) utilities."""
        return self.mix(online, taken(q, batch), batch.current(batch.state))

    def values(
        self, online: ParameterBank, target: ParameterBank, online_q: Tensor, batch: TensorBatch
    ) -> Tensor:
        """(P,) V_t of every row (algorithms.md 4.2, 4.3); call without gradient."""
        target_q = utilities(target, "agent", batch)
        if self.config.target.operator == "joint_softmax":
            return self.joint_softmax(online, target, online_q, target_q, batch)
        chosen = operator_values(self.config.target, online_q, target_q, batch.avail)
        return self.mix(target, chosen, batch.state)

    def mix(self, bank: ParameterBank, q: Tensor, state: Tensor) -> Tensor:
        """(M, N) utilities and (M, S) states -> (M,) q_tot."""
        return mixer_q_tot(bank.network("mixer"), q, state)

    def mix_alternatives(self, bank: ParameterBank, chosen: Tensor, q: Tensor, state: Tensor) -> Tensor:
        """(M, N, A) q_tot of the joint actions that change one agent's action of a chosen one.

        Args:
            bank: parameters.
            chosen: (M, N) utilities of the chosen joint action.
            q: (M, N, A) all utilities.
            state: (M, S).
        """
        made = mixing(bank.network("mixer"), state, q.shape[1])
        return made.alternatives(chosen, q)

    def joint_softmax(
        self,
        online: ParameterBank,
        target: ParameterBank,
        online_q: Tensor,
        target_q: Tensor,
        batch: TensorBatch,
    ) -> Tensor:
        """RES's value: target q_tot over the candidates, weighted by a softmax of their online q_tot.

        Source: algorithms.md 4.3 (Pan et al. 2021). Candidates are the greedy joint action with one agent's
        action replaced. Rows are worked on in parts that fit a cache.

        Args:
            online, target: parameters.
            online_q, target_q: (P, N, A) utilities of both.
            batch: P packed rows.

        Returns:
            (P,).
        """
        config = self.config.target
        best = online_q.masked_fill(~batch.avail, -torch.inf).argmax(2, keepdim=True)
        height = max(1, CANDIDATE_FLOATS // (online_q[0].numel() * self.config.network.mixer_embed_dim))
        parts = []
        for first in range(0, len(best), height):
            part = slice(first, first + height)
            avail, state = batch.avail[part], batch.state[part]
            joint = []
            for bank, q in ((online, online_q[part]), (target, target_q[part])):
                if not config.mask_unavailable:
                    q = q.masked_fill(~avail, UNAVAILABLE_UTILITY)
                chosen = q.gather(2, best[part]).squeeze(2)
                joint.append(self.mix_alternatives(bank, chosen, q, state).flatten(1))
            scores = config.beta * joint[0]
            if config.mask_unavailable:
                scores = scores.masked_fill(~avail.flatten(1), -torch.inf)
            parts.append((torch.softmax(scores, 1) * joint[1]).sum(1))
        return torch.cat(parts)
