"""Every algorithm's loss and gradients against the step-by-step reference in double precision."""

from typing import Any

import numpy as np
import pytest
import torch

from mast_edge.spec import EnvSpec
from mast_edge.train.learners.torch import TorchLearner
from tests.train.algos.reference import Result, update_loss
from tests.train.algos.toy import SPEC, as_tensors, make_learner, packed, precision, random_episodes

ALGORITHMS = ["qmix", "ow_qmix", "res", "vdn"]
LENGTHS = [4, 9, 1, 6, 2]
OPERATORS = [
    {"operator": "max_double"},
    {"operator": "max"},
    {"operator": "softmax", "beta": 3.0},
    {"operator": "mellowmax", "omega": 4.0},
    {"operator": "soft_mellowmax", "alpha": 2.0, "omega": 7.0},
    {"operator": "joint_softmax", "mask_unavailable": True},
    {"operator": "joint_softmax", "mask_unavailable": False, "beta": 0.3},
]


def compare(
    learner: TorchLearner,
    t_env: int,
    *,
    seed: int = 5,
    dtype: torch.dtype = torch.float32,
    lengths: list[int] = LENGTHS,
    spec: EnvSpec = SPEC,
) -> Result:
    """Loss, targets and every gradient; targets get weights of their own first."""
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        learner.target.flat.mul_(1.3 + 0.2 * torch.rand(len(learner.target.flat), generator=generator))
    config, episodes = learner.config, random_episodes(np.random.default_rng(seed), lengths, spec)
    expected = update_loss(config, learner.online.tensors, learner.target.tensors, episodes, t_env)

    batch = packed(episodes, spec, timeout_is_terminal=config.timeout_is_terminal)
    learner.online.grad.zero_()
    made = learner.algorithm.loss(learner.online, learner.target, as_tensors(batch, dtype), t_env)
    made.loss.backward()
    assert float(made.loss.detach()) == pytest.approx(expected.loss, rel=tolerance)
    longest_first = sorted(expected.y, key=len, reverse=True)
    y = [longest_first[e][t] for e, t in zip(batch.episode, batch.time, strict=True)]
    assert made.y.tolist() == pytest.approx(y, rel=tolerance, abs=tolerance)
    for name, view in learner.online.views(learner.online.grad).items():
        gradient = expected.gradients[name]
        difference = float((view.double() - gradient).abs().max())
        assert difference <= tolerance * max(float(gradient.abs().max()), 1e-3), name
    return expected


@pytest.mark.parametrize("terminal", [True, False], ids=["timeout ends", "timeout bootstraps"])
@pytest.mark.parametrize("t_env", [0, 1_999_999])
@pytest.mark.parametrize("method", ["dense", "mast", "rlx2"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_loss_targets_and_every_gradient(algorithm, method, t_env, terminal) -> None:
    """rlx2 has n-step returns and mast TD(lambda), both from `target.start` on."""
    learner = make_learner(algorithm=algorithm, method=method, timeout_is_terminal=terminal)
    assert 0 < learner.config.target.start <= 2_000_000
    compare(learner, t_env)


@pytest.mark.parametrize(
    ("algorithm", "target"),
    # The config refuses the joint softmax of OW-QMIX.
    [(a, t) for a in ALGORITHMS for t in OPERATORS if (a, t["operator"]) != ("ow_qmix", "joint_softmax")],
    ids=lambda v: v if isinstance(v, str) else "-".join(str(x) for x in v.values()),
)
def test_every_operator_in_double_precision(algorithm, target) -> None:
    with precision(torch.float64):
        learner = make_learner(algorithm=algorithm, method="mast", target=target)
        compare(learner, 1_999_999, dtype=torch.float64, lengths=[5, 3, 1])


@pytest.mark.parametrize(
    "changed",
    [
        {"gamma": 0.8},
        {"gamma": 1.0},
        {"gamma": 0.0},
        {"target": {"returns": "td_lambda", "lambda": 1.0, "start": 0}},
        {"target": {"returns": "td_lambda", "lambda": 0.3, "start": 0}},
        {"target": {"returns": "n_step", "n_step": 1, "start": 0}},
        {"target": {"returns": "n_step", "n_step": 50, "start": 0}},
        {"ow_qmix": {"alpha": 0.5}, "res": {"penalty": 2.0}},
    ],
    ids=str,
)
@pytest.mark.parametrize("algorithm", ["ow_qmix", "res"])
def test_every_switch_of_the_loss_in_double_precision(algorithm, changed: dict[str, Any]) -> None:
    with precision(torch.float64):
        learner = make_learner(algorithm=algorithm, method="dense", timeout_is_terminal=False, **changed)
        compare(learner, 0, dtype=torch.float64, lengths=[5, 3, 1])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "mast"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_sizes_of_a_real_map(algorithm, method) -> None:
    """3s5z with the paper's widths."""
    spec = EnvSpec(
        "3s5z", "skirmish", n_agents=8, n_actions=14, obs_dim=128, state_dim=216, episode_limit=150
    )
    widths = {"hidden_dim": 64, "mixer_embed_dim": 32, "hypernet_dim": 64, "central_dim": 256}
    learner = make_learner(spec, algorithm=algorithm, method=method, network=widths)
    compare(learner, 1_999_999, lengths=[7, 12, 3], spec=spec)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_random_batches(algorithm, seed) -> None:
    lengths = np.random.default_rng(seed).integers(1, 12, 6).tolist()
    with precision(torch.float64):
        learner = make_learner(algorithm=algorithm, method="mast", seed=seed)
        compare(learner, 1_999_999, seed=seed, dtype=torch.float64, lengths=lengths)
