"""The protocol every environment answers: a batch of independent battles, stepped together."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mast_edge.spec import EnvSpec

_NONE_LOST = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of E environments returned. Rows of environments that were not active are zero.

    Attributes:
        reward: (E,) float64, scaled as SMAC scales it.
        terminated: (E,) bool, the episode is over: decided, or cut by the limit.
        timed_out: (E,) bool, it was cut by the limit without a decision (always reported, whatever
            `continuing_episode` says; the learner's `timeout_is_terminal` decides what it means).
        battle_won: (E,) bool.
        dead_allies, dead_enemies: (E,) int32.
        lost: (E,) bool, the environment broke: discard this episode, which counts as terminated. The
            environment has been restarted or will be at its next reset. Never true in the simulator.
    """

    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    timed_out: NDArray[np.bool_]
    battle_won: NDArray[np.bool_]
    dead_allies: NDArray[np.int32]
    dead_enemies: NDArray[np.int32]
    lost: NDArray[np.bool_] = field(default_factory=lambda: _NONE_LOST)

    def __post_init__(self) -> None:
        """Without a `lost`, none is."""
        if self.lost is _NONE_LOST:
            object.__setattr__(self, "lost", np.zeros(len(self.reward), np.bool_))


class BatchEnv(Protocol):
    """E battles of one map. Environment b behaves bit for bit like a lone one created with seed + b.

    `obs`, `state` and `avail` are buffers that the next `reset` or `step` overwrites: copy what you keep.
    """

    seeded: bool
    """A seed fixes every episode, and `snapshot` and `restore` work. Not so with real StarCraft II."""
    spec: EnvSpec
    n_envs: int
    obs: NDArray[np.float32]
    """(E, N, O)."""
    state: NDArray[np.float32]
    """(E, S)."""
    avail: NDArray[np.uint8]
    """(E, N, A), 1 = may be taken."""

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Starts the next episode in the environments marked by `which` (E,), all when None."""
        ...

    def step(self, actions: NDArray[np.int64], which: NDArray[np.bool_] | None = None) -> Step:
        """Plays actions (E, N) in the marked environments, all when None; the others stay as they are.

        Raises:
            ValueError: an action is not available (names environment, agent, action and what was), or the
                episode is over; nothing has changed then.
        """
        ...

    def snapshot(self) -> NDArray[np.uint8]:
        """(E, bytes): everything, random state included; `restore` brings it back exactly.

        Raises:
            EnvironmentUnavailable: the environment is not `seeded`.
        """
        ...

    def restore(self, snapshot: NDArray[np.uint8]) -> None:
        """Inverse of `snapshot`, refreshing obs, state and avail."""
        ...

    def close(self) -> None:
        """Releases what the environment holds."""
        ...
