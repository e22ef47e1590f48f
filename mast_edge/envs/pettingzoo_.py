"""PettingZoo environments over the embedded simulator, with agents, spaces and masks as in SMAC's wrapper."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.single import StarCraft2Env
from mast_edge.envs.units import LOOPS_PER_SECOND, unit_types
from mast_edge.errors import ConfigError, EpisodeNotRunning, IllegalAction, MissingExtra

try:
    from gymnasium import spaces
    from gymnasium.utils import EzPickle
    from pettingzoo import AECEnv, ParallelEnv
    from pettingzoo.utils import wrappers
    from pettingzoo.utils.conversions import parallel_to_aec
except ModuleNotFoundError as error:
    if error.name not in ("gymnasium", "pettingzoo"):
        raise
    raise MissingExtra("skirmish", error.name, "pettingzoo") from error

Observation = dict[str, NDArray[Any]]
Infos = dict[str, dict[str, Any]]

RENDER_MODES = ("human", "ansi")
ILLEGAL = ("refuse", "stop")
STOP = 0
"""Action 0 is SMAC's 1: dead agents leave, so that nobody needs SMAC's no-op."""
LONGEST_DELAY = 2
"""Loops by which chance lengthens a cooldown. Source: smac.md 8."""


class SkirmishParallelEnv(ParallelEnv[str, Observation, int], EzPickle):
    """One battle after another, every agent acting at once.

    Agents are named by type and number: `marine_0`, `marine_1` ... Action a means SMAC's action a + 1: stop,
    north, south, east, west, then one per target. An observation is a dict of `observation` (O,) float32
    and `action_mask` (n_actions - 1,) int8. All agents get the team's reward.

    An agent that dies is terminated in that step and leaves `agents`, as in SMAC's wrapper. When the battle
    is decided the others are terminated; when the limit, or `max_cycles`, cuts it off they are truncated.

    Attributes:
        agents, possible_agents: names of the living, and of all.
        max_cycles: steps after which an episode is cut off in any case.
        state_space: box that `state()` lies in.

    Source: smac.md 3 to 6; PettingZoo's parallel API.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": list(RENDER_MODES),
        "name": "mast_edge_skirmish_v0",
        "is_parallelizable": True,
    }

    def __init__(
        self,
        map_name: str = "8m",
        *,
        max_cycles: int = 1000,
        render_mode: str | None = None,
        illegal_actions: str = "refuse",
        **options: Any,
    ) -> None:
        """Makes the environment; nothing can be played before `reset`.

        Args:
            map_name: a SMAC map that the simulator plays.
            max_cycles: at least 1.
            render_mode: `human` prints, `ansi` returns text, None shows nothing.
            illegal_actions: what an action outside the mask means: `refuse` raises IllegalAction, `stop`
                makes the agent stop and says so in its info (for callers that sample without the mask).
            options: as `StarCraft2Env`. `continuing_episode` has no effect: a timeout always truncates.

        Raises:
            ConfigError: unknown map or option, or a value out of range.
        """
        settings = {"max_cycles": max_cycles, "render_mode": render_mode, "illegal_actions": illegal_actions}
        EzPickle.__init__(self, map_name, **settings, **options)
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(f"skirmish: render_mode must be one of human, ansi; got '{render_mode}'.")
        if illegal_actions not in ILLEGAL:
            raise ConfigError(
                f"skirmish: illegal_actions must be one of refuse, stop; got '{illegal_actions}'."
            )
        if max_cycles < 1:
            raise ConfigError(f"skirmish: max_cycles must be at least 1; got {max_cycles}.")
        self.max_cycles, self.render_mode = max_cycles, render_mode
        self._stops_illegal = illegal_actions == "stop"
        self._options = {**options, "map_name": map_name, "continuing_episode": True}
        self._env = StarCraft2Env(**self._options)
        self.possible_agents = self._name_agents()
        self.agents: list[str] = []
        self._index = {name: i for i, name in enumerate(self.possible_agents)}
        self._steps = 0
        self.observation_spaces = {name: self._observation_space() for name in self.possible_agents}
        n_actions = self._env.n_actions - 1
        self.action_spaces = {name: spaces.Discrete(n_actions) for name in self.possible_agents}
        state_dim = len(self._env.feature_names().state)
        self.state_space = spaces.Box(-1.0, self._state_bound(), (state_dim,), np.float32)

    def _name_agents(self) -> list[str]:
        types = self._env.ally_types
        return [f"{kind}_{types[:i].count(kind)}" for i, kind in enumerate(types)]

    def _observation_space(self) -> spaces.Dict:
        size = len(self._env.feature_names().obs[0])
        return spaces.Dict(
            {
                "observation": spaces.Box(-1.0, 1.0, (size,), np.float32),
                "action_mask": spaces.Box(0, 1, (self._env.n_actions - 1,), np.int8),
            }
        )

    def _state_bound(self) -> float:
        """Largest entry of a state: a cooldown just begun may exceed its scale (smac.md 5)."""
        most = 1.0
        for name in set(self._env.ally_types):
            unit = unit_types(self._env.profile)[name]
            if unit["weapon"] is not None and unit["state_cooldown_scale"]:
                loops = unit["weapon"]["period"] * LOOPS_PER_SECOND + LONGEST_DELAY
                most = max(most, loops / unit["state_cooldown_scale"])
        return most

    def observation_space(self, agent: str) -> spaces.Dict:
        """The space of one agent's observations, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """The space of one agent's actions, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Starts the next episode.

        Args:
            seed: starts over with this seed, so that the same seed gives the same episodes; None goes on.
            options: accepted as the API asks, without meaning here.

        Returns:
            Observations and infos by agent.
        """
        if seed is not None:
            self._env = StarCraft2Env(**{**self._options, "seed": int(seed)})
        self._env.reset()
        self._steps = 0
        self.agents = list(self.possible_agents)
        return self._observe(), {name: {} for name in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Plays one action per living agent.

        Args:
            actions: by agent name.

        Returns:
            Observations, rewards, terminations, truncations and infos of the agents that were alive before.
            Infos hold battle_won, dead_allies, dead_enemies, and illegal_action where one became a stop.

        Raises:
            IllegalAction: an action is missing, not available, or for an agent that is not there; nothing has
                changed.
            EpisodeNotRunning: before the first reset, or after the end of the episode.
        """
        if not self.agents:
            raise EpisodeNotRunning("skirmish: step must follow a reset; got no agents left. Call reset.")
        chosen, stopped = self._choose(actions)
        reward, over, outcome = self._env.step(chosen)
        self._steps += 1
        timed_out = outcome.pop("episode_limit", False)
        decided = over and not timed_out
        cut = timed_out or self._steps >= self.max_cycles
        dead = {name for name in self.agents if self._env.get_unit_by_id(self._index[name]).health == 0}
        terminated = {name: decided or name in dead for name in self.agents}
        truncated = {name: bool(cut) and not terminated[name] for name in self.agents}
        rewards = dict.fromkeys(self.agents, reward)
        infos: Infos = {name: dict(outcome) for name in self.agents}
        for name in stopped:
            infos[name]["illegal_action"] = True
        seen = self._observe()
        self.agents = [name for name in self.agents if not (terminated[name] or truncated[name])]
        return seen, rewards, terminated, truncated, infos

    def _choose(self, actions: Mapping[str, int]) -> tuple[list[int], list[str]]:
        """SMAC's actions of all agents, and the names of those that wanted something illegal and stop."""
        strangers = [name for name in actions if name not in self.agents and actions[name] is not None]
        missing = [name for name in self.agents if name not in actions]
        if strangers or missing:
            raise IllegalAction(
                f"skirmish: actions must be those of the agents {self.agents}; got none for {missing} and "
                f"some for {strangers}."
            )
        chosen, stopped = [0] * self._env.n_agents, []
        for name in self.agents:
            mask = self._mask(self._index[name])
            action = actions[name]
            if action not in range(len(mask)) or not (mask[int(action)] or self._env.heuristic_ai):
                if not self._stops_illegal:
                    raise IllegalAction(
                        f"skirmish: action of agent {name} must be one of {np.flatnonzero(mask).tolist()}; "
                        f"got {action}. Choose where action_mask is 1."
                    )
                stopped.append(name)
                action = STOP
            chosen[self._index[name]] = int(action) + 1
        return chosen, stopped

    def _mask(self, index: int) -> NDArray[np.int8]:
        return np.array(self._env.get_avail_agent_actions(index)[1:], dtype=np.int8)

    def _observe(self) -> dict[str, Observation]:
        places = {name: self._index[name] for name in self.agents}
        return {
            name: {"observation": self._env.get_obs_agent(i), "action_mask": self._mask(i)}
            for name, i in places.items()
        }

    def state(self) -> NDArray[np.float32]:
        """State (S,) float32 of the whole battle."""
        return self._env.get_state()

    def render(self) -> str | None:
        """The battle as text: returned (`ansi`), printed (`human`), or nothing without a render_mode."""
        return None if self.render_mode is None else self._env.render(self.render_mode)

    def close(self) -> None:
        """Nothing to release."""
        self._env.close()


def parallel_env(map_name: str = "8m", **options: Any) -> SkirmishParallelEnv:
    """The parallel environment; arguments as `SkirmishParallelEnv`."""
    return SkirmishParallelEnv(map_name, **options)


def env(map_name: str = "8m", **options: Any) -> AECEnv[str, Observation, int | None]:
    """The same battles one agent at a time (PettingZoo's AEC API); arguments as `SkirmishParallelEnv`."""
    return wrappers.OrderEnforcingWrapper(parallel_to_aec(SkirmishParallelEnv(map_name, **options)))
