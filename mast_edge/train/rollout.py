"""Playing: the numpy actor, training episodes with exploration, and greedy evaluation."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mast_edge.dense_agent import DenseAgent, masked_argmax
from mast_edge.envs.base import BatchEnv
from mast_edge.spec import AgentSpec
from mast_edge.train.replay import Episode

Weights = Mapping[str, NDArray[np.float32]]


class Actor:
    """The recurrent agent in numpy for E environments by N agents at once, without a torch call per step.

    Args:
        spec: agent sizes.
        n_envs: E.
    """

    def __init__(self, spec: AgentSpec, n_envs: int) -> None:
        self.spec = spec
        self.rows = n_envs * spec.n_agents
        self.agent_ids = np.tile(np.arange(spec.n_agents), n_envs)
        self.reset()

    def load(self, weights: Weights) -> None:
        """Takes a snapshot of the online weights (`fc1.weight`, ...)."""
        self.network = DenseAgent(self.spec, weights)

    def reset(self) -> None:
        """Hidden state zero and no last action, in every environment."""
        self.hidden = np.zeros((self.rows, self.spec.hidden_dim), np.float32)
        self.last_actions = np.full(self.rows, -1)

    def act(
        self,
        obs: NDArray[np.float32],
        avail: NDArray[np.uint8],
        epsilon: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> NDArray[np.int64]:
        """Epsilon-greedy actions (E, N); each agent draws its own number (algorithms.md 3.2).

        Args:
            obs: (E, N, O).
            avail: (E, N, A).
            epsilon: chance of a uniformly random available action.
            rng: the acting stream, needed when epsilon > 0.
        """
        q, self.hidden = self.network.step(
            obs.reshape(self.rows, -1), self.last_actions, self.agent_ids, self.hidden
        )
        actions = masked_argmax(q.reshape(avail.shape), avail)
        if epsilon > 0.0 and rng is not None:
            explore = rng.random(actions.shape) < epsilon
            if explore.any():
                random = np.where(avail, rng.random(avail.shape), -1.0).argmax(-1)
                actions = np.where(explore, random, actions)
        self.last_actions = actions.ravel()
        return actions


def epsilon(t_env: int, start: float, end: float, anneal_steps: int) -> float:
    """Linear annealing from `start` to `end` over `anneal_steps` environment steps (algorithms.md 3.2)."""
    return max(end, start - (start - end) * t_env / anneal_steps)


@dataclass
class _Recorder:
    """Collects one environment's episode step by step."""

    obs: list[NDArray[np.float32]] = field(default_factory=list)
    state: list[NDArray[np.float32]] = field(default_factory=list)
    avail: list[NDArray[np.uint8]] = field(default_factory=list)
    actions: list[NDArray[np.uint8]] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)

    def see(self, env: BatchEnv, b: int) -> None:
        self.obs.append(env.obs[b].copy())
        self.state.append(env.state[b].copy())
        self.avail.append(env.avail[b].copy())

    def episode(self, *, timed_out: bool) -> Episode:
        return Episode(
            obs=np.stack(self.obs),
            state=np.stack(self.state),
            avail=np.stack(self.avail),
            actions=np.stack(self.actions),
            reward=np.array(self.reward, np.float32),
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
    env: BatchEnv, actor: Actor, epsilon: float = 0.0, rng: np.random.Generator | None = None
) -> Rollout:
    """Plays one episode in every environment of the batch; finished ones wait for the rest.

    Episodes that the environment lost are left out and counted: there are fewer then than environments.

    Args:
        env: E environments; reset here.
        actor: weights loaded.
        epsilon: exploration, 0 is greedy.
        rng: the acting stream, needed when epsilon > 0.
    """
    started = time.perf_counter()
    env.reset()
    actor.reset()
    recorders = [_Recorder() for _ in range(env.n_envs)]
    episodes: list[Episode | None] = [None] * env.n_envs
    won, lost = np.zeros(env.n_envs, bool), np.zeros(env.n_envs, bool)
    running = np.ones(env.n_envs, bool)
    env_seconds, act_seconds = time.perf_counter() - started, 0.0
    for b, recorder in enumerate(recorders):
        recorder.see(env, b)
    while running.any():
        began = time.perf_counter()
        actions = actor.act(env.obs, env.avail, epsilon, rng)
        chosen = time.perf_counter()
        step = env.step(actions, running)
        env_seconds += time.perf_counter() - chosen
        act_seconds += chosen - began
        for b in np.flatnonzero(running).tolist():
            recorders[b].actions.append(actions[b].astype(np.uint8))
            recorders[b].reward.append(float(step.reward[b]))
            recorders[b].see(env, b)
        lost |= running & step.lost
        for b in np.flatnonzero(running & step.terminated & ~step.lost).tolist():
            episodes[b] = recorders[b].episode(timed_out=bool(step.timed_out[b]))
            won[b] = step.battle_won[b]
        running &= ~step.terminated
    finished = [e for e in episodes if e is not None]
    return Rollout(finished, won[~lost], int(lost.sum()), env_seconds, act_seconds)


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
