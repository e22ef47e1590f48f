"""Numerical checks 1 to 4 of algorithms.md 13."""

import math

import numpy as np
import pytest
import torch

from mast_edge.config import resolve
from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import EnvSpec
from mast_edge.train.replay import Episode
from mast_edge.train.rollout import epsilon
from mast_edge.train.targets import (
    learning_targets,
    max_double,
    max_target,
    n_step,
    operator_values,
    realised_return,
    soft_mellowmax,
    softmax_agent,
    td_lambda,
)
from mast_edge.train.tensor_batch import TensorBatch
from tests.train.algos.toy import as_tensors, packed

DTYPES = [torch.float64, torch.float32]
DIGITS = {torch.float64: 1e-12, torch.float32: 1e-6}
Q = torch.tensor([1.0, 2.0, -0.5, 3.0], dtype=torch.float64)
AVAIL = torch.tensor([True, True, True, False])


@pytest.mark.parametrize("dtype", DTYPES)
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
def test_soft_mellowmax_with_an_unavailable_action(alpha, omega, expected, dtype) -> None:
    value = soft_mellowmax(Q.to(dtype), AVAIL, alpha, omega)
    assert float(value) == pytest.approx(expected, rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_mellowmax_minds_the_mask(dtype) -> None:
    everything = soft_mellowmax(Q.to(dtype), torch.ones(4, dtype=torch.bool), 1, 10)
    assert float(everything) == pytest.approx(2.957252131366097, rel=DIGITS[dtype])


def test_the_two_sums_of_soft_mellowmax() -> None:
    assert float(torch.logsumexp(11 * Q[:3], 0)) == pytest.approx(22.00001670156246, rel=1e-12)
    assert float(torch.logsumexp(Q[:3], 0)) == pytest.approx(2.371539031852683, rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_available_action_is_the_value_of_every_operator(dtype) -> None:
    q, only = torch.tensor([0.7, 9.0], dtype=dtype), torch.tensor([True, False])
    for value in (
        soft_mellowmax(q, only, 1, 10),
        soft_mellowmax(q, only, 0, 10),
        softmax_agent(q, only, 5),
        max_target(q, only),
        max_double(-q, q, only),
    ):
        assert float(value) == pytest.approx(0.7, rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_utilities_a_thousand_times_larger_do_not_overflow(dtype) -> None:
    q = (Q * 1000).to(dtype)
    assert float(soft_mellowmax(q, AVAIL, 1, 10)) == pytest.approx(2000.0, rel=DIGITS[dtype])
    # Mellowmax counts three actions, two of which add nothing.
    assert float(soft_mellowmax(q, AVAIL, 0, 10)) == pytest.approx(2000 - math.log(3) / 10, rel=DIGITS[dtype])
    assert float(softmax_agent(q, AVAIL, 5)) == 2000.0
    assert float(soft_mellowmax(-q, AVAIL, 1, 10)) == pytest.approx(500.0, rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("beta", "expected"), [(1, 1.604754487763797), (5, 1.9932979196067868)])
def test_softmax_of_one_agent(beta, expected, dtype) -> None:
    assert float(softmax_agent(Q.to(dtype), AVAIL, beta)) == pytest.approx(expected, rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
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
def test_mellowmax_between_mean_and_maximum(omega, expected, dtype) -> None:
    """Below omega = 1 digits are lost to cancellation: one rounding of a sum near log 3, divided by omega."""
    q, all_available = Q[:3].to(dtype), torch.ones(3, dtype=torch.bool)
    lost = torch.finfo(dtype).eps * math.log(3) / omega if omega < 1 else 0.0
    value = float(soft_mellowmax(q, all_available, 0.0, omega))
    assert value == pytest.approx(expected, rel=DIGITS[dtype], abs=2 * lost)


def test_max_operators_skip_unavailable_actions() -> None:
    online = torch.tensor([0.0, 5.0, 1.0, 9.0])
    target = torch.tensor([4.0, 3.0, 2.0, 8.0])
    assert float(max_double(online, target, AVAIL)) == 3.0
    assert float(max_target(target, AVAIL)) == 4.0


def config(**target: object) -> ExperimentConfig:
    return resolve({"env": {"map": "3m"}, "target": target})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"operator": "max"}, 2.0),
        ({"operator": "max_double"}, -0.5),
        ({"operator": "softmax", "beta": 1.0}, 1.604754487763797),
        ({"operator": "softmax"}, 1.9932979196067868),  # beta 5
        ({"operator": "mellowmax"}, 1.8901433110244994),  # omega 10, whatever alpha
        ({"operator": "mellowmax", "alpha": 7.0, "omega": 1.0}, 1.2729267431845732),
        ({"operator": "soft_mellowmax"}, 1.9628477669709774),  # alpha 1, omega 10
        ({"operator": "soft_mellowmax", "alpha": 10.0, "omega": 5.0}, 1.9999909813978334),
    ],
    ids=str,
)
def test_a_config_chooses_operator_and_numbers(target, expected) -> None:
    online = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    value = operator_values(config(**target).target, online, Q, AVAIL)
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_the_joint_softmax_is_no_operator_of_one_agent() -> None:
    with pytest.raises(ValueError, match="joint_softmax"):
        operator_values(config(operator="joint_softmax").target, Q, Q, AVAIL)


VALUES = [4.0, 5.0, 3.0, 6.0]
CASES = {
    # name: reward, terminated, mask
    "terminal end": ([1, 0, 2], [0, 0, 1], [1, 1, 1]),
    "cut, bootstraps": ([1, 0, 2], [0, 0, 0], [1, 1, 1]),
    "terminal, padded": ([1, 0, 0], [0, 1, 0], [1, 1, 0]),
    "cut, padded": ([1, 0, 0], [0, 0, 0], [1, 1, 0]),
}
TD_LAMBDA = {
    # Masked targets are left out.
    "terminal end": {
        0.0: [5.95, 2.97, 2], 0.6: [4.391344, 2.376, 2], 0.8: [3.714976, 2.178, 2], 1.0: [2.9602, 1.98, 2],
    },
    "cut, bootstraps": {
        0.0: [5.95, 2.97, 7.94],
        0.6: [6.48718984, 5.90436, 7.94],
        0.8: [7.44092416, 6.88248, 7.94],
        1.0: [8.781994, 7.8606, 7.94],
    },
    "terminal, padded": {0.0: [5.95, 0], 0.6: [2.98, 0], 0.8: [1.99, 0], 1.0: [1, 0]},
    "cut, padded": {0.0: [5.95, 2.97], 0.6: [4.74418, 2.97], 0.8: [4.34224, 2.97], 1.0: [3.9403, 2.97]},
}  # fmt: skip
N_STEP = {
    "terminal end": {1: [5.95, 2.97, 2], 2: [3.9403, 1.98, 2], 3: [2.9602, 1.98, 2], 9: [2.9602, 1.98, 2]},
    # n = 3: 1 + 0.99^2 * 2 + 0.99^3 * 6
    "cut, bootstraps": {1: [5.95, 2.97, 7.94], 2: [3.9403, 7.8606, 7.94], 3: [8.781994, 7.8606, 7.94]},
    # L = 2, so that nothing past V_2 = 3 counts: 1 + 0.99^2 * 3 where it is a cut.
    "terminal, padded": {1: [5.95, 0], 2: [1, 0], 3: [1, 0]},
    "cut, padded": {1: [5.95, 2.97], 2: [3.9403, 2.97], 3: [3.9403, 2.97]},
}


def arrays(case: str, dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.tensor([x], dtype=dtype) for x in (*CASES[case], VALUES)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("case", "lambda_"), [(c, lam) for c, rows in TD_LAMBDA.items() for lam in rows])
def test_td_lambda(case, lambda_, dtype) -> None:
    y, wanted = td_lambda(*arrays(case, dtype), gamma=0.99, lambda_=lambda_)[0], TD_LAMBDA[case][lambda_]
    assert y[: len(wanted)].tolist() == pytest.approx(wanted, rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("case", "n"), [(c, n) for c, rows in N_STEP.items() for n in rows])
def test_n_step(case, n, dtype) -> None:
    y, wanted = n_step(*arrays(case, dtype), gamma=0.99, n=n)[0], N_STEP[case][n]
    assert y[: len(wanted)].tolist() == pytest.approx(wanted, rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_realised_return_never_bootstraps(case, dtype) -> None:
    """Whether the episode terminated or was cut, and whatever lies behind its end."""
    reward, _, mask, _ = arrays(case, dtype)
    wanted = [2.9602, 1.98, 2] if case in ("terminal end", "cut, bootstraps") else [1, 0]
    reward = torch.where(mask > 0, reward, 77.0)
    assert realised_return(reward, mask, 0.99)[0, : len(wanted)].tolist() == pytest.approx(
        wanted, rel=DIGITS[dtype]
    )


def ragged(seed: int) -> tuple[torch.Tensor, ...]:
    """reward, terminated, mask, values of episodes that end in all ways, with nonsense behind the end."""
    generator, b, t = torch.Generator().manual_seed(seed), 7, 13
    lengths = torch.randint(1, t + 1, (b,), generator=generator)
    lengths[0] = t
    mask = (torch.arange(t) < lengths[:, None]).double()
    reward = torch.randn(b, t, generator=generator, dtype=torch.float64)
    values = torch.randn(b, t + 1, generator=generator, dtype=torch.float64)
    terminated = torch.zeros(b, t, dtype=torch.float64)
    terminated[torch.arange(0, b, 2), lengths[::2] - 1] = 1.0
    return reward * mask, terminated, mask, values


def test_td_lambda_equals_the_recursion_on_random_ragged_episodes() -> None:
    reward, terminated, mask, values = ragged(0)
    gamma, lambda_ = 0.97, 0.7
    y = td_lambda(reward, terminated, mask, values, gamma, lambda_)
    g = values[:, -1].clone()
    for step in reversed(range(reward.shape[1])):
        inside = reward[:, step] + gamma * (1 - terminated[:, step]) * (
            (1 - lambda_) * values[:, step + 1] + lambda_ * g
        )
        g = mask[:, step] * inside + (1 - mask[:, step]) * values[:, step]
        assert torch.allclose(y[:, step][mask[:, step] > 0], g[mask[:, step] > 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_td_lambda_is_the_weighted_mean_of_n_step_returns(seed) -> None:
    """Its other definition: (1 - lambda) sum_n lambda^(n-1) G^(n), what is left of the weight on the last."""
    rows, gamma, lambda_ = ragged(seed), 0.97, 0.7
    inside = rows[2] > 0
    y, steps = td_lambda(*rows, gamma, lambda_), rows[0].shape[1]
    mean = lambda_**steps * n_step(*rows, gamma, steps)
    for n in range(1, steps + 1):
        mean += (1 - lambda_) * lambda_ ** (n - 1) * n_step(*rows, gamma, n)
    assert torch.allclose(y[inside], mean[inside], rtol=1e-12, atol=1e-12)


def test_padding_does_not_leak_into_episodes_that_were_cut() -> None:
    """Case d at lambda 0.8, where PyMARL's recursion gives 5.441206528, 4.357584."""
    for behind in (0.0, 6.0, 1e9):
        reward, terminated, mask, values = arrays("cut, padded", torch.float64)
        values[0, 3] = behind
        y = td_lambda(reward, terminated, mask, values, 0.99, 0.8)[0, :2]
        assert y.tolist() == pytest.approx([4.34224, 2.97], rel=1e-12)
        y = n_step(reward, terminated, mask, values, 0.99, 2)[0, :2]
        assert y.tolist() == pytest.approx([3.9403, 2.97], rel=1e-12)


def case_b_in_a_batch() -> tuple[torch.Tensor, TensorBatch]:
    """Case b beside a shorter episode, packed; the values in the order of the rows."""
    spec = EnvSpec("3m", "toy", n_agents=1, n_actions=2, obs_dim=1, state_dim=1, episode_limit=9)

    def episode(rewards: list[float], *, timed_out: bool) -> Episode:
        length, f = len(rewards), np.float32
        return Episode(
            obs=np.zeros((length + 1, 1, 1), f),
            state=np.zeros((length + 1, 1), f),
            avail=np.ones((length + 1, 1, 2), np.uint8),
            actions=np.zeros((length, 1), np.uint8),
            reward=np.array(rewards, f),
            terminated=not timed_out,
            timed_out=timed_out,
        )

    episodes = [episode([8.0], timed_out=False), episode([1, 0, 2], timed_out=True)]
    batch = as_tensors(packed(episodes, spec, timeout_is_terminal=False), torch.float64)
    # Rows by time, the longer episode first; the shorter one has two.
    return torch.tensor([4.0, -9.0, 5.0, -9.0, 3.0, 6.0], dtype=torch.float64), batch


@pytest.mark.parametrize(
    ("t_env", "expected"),
    [(749_999, [5.95, 2.97, 7.94]), (750_000, [7.44092416, 6.88248, 7.94])],
)
def test_hybrid_targets_switch_at_their_start(t_env, expected) -> None:
    target = resolve({"env": {"map": "3m"}, "method": "mast"}).target
    assert (target.lambda_, target.start) == (0.8, 750_000)
    values, batch = case_b_in_a_batch()
    y = learning_targets(target, 0.99, values, batch, t_env)
    assert y[[0, 2, 3]].tolist() == pytest.approx(expected, rel=1e-12)
    assert float(y[1]) == 8.0


@pytest.mark.parametrize(
    ("t_env", "expected"),
    [(199_999, [5.95, 2.97, 7.94]), (200_000, [8.781994, 7.8606, 7.94])],
)
def test_n_step_returns_of_rlx2_are_delayed(t_env, expected) -> None:
    """n = 3 from a tenth of 2M steps on (algorithms.md 8.2)."""
    target = resolve({"env": {"map": "3m"}, "method": "rlx2"}).target
    values, batch = case_b_in_a_batch()
    y = learning_targets(target, 0.99, values, batch, t_env)
    assert y[[0, 2, 3]].tolist() == pytest.approx(expected, rel=1e-12)
    assert float(y[1]) == 8.0


@pytest.mark.parametrize(("algorithm", "expected"), [("qmix", 0.8), ("res", 0.8), ("ow_qmix", 0.6)])
def test_lambda_of_each_algorithm(algorithm, expected) -> None:
    assert resolve({"env": {"map": "3m"}, "algorithm": algorithm}).target.lambda_ == expected


@pytest.mark.parametrize(("t", "expected"), [(0, 1.0), (25_000, 0.525), (50_000, 0.05), (100_000, 0.05)])
def test_epsilon(t, expected) -> None:
    assert math.isclose(epsilon(t, 1.0, 0.05, 50_000), expected, rel_tol=1e-12)
