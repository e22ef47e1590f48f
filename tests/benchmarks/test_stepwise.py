"""The published kind of learner that ours is measured against computes what ours computes."""

import numpy as np
import pytest
import torch

from benchmarks.stepwise import StepwiseLearner, pad
from tests.train.algos.toy import SPEC, make_learner, random_episodes

LENGTHS = [20, 3, 1, 11, 7, 20]


@pytest.fixture
def pair():
    """Our learner and the published one with the same weights, targets not those of the online networks."""
    ours = make_learner(method="dense")
    others = make_learner(method="dense", seed=3)
    ours.target.flat.copy_(others.target.flat)
    theirs = StepwiseLearner(ours.config, SPEC)
    theirs.load(ours.online.tensors, ours.target.tensors)
    return ours, theirs


def test_same_loss_and_gradients_update_after_update(pair) -> None:
    ours, theirs = pair
    rng = np.random.default_rng(0)
    for _ in range(3):
        episodes = random_episodes(rng, LENGTHS)
        mine, published = ours.update(episodes, 0), theirs.update(episodes, 0)
        assert published["loss"] == pytest.approx(mine["loss"], rel=1e-6)
        assert published["grad_norm"] == pytest.approx(mine["grad_norm"], rel=1e-5)
        gradients, expected = theirs.gradients(), ours.online.views(ours.online.grad)
        assert set(gradients) == set(expected)
        for name, gradient in gradients.items():
            error = (gradient - expected[name]).abs().max() / expected[name].abs().max()
            assert error < 1e-5, name
        # RMSprop divides by the root of v, which makes a step of last digits: compare from the same weights.
        theirs.load(ours.online.tensors, ours.target.tensors)


def test_targets_are_copied_when_due(pair) -> None:
    _, theirs = pair
    theirs.updates = theirs.config.target.update_interval - 2
    episodes = random_episodes(np.random.default_rng(0), [2, 3])
    theirs.update(episodes, 0)
    assert not torch.equal(theirs.target["mixer"].hyper_b_1.bias, theirs.online["mixer"].hyper_b_1.bias)
    theirs.update(episodes, 0)
    assert torch.equal(theirs.target["mixer"].hyper_b_1.bias, theirs.online["mixer"].hyper_b_1.bias)


def test_padding_by_hand() -> None:
    """The first episode of two ends decided, the second by the limit."""
    episodes = random_episodes(np.random.default_rng(0), [2, 4])
    batch = pad(episodes, SPEC, timeout_is_terminal=False)
    assert batch.filled[..., 0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch.terminated[..., 0].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert pad(episodes, SPEC, timeout_is_terminal=True).terminated[1, 3] == 1
    assert torch.equal(batch.obs[0, 2], torch.from_numpy(episodes[0].obs[2]))
    assert not batch.obs[0, 3:].any()
    assert torch.equal(batch.actions_onehot.argmax(3)[1], batch.actions[1, ..., 0])
