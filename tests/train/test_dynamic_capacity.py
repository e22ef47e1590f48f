"""RLx2's dynamic capacity: how far stored episodes are from the policy, and what leaves for it."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mast_edge.config import resolve
from mast_edge.config_fields import Replay
from mast_edge.spec import EnvSpec
from mast_edge.train.dynamic_capacity import policy_distance, shrink
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.trainer import Trainer

SPEC = EnvSpec("3m", "toy", n_agents=3, n_actions=4, obs_dim=1, state_dim=1, episode_limit=9)


def episode(actions: list[list[int]], choices: list[list[int]]) -> Episode:
    """Actions (L, N); agents with a choice may take 0..3, the others only the action they took."""
    taken, free = np.array(actions, np.uint8), np.array(choices, bool)
    length = len(taken)
    avail = np.ones((length + 1, 3, 4), np.uint8)
    avail[:-1][~free] = np.eye(4, dtype=np.uint8)[taken[~free]]
    return Episode(
        obs=np.zeros((length + 1, 3, 1), np.float32),
        state=np.zeros((length + 1, 1), np.float32),
        avail=avail,
        actions=taken,
        reward=np.zeros(length, np.float32),
        terminated=True,
        timed_out=False,
    )


def buffer(episodes: list[Episode], batch_size: int = 2) -> ReplayBuffers:
    replay = ReplayBuffers(capacity=100, online_capacity=8, batch_size=batch_size, online_share=0)
    for e in episodes:
        replay.add(e)
    return replay


def always_zero(episodes: Sequence[Episode]) -> list[NDArray[np.int64]]:
    """A policy that takes action 0 wherever it may."""
    return [np.where(e.avail[:-1, :, 0], 0, e.avail[:-1].argmax(-1)) for e in episodes]


FIRST = episode(
    actions=[[0, 1, 2], [0, 0, 3], [1, 1, 1], [2, 2, 2]],
    choices=[
        [1, 1, 1],  # 2 of 3 differ
        [1, 1, 0],  # the third has no choice: 0 of 2
        [0, 0, 1],  # 1 of 1
        [0, 0, 0],  # nobody decides anything: not a step
    ],
)
SECOND = episode(actions=[[3, 0, 0]], choices=[[1, 0, 1]])  # 1 of 2
IDLE = episode(actions=[[1, 1, 1]], choices=[[0, 0, 0]])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_distance_is_the_mean_over_steps_that_decide_something(batch_size) -> None:
    """(2/3 + 0 + 1 + 1/2) / 4 steps, however many episodes are looked at in one go."""
    replay = buffer([FIRST, SECOND, IDLE], batch_size)
    expected = (2 / 3 + 0 + 1 + 1 / 2) / 4
    assert policy_distance(replay, 256, always_zero) == pytest.approx(expected, rel=1e-12)


def test_only_the_oldest_are_looked_at() -> None:
    replay = buffer([SECOND, FIRST, FIRST])
    assert policy_distance(replay, 1, always_zero) == pytest.approx(1 / 2)
    assert policy_distance(replay, 2, always_zero) == pytest.approx((1 / 2 + 2 / 3 + 0 + 1) / 4)


def test_where_nobody_had_a_choice_the_distance_is_zero() -> None:
    assert policy_distance(buffer([IDLE, IDLE]), 256, always_zero) == 0.0


def test_the_state_after_the_last_transition_does_not_count() -> None:
    """All actions are available there, and the policy's answer differs from whatever is stored."""
    same = episode(actions=[[0, 0, 0]], choices=[[1, 1, 1]])
    assert policy_distance(buffer([same]), 256, always_zero) == 0.0
    differs = episode(actions=[[1, 2, 3]], choices=[[1, 1, 1]])
    assert policy_distance(buffer([differs]), 256, always_zero) == 1.0


def settings(**values: object) -> Replay:
    config = resolve({"env": {"map": "3m"}, "method": "rlx2"}).replay
    return msgspec.structs.replace(config, **values)


def many(count: int) -> ReplayBuffers:
    replay = ReplayBuffers(capacity=10_000, online_capacity=8, batch_size=2, online_share=0)
    replay.restore([SECOND] * count, count)
    return replay


@pytest.mark.parametrize(
    ("held", "distance", "discarded"),
    [
        (5000, 0.21, 500),
        (5000, 0.2, 0),  # not above the bound
        (5000, 0.0, 0),
        (1239, 1.0, 123),  # floor of a tenth
        (501, 1.0, 1),  # never below the minimum
        (500, 1.0, 0),
        (40, 1.0, 0),
    ],
)
def test_the_oldest_tenth_leaves_down_to_the_minimum(held, distance, discarded) -> None:
    """The defaults: distance 0.2, a tenth, 500 of 5000 at least."""
    replay = many(held)
    assert shrink(settings(), replay, distance) == discarded
    assert len(replay.episodes) == held - discarded
    assert replay.steps == held - discarded
    assert replay.stored == held


def test_settings_change_bound_share_and_minimum() -> None:
    config = settings(policy_distance=0.5, discard=0.25, min_capacity=80)
    assert shrink(config, many(100), 0.5) == 0
    assert shrink(config, many(100), 0.51) == 20
    assert shrink(config, many(400), 0.51) == 100
    assert shrink(settings(discard=0.0, min_capacity=1), many(100), 1.0) == 0


def trainer(**replay: object) -> Trainer:
    torch.set_num_threads(1)
    values = {"batch_size": 2, "capacity": 40, "online_capacity": 2, "min_capacity": 4, **replay}
    config = {
        "env": {"map": "3m"},
        "method": "rlx2",
        "t_max": 2000,
        "rollout": {"n_envs": 4},
        "replay": values,
        "exploration": {"start": 1.0, "end": 1.0},
    }
    return Trainer(resolve(config), torch.device("cpu"))


def test_greedy_battles_are_at_distance_zero_from_their_own_policy() -> None:
    """Acting in numpy and looking back in torch agree, hidden states and last actions included."""
    made = trainer()
    for e in made.greedy(6, 0).episodes:
        made.replay.add(e)
    greedy = made.learner.greedy_actions
    assert policy_distance(made.replay, 256, greedy) == 0.0
    with torch.no_grad():
        taken = np.bincount(np.concatenate([e.actions.ravel() for e in made.replay.episodes]), minlength=9)
        other = 2 if taken[2] < taken[3] else 3  # go where they went less, whenever there is room
        made.learner.online.tensors["agent.fc2.bias"][other] += 100.0
    assert policy_distance(made.replay, 256, greedy) > 0.5


def test_the_trainer_looks_once_per_interval() -> None:
    made = trainer(check_interval=100)
    assert not made.capacity_check_due
    looks = []
    while not made.done:
        made.iterate()
        held = len(made.replay.episodes)
        if made.capacity_check_due:
            distance, discarded = made.check_capacity()
            # Random play is far from greedy.
            assert 0.2 < distance <= 1.0
            assert discarded == min(held // 10, max(0, held - 4))
            assert len(made.replay.episodes) == held - discarded
            looks.append(made.counters.t_env // 100)
        assert not made.capacity_check_due
    assert looks == sorted(set(looks))
    # An iteration plays four battles, some 200 steps: no interval that ended was passed over.
    assert looks[-1] == made.counters.t_env // 100
    assert len(looks) >= 5


def test_other_methods_never_look() -> None:
    made = trainer(dynamic=False, check_interval=1)
    made.iterate()
    assert not made.capacity_check_due
