"""Plays battles: a team of policies against the game, many independent environments at once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.base import BatchEnv

FIRST_SEED = 2**32
"""Evaluation episodes take seeds from here on; training stays below 2**31, so the two never meet."""
BATCH = 125
"""Environments played at once: the first look of the sequential design, which divides all the others."""

Ending = Literal["won", "lost", "time is up", "unfinished"]
Observe = Callable[[int, NDArray[np.int64]], None]
"""Called with the step and the actions (E, N) about to be played."""


class Team(Protocol):
    """The N agents of E battles. Each is shown its own observation and available actions, nothing else."""

    def start(self, n_envs: int) -> None:
        """Forgets everything: the next `act` is the first step of E new episodes."""
        ...

    def act(
        self, obs: NDArray[np.float32], avail: NDArray[np.uint8], playing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Actions (E, N) for obs (E, N, O) and avail (E, N, A); rows not `playing` (E,) do not matter."""
        ...


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How E episodes went.

    Attributes:
        won, timed_out: (E,) bool.
        length: (E,) int64, steps.
        returns: (E,) float64, undiscounted.
        actions: (T, E, N) int16, -1 after an episode's end.
    """

    won: NDArray[np.bool_]
    timed_out: NDArray[np.bool_]
    length: NDArray[np.int64]
    returns: NDArray[np.float64]
    actions: NDArray[np.int16]


def play_batch(env: BatchEnv, team: Team, observe: Observe | None = None) -> Outcomes:
    """One episode in every environment, from reset to end.

    Args:
        env: fresh environments; their own seeds decide what is played.
        team: acts in all of them.
        observe: sees each step before it is played (display, recording).
    """
    e = env.n_envs
    won, timed_out, playing = np.zeros(e, bool), np.zeros(e, bool), np.ones(e, bool)
    length, returns = np.zeros(e, np.int64), np.zeros(e)
    history: list[NDArray[np.int16]] = []
    env.reset()
    team.start(e)
    while playing.any():
        actions = team.act(env.obs, env.avail, playing)
        if observe is not None:
            observe(len(history), actions)
        history.append(np.where(playing[:, None], actions, -1).astype(np.int16))
        step = env.step(actions, playing)
        length += playing
        returns += np.where(playing, step.reward, 0.0)
        ended = playing & step.terminated
        won |= ended & step.battle_won
        timed_out |= ended & step.timed_out
        playing = playing & ~ended
    return Outcomes(won, timed_out, length, returns, np.stack(history))


def same_episodes(a: Outcomes, b: Outcomes) -> NDArray[np.bool_]:
    """(E,) whether both sides took the same actions from beginning to end."""
    steps = max(len(a.actions), len(b.actions))
    padded = [
        np.concatenate([x.actions, np.full((steps - len(x.actions), *x.actions.shape[1:]), -1, np.int16)])
        for x in (a, b)
    ]
    same: NDArray[np.bool_] = (padded[0] == padded[1]).all(axis=(0, 2))
    return same


def seed_list_sha256(first: int, count: int) -> str:
    """Digest of the evaluation seeds first, first + 1, ..., one decimal number per line."""
    return hashlib.sha256("".join(f"{first + i}\n" for i in range(count)).encode()).hexdigest()
