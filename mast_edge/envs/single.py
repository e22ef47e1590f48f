"""SMAC's environment class over the embedded simulator: code written for `smac.env.StarCraft2Env` runs."""

import sys
from collections.abc import MutableSequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.options import SmacOptions
from mast_edge.envs.single_facts import SmacFacts
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.smac_units import SmacUnit, smac_unit, text_map
from mast_edge.errors import ConfigError, EpisodeNotRunning, IllegalAction

Actions = Any
"""Something with one whole number per agent: list, numpy array, torch tensor."""


class StarCraft2Env(SmacFacts):
    """One battle after another on one map. Names, arguments and meanings are SMAC's.

    Not offered: what SMAC's class uses to talk to the game (`get_agent_action`, `get_agent_action_heuristic`,
    `reward_battle`, `init_units`, `update_units`).

    Attributes:
        battles_won, battles_game, timeouts, force_restarts: counts since the environment was made.
        max_reward: divisor of the reward scale, fixed from the start.
        last_action: (n_agents, n_actions) float64, one-hot; zeros after a reset.
        reward: of the last step.

    Source: smac.md 1 to 7.
    Deviation: float32 throughout, `win_rate` is 0.0 before the first battle has ended, a second reset in the
        middle of an episode leaves max_reward alone, and a step after the end is refused.
    """

    def __init__(
        self,
        map_name: str = "8m",
        step_mul: int | None = 8,
        move_amount: float = 2,
        difficulty: str = "7",
        game_version: str | None = None,
        seed: int | None = None,
        continuing_episode: bool = False,
        obs_all_health: bool = True,
        obs_own_health: bool = True,
        obs_last_action: bool = False,
        obs_pathing_grid: bool = False,
        obs_terrain_height: bool = False,
        obs_instead_of_state: bool = False,
        obs_timestep_number: bool = False,
        state_last_action: bool = True,
        state_timestep_number: bool = False,
        reward_sparse: bool = False,
        reward_only_positive: bool = True,
        reward_death_value: float = 10,
        reward_win: float = 200,
        reward_defeat: float = 0,
        reward_negative_scale: float = 0.5,
        reward_scale: bool = True,
        reward_scale_rate: float = 20,
        replay_dir: str = "",
        replay_prefix: str = "",
        window_size_x: int = 1920,
        window_size_y: int = 1200,
        heuristic_ai: bool = False,
        heuristic_rest: bool = False,
        debug: bool = False,
        *,
        profile: str = "liberty",
        spawn_jitter: bool = True,
        **unknown: object,
    ) -> None:
        """Makes the environment; nothing can be played before `reset`.

        Args:
            map_name: a SMAC map that the simulator plays.
            step_mul: game loops per step; None means the maps' own 8.
            seed: 0 <= seed < 2**64; None draws one, which `seed()` tells.
            profile: unit data, `liberty` or `void`.
            unknown: refused; the nearest option is named.

        The other arguments are described in `SmacOptions`.

        Raises:
            ConfigError: unknown map, option or profile, or a value out of range.
        """
        given = dict(locals())
        options = {field.name: given[field.name] for field in fields(SmacOptions)}
        options["step_mul"] = 8 if step_mul is None else step_mul
        super().__init__(map_name, profile, SmacOptions.of(options | unknown))
        self._seed = seed
        self._battle = self._new_battle()
        self.max_reward = self._battle.max_reward
        self._begun = self._over = False
        self._episode_count = self._episode_steps = self._total_steps = 0
        self.battles_won = self.battles_game = self.timeouts = self.force_restarts = 0
        self.reward = 0.0
        self.last_stats = None
        self.last_action = np.zeros((self.n_agents, self.n_actions))
        self._played: list[list[int]] = []
        self._sides: tuple[dict[int, SmacUnit], dict[int, SmacUnit]] | None = None

    def _new_battle(self) -> Skirmish:
        options = {field.name: getattr(self.options, field.name) for field in fields(SmacOptions)}
        battle = Skirmish(self.map_name, seed=self._seed, profile=self.profile, **options)
        self._seed = battle.seed
        return battle

    # --- playing ---

    def reset(self) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """Starts the next episode.

        Returns:
            All observations, as `get_obs`, and the state.
        """
        self._battle.reset()
        self._begun, self._over, self._sides = True, False, None
        self._episode_steps = 0
        self._played = []
        self.last_action = np.zeros((self.n_agents, self.n_actions))
        return self.get_obs(), self.get_state()

    def step(self, actions: Actions) -> tuple[float, bool, dict[str, Any]]:
        """Plays one action per agent.

        Args:
            actions: n_agents whole numbers: list, array or tensor. With `heuristic_ai` they need not be
                available, and are overwritten by what the heuristic did.

        Returns:
            reward; terminated; info with battle_won, dead_allies, dead_enemies, and episode_limit when the
            limit ended the episode and `continuing_episode` is set.

        Raises:
            IllegalAction: (an AssertionError) an action is not available; nothing has changed.
            EpisodeNotRunning: before the first reset, or after the end of the episode.
            TypeError: with `heuristic_ai`, actions that cannot be written to.
        """
        if not self._begun or self._over:
            raise EpisodeNotRunning(
                f"skirmish: step must follow a reset; got an environment that "
                f"{'has ended its episode' if self._over else 'has not been reset'}. Call reset."
            )
        chosen = self._checked(actions)
        if self.heuristic_ai:
            actions[0] = actions[0]    # what cannot be written to is refused before anything is played
        outcome = self._battle.step(np.array([chosen], dtype=np.int64))
        if self.heuristic_ai:
            self._overwrite(actions)
        self._played.append(chosen)
        self._sides = None
        self.last_action = np.eye(self.n_actions)[chosen]
        self._total_steps += 1
        self._episode_steps += 1
        info: dict[str, Any] = {
            "battle_won": bool(outcome.battle_won[0]),
            "dead_allies": int(outcome.dead_allies[0]),
            "dead_enemies": int(outcome.dead_enemies[0]),
        }
        if outcome.timed_out[0] and self.continuing_episode:
            info["episode_limit"] = True
        if outcome.terminated[0]:
            self._over = True
            self._episode_count += 1
            self.battles_game += 1
            self.battles_won += info["battle_won"]
            self.timeouts += int(outcome.timed_out[0])
        self.reward = float(outcome.reward[0])
        return self.reward, self._over, info

    def _checked(self, actions: Actions) -> list[int]:
        chosen: list[int] = []
        for agent, action in enumerate(actions):
            try:
                number = int(action)
            except (TypeError, ValueError, OverflowError):
                number = -1
            if agent < self.n_agents and not (self._may(agent, number) and number == action):
                raise IllegalAction(self._refusal(agent, number if number == action else action))
            chosen.append(number)
        if len(chosen) != self.n_agents:
            raise IllegalAction(
                f"skirmish: actions must be one per agent ({self.n_agents}); got {len(chosen)}."
            )
        return chosen

    def _may(self, agent: int, action: int) -> bool:
        within = 0 <= action < self.n_actions
        return within and (self.heuristic_ai or bool(self._battle.avail[0, agent, action]))

    def _refusal(self, agent: int, action: object) -> str:
        allowed = [number for number in range(self.n_actions) if self._may(agent, number)]
        return (
            f"skirmish: action of agent {agent} must be one of {allowed}; got {action}. "
            "Choose where get_avail_agent_actions is 1."
        )

    def _overwrite(self, actions: MutableSequence[int]) -> None:
        for agent, action in enumerate(self._battle.played[0].tolist()):
            actions[agent] = action

    def full_restart(self) -> None:
        """Makes the battles anew from `_seed`, as if the game had been started again, and counts it."""
        self._battle = self._new_battle()
        self._begun = self._over = False
        self._sides = None
        self.force_restarts += 1

    # --- what agents see and may do ---

    def _require_begun(self, call: str) -> None:
        if not self._begun:
            raise EpisodeNotRunning(f"skirmish: {call} must follow a reset; got none yet. Call reset.")

    def get_obs(self) -> list[NDArray[np.float32]]:
        """One observation (O,) float32 per agent; the caller's to keep."""
        self._require_begun("get_obs")
        return list(self._battle.obs[0].copy())

    def get_obs_agent(self, agent_id: int) -> NDArray[np.float32]:
        """Observation (O,) float32 of one agent."""
        self._require_begun("get_obs_agent")
        return np.array(self._battle.obs[0, agent_id])

    def get_state(self) -> NDArray[np.float32]:
        """State (S,) float32."""
        self._require_begun("get_state")
        return np.array(self._battle.state[0])

    def get_avail_actions(self) -> list[list[int]]:
        """Per agent, 1 for every action that may be taken."""
        self._require_begun("get_avail_actions")
        rows: list[list[int]] = self._battle.avail[0].tolist()
        return rows

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        """One agent's row of `get_avail_actions`."""
        self._require_begun("get_avail_agent_actions")
        row: list[int] = self._battle.avail[0, agent_id].tolist()
        return row

    def get_visibility_matrix(self) -> NDArray[np.bool_]:
        """(n_agents, n_agents + n_enemies) bool: which units each agent sees, never itself."""
        self._require_begun("get_visibility_matrix")
        return np.asarray(self._battle.visibility()[0])

    def get_state_dict(self) -> dict[str, Any]:
        """The parts of the state as float64: allies (n_agents, entries), enemies (n_enemies, entries), and as
        the options say last_action (n_agents, n_actions) and timestep."""
        self._require_begun("get_state_dict")
        parts: dict[str, Any] = {
            "allies": np.array([self.state_row(unit, ally=True) for unit in self.agents.values()]),
            "enemies": np.array([self.state_row(unit, ally=False) for unit in self.enemies.values()]),
        }
        if self.state_last_action:
            parts["last_action"] = self.last_action
        if self.state_timestep_number:
            parts["timestep"] = self._episode_steps / self.episode_limit
        return parts

    # --- units and counts ---

    def _units(self) -> tuple[dict[int, SmacUnit], dict[int, SmacUnit]]:
        if self._sides is None and self._begun:
            names = [*self._smac.ally_types, *self._smac.enemy_types]
            rows, types = self._battle.units()[0], self.get_unit_types()
            units = [
                smac_unit(tag, row, name, types[tag], 1 if tag < self.n_agents else 2, self._unit_data[name])
                for tag, (row, name) in enumerate(zip(rows, names, strict=True))
            ]
            self._sides = dict(enumerate(units[: self.n_agents])), dict(enumerate(units[self.n_agents :]))
        return self._sides or ({}, {})

    @property
    def agents(self) -> dict[int, SmacUnit]:
        """Agents by index, as they are now; empty before the first reset."""
        return self._units()[0]

    @property
    def enemies(self) -> dict[int, SmacUnit]:
        """Enemies by index, as they are now; empty before the first reset."""
        return self._units()[1]

    @property
    def death_tracker_ally(self) -> NDArray[np.float64]:
        """(n_agents,) 1 for agents that have died in this episode."""
        return np.array([float(unit.health == 0) for unit in self.agents.values()] or [0.0] * self.n_agents)

    @property
    def death_tracker_enemy(self) -> NDArray[np.float64]:
        """(n_enemies,) 1 for enemies that have died in this episode."""
        return np.array([float(unit.health == 0) for unit in self.enemies.values()] or [0.0] * self.n_enemies)

    def get_unit_by_id(self, a_id: int) -> SmacUnit:
        """Agent `a_id` as it is now."""
        return self.agents[a_id]

    def only_medivac_left(self, ally: bool) -> bool:
        """On MMM maps, whether a side has lost by having medivacs only; of the enemies' exactly one."""
        if self.map_type != "MMM":
            return False
        side = self.agents if ally else self.enemies
        living = [unit.type_name for unit in side.values() if unit.health > 0]
        return all(name == "medivac" for name in living) if ally else living == ["medivac"]

    def get_stats(self) -> dict[str, float]:
        """Counts since the environment was made. `battles_draw` counts timeouts, as in SMAC."""
        return {
            "battles_won": self.battles_won,
            "battles_game": self.battles_game,
            "battles_draw": self.timeouts,
            "win_rate": self.battles_won / self.battles_game if self.battles_game else 0.0,
            "timeouts": self.timeouts,
            "restarts": self.force_restarts,
        }

    def seed(self) -> int | None:
        """The seed in use."""
        return self._seed

    @property
    def episode_actions(self) -> NDArray[np.int64]:
        """(steps, n_agents): what the caller sent in the present episode; with map, options, seed and
        `episode_number` it is all that a replay needs."""
        return np.array(self._played, dtype=np.int64).reshape(-1, self.n_agents)

    @property
    def episode_number(self) -> int:
        """Number of the present episode since the seed, from 0."""
        return int(self._battle.stats()["episodes"][0]) - 1

    def render(self, mode: str = "human") -> str | None:
        """Draws the battle as text.

        Args:
            mode: `human` prints it, `ansi` returns it.

        Raises:
            ConfigError: another mode.
        """
        if mode not in ("human", "ansi"):
            raise ConfigError(f"skirmish: render mode must be one of human, ansi; got '{mode}'.")
        self._require_begun("render")
        picture = text_map(self._battle.units()[0], self.n_agents, self._smac.walkable)
        if mode == "ansi":
            return picture
        sys.stdout.write(picture + "\n")
        return None

    def close(self) -> None:
        """Nothing to release: the battle lives in memory."""
        self._battle.close()
