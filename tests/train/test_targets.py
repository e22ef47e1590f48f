"""Numerical checks 1 to 4 of algorithms.md 13."""

import math

import pytest
import torch

from mast_edge.train.rollout import epsilon
from mast_edge.train.targets import hybrid_lambda, max_double, max_target, soft_mellowmax, td_lambda

Q = torch.tensor([1.0, 2.0, -0.5, 3.0], dtype=torch.float64)
AVAIL = torch.tensor([True, True, True, False])


@pytest.mark.parametrize(
    ("alpha", "omega", "expected"),
    [
        (1, 10, 1.9628477669709774),
        (5, 5, 1.99866526974392),
        (5, 10, 1.9993281255708766),
        (10, 5, 1.9999909813978334),
        (10, 10, 1.9999954603148051),
    ],
)
def test_soft_mellowmax_with_an_unavailable_action(alpha, omega, expected) -> None:
    assert float(soft_mellowmax(Q, AVAIL, alpha, omega)) == pytest.approx(expected, rel=1e-12)
    single = soft_mellowmax(Q.float(), AVAIL, alpha, omega)
    assert float(single) == pytest.approx(expected, rel=1e-6)


def test_soft_mellowmax_of_one_action_is_its_value() -> None:
    q = torch.tensor([0.7, 9.0], dtype=torch.float64)
    assert float(soft_mellowmax(q, torch.tensor([True, False]), 1, 10)) == pytest.approx(0.7, rel=1e-12)


def test_soft_mellowmax_does_not_overflow() -> None:
    assert float(soft_mellowmax((Q * 1000).float(), AVAIL, 1, 10)) == 2000.0


@pytest.mark.parametrize(
    ("omega", "expected"),
    [
        (0.001, 0.833861067831565),
        (0.01, 0.8386067206586301),
        (1, 1.2729267431845732),
        (10, 1.8901433110244994),
        (100, 1.989013877113319),
        (1000, 1.9989013877113317),
    ],
)
def test_mellowmax_between_mean_and_maximum(omega, expected) -> None:
    q, all_available = Q[:3], torch.ones(3, dtype=torch.bool)
    assert float(soft_mellowmax(q, all_available, 0.0, omega)) == pytest.approx(expected, rel=1e-10)


def test_max_operators_skip_unavailable_actions() -> None:
    online = torch.tensor([0.0, 5.0, 1.0, 9.0])
    target = torch.tensor([4.0, 3.0, 2.0, 8.0])
    assert float(max_double(online, target, AVAIL)) == 3.0
    assert float(max_target(target, AVAIL)) == 4.0


VALUES = [4.0, 5.0, 3.0, 6.0]
CASES = {
    # name: reward, terminated, mask, {lambda: targets}; masked targets left out
    "terminal end": (
        [1, 0, 2], [0, 0, 1], [1, 1, 1],
        {0.0: [5.95, 2.97, 2], 0.6: [4.391344, 2.376, 2], 0.8: [3.714976, 2.178, 2], 1.0: [2.9602, 1.98, 2]},
    ),
    "cut, bootstraps": (
        [1, 0, 2], [0, 0, 0], [1, 1, 1],
        {
            0.0: [5.95, 2.97, 7.94],
            0.6: [6.48718984, 5.90436, 7.94],
            0.8: [7.44092416, 6.88248, 7.94],
            1.0: [8.781994, 7.8606, 7.94],
        },
    ),
    "terminal, padded": (
        [1, 0, 0], [0, 1, 0], [1, 1, 0],
        {0.0: [5.95, 0], 0.6: [2.98, 0], 0.8: [1.99, 0], 1.0: [1, 0]},
    ),
    "cut, padded": (
        [1, 0, 0], [0, 0, 0], [1, 1, 0],
        {0.0: [5.95, 2.97], 0.6: [4.74418, 2.97], 0.8: [4.34224, 2.97], 1.0: [3.9403, 2.97]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("case", "lambda_"), [(c, lam) for c in CASES for lam in (0.0, 0.6, 0.8, 1.0)])
def test_td_lambda(case, lambda_, dtype) -> None:
    reward, terminated, mask, expected = CASES[case]
    rows = [torch.tensor([x], dtype=dtype) for x in (reward, terminated, mask, VALUES)]
    y = td_lambda(*rows, gamma=0.99, lambda_=lambda_)[0]
    wanted = expected[lambda_]
    assert y[: len(wanted)].tolist() == pytest.approx(wanted, rel=1e-12 if dtype == torch.float64 else 1e-6)


def test_td_lambda_equals_the_recursion_on_random_ragged_episodes() -> None:
    generator = torch.Generator().manual_seed(0)
    b, t, gamma, lambda_ = 7, 13, 0.97, 0.7
    lengths = torch.randint(1, t + 1, (b,), generator=generator)
    mask = (torch.arange(t) < lengths[:, None]).double()
    reward = torch.randn(b, t, generator=generator, dtype=torch.float64) * mask
    values = torch.randn(b, t + 1, generator=generator, dtype=torch.float64)
    terminated = torch.zeros(b, t, dtype=torch.float64)
    terminated[torch.arange(0, b, 2), lengths[::2] - 1] = 1.0
    y = td_lambda(reward, terminated, mask, values, gamma, lambda_)
    g = values[:, -1].clone()
    for step in reversed(range(t)):
        inside = reward[:, step] + gamma * (1 - terminated[:, step]) * (
            (1 - lambda_) * values[:, step + 1] + lambda_ * g
        )
        g = mask[:, step] * inside + (1 - mask[:, step]) * values[:, step]
        assert torch.allclose(y[:, step][mask[:, step] > 0], g[mask[:, step] > 0], rtol=1e-12, atol=1e-12)


def test_hybrid_switches_at_its_start() -> None:
    assert hybrid_lambda(0.8, 749_999, 750_000) == 0.0
    assert hybrid_lambda(0.8, 750_000, 750_000) == 0.8


@pytest.mark.parametrize(("t", "expected"), [(0, 1.0), (25_000, 0.525), (50_000, 0.05), (100_000, 0.05)])
def test_epsilon(t, expected) -> None:
    assert math.isclose(epsilon(t, 1.0, 0.05, 50_000), expected, rel_tol=1e-12)
