"""The shadow pass: a candidate beside the reference, given the reference's hidden state and last action."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mast_edge.runtime.agent import Agent
from mast_edge.runtime.certificate import Certificate, ShadowRecord
from mast_edge.runtime.contest import MakeEnv, Progress
from mast_edge.runtime.match import BATCH, FIRST_SEED, play_rounds
from mast_edge.runtime.team import rows_of, with_choice

SHADOW_EPISODES = BATCH
"""Episodes of a shadow pass: those of the first look."""


class ShadowTeam:
    """Plays as the reference does and writes down what the candidate would have done.

    Attributes:
        record: decisions so far.
        drift: largest difference of a hidden value when the candidate keeps its own hidden state on the same
            observations and last actions.
    """

    def __init__(self, reference: Agent, candidate: Agent) -> None:
        """Two agents of the same sizes; their own states stay untouched."""
        self.record = ShadowRecord()
        self.drift = 0.0
        self._reference, self._candidate = reference, candidate
        self._shadow = candidate.states([])
        self._leading, self._drifting = reference.states([]), candidate.states([])
        self._played, self._step = 0, 0
        self._episode = np.zeros(0, np.int64)

    def start(self, n_envs: int) -> None:
        """See `Team`."""
        ids = list(range(self._reference.spec.n_agents)) * n_envs
        self._leading = self._reference.states(ids)
        self._shadow, self._drifting = self._candidate.states(ids), self._candidate.states(ids)
        self._episode = np.arange(self._played, self._played + n_envs)
        self._played += n_envs
        self._step = 0

    def act(
        self, obs: NDArray[np.float32], avail: NDArray[np.uint8], playing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """See `Team`."""
        may = with_choice(avail, playing)
        rows, allowed, size = rows_of(obs), rows_of(may), avail.shape[:2]
        self._shadow.hidden[:] = self._leading.hidden
        self._shadow.last_actions[:] = self._leading.last_actions
        self._drifting.last_actions[:] = self._leading.last_actions
        shadowed = self._candidate.act_many(rows, allowed, self._shadow).reshape(size)
        self._candidate.act_many(rows, allowed, self._drifting)
        actions = self._reference.act_many(rows, allowed, self._leading).reshape(size)
        self.record.add(
            self._episode[playing],
            np.full(int(playing.sum()), self._step),
            self._leading.q.reshape(*size, -1)[playing],
            self._shadow.q.reshape(*size, -1)[playing],
            may[playing],
            actions[playing],
            shadowed[playing],
        )
        apart = np.abs(self._drifting.hidden - self._leading.hidden).reshape(*size, -1)[playing]
        self.drift = max(self.drift, float(apart.max(initial=0.0)))
        self._step += 1
        return actions


def shadow_pass(
    make_env: MakeEnv,
    candidate: Agent,
    reference: Agent,
    episodes: int = SHADOW_EPISODES,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Certificate, float]:
    """Compares two runtimes of the same weights decision by decision.

    Args:
        make_env: creates environments; evaluation seeds from the first on are played.
        candidate, reference: agents of the same sizes.
        episodes: at least 1.
        on_progress: called after every batch.

    Returns:
        The certificate, and the drift of hidden values in free running.
    """
    team = ShadowTeam(reference, candidate)
    done = 0
    while done < episodes:
        size = min(BATCH, episodes - done)
        play_rounds(make_env, team, size, FIRST_SEED + done)
        done += size
        if on_progress is not None:
            on_progress(Progress("shadow", done, episodes))
    return team.record.close(), team.drift
