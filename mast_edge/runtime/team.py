"""Exported agents as a team: each decides from its own observation, hidden state and last action alone."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.base import BatchEnv
from mast_edge.errors import MissingInput
from mast_edge.registry import nearest
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.match import Team

NO_OP = 0
Number = TypeVar("Number", bound=np.generic)


class BatchTeam:
    """E teams of N agents, computed in one call per step. Rows share nothing but the read-only tables."""

    def __init__(self, agent: Agent) -> None:
        """Plays with the tables of `agent`, whose own state stays untouched."""
        self._agent = agent
        self._states = agent.states([])

    def start(self, n_envs: int) -> None:
        """See `Team`."""
        self._states = self._agent.states(list(range(self._agent.spec.n_agents)) * n_envs)

    def act(
        self, obs: NDArray[np.float32], avail: NDArray[np.uint8], playing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """See `Team`."""
        actions = self._agent.act_many(rows_of(obs), rows_of(with_choice(avail, playing)), self._states)
        return actions.reshape(avail.shape[:2])


class LoneTeam:
    """E teams of N agents, each an `Agent` of its own that is called alone, as on a device."""

    def __init__(self, agent: Agent) -> None:
        """Plays with clones of `agent`."""
        self._agent = agent
        self._agents: list[list[Agent]] = []

    def start(self, n_envs: int) -> None:
        """See `Team`."""
        team = range(self._agent.spec.n_agents)
        self._agents = [[self._agent.clone(i) for i in team] for _ in range(n_envs)]

    def act(
        self, obs: NDArray[np.float32], avail: NDArray[np.uint8], playing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """See `Team`."""
        actions = np.full(avail.shape[:2], NO_OP, np.int64)
        for b in np.flatnonzero(playing):
            for i, agent in enumerate(self._agents[b]):
                actions[b, i] = agent.act(obs[b, i], avail[b, i])
        return actions


def rows_of(array: NDArray[Number]) -> NDArray[Number]:
    """(E, N, K) -> (E * N, K): the row of agent i in environment b is b * N + i."""
    return array.reshape(-1, array.shape[-1])


def with_choice(avail: NDArray[np.uint8], playing: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`avail` with a no-op where the episode is over, so that every row has an action to name."""
    if playing.all():
        return avail
    filled = avail.copy()
    filled[~playing, :, NO_OP] = 1
    return filled


def load_team(path: str | Path, also: Sequence[str] = ()) -> Callable[[BatchEnv], Team]:
    """Reads an agent once; the result makes its teams, for environments it was made for.

    Args:
        path: exported agent or checkpoint folder.
        also: names that would have been accepted as well, for the message.

    Raises:
        MissingInput: nothing there.
        ArtifactRefused: the file did not pass validation, or was made for another map (on use).
    """
    if not os.path.exists(path):  # says no where Path raises: a name that is too long
        names = ", ".join([*also, "an exported agent", "a checkpoint folder"])
        hint = nearest(str(path), list(also)) or " Run: mast-edge export"
        raise MissingInput(f"play: policy must be one of {names}; got '{path}'.{hint}")
    agent = Agent.load(path)

    def make(env: BatchEnv) -> Team:
        agent.contract.require(str(path), env.spec)
        return BatchTeam(agent)

    return make
