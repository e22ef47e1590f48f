"""A QMIX learner as they are usually published: padded dense batches, agents unrolled one step at a time.

It is the peer of `benchmarks/learner.py` and checked against `TorchLearner`. What it does is what PyMARL's
learner does per update: inputs are built at every step of both unrolls, targets are unrolled with gradients
and detached later, every layer is a module, the mixer multiplies by `bmm`, and RMSprop walks over parameters.

Source: training_speed.md, section 1; algorithms.md, sections 2 to 5.
Deviation: the loss mask is t < L_b (algorithms.md 3.1); a batch is padded from our ragged episodes to its
longest, where PyMARL gathers from a replay that is padded to the limit, which costs it more than here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import EnvSpec
from mast_edge.train.replay import Episode

UNAVAILABLE = -9999999.0
GRU_NAMES = {f"gru_{way}.{kind}": f"{kind}_{way}" for way in ("ih", "hh") for kind in ("weight", "bias")}
"""Our names of the agent's recurrent parameters -> those of `nn.GRUCell`."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """B episodes, zero after their ends; T is the longest of this batch.

    Attributes:
        obs: (B, T + 1, N, O). state: (B, T + 1, S). avail: (B, T + 1, N, A) uint8.
        reward, terminated, filled: (B, T, 1) float32.
        actions: (B, T, N, 1) int64. actions_onehot: (B, T, N, A).
    """

    obs: Tensor
    state: Tensor
    avail: Tensor
    reward: Tensor
    terminated: Tensor
    filled: Tensor
    actions: Tensor
    actions_onehot: Tensor


def pad(episodes: Sequence[Episode], spec: EnvSpec, *, timeout_is_terminal: bool) -> PaddedBatch:
    """Copies episodes into arrays as long as the longest."""
    b, t = len(episodes), max(e.length for e in episodes)
    n, a = spec.n_agents, spec.n_actions
    obs = np.zeros((b, t + 1, n, spec.obs_dim), np.float32)
    state = np.zeros((b, t + 1, spec.state_dim), np.float32)
    avail = np.zeros((b, t + 1, n, a), np.uint8)
    actions, onehot = np.zeros((b, t, n, 1), np.int64), np.zeros((b, t, n, a), np.float32)
    reward, terminated, filled = (np.zeros((b, t, 1), np.float32) for _ in range(3))
    for i, e in enumerate(episodes):
        end = e.length
        obs[i, : end + 1], state[i, : end + 1], avail[i, : end + 1] = e.obs, e.state, e.avail
        actions[i, :end, :, 0], reward[i, :end, 0], filled[i, :end] = e.actions, e.reward, 1.0
        terminated[i, end - 1] = e.terminated or (timeout_is_terminal and e.timed_out)
    torch.from_numpy(onehot).scatter_(3, torch.from_numpy(actions), 1.0)
    arrays = (obs, state, avail, reward, terminated, filled, actions, onehot)
    return PaddedBatch(*map(torch.from_numpy, arrays))


class RecurrentAgent(nn.Module):
    """fc1, GRU cell, fc2; one step (algorithms.md 2.1)."""

    def __init__(self, spec: EnvSpec, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.fc1 = nn.Linear(spec.obs_dim + spec.n_actions + spec.n_agents, hidden)
        self.rnn = nn.GRUCell(hidden, hidden)
        self.fc2 = nn.Linear(hidden, spec.n_actions)

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(B N, F) inputs and (B N, H) states -> (B N, A) utilities and the next states."""
        after = self.rnn(F.relu(self.fc1(inputs)), hidden)
        return self.fc2(after), after


class Mixer(nn.Module):
    """QMIX's mixing network from hypernetwork modules (algorithms.md 2.2)."""

    def __init__(self, spec: EnvSpec, embed: int, hypernet: int) -> None:
        super().__init__()
        self.agents, self.embed, s = spec.n_agents, embed, spec.state_dim
        self.hyper_w_1 = nn.Sequential(
            nn.Linear(s, hypernet), nn.ReLU(), nn.Linear(hypernet, embed * self.agents)
        )
        self.hyper_w_final = nn.Sequential(nn.Linear(s, hypernet), nn.ReLU(), nn.Linear(hypernet, embed))
        self.hyper_b_1 = nn.Linear(s, embed)
        self.V = nn.Sequential(nn.Linear(s, embed), nn.ReLU(), nn.Linear(embed, 1))

    def forward(self, q: Tensor, states: Tensor) -> Tensor:
        """(B, T, N) utilities and (B, T, S) states -> (B, T, 1)."""
        episodes, states = q.shape[0], states.reshape(-1, states.shape[-1])
        w1 = self.hyper_w_1(states).abs().view(-1, self.agents, self.embed)
        b1 = self.hyper_b_1(states).view(-1, 1, self.embed)
        hidden = F.elu(torch.bmm(q.reshape(-1, 1, self.agents), w1) + b1)
        wf = self.hyper_w_final(states).abs().view(-1, self.embed, 1)
        total: Tensor = torch.bmm(hidden, wf) + self.V(states).view(-1, 1, 1)
        return total.view(episodes, -1, 1)


class StepwiseLearner:
    """Online and target modules and RMSprop over their parameters.

    Args:
        config: its algorithm is qmix, its targets one-step with max_double; dense.
        env: sizes of its episodes.
    """

    def __init__(self, config: ExperimentConfig, env: EnvSpec) -> None:
        self.config, self.env = config, env
        self.online, self.target = self._networks(), self._networks()
        self.parameters = list(self.online.parameters())
        optim = config.optim
        self.optimiser = torch.optim.RMSprop(self.parameters, lr=optim.lr, alpha=optim.alpha, eps=optim.eps)
        self.updates = 0

    def _networks(self) -> nn.ModuleDict:
        widths = self.config.network
        return nn.ModuleDict(
            {
                "agent": RecurrentAgent(self.env, widths.hidden_dim),
                "mixer": Mixer(self.env, widths.mixer_embed_dim, widths.hypernet_dim),
            }
        )

    @torch.no_grad()
    def load(self, online: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Takes over weights by our names, `agent.fc1.weight` and so on."""
        for networks, weights in ((self.online, online), (self.target, target)):
            for name, parameter in named(networks).items():
                parameter.copy_(weights[name])

    def gradients(self) -> dict[str, Tensor]:
        """The last update's gradients by our names, clipped."""
        return {name: p.grad for name, p in named(self.online).items() if p.grad is not None}

    def update(self, episodes: Sequence[Episode], t_env: int) -> dict[str, float]:
        """One gradient update from padding to optimiser step, and the target copy when due.

        Returns:
            loss, and grad_norm before clipping.
        """
        batch = pad(episodes, self.env, timeout_is_terminal=self.config.timeout_is_terminal)
        loss = self._loss(batch)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.optim.clip_norm)
        self.optimiser.step()
        self.updates += 1
        if self.updates % self.config.target.update_interval == 0:
            self.target.load_state_dict(self.online.state_dict())
        return {"loss": loss.item(), "grad_norm": norm.item()}

    def _loss(self, batch: PaddedBatch) -> Tensor:
        q, target_q = self._unroll(self.online, batch), self._unroll(self.target, batch)[:, 1:]
        chosen = torch.gather(q[:, :-1], 3, batch.actions).squeeze(3)

        target_q[batch.avail[:, 1:] == 0] = UNAVAILABLE
        detached = q.clone().detach()
        detached[batch.avail == 0] = UNAVAILABLE
        best = detached[:, 1:].max(3, keepdim=True)[1]
        following = torch.gather(target_q, 3, best).squeeze(3)

        q_tot = self.online["mixer"](chosen, batch.state[:, :-1])
        value: Tensor = self.target["mixer"](following, batch.state[:, 1:])
        y = batch.reward + self.config.gamma * (1 - batch.terminated) * value
        error: Tensor = (q_tot - y.detach()) * batch.filled
        return (error**2).sum() / batch.filled.sum()

    def _unroll(self, networks: nn.ModuleDict, batch: PaddedBatch) -> Tensor:
        """(B, T + 1, N, A) utilities."""
        agent, (b, steps, n, _) = networks["agent"], batch.obs.shape
        hidden, steps_q = batch.obs.new_zeros(b * n, self.config.network.hidden_dim), []
        for t in range(steps):
            q, hidden = agent(self._inputs(batch, t), hidden)
            steps_q.append(q.view(b, n, -1))
        return torch.stack(steps_q, 1)

    def _inputs(self, batch: PaddedBatch, t: int) -> Tensor:
        """(B N, F): observation, last action, agent id."""
        b, _, n, _ = batch.obs.shape
        last = batch.actions_onehot[:, t - 1] if t else torch.zeros_like(batch.actions_onehot[:, 0])
        parts = (batch.obs[:, t], last, torch.eye(n).unsqueeze(0).expand(b, -1, -1))
        return torch.cat([x.reshape(b * n, -1) for x in parts], 1)


def named(networks: nn.ModuleDict) -> dict[str, nn.Parameter]:
    """Parameters by our names."""
    ours = {f"agent.rnn.{theirs}": f"agent.{name}" for name, theirs in GRU_NAMES.items()}
    return {ours.get(name, name): parameter for name, parameter in networks.named_parameters()}
