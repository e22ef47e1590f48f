"""Players that need no learning: a floor and a yardstick for trained ones."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.base import BatchEnv

STOP, NORTH, SOUTH, EAST, WEST, FIRST_TARGET = 1, 2, 3, 4, 5, 6


class UnitView(BatchEnv, Protocol):
    """An environment that also shows its units, as `Skirmish.units` does."""

    def units(self) -> NDArray[Any]:
        """(E, N + enemies) structured: x, y, alive and more; agents first."""
        ...


class RandomPolicy:
    """Uniform over the available actions."""

    def __init__(self, rng: np.random.Generator) -> None:
        """`rng` is the stream that every choice is drawn from."""
        self._rng = rng

    def act(self, env: BatchEnv) -> NDArray[np.int64]:
        """Actions (E, N), each agent's drawn uniformly among those its mask allows."""
        scores = self._rng.random(env.avail.shape, dtype=np.float32) + env.avail
        return np.asarray(scores.argmax(axis=-1), dtype=np.int64)


class NearestPolicy:
    """Attack the nearest living enemy when the mask allows, else walk toward it along the longer axis.

    Source: smac.md 7 with heuristic_rest.
    Deviation: the nearest enemy is chosen afresh in every step, not kept until it dies, so that the policy
    needs no memory; a walk that the mask forbids becomes a stop.
    """

    def act(self, env: UnitView) -> NDArray[np.int64]:
        """Actions (E, N) from the units' positions; the lowest index wins ties."""
        units = env.units()
        n_agents = env.spec.n_agents
        x, y, alive = units["x"], units["y"], units["alive"]
        dx = x[:, None, n_agents:] - x[:, :n_agents, None]
        dy = y[:, None, n_agents:] - y[:, :n_agents, None]
        distance = np.where(alive[:, None, n_agents:], np.hypot(dx, dy), np.inf)
        target = distance.argmin(axis=-1)
        east = np.take_along_axis(dx, target[..., None], axis=-1)[..., 0]
        north = np.take_along_axis(dy, target[..., None], axis=-1)[..., 0]
        across = np.where(east > 0, EAST, WEST)
        along = np.where(north > 0, NORTH, SOUTH)
        walk = np.where(np.abs(east) > np.abs(north), across, along)
        actions = np.where(self._allowed(env, FIRST_TARGET + target), FIRST_TARGET + target, walk)
        actions = np.where(self._allowed(env, actions), actions, STOP)
        return np.asarray(np.where(alive[:, :n_agents], actions, 0), dtype=np.int64)

    @staticmethod
    def _allowed(env: BatchEnv, actions: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(np.take_along_axis(env.avail, actions[..., None], axis=-1)[..., 0] > 0)
