"""Numerical checks 7, 8 and 10 of algorithms.md 13, through the code that trains."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mast_edge.config import resolve
from mast_edge.spec import EnvSpec
from mast_edge.train.algos.base import Loss
from mast_edge.train.algos.ow_qmix import OwQmix
from mast_edge.train.algos.qmix import Qmix
from mast_edge.train.algos.res import Res
from mast_edge.train.nets import Mixing, ParameterBank
from mast_edge.train.recurrence import PackedRows, gru
from mast_edge.train.replay import Episode
from mast_edge.widths import network_widths
from tests.train.algos.toy import CPU, as_tensors, packed, precision

DTYPES = [torch.float64, torch.float32]
DIGITS = {torch.float64: 1e-12, torch.float32: 1e-6}

# Check 7: 2 agents, 3 actions.
TWO = EnvSpec("3m", "toy", n_agents=2, n_actions=3, obs_dim=1, state_dim=1, episode_limit=9)
ONLINE_Q = [[1.0, 0.5, 2.0], [0.2, -0.4, 0.6]]
TARGET_Q = [[0.8, 0.9, 1.5], [0.1, 0.0, 0.7]]
W1, B1, WF = [[0.5, 1.0], [1.5, 0.2]], [0.1, -0.3], [1.0, 0.5]
ONLINE_TOTALS = [[2.11, 1.61, -1.3], [1.47, 0.51, 2.11]]
TARGET_TOTALS = [[2.12, 2.22, -1.25], [1.16, 1.0, 2.12]]


def write(bank: ParameterBank, name: str, values: Any) -> None:
    with torch.no_grad():
        bank.tensors[name].copy_(torch.tensor(values, dtype=torch.float64).view_as(bank.tensors[name]))


def make_check_7(bank: ParameterBank, q: list[list[float]], v: float) -> None:
    """Weights with which agent i's utilities are q[i] at every step, and the mixing weights constant.

    Hidden unit i carries agent i's identity: its gate z is shut, so that h = tanh(1) for its own agent and 0
    for the other.
    """
    with torch.no_grad():
        bank.flat.zero_()
    identity = np.zeros((2, TWO.obs_dim + TWO.n_actions + TWO.n_agents))
    identity[:, -2:] = np.eye(2)
    write(bank, "agent.fc1.weight", identity)
    write(bank, "agent.gru_ih.weight", np.concatenate((np.zeros((4, 2)), np.eye(2))))
    write(bank, "agent.gru_ih.bias", [0.0, 0.0, -50.0, -50.0, 0.0, 0.0])
    write(bank, "agent.fc2.weight", np.array(q).T / math.tanh(1.0))
    write(bank, "mixer.hyper_w_1.2.bias", W1)
    write(bank, "mixer.hyper_b_1.bias", B1)
    write(bank, "mixer.hyper_w_final.2.bias", WF)
    write(bank, "mixer.V.2.bias", v)


def check_7(dtype: torch.dtype, algorithm: type[Qmix] = Res, **target: Any) -> Loss:
    """The loss of one transition with r = 1 that is not terminal; actions (0, 2) were taken."""
    with precision(dtype):
        config = resolve(
            {
                "env": {"map": "3m"},
                "algorithm": "res",
                "method": "dense",
                "timeout_is_terminal": False,
                "network": {"hidden_dim": 2, "mixer_embed_dim": 2, "hypernet_dim": 1},
                "target": target,
            }
        )
        made = algorithm(config, TWO, network_widths(config, TWO))
        online = ParameterBank(made.networks, CPU, trained=True)
        copy = ParameterBank(made.networks, CPU, trained=False)
        make_check_7(online, ONLINE_Q, 0.2)
        make_check_7(copy, TARGET_Q, 0.25)
        episode = Episode(
            obs=np.zeros((2, 2, 1), np.float32),
            state=np.zeros((2, 1), np.float32),
            avail=np.array([[[1, 1, 0], [1, 1, 1]]] * 2, np.uint8),
            actions=np.array([[0, 2]], np.uint8),
            reward=np.ones(1, np.float32),
            terminated=False,
            timed_out=True,
        )
        batch = as_tensors(packed([episode], TWO, timeout_is_terminal=False), dtype)
        return made.loss(online, copy, batch, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("target", "y"),
    [
        ({}, 3.084205897821923),
        ({"mask_unavailable": False}, 3.0842058362116838),
        ({"mask_unavailable": False, "beta": 0.05}, 1 + 0.99 * 1.2955324345158261),
        ({"operator": "max_double"}, 3.0988),
        ({"operator": "max"}, 3.1978),
    ],
    ids=str,
)
def test_targets_of_check_7(target, y, dtype) -> None:
    made = check_7(dtype, **target)
    assert made.q[1].tolist() == [pytest.approx(q, rel=DIGITS[dtype]) for q in ONLINE_Q]
    assert made.y.tolist() == pytest.approx([y], rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_penalty_of_check_7(dtype) -> None:
    """q_tot of (0, 2) is 2.11 and the realised return 1: the penalty is 0.05 * 1.11^2."""
    error = (2.11 - 3.084205897821923) ** 2
    with_penalty, without = check_7(dtype), check_7(dtype, algorithm=Qmix)
    assert with_penalty.q_tot.tolist() == pytest.approx([2.11], rel=DIGITS[dtype])
    assert float(with_penalty.loss.detach()) == pytest.approx(error + 0.05 * 1.11**2, rel=DIGITS[dtype])
    assert float(without.loss.detach()) == pytest.approx(error, rel=DIGITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("q", "v", "totals"), [(ONLINE_Q, 0.2, ONLINE_TOTALS), (TARGET_Q, 0.25, TARGET_TOTALS)]
)
def test_candidates_of_check_7(q, v, totals, dtype) -> None:
    """Every row of its table; the greedy joint action (0, 2) stands there once per agent.

    The unavailable candidate stands there with the published utility: both hidden sums are at elu's floor.
    """
    mixing = Mixing(*(torch.tensor([x], dtype=dtype) for x in (W1, B1, WF, v)))
    utilities = torch.tensor([q], dtype=dtype)
    utilities[0, 0, 2] = -9999999.0
    chosen = torch.stack((utilities[:, 0, 0], utilities[:, 1, 2]), 1)
    found = mixing.alternatives(chosen, utilities)[0]
    assert found.tolist() == [pytest.approx(row, rel=DIGITS[dtype]) for row in totals]
    assert float(mixing.q_tot(chosen)) == pytest.approx(totals[0][0], rel=DIGITS[dtype])


def ow_check_8(dtype: torch.dtype, alpha: float = 0.1) -> tuple[Loss, ParameterBank]:
    """Check 8: the state holds (Q_tot, Q_star), episodes of one terminal step have y = r.

    Its fourth, masked entry is no transition: padding, which a packed batch does not have.
    """
    spec = EnvSpec("3m", "toy", n_agents=1, n_actions=2, obs_dim=1, state_dim=2, episode_limit=9)
    widths = {"hidden_dim": 1, "mixer_embed_dim": 1, "hypernet_dim": 1, "central_dim": 1}
    with precision(dtype):
        config = resolve(
            {
                "env": {"map": "3m"},
                "algorithm": "ow_qmix",
                "method": "dense",
                "network": widths,
                "ow_qmix": {"alpha": alpha},
            }
        )
        made = OwQmix(config, spec, network_widths(config, spec))
        online = ParameterBank(made.networks, CPU, trained=True)
        write(online, "mixer.V.0.weight", [1.0, 0.0])
        write(online, "mixer.V.2.weight", 1.0)
        write(online, "cmixer.V.0.weight", [0.0, 1.0])
        write(online, "cmixer.V.2.weight", 1.0)
        copied = {n: made.networks[n] for n in made.target_networks}
        episodes = [
            Episode(
                obs=np.zeros((2, 1, 1), np.float32),
                state=np.array([[q_tot, q_star], [0, 0]], np.float32),
                avail=np.ones((2, 1, 2), np.uint8),
                actions=np.zeros((1, 1), np.uint8),
                reward=np.array([y], np.float32),
                terminated=True,
                timed_out=False,
            )
            for q_tot, y, q_star in zip((3, 5, 1), (4, 4.5, 1), (3.5, 4, 2), strict=True)
        ]
        batch = as_tensors(packed(episodes, spec), dtype)
        return made.loss(online, ParameterBank(copied, CPU, trained=False), batch, 0), online


@pytest.mark.parametrize("dtype", DTYPES)
def test_ow_weights_of_check_8(dtype) -> None:
    """Weights 1, 0.1, and 0.1 where q_tot equals y."""
    made, _ = ow_check_8(dtype)
    assert made.q_tot.tolist() == [3.0, 5.0, 1.0]
    assert made.y.tolist() == [4.0, 4.5, 1.0]
    assert float(made.metrics["weight"]) == pytest.approx(1.2 / 3, rel=DIGITS[dtype])
    assert float(made.metrics["loss_central"]) == pytest.approx(0.5, rel=DIGITS[dtype])
    loss = float(made.loss.detach())
    assert loss == pytest.approx(0.8416666666666667, rel=DIGITS[dtype])
    assert loss - 0.5 == pytest.approx(0.3416666666666666, rel=DIGITS[dtype])
    equal_weights, _ = ow_check_8(dtype, alpha=1.0)
    assert float(equal_weights.loss.detach()) == pytest.approx(1.25 / 3 + 0.5, rel=DIGITS[dtype])


def test_each_term_of_ow_qmix_trains_its_own_networks() -> None:
    """d/db of V's last bias: sum 2 w (Q_tot - y) / 3 in the mixer, sum 2 (Q_star - y) / 3 in the cmixer."""
    made, online = ow_check_8(torch.float64)
    made.loss.backward()
    mixer, central = (online.tensors[f"{n}.V.2.bias"].grad for n in ("mixer", "cmixer"))
    assert float(mixer) == pytest.approx(2 * (1 * -1 + 0.1 * 0.5 + 0.1 * 0) / 3, rel=1e-12)
    assert float(central) == pytest.approx(2 * (-0.5 - 0.5 + 1) / 3, abs=1e-12)


def check_10(x: float, h: float) -> float:
    """The cell's formula, by hand."""
    sigmoid = lambda a: 1 / (1 + math.exp(-a))  # noqa: E731
    r = sigmoid(0.3 * x + 0.1 - 0.4 * h + 0.05)
    z = sigmoid(-0.6 * x + 0.2 + 0.7 * h - 0.15)
    n = math.tanh(0.9 * x - 0.1 + r * (0.5 * h + 0.25))
    return (1 - z) * n + z * h


@pytest.mark.parametrize(
    ("units", "dtype"), [(1, torch.float64), (1, torch.float32), (16, torch.float32), (16, torch.float64)]
)
def test_gru_cell_of_check_10(units, dtype) -> None:
    """torch's GRU and, for 16 units in float32, the native one: every unit is the cell of the check.

    Sequences start from h = 0, so a first step is made to end at h = -0.2.
    """
    low, high = -1.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if check_10(middle, 0.0) < -0.2 else (low, middle)
    assert check_10(low, 0.0) == pytest.approx(-0.2, rel=1e-14)

    def stacked(values: list[float], *, matrix: bool) -> Tensor:
        each = torch.eye(units, dtype=dtype) if matrix else torch.ones(units, dtype=dtype)
        return torch.cat([value * each for value in values])

    x = torch.tensor([low, 0.5], dtype=dtype)[:, None].expand(2, units).contiguous()
    step = torch.tensor([0, 1])
    hidden = gru(
        x,
        stacked([0.3, -0.6, 0.9], matrix=True),
        stacked([0.1, 0.2, -0.1], matrix=False),
        stacked([-0.4, 0.7, 0.5], matrix=True),
        stacked([0.05, -0.15, 0.25], matrix=False),
        PackedRows(torch.tensor([1, 1]), step, step[:1], step[1:]),
    )
    assert hidden[1].tolist() == pytest.approx([0.1654511518684013] * units, rel=DIGITS[dtype])


def test_losses_are_made_of_what_they_say() -> None:
    """Nothing but `loss` carries a gradient, so that logging never holds a graph."""
    made = check_7(torch.float32)
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        if isinstance(value, Tensor):
            assert value.requires_grad == (field.name == "loss"), field.name
