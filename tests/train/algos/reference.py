"""The loss of one update in double precision, slowly: one episode, one step, one agent, one action at a time.

Written from algorithms.md, sections 2 to 5, and from nothing else. It shares with the package only the names
of parameters, the config's fields and the stored episode.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.train.replay import Episode

Params = Mapping[str, Tensor]
PUBLISHED_UNAVAILABLE = -9999999.0


@dataclass
class Result:
    """loss, its gradient by parameter name, and every target y, episode by episode."""

    loss: float
    gradients: dict[str, Tensor]
    y: list[list[float]]


def doubles(tensors: Mapping[str, Tensor], *, trained: bool) -> dict[str, Tensor]:
    """Copies of a bank's tensors in double precision."""
    return {n: t.detach().double().clone().requires_grad_(trained) for n, t in tensors.items()}


def vector(values: np.ndarray) -> Tensor:
    return torch.tensor(values.astype(np.float64), dtype=torch.float64)


def affine(p: Params, layer: str, x: Tensor) -> Tensor:
    return p[f"{layer}.weight"] @ x + p[f"{layer}.bias"]


# Section 2: networks


def gru_cell(p: Params, network: str, x: Tensor, h: Tensor) -> Tensor:
    """2.1, for one agent: gates r, z, n in this order of rows."""
    size = len(h)
    from_x, from_h = affine(p, f"{network}.gru_ih", x), affine(p, f"{network}.gru_hh", h)
    x_r, x_z, x_n = from_x[:size], from_x[size : 2 * size], from_x[2 * size :]
    h_r, h_z, h_n = from_h[:size], from_h[size : 2 * size], from_h[2 * size :]
    r = 1 / (1 + torch.exp(-(x_r + h_r)))
    z = 1 / (1 + torch.exp(-(x_z + h_z)))
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def unrolled(p: Params, network: str, e: Episode) -> list[list[Tensor]]:
    """2.1: utilities (A,) at every step t = 0..L of every agent."""
    n_agents, n_actions = e.avail.shape[1:]
    hidden = [torch.zeros(p[f"{network}.gru_hh.weight"].shape[1], dtype=torch.float64)] * n_agents
    utilities = []
    for t in range(e.length + 1):
        at_t = []
        for i in range(n_agents):
            last, own = np.zeros(n_actions), np.zeros(n_agents)
            if t > 0:
                last[e.actions[t - 1, i]] = 1
            own[i] = 1
            inputs = vector(np.concatenate((e.obs[t, i], last, own)))
            x = torch.clamp_min(affine(p, f"{network}.fc1", inputs), 0)
            hidden[i] = gru_cell(p, network, x, hidden[i])
            at_t.append(affine(p, f"{network}.fc2", hidden[i]))
        utilities.append(at_t)
    return utilities


def q_tot(p: Params, algorithm: str, q: list[Tensor], s: Tensor) -> Tensor:
    """2.2: the mixer on one joint action in one state; VDN adds."""
    if algorithm == "vdn":
        return sum(q[1:], start=q[0])
    embed = len(p["mixer.V.0.bias"])
    w1 = affine(p, "mixer.hyper_w_1.2", affine(p, "mixer.hyper_w_1.0", s).clamp_min(0)).abs()
    wf = affine(p, "mixer.hyper_w_final.2", affine(p, "mixer.hyper_w_final.0", s).clamp_min(0)).abs()
    hidden = affine(p, "mixer.hyper_b_1", s)
    for i, utility in enumerate(q):
        hidden = hidden + utility * w1[i * embed : (i + 1) * embed]
    hidden = torch.where(hidden > 0, hidden, torch.exp(hidden) - 1)
    v = affine(p, "mixer.V.2", affine(p, "mixer.V.0", s).clamp_min(0))
    return (hidden * wf).sum() + v[0]


def q_star(p: Params, q: list[Tensor], s: Tensor) -> Tensor:
    """2.3: the unrestricted mixer."""
    x = torch.cat((s, torch.stack(q)))
    for layer in ("cmixer.net.0", "cmixer.net.2", "cmixer.net.4"):
        x = affine(p, layer, x).clamp_min(0)
    v = affine(p, "cmixer.V.2", affine(p, "cmixer.V.0", s).clamp_min(0))
    return affine(p, "cmixer.net.6", x)[0] + v[0]


# Section 4: targets


def greedy(u: Tensor, available: list[int]) -> int:
    return max(available, key=lambda a: float(u[a]))


def one_agents_value(config: ExperimentConfig, online: Tensor, target: Tensor, avail: np.ndarray) -> Tensor:
    """4.1, by definition: no trick against overflow."""
    name, alpha, omega = config.target.operator, config.target.alpha, config.target.omega
    available = [int(a) for a in np.flatnonzero(avail)]
    if name == "max_double":
        return target[greedy(online, available)]
    if name == "max":
        return target[greedy(target, available)]
    scale = {"softmax": config.target.beta, "mellowmax": 0.0, "soft_mellowmax": alpha}[name]
    weight = [torch.exp(scale * target[a]) for a in available]
    total = sum(weight)
    if name == "softmax":
        return sum(w / total * target[a] for w, a in zip(weight, available, strict=True))
    inside = sum(w / total * torch.exp(omega * target[a]) for w, a in zip(weight, available, strict=True))
    return torch.log(inside) / omega


def joint_softmax(
    config: ExperimentConfig,
    online: Params,
    target: Params,
    online_q: list[Tensor],
    target_q: list[Tensor],
    avail: np.ndarray,
    s: Tensor,
) -> Tensor:
    """4.3: N * A candidates, each mixed by itself by both mixers."""
    n_agents, n_actions = avail.shape
    best = [greedy(online_q[i], [int(a) for a in np.flatnonzero(avail[i])]) for i in range(n_agents)]
    scores, values = [], []
    for i in range(n_agents):
        for k in range(n_actions):
            if not avail[i, k] and config.target.mask_unavailable:
                continue
            joint = [k if j == i else best[j] for j in range(n_agents)]
            mixed = []
            for p, q in ((online, online_q), (target, target_q)):
                chosen = [q[j][joint[j]] for j in range(n_agents)]
                if not avail[i, k]:
                    chosen[i] = torch.tensor(PUBLISHED_UNAVAILABLE, dtype=torch.float64)
                mixed.append(q_tot(p, config.algorithm, chosen, s))
            scores.append(config.target.beta * mixed[0])
            values.append(mixed[1])
    top = max(scores)
    weight = [torch.exp(score - top) for score in scores]
    return sum(w * v for w, v in zip(weight, values, strict=True)) / sum(weight)


def state_values(config: ExperimentConfig, online: Params, target: Params, e: Episode) -> list[float]:
    """4.2: V_t for t = 0..L."""
    central = config.algorithm == "ow_qmix"
    online_q = unrolled(online, "agent", e)
    target_q = unrolled(target, "cagent" if central else "agent", e)
    values = []
    for t in range(e.length + 1):
        s, avail = vector(e.state[t]), e.avail[t]
        if config.target.operator == "joint_softmax":
            value = joint_softmax(config, online, target, online_q[t], target_q[t], avail, s)
        else:
            chosen = [
                one_agents_value(config, online_q[t][i], target_q[t][i], avail[i]) for i in range(len(avail))
            ]
            value = q_star(target, chosen, s) if central else q_tot(target, config.algorithm, chosen, s)
        values.append(float(value))
    return values


def targets(config: ExperimentConfig, e: Episode, values: list[float], t_env: int) -> list[float]:
    """4.4: y_t for t = 0..L-1."""
    gamma, length, rewards = config.gamma, e.length, [float(r) for r in e.reward]
    terminal = e.terminated or (e.timed_out and config.timeout_is_terminal)
    rule = config.target.returns if t_env >= config.target.start else "one_step"
    if rule == "n_step":
        y = []
        for t in range(length):
            end = min(t + config.target.n_step, length)
            g = sum(gamma ** (k - t) * rewards[k] for k in range(t, end))
            if not (end == length and terminal):
                g += gamma ** (end - t) * values[end]
            y.append(g)
        return y
    lambda_ = config.target.lambda_ if rule == "td_lambda" else 0.0
    y, g = [0.0] * length, values[length]
    for t in reversed(range(length)):
        ends_here = terminal and t == length - 1
        following = 0.0 if ends_here else (1 - lambda_) * values[t + 1] + lambda_ * g
        y[t] = g = rewards[t] + gamma * following
    return y


# Section 5: losses


def update_loss(
    config: ExperimentConfig,
    online_tensors: Mapping[str, Tensor],
    target_tensors: Mapping[str, Tensor],
    episodes: list[Episode],
    t_env: int,
) -> Result:
    """Loss over a batch and the dense gradient of every parameter."""
    online, target = doubles(online_tensors, trained=True), doubles(target_tensors, trained=False)
    algorithm, terms, all_y = config.algorithm, [], []
    for e in episodes:
        with torch.no_grad():
            y = targets(config, e, state_values(config, online, target, e), t_env)
        all_y.append(y)
        q = unrolled(online, "agent", e)
        central = unrolled(online, "cagent", e) if algorithm == "ow_qmix" else q
        for t in range(e.length):
            s, taken = vector(e.state[t]), [int(a) for a in e.actions[t]]
            joint = q_tot(online, algorithm, [q[t][i][a] for i, a in enumerate(taken)], s)
            weight = 1.0
            if algorithm == "ow_qmix":
                weight = 1.0 if joint.item() < y[t] else config.ow_qmix.alpha
                star = q_star(online, [central[t][i][a] for i, a in enumerate(taken)], s)
                terms.append((star - y[t]) ** 2)
            terms.append(weight * (joint - y[t]) ** 2)
            if algorithm == "res":
                ret = sum(config.gamma ** (k - t) * float(e.reward[k]) for k in range(t, e.length))
                terms.append(config.res.penalty * (joint - ret) ** 2)
    loss = torch.stack(terms).sum() / sum(e.length for e in episodes)
    loss.backward()
    return Result(float(loss.detach()), {n: t.grad for n, t in online.items()}, all_y)
