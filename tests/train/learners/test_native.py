"""Loss, metrics and every gradient of the native learner against the torch learner and the reference."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mast_edge.errors import ConfigError
from mast_edge.spec import EnvSpec
from tests.train.algos.reference import update_loss
from tests.train.algos.test_reference import OPERATORS
from tests.train.algos.toy import random_episodes
from tests.train.learners.pairs import (
    ALGORITHMS,
    LATE,
    TOLERANCE,
    Pair,
    expect_agreement,
    furthest,
    make_pair,
    sparse,
)

LENGTHS = [17, 5, 9, 1, 12, 20, 3, 3, 8, 2, 2, *[4] * 11, 6, 7]
RETURNS = [
    {"returns": "one_step"},
    {"returns": "n_step", "n_step": 3, "start": 0},
    {"returns": "td_lambda", "start": 0},
]
MASKS = [(0.0, "element")] + [(s, p) for s in (0.5, 0.8, 0.9, 0.95) for p in ("element", "8x1", "4x1")]


def targets(algorithm: str) -> list[dict[str, object]]:
    """All operators with all return rules; the config refuses the joint softmax of OW-QMIX."""
    operators = [o for o in OPERATORS if (algorithm, o["operator"]) != ("ow_qmix", "joint_softmax")]
    return [{**o, **r} for o in operators for r in RETURNS]


@pytest.mark.parametrize("mask", MASKS, ids=lambda m: f"{m[0]} {m[1]}")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_metrics_and_gradients_are_those_of_torch(algorithm, mask) -> None:
    """A sixth of all targets for each mask, so that each meets two or three of them."""
    first = MASKS.index(mask) % 6
    tried = [
        expect_agreement(make_pair(algorithm=algorithm, **sparse(*mask, target=target)), LENGTHS)
        for target in targets(algorithm)[first::6]
    ]
    assert sum(tried) < 2 * len(tried)  # other numbers are an exception


@pytest.mark.slow
@pytest.mark.parametrize("mask", MASKS, ids=lambda m: f"{m[0]} {m[1]}")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_target_with_every_mask(algorithm, mask) -> None:
    tried = [
        expect_agreement(make_pair(algorithm=algorithm, **sparse(*mask, target=target)), LENGTHS)
        for target in targets(algorithm)
    ]
    assert sum(tried) < 2 * len(tried)


@st.composite
def batches(draw: st.DrawFn) -> tuple[EnvSpec, dict[str, int], list[int], int]:
    """Sizes, widths, lengths and a seed."""
    n = draw(st.one_of(st.integers(1, 10), st.just(27)))
    spec = EnvSpec(
        "3m",
        "toy",
        n_agents=n,
        n_actions=draw(st.one_of(st.integers(3, 20), st.integers(3, 70))),
        obs_dim=draw(st.integers(1, 40)),
        state_dim=draw(st.one_of(st.integers(1, 15), st.integers(16, 60))),
        episode_limit=20,
    )
    widths = {
        "hidden_dim": draw(st.sampled_from([16, 32, 48, 64, 5, 13, 21])),
        "mixer_embed_dim": draw(st.integers(1, 20)),
        "hypernet_dim": draw(st.integers(4, 40)),
        "central_dim": draw(st.integers(4, 40)),
    }
    most = 40 if n <= 10 else 6  # 27 agents: two episodes to a panel
    lengths = draw(st.lists(st.integers(1, spec.episode_limit), min_size=1, max_size=most))
    return spec, widths, lengths, draw(st.integers(0, 2**32))


def any_batch(algorithm: str, made: tuple[EnvSpec, dict[str, int], list[int], int], **values: object) -> None:
    spec, widths, lengths, seed = made
    try:
        pair = make_pair(spec, algorithm=algorithm, network=widths, seed=seed % 100, **values)
    except ConfigError:
        assume(False)  # every layer of networks this small would be dense, or none fits
    # The floor is test_reference's. Of networks this small some gradients are 1e-7, and torch's own is wrong
    # in the fifth digit.
    expect_agreement(pair, lengths, seed=seed, floor=1e-3)


RETURN_RULES = st.sampled_from(RETURNS)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALGORITHMS), batches(), st.sampled_from(MASKS), RETURN_RULES, st.booleans())
def test_any_sizes_and_lengths(algorithm, made, mask, returns, terminal) -> None:
    any_batch(algorithm, made, **sparse(*mask, target=returns, timeout_is_terminal=terminal))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(ALGORITHMS), batches(), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_widths_of_method_tiny(algorithm, made, sparsity) -> None:
    """Whatever fits: 13, 7, 1."""
    any_batch(algorithm, made, method="tiny", sparsity=sparsity)


def expect_reference(pair: Pair, t_env: int) -> None:
    """Loss, mean target and every gradient are those of the step-by-step reference in double precision."""
    native, episodes = pair.native, random_episodes(np.random.default_rng(6), [3, 5, 1, 2])
    expected = update_loss(native.config, native.online.tensors, native.target.tensors, episodes, t_env)
    metrics, _ = native.gradients(episodes, t_env, every=True)
    assert metrics["loss"] == pytest.approx(expected.loss, rel=TOLERANCE)
    assert metrics["target"] == pytest.approx(np.concatenate(expected.y).mean(), rel=TOLERANCE)
    for name, gradient in native.online.views(native.online.grad).items():
        assert furthest(gradient.double(), expected.gradients[name]) <= TOLERANCE, name


@pytest.mark.parametrize("mask", [(0.0, "element"), (0.8, "8x1")], ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_reference_in_double_precision(algorithm, mask) -> None:
    """With the algorithm's own target, from before its start and after it."""
    returns = {"returns": "td_lambda", "start": 1000}
    pair = make_pair(algorithm=algorithm, **sparse(*mask, target=returns, timeout_is_terminal=False))
    expect_reference(pair, 0)
    expect_reference(pair, LATE)


@pytest.mark.parametrize("target", OPERATORS, ids=lambda t: "-".join(map(str, t.values())))
def test_every_operator_of_the_reference(target) -> None:
    algorithm = "res" if target["operator"] == "joint_softmax" else "vdn"
    expect_reference(make_pair(algorithm=algorithm, **sparse(0.5, target=target)), 0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_greedy_actions_and_estimates_are_those_of_torch(algorithm) -> None:
    """Lengths in no order, more episodes than fit one panel."""
    pair = make_pair(algorithm=algorithm, **sparse(0.8))
    for learner in (pair.reference, pair.native):
        learner.online.tensors["agent.fc1.bias"].detach()[:3] = -1e3  # dead
    episodes = random_episodes(np.random.default_rng(6), LENGTHS[::-1])
    found, expected = (x.greedy_actions(episodes) for x in (pair.native, pair.reference))
    assert [a.tolist() for a in found] == [a.tolist() for a in expected]
    assert [a.dtype for a in found] == [a.dtype for a in expected]
    one, other = (x.estimate(episodes) for x in (pair.native, pair.reference))
    assert one.q_tot == pytest.approx(other.q_tot, rel=TOLERANCE)
    assert one.realised == pytest.approx(other.realised, rel=TOLERANCE)
    assert one.dead_units == other.dead_units >= 3 / 16  # another may have died by itself


def test_ties_of_greedy_actions_go_to_the_lowest_index() -> None:
    pair = make_pair(method="dense")
    for learner in (pair.reference, pair.native):
        learner.online.flat.detach().zero_()
    episodes = random_episodes(np.random.default_rng(7), [5, 2])
    for found, e in zip(pair.native.greedy_actions(episodes), episodes, strict=True):
        assert (found == e.avail[:-1].argmax(-1)).all()


def test_a_unit_that_lives_on_one_row_is_not_dead() -> None:
    """Of the longest episode the last row, of the shortest the first."""
    for which, t in ((1, 20), (0, 0)):
        pair = make_pair(method="dense")
        episodes = random_episodes(np.random.default_rng(8), [3, 20, 7])
        for e in episodes:
            e.obs[..., 2] = 0.0
        episodes[which].obs[t, 1, 2] = 1.0
        for learner in (pair.reference, pair.native):
            learner.online.tensors["agent.fc1.bias"].detach()[:] = -1e3
            weight = learner.online.tensors["agent.fc1.weight"].detach()
            weight[5, 2] = 1e4
            assert learner.estimate(episodes).dead_units == 15 / 16


def test_batches_of_another_size_leave_nothing_behind() -> None:
    """Buffers grow and are used again: a small batch after a large one, and other networks' in between."""
    pair, fresh = (make_pair(algorithm="ow_qmix", **sparse(0.8)) for _ in range(2))
    small = random_episodes(np.random.default_rng(1), [2, 3])
    pair.native.gradients(random_episodes(np.random.default_rng(2), [20] * 30), LATE, every=True)
    pair.native.greedy_actions(random_episodes(np.random.default_rng(3), [9] * 30))
    for every in (False, True, False):
        one, other = (x.native.gradients(small, LATE, every=every) for x in (pair, fresh))
        assert one == other
        assert pair.native.online.grad.numpy().tobytes() == fresh.native.online.grad.numpy().tobytes()


def test_the_order_of_the_episodes_changes_next_to_nothing() -> None:
    pair = make_pair(**sparse(0.8))
    episodes = random_episodes(np.random.default_rng(9), LENGTHS)
    metrics, _ = pair.native.gradients(episodes, LATE)
    grad = pair.native.online.grad.clone()
    turned, _ = pair.native.gradients(episodes[::-1], LATE)
    assert turned == pytest.approx(metrics, rel=TOLERANCE)
    assert furthest(pair.native.online.grad, grad) <= TOLERANCE


def test_sizes_that_fill_panels_to_the_last_column() -> None:
    """64 agents; 32 and 33, which leave 31 columns empty; episodes of equal lengths."""
    for n, lengths in ((64, [3, 1, 5]), (32, [4, 4, 4]), (33, [2, 6]), (1, [1] * 64), (1, [2] * 65)):
        spec = EnvSpec("3m", "toy", n, 4, obs_dim=3, state_dim=5, episode_limit=9)
        for mask in ((0.0, "element"), (0.8, "8x1")):
            expect_agreement(make_pair(spec, algorithm="res", **sparse(*mask)), lengths)
