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
    """The N agents of E battles. Each is shown its own observation and available actions, nothing else.

    A team with an attribute `at_once` = 1 plays battles one after the other.
    """

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
        lost: (E,) bool, the environment broke: this episode says nothing.
    """

    won: NDArray[np.bool_]
    timed_out: NDArray[np.bool_]
    length: NDArray[np.int64]
    returns: NDArray[np.float64]
    actions: NDArray[np.int16]
    lost: NDArray[np.bool_]


def play_batch(env: BatchEnv, team: Team, observe: Observe | None = None) -> Outcomes:
    """One episode in every environment, from reset to end.

    Args:
        env: fresh environments; their own seeds decide what is played.
        team: acts in all of them.
        observe: sees each step before it is played (display, recording).
    """
    e = env.n_envs
    won, timed_out, lost, playing = np.zeros(e, bool), np.zeros(e, bool), np.zeros(e, bool), np.ones(e, bool)
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
        lost |= playing & step.lost
        playing = playing & ~ended
    return Outcomes(won, timed_out, length, returns, np.stack(history), lost)


def play_rounds(make_env: Callable[[int, int], BatchEnv], team: Team, size: int, seed: int) -> Outcomes:
    """`size` episodes; an environment that holds fewer battles than that plays several rounds.

    Args:
        make_env: (n_envs, seed) -> environment; closed here.
        team: plays all of them, in environments of their own if it plays one at a time.
        size: at least 1.
        seed: of the first battle.
    """
    if size > 1 and getattr(team, "at_once", size) == 1:
        return _joined([play_rounds(make_env, team, 1, seed + b) for b in range(size)], size)
    env = make_env(size, seed)
    try:
        rounds = [play_batch(env, team)]
        while sum(len(r.won) for r in rounds) < size:
            rounds.append(play_batch(env, team))
    finally:
        env.close()
    return rounds[0] if len(rounds) == 1 and len(rounds[0].won) == size else _joined(rounds, size)


def _joined(rounds: list[Outcomes], size: int) -> Outcomes:
    """The first `size` episodes, in the order of rounds and environments."""
    steps = max(len(r.actions) for r in rounds)
    return Outcomes(
        won=np.concatenate([r.won for r in rounds])[:size],
        timed_out=np.concatenate([r.timed_out for r in rounds])[:size],
        length=np.concatenate([r.length for r in rounds])[:size],
        returns=np.concatenate([r.returns for r in rounds])[:size],
        actions=np.concatenate([_padded(r.actions, steps) for r in rounds], axis=1)[:, :size],
        lost=np.concatenate([r.lost for r in rounds])[:size],
    )


def _padded(actions: NDArray[np.int16], steps: int) -> NDArray[np.int16]:
    more = np.full((steps - len(actions), *actions.shape[1:]), -1, np.int16)
    return np.concatenate([actions, more])


def same_episodes(a: Outcomes, b: Outcomes) -> NDArray[np.bool_]:
    """(E,) whether both sides took the same actions from beginning to end."""
    steps = max(len(a.actions), len(b.actions))
    same: NDArray[np.bool_] = (_padded(a.actions, steps) == _padded(b.actions, steps)).all(axis=(0, 2))
    return same


def seed_list_sha256(first: int, count: int) -> str:
    """Digest of the evaluation seeds first, first + 1, ..., one decimal number per line."""
    return hashlib.sha256("".join(f"{first + i}\n" for i in range(count)).encode()).hexdigest()
