"""Options of an environment, with SMAC's names and defaults."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mast_edge.errors import ConfigError
from mast_edge.registry import nearest

MOST_STEP_MUL = 10_000
"""A step is played in one go, and must end within a moment."""


@dataclass(frozen=True, slots=True)
class SmacOptions:
    """Options besides map, seed and number of environments. Defaults are SMAC's.

    Attributes:
        step_mul: game loops per environment step, 1 to 10,000.
        move_amount: length of a movement order in map units, > 0.
        difficulty: accepted, no effect (the maps use no melee AI).
        continuing_episode: accepted; it only asks SMAC to announce timeouts, `Step.timed_out` always does.
        obs_all_health: health and shield of visible units in obs; forces `obs_own_health`.
        obs_own_health: own health and shield in obs.
        obs_last_action: last action one-hot of visible allies in obs.
        obs_pathing_grid, obs_terrain_height: extra movement features.
        obs_instead_of_state: the state is all observations, concatenated.
        obs_timestep_number, state_timestep_number: step / limit is appended.
        state_last_action: last actions of all agents in the state.
        reward_sparse: 1, -1 or 0 at the end and nothing before.
        reward_only_positive: own losses do not count.
        reward_death_value, reward_win, reward_defeat, reward_negative_scale: see smac.md 6.
        reward_scale, reward_scale_rate: divide rewards by max_reward / reward_scale_rate.
        heuristic_ai: SMAC's built-in heuristic plays in place of the caller (smac.md 7).
        heuristic_rest: it keeps to the available actions, and walks toward a target out of reach.
        spawn_jitter: False makes every episode start alike.
        game_version, debug, replay_dir, replay_prefix, window_size_x, window_size_y: accepted, ignored.

    Source: smac.md 1.
    """

    step_mul: int = 8
    move_amount: float = 2.0
    difficulty: str = "7"
    continuing_episode: bool = False
    obs_all_health: bool = True
    obs_own_health: bool = True
    obs_last_action: bool = False
    obs_pathing_grid: bool = False
    obs_terrain_height: bool = False
    obs_instead_of_state: bool = False
    obs_timestep_number: bool = False
    state_timestep_number: bool = False
    state_last_action: bool = True
    reward_sparse: bool = False
    reward_only_positive: bool = True
    reward_death_value: float = 10.0
    reward_win: float = 200.0
    reward_defeat: float = 0.0
    reward_negative_scale: float = 0.5
    reward_scale: bool = True
    reward_scale_rate: float = 20.0
    heuristic_ai: bool = False
    heuristic_rest: bool = False
    spawn_jitter: bool = True
    game_version: str | None = None
    debug: bool = False
    replay_dir: str = ""
    replay_prefix: str = ""
    window_size_x: int = 1920
    window_size_y: int = 1200

    def __post_init__(self) -> None:
        """Checks types and ranges.

        Raises:
            ConfigError: a value has the wrong type or is out of range.
        """
        for field in dataclasses.fields(self):
            _check_type(field.name, getattr(self, field.name), field.default)
        for name in ("step_mul", "move_amount", "reward_scale_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"skirmish: option {name} must be positive; got {getattr(self, name)}.")
        if self.step_mul > MOST_STEP_MUL:
            raise ConfigError(
                f"skirmish: option step_mul must be at most {MOST_STEP_MUL}; got {self.step_mul}."
            )

    @classmethod
    def of(cls, options: Mapping[str, object]) -> "SmacOptions":
        """Options by name.

        Raises:
            ConfigError: a name is unknown (the nearest valid one is named), or a value is not valid.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigError(
                    f"skirmish: option must be one of {', '.join(known)}; got '{name}'.{nearest(name, known)}"
                )
        unchecked: dict[str, Any] = dict(options)
        return cls(**unchecked)


def _check_type(name: str, value: object, default: object) -> None:
    if isinstance(default, bool):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif isinstance(default, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
        wanted = "a finite number"
    elif default is None:
        fits, wanted = value is None or isinstance(value, str), "text or null"
    else:
        fits, wanted = isinstance(value, str), "text"
    if not fits:
        raise ConfigError(f"skirmish: option {name} must be {wanted}; got {value!r}.")
