"""What every entry of obs and state means, by name."""

from dataclasses import dataclass

from mast_edge.envs.maps import SmacMap, type_order
from mast_edge.envs.options import SmacOptions

DIRECTIONS = ("north", "south", "east", "west")
_AROUND = (*DIRECTIONS, "northeast", "southwest", "southeast", "northwest")


@dataclass(frozen=True, slots=True)
class FeatureNames:
    """Names of all entries, in the order and number in which the environment returns them.

    Attributes:
        obs: per agent, the names of its observation.
        state: the names of the state.
    """

    obs: tuple[tuple[str, ...], ...]
    state: tuple[str, ...]


class Features:
    """The blocks that obs and state of a map are made of.

    Attributes:
        move, own: names of an agent's first and last block.
        enemy, ally: names in one row of the blocks between them, without the unit's number.
        agent_state, enemy_state: names in one row of the state.
        ally_types, enemy_types: unit types in the order of each side's type one-hot.

    Source: smac.md 4, 5.
    """

    def __init__(self, smac: SmacMap, options: SmacOptions) -> None:
        """Lays out the blocks of `smac` under `options`."""
        self._smac, self._options = smac, options
        self.n_actions = 6 + len(smac.enemy_types)
        self.ally_types, self.enemy_types = type_order(smac, agents=True), type_order(smac, agents=False)
        ally_types = [f"type_{name}" for name in self.ally_types]
        enemy_types = [f"type_{name}" for name in self.enemy_types]
        ally_shield = ["shield"] * (smac.ally_race == "P")
        enemy_shield = ["shield"] * (smac.enemy_race == "P")
        place = ["distance", "rel_x", "rel_y"]
        own_health = options.obs_own_health or options.obs_all_health
        last_action = [f"last_action_{action}" for action in range(self.n_actions)]
        self.move = [f"can_move_{way}" for way in DIRECTIONS]
        self.move += [f"walkable_{way}" for way in _AROUND] * options.obs_pathing_grid
        self.move += [f"height_{way}" for way in (*_AROUND, "here")] * options.obs_terrain_height
        self.enemy = ["available", *place, *["health", *enemy_shield] * options.obs_all_health, *enemy_types]
        self.ally = ["visible", *place, *["health", *ally_shield] * options.obs_all_health, *ally_types]
        self.ally += last_action * options.obs_last_action
        # SMAC declares a slot for the time, leaves it 0 and appends another (smac.md 4).
        self.own = [*["health", *ally_shield] * own_health, *ally_types]
        self.own += ["zero"] * options.obs_timestep_number
        self.agent_state = ["health", "cooldown", "rel_x", "rel_y", *ally_shield, *ally_types]
        self.enemy_state = ["health", "rel_x", "rel_y", *enemy_shield, *enemy_types]

    def names(self) -> FeatureNames:
        """The names of all entries."""
        obs = tuple(tuple(self._obs(agent)) for agent in range(len(self._smac.ally_types)))
        if self._options.obs_instead_of_state:
            seen = (f"agent_{i}_sees_{name}" for i, row in enumerate(obs) for name in row)
            return FeatureNames(obs, tuple(seen))
        return FeatureNames(obs, tuple(self._state()))

    def _heals(self, agent: int) -> bool:
        return self._smac.map_type == "MMM" and self._smac.ally_types[agent] == "medivac"

    def _obs(self, agent: int) -> list[str]:
        names = list(self.move)
        for k in range(len(self._smac.enemy_types)):
            row = [f"enemy_{k}_{name}" for name in self.enemy]
            # A medivac's row of enemy k begins with whether it may heal agent k (smac.md 4).
            row[0] = f"can_heal_ally_{k}" if self._heals(agent) else f"can_attack_enemy_{k}"
            names += row
        for j in range(len(self._smac.ally_types)):
            names += [f"ally_{j}_{name}" for name in self.ally] * (j != agent)
        names += [f"own_{name}" for name in self.own]
        return names + ["timestep"] * self._options.obs_timestep_number

    def _state(self) -> list[str]:
        names = []
        for i in range(len(self._smac.ally_types)):
            row = [f"agent_{i}_{name}" for name in self.agent_state]
            row[1] = f"agent_{i}_energy" if self._heals(i) else row[1]
            names += row
        for k in range(len(self._smac.enemy_types)):
            names += [f"enemy_{k}_{name}" for name in self.enemy_state]
        if self._options.state_last_action:
            agents = range(len(self._smac.ally_types))
            names += [f"agent_{i}_last_action_{action}" for i in agents for action in range(self.n_actions)]
        return names + ["timestep"] * self._options.state_timestep_number
