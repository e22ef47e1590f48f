"""RLx2's dynamic replay capacity: old episodes leave while they are too far from the present policy.

Source: Tan et al. 2023, section 4.2; algorithms.md 8.2.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mast_edge.config_fields import Replay
from mast_edge.train.replay import Episode, ReplayBuffers

Greedy = Callable[[Sequence[Episode]], list[NDArray[np.int64]]]
"""Stored episodes -> (L, N) greedy actions of the present policy for each."""


def policy_distance(replay: ReplayBuffers, oldest: int, greedy: Greedy) -> float:
    """D: how often the present policy would have acted otherwise in the oldest episodes.

    The mean, over the steps that have some, of the share of agents with a choice whose greedy action differs
    from the stored one.

    Deviation: RLx2 compares continuous actions of transitions; this is the project's form for discrete
    recurrent agents.

    Args:
        replay: at least one episode.
        oldest: how many episodes to look at, all if fewer are stored.
        greedy: unrolls the online agent along stored episodes.

    Returns:
        In [0, 1]; 0 where no agent had a choice.
    """
    total, steps = 0.0, 0
    count = min(oldest, len(replay.episodes))
    for first in range(0, count, replay.batch_size):
        part = [replay.episodes[i] for i in range(first, min(count, first + replay.batch_size))]
        for episode, actions in zip(part, greedy(part), strict=True):
            choice = episode.avail[:-1].sum(2) > 1
            differs = (actions != episode.actions) & choice
            deciding = choice.sum(1)
            some = deciding > 0
            total += float((differs.sum(1)[some] / deciding[some]).sum())
            steps += int(some.sum())
    return total / steps if steps else 0.0


def shrink(config: Replay, replay: ReplayBuffers, distance: float) -> int:
    """Discards the oldest `discard` share if the distance is above its bound and more than the minimum held.

    Returns:
        Episodes discarded.
    """
    held = len(replay.episodes)
    if distance <= config.policy_distance or held <= config.min_capacity:
        return 0
    count = min(int(config.discard * held), held - config.min_capacity)
    replay.discard(count)
    return count
