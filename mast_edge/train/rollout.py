"""Playing: the actor, training episodes with exploration, and greedy evaluation."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.base import BatchEnv
from mast_edge.envs.skirmish import Skirmish
from mast_edge.native._core import BatchActor
from mast_edge.native._core import play_episodes as play_natively
from mast_edge.spec import LAYERS, AgentSpec
from mast_edge.train.replay import Episode

Weights = Mapping[str, NDArray[np.float32]]


class Actor:
    """The recurrent agent for E environments by N agents at once, in the native core.

    Args:
        spec: agent sizes.
        n_envs: E.
    """

    def __init__(self, spec: AgentSpec, n_envs: int) -> None:
        self.spec = spec
        self.core = BatchActor(n_envs, spec.n_agents, spec.obs_dim, spec.n_actions, spec.hidden_dim)

    def load(self, weights: Weights) -> None:
        """Takes a snapshot of the online weights (`fc1.weight`, ...), float32."""
        parts = (weights[f"{layer}.{part}"] for layer in LAYERS for part in ("weight", "bias"))
        self.core.load(*(np.ascontiguousarray(part) for part in parts))

    def reset(self) -> None:
        """Hidden state zero and no last action, in every environment."""
        self.core.reset()

    def act(
        self,
        obs: NDArray[np.float32],
        avail: NDArray[np.uint8],
        epsilon: float = 0.0,
        rng: np.random.Generator | None = None,
        which: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int64]:
        """Epsilon-greedy actions (E, N); each agent draws its own number (algorithms.md 3.2).

        The greedy action has the largest Q among the available ones, the lowest index on ties; NaN, where
        weights explode, counts as the largest, and the next update ends the run.

        Args:
            obs: (E, N, O).
            avail: (E, N, A).
            epsilon: chance of a uniformly random available action.
            rng: the acting stream, needed when epsilon > 0. One number is drawn per agent and, if any agent
                explores, one per action of every agent.
            which: (E,) environments that play, all when None; others draw, but their rows are 0 and their
                hidden state stays.
        """
        actions = np.zeros(avail.shape[:2], np.int64)
        lock, random = _draws(epsilon, rng)
        with lock:
            self.core.act(obs, avail, which, epsilon, random, actions)
        return actions


def _draws(
    epsilon: float, rng: np.random.Generator | None
) -> tuple[AbstractContextManager[object], object | None]:
    """What the native core draws its numbers from, None when nothing is drawn, and its lock."""
    if epsilon <= 0.0 or rng is None:
        return nullcontext(), None
    return rng.bit_generator.lock, rng.bit_generator.capsule


def epsilon(t_env: int, start: float, end: float, anneal_steps: int) -> float:
    """Linear annealing from `start` to `end` over `anneal_steps` environment steps (algorithms.md 3.2)."""
    return max(end, start - (start - end) * t_env / anneal_steps)


class _Recorder:
    """What E environments showed and did, row by row: row t of every array is time t.

    Attributes:
        length: (E,) int64 transitions of each episode, once it is over.
        timed_out, won: (E,) bool, likewise.
    """

    def __init__(self, env: BatchEnv) -> None:
        rows = env.spec.episode_limit + 1
        self.obs = np.empty((rows, *env.obs.shape), np.float32)
        self.state = np.empty((rows, *env.state.shape), np.float32)
        self.avail = np.empty((rows, *env.avail.shape), np.uint8)
        self.actions = np.empty((rows, *env.avail.shape[:2]), np.uint8)
        self.reward = np.empty((rows, env.n_envs), np.float32)
        self.length = np.zeros(env.n_envs, np.int64)
        self.ends = np.zeros((2, env.n_envs), np.bool_)
        self.timed_out, self.won = self.ends

    def see(self, env: BatchEnv, t: int) -> None:
        self.obs[t], self.state[t], self.avail[t] = env.obs, env.state, env.avail

    def episode(self, b: int) -> Episode:
        """Of environment b, in arrays of its own."""
        length, timed_out = int(self.length[b]), bool(self.timed_out[b])
        return Episode(
            obs=self.obs[: length + 1, b].copy(),
            state=self.state[: length + 1, b].copy(),
            avail=self.avail[: length + 1, b].copy(),
            actions=self.actions[:length, b].copy(),
            reward=self.reward[:length, b].copy(),
            terminated=not timed_out,
            timed_out=timed_out,
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """Finished episodes, whether each was won, and how many were lost because the environment broke.

    `env_seconds` and `act_seconds` are the wall time spent in the environment and in choosing actions.
    """

    episodes: list[Episode]
    won: NDArray[np.bool_]
    lost: int = 0
    env_seconds: float = 0.0
    act_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Environment steps of all episodes."""
        return sum(e.length for e in self.episodes)

    @property
    def returns(self) -> NDArray[np.float64]:
        """(E,) undiscounted returns."""
        return np.array([float(e.reward.sum(dtype=np.float64)) for e in self.episodes])


def play_episodes(
    env: BatchEnv,
    actor: Actor,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
    *,
    native: bool = True,
) -> Rollout:
    """Plays one episode in every environment of the batch; finished ones wait for the rest.

    Episodes that the environment lost are left out and counted: there are fewer then than environments.

    Args:
        env: E environments; reset here.
        actor: weights loaded.
        epsilon: exploration, 0 is greedy.
        rng: the acting stream, needed when epsilon > 0.
        native: play the simulator's battles without a return to Python; the episodes are the same.
    """
    started = time.perf_counter()
    env.reset()
    actor.reset()
    record = _Recorder(env)
    opened = time.perf_counter() - started
    # A subclass may have a step of its own.
    if native and type(env) is Skirmish:
        lost = np.zeros(env.n_envs, np.bool_)
        played, acted = _play_battles(env, actor, epsilon, rng, record)
    else:
        lost, played, acted = _play_steps(env, actor, epsilon, rng, record)
    episodes = [record.episode(b) for b in np.flatnonzero(~lost).tolist()]
    return Rollout(episodes, record.won[~lost], int(lost.sum()), opened + played, acted)


def _play_battles(
    env: Skirmish, actor: Actor, epsilon: float, rng: np.random.Generator | None, record: _Recorder
) -> tuple[float, float]:
    """Seconds in the simulator and in choosing actions."""
    env.played = np.zeros(env.avail.shape[:2], np.int64)
    shown = env.obs, env.state, env.avail
    rows = record.obs, record.state, record.avail, record.actions, record.reward
    lock, random = _draws(epsilon, rng)
    with lock:
        return play_natively(
            env._core, actor.core, epsilon, random, shown, rows, record.length, record.ends, env.played
        )


def _play_steps(
    env: BatchEnv, actor: Actor, epsilon: float, rng: np.random.Generator | None, record: _Recorder
) -> tuple[NDArray[np.bool_], float, float]:
    """Which environments lost their episode (E,), and the seconds in them and in choosing actions."""
    lost, running = np.zeros(env.n_envs, np.bool_), np.ones(env.n_envs, np.bool_)
    env_seconds = act_seconds = 0.0
    record.see(env, 0)
    t = 0
    while running.any():
        began = time.perf_counter()
        actions = actor.act(env.obs, env.avail, epsilon, rng, running)
        chosen = time.perf_counter()
        step = env.step(actions, running)
        env_seconds += time.perf_counter() - chosen
        act_seconds += chosen - began
        record.actions[t], record.reward[t] = actions, step.reward
        t += 1
        record.see(env, t)
        over = running & (step.terminated | step.lost)
        if over.any():
            record.length[over] = t
            record.timed_out[over], record.won[over] = step.timed_out[over], step.battle_won[over]
            lost |= over & step.lost
            running &= ~over
    return lost, env_seconds, act_seconds


def play_exactly(env: BatchEnv, actor: Actor, count: int) -> Rollout:
    """`count` greedy episodes, round after round; lost ones are replaced.

    Each round's episodes are taken in the order of the environments, not in the order in which they end, so
    that short battles are not preferred.
    """
    episodes: list[Episode] = []
    won: list[bool] = []
    lost = 0
    while len(episodes) < count:
        rollout = play_episodes(env, actor)
        episodes += rollout.episodes
        won += rollout.won.tolist()
        lost += rollout.lost
    return Rollout(episodes[:count], np.array(won[:count]), lost)
