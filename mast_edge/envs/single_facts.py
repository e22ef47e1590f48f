"""What a SMAC environment says about itself apart from any battle: sizes, ranges, types, walls."""

import enum
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mast_edge.envs.features import FeatureNames, Features
from mast_edge.envs.maps import MAP_SIZE, env_spec, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.smac_units import SmacUnit, agent_type_ids, enemy_type_ids
from mast_edge.envs.units import unit_types

SIGHT_RANGE, SHOOT_RANGE, MEDIVAC_ENERGY = 9, 6, 200


class Direction(enum.IntEnum):
    """Ways to walk, as SMAC numbers them."""

    NORTH = 0
    SOUTH = 1
    EAST = 2
    WEST = 3


class SmacFacts:
    """The part of SMAC's environment that no battle changes. Names and meanings are SMAC's.

    Attributes:
        n_agents, n_enemies, n_actions, episode_limit: sizes of the map.
        ally_types, enemy_types: name of the unit type per index.
        max_distance_x, max_distance_y, map_x, map_y: extent of the playable area and of the map.
        pathing_grid: (32, 32) bool indexed [x, y], where ground units may be.
        terrain_height: (32, 32) float64 indexed [x, y], 0 to 1.
        ally_state_attr_names, enemy_state_attr_names: entries of one unit in the state.

    Source: smac.md 3 to 5.
    """

    def __init__(self, map_name: str, profile: str, options: SmacOptions) -> None:
        """Looks the map up.

        Args:
            map_name: one of the 23 maps.
            profile: unit data, `liberty` or `void`.
            options: observation, state and reward options; each is also an attribute.

        Raises:
            ConfigError: no such map or profile; the nearest name is suggested.
        """
        smac = smac_map(map_name)
        self._smac, self._unit_data = smac, unit_types(profile)
        self.options, self.profile, self.map_name = options, profile, map_name
        self._features = Features(smac, options)
        self._spec = env_spec(map_name, options)
        self.ally_types, self.enemy_types = smac.ally_types, smac.enemy_types
        self.n_agents, self.n_enemies = len(smac.ally_types), len(smac.enemy_types)
        self.episode_limit, self.map_type, self.unit_type_bits = smac.limit, smac.map_type, smac.type_bits
        self._agent_race, self._bot_race = smac.ally_race, smac.enemy_race
        self.shield_bits_ally = int(smac.ally_race == "P")
        self.shield_bits_enemy = int(smac.enemy_race == "P")
        self.n_actions_no_attack, self.n_actions_move = 6, 4
        self.n_actions = self.n_actions_no_attack + self.n_enemies
        self.n_obs_pathing, self.n_obs_height = 8, 9
        self.map_x = self.map_y = self.max_distance_x = self.max_distance_y = MAP_SIZE
        self.pathing_grid = smac.walkable.astype(np.bool_)
        self.terrain_height = smac.height / 255
        self._copy_options(options)
        self._number_types()

    def _copy_options(self, options: SmacOptions) -> None:
        self._move_amount, self._step_mul = options.move_amount, options.step_mul
        self.difficulty, self.game_version = options.difficulty, options.game_version
        self.debug = options.debug
        self.continuing_episode = options.continuing_episode
        self.obs_all_health = options.obs_all_health
        self.obs_own_health = options.obs_own_health or options.obs_all_health
        self.obs_last_action = options.obs_last_action
        self.obs_pathing_grid = options.obs_pathing_grid
        self.obs_terrain_height = options.obs_terrain_height
        self.obs_instead_of_state = options.obs_instead_of_state
        self.obs_timestep_number = options.obs_timestep_number
        self.state_last_action = options.state_last_action
        self.state_timestep_number = options.state_timestep_number
        self.reward_sparse, self.reward_only_positive = options.reward_sparse, options.reward_only_positive
        self.reward_death_value, self.reward_win = options.reward_death_value, options.reward_win
        self.reward_defeat, self.reward_negative_scale = options.reward_defeat, options.reward_negative_scale
        self.reward_scale, self.reward_scale_rate = options.reward_scale, options.reward_scale_rate
        self.heuristic_ai, self.heuristic_rest = options.heuristic_ai, options.heuristic_rest
        self.spawn_jitter = options.spawn_jitter
        self.replay_dir, self.replay_prefix = options.replay_dir, options.replay_prefix
        self.window_size = (options.window_size_x, options.window_size_y)

    def _number_types(self) -> None:
        ally_names = list(dict.fromkeys(self._smac.ally_types))
        self._agent_ids, self._enemy_ids = agent_type_ids(ally_names), enemy_type_ids(self._smac.enemy_types)
        self._min_unit_type = min(self._agent_ids.values())
        own = self._agent_ids.get
        self.marine_id, self.marauder_id = own("marine", 0), own("marauder", 0)
        self.medivac_id, self.hydralisk_id = own("medivac", 0), own("hydralisk", 0)
        self.zergling_id = own("zergling", 0)
        self.baneling_id, self.stalker_id = own("baneling", 0), own("stalker", 0)
        self.colossus_id, self.zealot_id = own("colossus", 0), own("zealot", 0)
        bits = [f"type_{bit}" for bit in range(self.unit_type_bits)]
        ally_shield, enemy_shield = ["shield"] * self.shield_bits_ally, ["shield"] * self.shield_bits_enemy
        self.ally_state_attr_names = ["health", "energy/cooldown", "rel_x", "rel_y", *ally_shield, *bits]
        self.enemy_state_attr_names = ["health", "rel_x", "rel_y", *enemy_shield, *bits]

    def feature_names(self) -> FeatureNames:
        """Names of every entry of obs (per agent) and state, as many as the arrays returned are long."""
        return self._features.names()

    def get_env_info(self) -> dict[str, Any]:
        """Sizes as SMAC declares them, and the names of one unit's entries in the state."""
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
            "agent_features": self.ally_state_attr_names,
            "enemy_features": self.enemy_state_attr_names,
        }

    def get_total_actions(self) -> int:
        """Number of actions, available or not."""
        return self.n_actions

    def get_obs_size(self) -> int:
        """Declared length of an observation: one less than returned with `obs_timestep_number`."""
        return self._spec.obs_dim - int(self.obs_timestep_number)

    def get_state_size(self) -> int:
        """Declared length of the state; with `obs_instead_of_state` that of all declared observations."""
        quirk = self.n_agents if self.obs_instead_of_state and self.obs_timestep_number else 0
        return self._spec.state_dim - quirk

    def get_obs_move_feats_size(self) -> int:
        """Length of the movement block of an observation."""
        return len(self._features.move)

    def get_obs_enemy_feats_size(self) -> tuple[int, int]:
        """Rows (enemies) and length of a row of the enemies' block."""
        return self.n_enemies, len(self._features.enemy)

    def get_obs_ally_feats_size(self) -> tuple[int, int]:
        """Rows (other agents) and length of a row of the allies' block."""
        return self.n_agents - 1, len(self._features.ally)

    def get_obs_own_feats_size(self) -> int:
        """Length of the own block, the declared slot of `obs_timestep_number` included."""
        return len(self._features.own)

    def state_row(self, unit: SmacUnit, ally: bool) -> list[float]:
        """One unit's entries of the state, zeros for a dead one. Source: smac.md 5."""
        names = self.ally_state_attr_names if ally else self.enemy_state_attr_names
        if unit.health == 0:
            return [0.0] * len(names)
        row = [unit.health / unit.health_max]
        if ally:
            heals = self.map_type == "MMM" and unit.type_name == "medivac"
            row.append((unit.energy if heals else unit.weapon_cooldown) / self.unit_max_cooldown(unit))
        row.append((unit.pos.x - self.map_x / 2) / self.max_distance_x)
        row.append((unit.pos.y - self.map_y / 2) / self.max_distance_y)
        if "shield" in names:
            row.append(unit.shield / (self.unit_max_shield(unit) or 1))
        types = self._features.ally_types if ally else self._features.enemy_types
        return row + [float(name == unit.type_name) for name in types]

    def get_ally_num_attributes(self) -> int:
        """Entries of one agent in the state."""
        return len(self.ally_state_attr_names)

    def get_enemy_num_attributes(self) -> int:
        """Entries of one enemy in the state."""
        return len(self.enemy_state_attr_names)

    def get_unit_types(self) -> list[int]:
        """Type number of every unit, agents first.

        Deviation: SMAC returns None before the first reset.
        """
        agents = [self._agent_ids[name] for name in self._smac.ally_types]
        return agents + [self._enemy_ids[name] for name in self._smac.enemy_types]

    def get_unit_type_id(self, unit: SmacUnit, ally: bool) -> int:
        """Place of the 1 in a unit's type one-hot; agents and enemies may differ (smac.md 4)."""
        names: Sequence[str] = self._features.ally_types if ally else self._features.enemy_types
        return names.index(unit.type_name)

    def unit_shoot_range(self, agent_id: int) -> int:
        """Distance up to which targets may be chosen, the same for all units."""
        return SHOOT_RANGE

    def unit_sight_range(self, agent_id: int) -> int:
        """Distance below which others are seen, the same for all units."""
        return SIGHT_RANGE

    def unit_max_cooldown(self, unit: SmacUnit) -> float:
        """What the cooldown, or a medivac's energy, is divided by in the state."""
        if unit.type_name == "medivac":
            return MEDIVAC_ENERGY
        return float(self._unit_data[unit.type_name]["state_cooldown_scale"] or 1)

    def unit_max_shield(self, unit: SmacUnit) -> float | None:
        """Full shield, None for units without."""
        return unit.shield_max or None

    @staticmethod
    def distance(x1: float, y1: float, x2: float, y2: float) -> float:
        """Distance between two points."""
        return math.hypot(x2 - x1, y2 - y1)

    def check_bounds(self, x: float, y: float) -> bool:
        """Whether a point is on the map."""
        return 0 <= x < self.map_x and 0 <= y < self.map_y

    def can_move(self, unit: SmacUnit, direction: int) -> bool:
        """Whether the mask allows a unit to walk in one of `Direction`; truncates toward zero."""
        step = self._move_amount / 2
        east = {Direction.EAST: step, Direction.WEST: -step}.get(Direction(direction), 0.0)
        north = {Direction.NORTH: step, Direction.SOUTH: -step}.get(Direction(direction), 0.0)
        x, y = int(unit.pos.x + east), int(unit.pos.y + north)
        return self.check_bounds(x, y) and bool(self.pathing_grid[x, y])

    def get_surrounding_points(self, unit: SmacUnit, include_self: bool = False) -> list[tuple[float, float]]:
        """The eight points around a unit's cell that the terrain entries look at, and its own on request."""
        x, y, m = int(unit.pos.x), int(unit.pos.y), self._move_amount
        straight = [(x, y + 2 * m), (x, y - 2 * m), (x + 2 * m, y), (x - 2 * m, y)]
        oblique = [(x + m, y + m), (x - m, y - m), (x + m, y - m), (x - m, y + m)]
        return [*straight, *oblique, *([(x, y)] if include_self else [])]

    def get_surrounding_pathing(self, unit: SmacUnit) -> list[bool]:
        """Whether the points around a unit can be walked on; True off the map."""
        points = self.get_surrounding_points(unit)
        return [not self.check_bounds(x, y) or bool(self.pathing_grid[int(x), int(y)]) for x, y in points]

    def get_surrounding_height(self, unit: SmacUnit) -> list[float]:
        """Height, 0 to 1, of the points around a unit and its own; 1 off the map."""
        points = self.get_surrounding_points(unit, include_self=True)
        return [
            float(self.terrain_height[int(x), int(y)]) if self.check_bounds(x, y) else 1.0 for x, y in points
        ]
