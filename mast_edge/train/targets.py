"""Learning targets: value operators over one agent's utilities, and return rules over an episode.

Pure tensor functions without gradient and without a loop over time. Source: algorithms.md, section 4.
"""

import torch
from torch import Tensor

from mast_edge.config_fields import Target
from mast_edge.train.tensor_batch import TensorBatch


def max_double(online: Tensor, target: Tensor, avail: Tensor) -> Tensor:
    """Target utility at the online network's best available action (double Q-learning).

    Args:
        online, target: (..., A) utilities.
        avail: (..., A) bool, at least one action available.

    Returns:
        (...,) values.
    """
    best = online.masked_fill(~avail, -torch.inf).argmax(-1, keepdim=True)
    return target.gather(-1, best).squeeze(-1)


def max_target(target: Tensor, avail: Tensor) -> Tensor:
    """Largest available target utility, (..., A) -> (...,)."""
    return target.masked_fill(~avail, -torch.inf).amax(-1)


def softmax_agent(target: Tensor, avail: Tensor, beta: float) -> Tensor:
    """Mean of the available target utilities under their own softmax at inverse temperature `beta`.

    (..., A) -> (...,). Source: algorithms.md 4.1.
    """
    weight = torch.softmax((beta * target).masked_fill(~avail, -torch.inf), -1)
    return (weight * target.masked_fill(~avail, 0.0)).sum(-1)


def soft_mellowmax(target: Tensor, avail: Tensor, alpha: float, omega: float) -> Tensor:
    """(1/omega) log sum_u softmax(alpha Q)_u exp(omega Q_u) over the available actions.

    Source: paper equation 3, in the two-log-sum-exp form that cannot overflow; alpha = 0 is mellowmax
    (equation 4).

    Args:
        target: (..., A) utilities.
        avail: (..., A) bool, at least one action available.
        alpha: weight of the softmax policy.
        omega: temperature, > 0; infinity is the maximum.
    """
    # Scale first, mask after: 0 * -inf would be NaN for alpha = 0.
    high = ((alpha + omega) * target).masked_fill(~avail, -torch.inf)
    low = (alpha * target).masked_fill(~avail, -torch.inf)
    return (torch.logsumexp(high, -1) - torch.logsumexp(low, -1)) / omega


def td_lambda(
    reward: Tensor, terminated: Tensor, mask: Tensor, values: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """TD(lambda) returns G_t = r_t + gamma (1 - term_t) ((1 - lambda) V_{t+1} + lambda G_{t+1}).

    Each episode's recursion starts at its own end with G_L = V_L. With d_t = r_t + gamma (1 - term_t) V_{t+1}
    - V_t it unrolls to G_t - V_t = sum_{k >= t} (gamma lambda)^(k-t) d_k, one triangular product; an episode
    terminates on its last transition only, so no factor (1 - term) is met on the way.

    Source: paper section 4.2; algorithms.md 4.4.
    Deviation: PyMARL's build_td_lambda_targets lets the value of padding leak into episodes that are cut
    before the batch's longest; this form does not.

    Args:
        reward, terminated, mask: (B, T) floats; mask is 1 for t < L_b.
        values: (B, T + 1), V_t; entries past an episode's end are ignored.
        gamma: discount.
        lambda_: 0 gives one-step targets, 1 Monte-Carlo returns.

    Returns:
        (B, T); entries where mask is 0 are meaningless.
    """
    bootstrap = gamma * (1.0 - terminated)
    one_step = reward + bootstrap * values[:, 1:]
    if lambda_ == 0.0:
        return one_step
    error = torch.where(mask > 0, one_step - values[:, :-1], 0.0)
    step = torch.arange(reward.shape[1], device=reward.device)
    lag = step[:, None] - step[None, :]
    decay = torch.where(lag >= 0, (gamma * lambda_) ** lag.clamp_min(0).to(values.dtype), 0.0)
    surplus = error @ decay  # G_t - V_t
    following = torch.nn.functional.pad(surplus[:, 1:], (0, 1))
    return one_step + lambda_ * bootstrap * following


def n_step(reward: Tensor, terminated: Tensor, mask: Tensor, values: Tensor, gamma: float, n: int) -> Tensor:
    """n-step returns: with e = min(t + n, L), sum_{t <= k < e} gamma^(k-t) r_k + gamma^(e-t) V_e.

    V_e is left out where the episode terminated at e = L. Source: algorithms.md 4.4; paper equation 2.

    Args:
        reward, terminated, mask: (B, T) floats; mask is 1 for t < L_b.
        values: (B, T + 1), V_t.
        gamma: discount.
        n: steps, >= 1.

    Returns:
        (B, T); entries where mask is 0 are meaningless.
    """
    steps = reward.shape[1]
    length = mask.sum(1, keepdim=True).long()
    start = torch.arange(steps, device=reward.device).expand_as(reward)
    end = torch.minimum(start + n, length).clamp_min(0)
    ended = (terminated * mask).amax(1, keepdim=True)
    bootstrap = torch.where(end == length, 1.0 - ended, torch.ones_like(reward))
    y = bootstrap * gamma ** (end - start).to(values.dtype) * values.gather(1, end)
    inside = torch.nn.functional.pad(reward * mask, (0, n - 1))
    for k in range(n):
        y = y + gamma**k * inside[:, k : k + steps]
    return y


def realised_return(reward: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Discounted return of the rest of the stored episode, without bootstrap, (B, T) (algorithms.md 4.3)."""
    nothing = reward.new_zeros(reward.shape[0], reward.shape[1] + 1)
    return td_lambda(reward * mask, torch.zeros_like(reward), mask, nothing, gamma, 1.0)


def operator_values(config: Target, online: Tensor | None, target: Tensor, avail: Tensor) -> Tensor:
    """One agent's utilities as one value, by `target.operator` (algorithms.md 4.1).

    Args:
        config: of the target.
        online: (..., A), for max_double only.
        target: (..., A) target utilities.
        avail: (..., A) bool.

    Returns:
        (...,).

    Raises:
        ValueError: the operator is not one of a single agent.
    """
    if config.operator == "max_double" and online is not None:
        return max_double(online, target, avail)
    if config.operator == "max":
        return max_target(target, avail)
    if config.operator == "softmax":
        return softmax_agent(target, avail, config.beta)
    if config.operator in ("mellowmax", "soft_mellowmax"):
        alpha = config.alpha if config.operator == "soft_mellowmax" else 0.0
        return soft_mellowmax(target, avail, alpha, config.omega)
    raise ValueError(f"targets: operator must look at one agent alone; got {config.operator}.")


def learning_targets(config: Target, gamma: float, values: Tensor, batch: TensorBatch, t_env: int) -> Tensor:
    """y of every transition by `target.returns`, one-step before `target.start` (algorithms.md 4.4).

    The hybrid target of the paper (section 4.2) is td_lambda with a start.

    Args:
        config: of the target.
        gamma: discount.
        values: (P,) V of every row.
        batch: the episodes.
        t_env: environment steps at this update.

    Returns:
        (M,).
    """
    reward, terminated = batch.padded(batch.reward), batch.padded(batch.terminated)
    mask = batch.padded(torch.ones_like(batch.reward))
    v = batch.padded_rows(values)
    returns = "one_step" if t_env < config.start else config.returns
    if returns == "n_step":
        y = n_step(reward, terminated, mask, v, gamma, config.n_step)
    else:
        y = td_lambda(reward, terminated, mask, v, gamma, config.lambda_ if returns == "td_lambda" else 0.0)
    return batch.at_transitions(y)
