"""A number that is not finite is noticed within the update that meets it, wherever it comes from."""

from collections.abc import Callable

import numpy as np
import pytest

from mast_edge.train.learners.torch import Divergence, TorchLearner
from mast_edge.train.replay import Episode
from tests.train.algos.toy import make_learner, random_episodes

ALGORITHMS = ["qmix", "ow_qmix", "res", "vdn"]
LEARNERS = ["torch", "native"]
Poison = Callable[[TorchLearner, list[Episode], float], None]


def reward(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    episodes[0].reward[2] = value


def observation(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    episodes[1].obs[-1, 2, 3] = value  # seen after the last transition


def online_weight(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    learner.online.tensors["agent.gru_hh.weight"].detach()[5, 3] = value


def target_weight(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    learner.target.flat[1] = value


def taken_utility(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    learner.online.tensors["agent.fc2.bias"].detach()[1] = value


def never_available(learner: TorchLearner, episodes: list[Episode], action: int) -> None:
    for e in episodes:
        e.avail[..., action] = 0
        e.actions[e.actions == action] = 1


def utility_of_no_use(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    never_available(learner, episodes, 4)
    learner.online.tensors["agent.fc2.bias"].detach()[4] = value


def central_utility_of_no_use(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    network = "cagent" if "cagent" in learner.algorithm.networks else "agent"
    never_available(learner, episodes, 4)
    learner.online.tensors[f"{network}.fc2.bias"].detach()[4] = value


def target_utility_of_no_use(learner: TorchLearner, episodes: list[Episode], value: float) -> None:
    network = learner.algorithm.target_networks[0]
    never_available(learner, episodes, 4)
    learner.target.tensors[f"{network}.fc2.bias"][4] = value


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "poison",
    [
        reward,
        observation,
        online_weight,
        target_weight,
        taken_utility,
        utility_of_no_use,
        central_utility_of_no_use,
        target_utility_of_no_use,
    ],
)
@pytest.mark.parametrize("method", ["dense", "mast"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_one_poisoned_number_stops_the_update(learner, algorithm, method, poison: Poison, value) -> None:
    made = make_learner(learner=learner, algorithm=algorithm, method=method, timeout_is_terminal=False)
    episodes = random_episodes(np.random.default_rng(3), [6, 6, 2])
    poison(made, episodes, value)
    with pytest.raises(Divergence, match=r"must be finite; got .* at update 1\."):
        made.update(episodes, 1)
    assert made.updates == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_healthy_numbers_do_not(learner, algorithm) -> None:
    made = make_learner(learner=learner, algorithm=algorithm)
    made.update(random_episodes(np.random.default_rng(3), [6, 6, 2]), 1)
    assert made.updates == 1


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_poisoned_reward_changes_nothing(learner, poison) -> None:
    made = make_learner(learner=learner, topology={"interval": 1}, target={"update_interval": 1})
    episodes = random_episodes(np.random.default_rng(3), [6, 6])
    before = {name: array.copy() for name, array in made.state().items()}
    episodes[0].reward[2] = poison
    with pytest.raises(Divergence, match="got others in loss, gradient norm at"):
        made.update(episodes, 1)
    assert all((array == before[name]).all() for name, array in made.state().items())


@pytest.mark.parametrize("learner", LEARNERS)
def test_weights_that_overflow_are_noticed_by_their_own_update(learner) -> None:
    """Loss and gradient are finite; a step of about 10 lr is not."""
    made = make_learner(learner=learner, optim={"lr": 1e38})
    with pytest.raises(Divergence, match="got others in weights at"):
        made.update(random_episodes(np.random.default_rng(3), [6, 6]), 1)
