"""QMIX: monotonic value factorisation (Rashid et al. 2020; algorithms.md 2 to 5)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import AgentSpec, EnvSpec
from mast_edge.train.nets import ParameterBank, agent_q, mixer_q_tot, qmix_networks
from mast_edge.train.recurrence import PackedRows
from mast_edge.train.targets import hybrid_lambda, max_double, max_target, soft_mellowmax, td_lambda


@dataclass(frozen=True, slots=True)
class TensorBatch:
    """`replay.PackedBatch` on the learner's device, field by field; `alive` stays on the CPU."""

    inputs: Tensor
    state: Tensor
    avail: Tensor
    alive: Tensor
    place: Tensor
    now: Tensor
    following: Tensor
    episode: Tensor
    time: Tensor
    actions: Tensor
    reward: Tensor
    terminated: Tensor

    def agent_rows(self, n: int) -> PackedRows:
        """Row order when each episode is N sequences, one per agent."""
        agents = torch.arange(n, device=self.place.device)

        def spread(rows: Tensor) -> Tensor:
            return (rows[:, None] * n + agents).flatten()

        return PackedRows(self.alive * n, spread(self.place), spread(self.now), spread(self.following))


class Qmix:
    """One algorithm = which networks it trains and what their loss is.

    Attributes:
        networks: network name -> layer shapes; all are trained and all have target copies.
    """

    def __init__(self, config: ExperimentConfig, env: EnvSpec) -> None:
        self.config = config
        self.agent = AgentSpec.of(env, config.network.hidden_dim)
        self.networks = qmix_networks(
            self.agent, env.state_dim, config.network.mixer_embed_dim, config.network.hypernet_dim
        )

    def loss(
        self, online: ParameterBank, target: ParameterBank, batch: TensorBatch, t_env: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared TD error over the transitions, and what is worth logging.

        Args:
            online, target: parameters.
            batch: P packed rows, M transitions.
            t_env: environment steps at this update, for the hybrid target.

        Returns:
            Scalar loss; `q_tot`, `target` and `td_error` means, detached.
        """
        q = self._utilities(online, batch)
        chosen = q[batch.now].gather(2, batch.actions.unsqueeze(2)).squeeze(2)
        q_tot = mixer_q_tot(online.network("mixer"), chosen, batch.state[batch.now])
        with torch.no_grad():
            y = self._targets(q.detach(), target, batch, t_env)
        error = q_tot - y
        loss = error.square().mean()
        metrics = {
            "q_tot": q_tot.detach().mean(),
            "target": y.mean(),
            "td_error": error.detach().abs().mean(),
        }
        return loss, metrics

    def _utilities(self, bank: ParameterBank, batch: TensorBatch) -> Tensor:
        """(P, N, A) utilities of all agents along whole episodes."""
        rows, n, _ = batch.inputs.shape
        return agent_q(bank.network("agent"), batch.inputs.flatten(0, 1), batch.agent_rows(n)).view(
            rows, n, -1
        )

    def _targets(self, online_q: Tensor, target: ParameterBank, batch: TensorBatch, t_env: int) -> Tensor:
        """(M,) learning targets y (algorithms.md 4.2, 4.4)."""
        config = self.config.target
        target_q = self._utilities(target, batch)
        if config.operator == "soft_mellowmax":
            values = soft_mellowmax(target_q, batch.avail, config.alpha, config.omega)
        elif config.operator == "max":
            values = max_target(target_q, batch.avail)
        else:
            values = max_double(online_q, target_q, batch.avail)
        v = mixer_q_tot(target.network("mixer"), values, batch.state)

        shape = (int(batch.alive[0]), len(batch.alive) - 1)
        place = (batch.episode, batch.time)
        mask = v.new_zeros(shape)
        mask[place] = 1.0
        reward, terminated = torch.zeros_like(mask), torch.zeros_like(mask)
        reward[place], terminated[place] = batch.reward, batch.terminated
        padded = v.new_zeros(shape[0], shape[1] + 1)
        padded[place] = v[batch.now]
        padded[batch.episode, batch.time + 1] = v[batch.following]
        lambda_ = hybrid_lambda(config.lambda_, t_env, config.start)
        return td_lambda(reward, terminated, mask, padded, self.config.gamma, lambda_)[place]
