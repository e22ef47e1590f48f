"""Playing: the numpy actor, training episodes with exploration, and greedy evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.base import BatchEnv
from mast_edge.spec import AgentSpec
from mast_edge.train.replay import Episode

Weights = Mapping[str, NDArray[np.float32]]


class Actor:
    """The recurrent agent in numpy for E environments by N agents at once: no autograd, no torch call per step.

    Args:
        spec: agent sizes.
        n_envs: E.
    """

    def __init__(self, spec: AgentSpec, n_envs: int) -> None:
        self.spec = spec
        self.rows = n_envs * spec.n_agents
        self.hidden = np.zeros((self.rows, spec.hidden_dim), np.float32)
        self.last_action = np.full(self.rows, -1)

    def load(self, weights: Weights) -> None:
        """Takes a snapshot of the online weights (`fc1.weight`, ...)."""
        o, a = self.spec.obs_dim, self.spec.n_actions
        fc1 = weights["fc1.weight"]
        self._obs = np.ascontiguousarray(fc1[:, :o].T)
        # Row -1 stands for "no action yet", whose one-hot is all zeros.
        self._action = np.vstack([fc1[:, o : o + a].T, np.zeros((1, fc1.shape[0]), np.float32)])
        identity = fc1[:, o + a :].T + weights["fc1.bias"]
        self._identity = np.tile(identity, (self.rows // self.spec.n_agents, 1))
        self._ih, self._hh = (np.ascontiguousarray(weights[f"gru_{k}.weight"].T) for k in ("ih", "hh"))
        self._ih_bias, self._hh_bias = weights["gru_ih.bias"], weights["gru_hh.bias"]
        self._out, self._out_bias = np.ascontiguousarray(weights["fc2.weight"].T), weights["fc2.bias"]

    def reset(self) -> None:
        """Hidden state zero and no last action, in every environment."""
        self.hidden.fill(0.0)
        self.last_action.fill(-1)

    def q(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Utilities (E, N, A) for obs (E, N, O); advances the hidden states."""
        h = self.spec.hidden_dim
        x = obs.reshape(self.rows, -1) @ self._obs + self._action[self.last_action] + self._identity
        np.maximum(x, 0.0, out=x)
        i = x @ self._ih + self._ih_bias
        r = self.hidden @ self._hh + self._hh_bias
        gates = 0.5 + 0.5 * np.tanh(0.5 * (i[:, : 2 * h] + r[:, : 2 * h]))
        new = np.tanh(i[:, 2 * h :] + gates[:, :h] * r[:, 2 * h :])
        self.hidden = new + gates[:, h:] * (self.hidden - new)
        q: NDArray[np.float32] = self.hidden @ self._out + self._out_bias
        return q.reshape(-1, self.spec.n_agents, self.spec.n_actions)

    def act(
        self,
        obs: NDArray[np.float32],
        avail: NDArray[np.uint8],
        epsilon: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> NDArray[np.int64]:
        """Epsilon-greedy actions (E, N); each agent draws its own number (algorithms.md 3.2)."""
        actions = np.where(avail, self.q(obs), -np.inf).argmax(-1)
        if epsilon > 0.0 and rng is not None:
            explore = rng.random(actions.shape) < epsilon
            if explore.any():
                random = np.where(avail, rng.random(avail.shape), -1.0).argmax(-1)
                actions = np.where(explore, random, actions)
        self.last_action = actions.ravel()
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
    """E finished episodes, and whether each was won."""

    episodes: list[Episode]
    won: NDArray[np.bool_]

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

    Args:
        env: E environments; reset here.
        actor: weights loaded.
        epsilon: exploration, 0 is greedy.
        rng: the acting stream, needed when epsilon > 0.
    """
    env.reset()
    actor.reset()
    recorders = [_Recorder() for _ in range(env.n_envs)]
    episodes: list[Episode | None] = [None] * env.n_envs
    won = np.zeros(env.n_envs, bool)
    running = np.ones(env.n_envs, bool)
    for b, recorder in enumerate(recorders):
        recorder.see(env, b)
    while running.any():
        actions = actor.act(env.obs, env.avail, epsilon, rng)
        step = env.step(actions, running)
        for b in np.flatnonzero(running):
            recorders[b].actions.append(actions[b].astype(np.uint8))
            recorders[b].reward.append(float(step.reward[b]))
            recorders[b].see(env, b)
        for b in np.flatnonzero(running & step.terminated):
            episodes[b] = recorders[b].episode(timed_out=bool(step.timed_out[b]))
            won[b] = step.battle_won[b]
        running &= ~step.terminated
    return Rollout([e for e in episodes if e is not None], won)
