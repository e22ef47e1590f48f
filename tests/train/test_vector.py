"""R learners updated at once do what each would do alone (training_speed.md 7, "acceptance")."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mast_edge.train.learners.torch import Divergence, TorchLearner
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.vector.batch import joined, places
from mast_edge.train.vector.learner import VectorLearner
from tests.train.algos.toy import CPU, SPEC, make_learner, random_episodes

ALGORITHMS = ["qmix", "ow_qmix", "res", "vdn"]
LENGTHS = ([5, 8, 3], [20, 2, 2], [1, 1, 4], [17, 3, 9])
"""One ragged batch for each run."""
RUNS: list[dict[str, Any]] = [
    {"method": "dense", "sparsity": 0.0},
    {"method": "mast", "sparsity": 0.9, "optim": {"lr": 1e-3, "clip_norm": 0.1}},
    {"method": "mast", "sparsity": 0.6, "gamma": 0.9, "timeout_is_terminal": False},
    {"method": "rlx2", "sparsity": 0.8, "optim": {"alpha": 0.9, "eps": 1e-3}},
]
"""All in one batch: other methods, masks, optimisers, discounts and targets."""
LATE = 10**6
"""Environment steps at which every T0 has passed."""


def learners(algorithm: str, runs: Sequence[dict[str, Any]] = RUNS, **common: Any) -> list[TorchLearner]:
    """Their agents are 16 wide: alone, they run the native recurrence."""
    common = {"replay": {"batch_size": 3}, **common}
    return [make_learner(algorithm=algorithm, seed=r, **{**common, **run}) for r, run in enumerate(runs)]


def batches(rng: np.random.Generator, runs: int = len(RUNS)) -> list[list[Episode]]:
    return [random_episodes(rng, LENGTHS[r % len(LENGTHS)]) for r in range(runs)]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def expect_equal(together: TorchLearner, alone: TorchLearner, tolerance: float) -> None:
    """Weights, targets, squared gradients and masks."""
    assert torch.equal(together.mask, alone.mask)
    for name in ("online", "target"):
        found, expected = getattr(together, name).flat.detach(), getattr(alone, name).flat.detach()
        assert relative(found, expected) < tolerance, name
    assert relative(together.square_avg, alone.square_avg) < 2 * tolerance
    assert together.updates == alone.updates
    assert together.replaced == alone.replaced


@pytest.mark.parametrize("t_env", [1, LATE])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_update_together_is_one_update_alone(algorithm: str, t_env: int) -> None:
    alone, together = learners(algorithm), learners(algorithm)
    drawn = batches(np.random.default_rng(0))
    vector = VectorLearner(together)
    vector.update(drawn, [t_env] * len(RUNS))
    for one, other, episodes, told in zip(alone, together, drawn, vector.read(), strict=True):
        expected = one.update(episodes, t_env)
        assert not isinstance(told, Divergence)
        assert told == [pytest.approx(expected, rel=1e-5, abs=1e-7)]
        expect_equal(other, one, 1e-5)


TARGETS = [
    {"target": {"operator": operator, "returns": returns, "start": 0, **more}}
    for operator in ("max_double", "max", "softmax", "mellowmax", "soft_mellowmax", "joint_softmax")
    for returns, more in (("one_step", {}), ("n_step", {"n_step": 2}), ("td_lambda", {"lambda": 0.7}))
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: "-".join(map(str, t["target"].values())))
def test_every_gradient_with_every_target(target: dict[str, Any]) -> None:
    """Numbers of operators differ between the two runs; they are tensors in formulas then."""
    runs = [
        {**target, "target": {**target["target"], "beta": beta, "omega": omega, "alpha": alpha}}
        for beta, omega, alpha in ((5.0, 10.0, 1.0), (1.5, 3.0, 0.0))
    ]
    algorithm = "res" if target["target"]["operator"] == "joint_softmax" else "qmix"
    alone, together = (learners(algorithm, runs, method="rigl", sparsity=0.5) for _ in range(2))
    drawn = batches(np.random.default_rng(1), 2)
    VectorLearner(together).update(drawn, [1, 1])
    for one, other, episodes in zip(alone, together, drawn, strict=True):
        made = one.algorithm.loss(one.online, one.target, one._tensors(episodes), 1)
        made.loss.backward()
        # The stacked gradients are dense, as they were before masking and clipping.
        for name, tensor in one.online.tensors.items():
            found = other.online.tensors[name].grad
            assert relative(found, tensor.grad) < 1e-5, name


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_many_updates_with_evolution_and_target_copies(algorithm: str) -> None:
    """Rounding may turn a comparison of gradients, so masks are expected equal, weights to 1e-3."""
    schedule = {"topology": {"interval": 3}, "target": {"update_interval": 4}, "t_max": 40}
    runs = [RUNS[0], {**RUNS[1], "target": {"update_interval": 3}}, RUNS[2]]
    alone, together = learners(algorithm, runs, **schedule), learners(algorithm, runs, **schedule)
    rng, vector = np.random.default_rng(2), VectorLearner(together)
    first = together[1].mask.clone()
    for t_env in range(4, 36, 3):  # over every T0
        drawn = batches(rng, len(runs))
        vector.update(drawn, [t_env] * len(runs))
        for one, episodes in zip(alone, drawn, strict=True):
            one.update(episodes, t_env)
    assert not any(isinstance(told, Divergence) for told in vector.read())
    assert not torch.equal(first, together[1].mask)
    for one, other in zip(alone, together, strict=True):
        expect_equal(other, one, 1e-3)
        assert all((other.born["agent"][k] == v).all() for k, v in one.born["agent"].items())


def test_a_run_without_a_batch_stays_as_it_is() -> None:
    alone, together = learners("qmix"), learners("qmix")
    drawn = batches(np.random.default_rng(3))
    drawn[2] = []
    before = {name: array.copy() for name, array in together[2].state().items()}
    vector = VectorLearner(together)
    vector.update(drawn, [1] * len(RUNS))
    told = vector.read()
    assert [len(of_run) for of_run in told if not isinstance(of_run, Divergence)] == [1, 1, 0, 1]
    assert all((array == before[name]).all() for name, array in together[2].state().items())
    assert together[2].updates == 0
    alone[3].update(drawn[3], 1)
    expect_equal(together[3], alone[3], 1e-5)


POISONS = {
    "loss, gradient norm": lambda learner, episodes: episodes[0].reward.__setitem__(2, np.nan),
    "target weights": lambda learner, _: learner.target.flat.__setitem__(-1, np.inf),
    "weights": lambda learner, _: None,
}


@pytest.mark.parametrize("wrong", POISONS)
def test_a_diverged_run_is_frozen_and_the_others_do_not_notice(wrong: str) -> None:
    """Bit for bit; and the frozen one keeps the weights of before its bad update."""
    rng = np.random.default_rng(4)
    rounds = [batches(rng) for _ in range(3)]
    huge = {"optim": {"lr": 1e38}} if wrong == "weights" else {}
    runs = [RUNS[0], {**RUNS[1], **huge}, *RUNS[2:]]
    healthy, sick = learners("qmix"), learners("qmix", runs)
    ends = []
    for group in (healthy, sick):
        vector = VectorLearner(group)
        for i, drawn in enumerate(rounds):
            copied = [[*episodes] for episodes in drawn]
            if group is sick and i == 1:
                POISONS[wrong](sick[1], copied[1])
            vector.update(copied, [1] * len(RUNS))
            if i == 0:
                weights = group[1].online.flat.detach().clone()
        ends.append(vector.read())
    error = ends[1][1]
    assert isinstance(error, Divergence)
    bad = 1 if wrong == "weights" else 2
    assert f"at update {bad}." in str(error)
    assert wrong.split(",")[0] in str(error).split("got others in")[1]
    assert torch.equal(sick[1].online.flat.detach(), weights)
    for r in (0, 2, 3):
        assert ends[0][r] == ends[1][r]
        for name, array in healthy[r].state().items():
            assert array.tobytes() == sick[r].state()[name].tobytes(), (r, name)


def test_episodes_on_the_device_give_the_same_updates() -> None:
    """The cache pads to a bucket, a single batch only to its longest episode."""
    plain, cached = learners("qmix"), learners("qmix")
    replays = [ReplayBuffers(6, 4, 3, 1) for _ in RUNS]
    draws = [np.random.default_rng(r) for r in range(len(RUNS))]
    rng = np.random.default_rng(5)
    one, other = VectorLearner(plain), VectorLearner(cached, replays)
    for _ in range(5):
        for replay, episodes in zip(replays, batches(rng), strict=True):
            for episode in episodes:
                replay.add(episode)
        drawn = [replay.draw(draw) for replay, draw in zip(replays, draws, strict=True)]
        one.update(drawn, [LATE] * len(RUNS))
        other.update(drawn, [LATE] * len(RUNS))
    for a, b in zip(plain, cached, strict=True):
        expect_equal(b, a, 1e-4)


def test_state_and_agents_are_those_of_the_row() -> None:
    """A checkpoint of one run holds that run; loading it changes only its row."""
    group = learners("qmix")
    vector = VectorLearner(group)
    vector.update(batches(np.random.default_rng(6)), [1] * len(RUNS))
    before = vector.online.flat.clone()
    other = make_learner(algorithm="qmix", seed=1, replay={"batch_size": 3}, **RUNS[1])
    group[1].load_state({k: v.copy() for k, v in other.state().items()}, 7, {})
    assert torch.equal(vector.online.flat[1], other.online.flat.detach())
    assert torch.equal(vector.online.flat[[0, 2, 3]], before[[0, 2, 3]])
    assert torch.equal(vector.mask[1], other.mask)
    for agent, learner in zip(vector.agents(), group, strict=True):
        expected = learner.online.numpy("agent")
        assert agent.keys() == expected.keys()
        assert all((agent[name] == value).all() for name, value in expected.items())


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for a device: values read, shapes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        assert name not in {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}
        if name in {"aten::index", "aten::index_put_"}:
            assert all(index is None or index.dtype != torch.bool for index in args[1])
        if "mm" in name:
            self.products.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("target", [{}, *(run["target"] for run in TARGETS)], ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_update_never_waits_and_has_batched_products_only(algorithm: str, target: dict[str, Any]) -> None:
    if algorithm == "ow_qmix" and target.get("operator") == "joint_softmax":
        pytest.skip("no config allows it")
    group = learners(algorithm, [{"method": "mast", "target": target}, {"method": "ss", "target": target}])
    vector, drawn = VectorLearner(group), batches(np.random.default_rng(0), 2)
    rows, starts = joined(drawn, SPEC, CPU)
    at, groups = places(drawn, starts, 3, [True, False]), vector._groups([LATE, LATE])
    with NoWaiting() as seen:
        vector._compute(rows, at, 24, groups)
    assert set(seen.products) == {"aten::bmm", "aten::baddbmm"}
