"""Learning targets: value operators over one agent's utilities, and return rules over an episode.

Pure tensor functions without gradient and without a loop over time. Source: algorithms.md, section 4.
"""

import torch
from torch import Tensor


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


def hybrid_lambda(lambda_: float, t_env: int, start: int) -> float:
    """lambda in force at `t_env`: 0 before `start` (T0), then `lambda_` (paper section 4.2)."""
    return 0.0 if t_env < start else lambda_
