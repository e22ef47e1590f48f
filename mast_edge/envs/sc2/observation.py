"""What an observation looks like in the API's messages."""

from mast_edge.envs.sc2.battle import ApiBattle
from mast_edge.envs.sc2.messages import Messages

AGENTS, ENEMIES = 1, 2
"""Owners of units."""


class ObservationWriter:
    """Keeps one response up to date instead of building thousands: most of a unit never changes."""

    def __init__(self, messages: Messages, battle: ApiBattle) -> None:
        """Nothing is written before `write`."""
        self._messages, self._battle = messages, battle
        self.response = messages.sc2api.Response()
        self._episode = -1
        self._listed: list[int] = []

    def write(self) -> None:
        """Brings `response.observation` to the present moment. The dead are left out."""
        battle = self._battle
        observation = self.response.observation.observation
        observation.game_loop = battle.game_loop
        listed = observation.raw_data.units
        if battle.episode != self._episode:
            self._list_all()
        alive = battle.alive.tolist()
        for place in range(len(self._listed) - 1, -1, -1):
            if not alive[self._listed[place]]:
                del listed[place]
                del self._listed[place]
        rows = battle.units.tolist()
        for number, unit in zip(self._listed, listed, strict=True):
            x, y, health, shield, energy, cooldown = rows[number]
            unit.pos.x = x
            unit.pos.y = y
            unit.health = health
            if unit.shield_max:
                unit.shield = shield
            if unit.energy_max:
                unit.energy = energy
            unit.weapon_cooldown = cooldown

    def _list_all(self) -> None:
        battle, raw = self._battle, self._messages.raw
        observation = self.response.observation.observation
        observation.player_common.player_id = AGENTS
        listed = observation.raw_data.units
        del listed[:]
        self._episode, self._listed = battle.episode, list(range(len(battle.unit_names)))
        for number, name in enumerate(battle.unit_names):
            facts = battle.facts[name]
            own = number < battle.n_agents
            unit = listed.add()
            unit.display_type = raw.Visible
            unit.alliance = raw.Self if own else raw.Enemy
            unit.tag = battle.tag(number)
            unit.unit_type = battle.unit_ids[number]
            unit.owner = AGENTS if own else ENEMIES
            unit.pos.z = 0.0
            unit.facing = 0.0
            unit.radius = facts["radius"]
            unit.build_progress = 1.0
            unit.is_flying = facts["plane"] == "air"
            unit.health_max = facts["hp"]
            if facts["shield"]:
                unit.shield_max = facts["shield"]
            if "energy" in facts:
                unit.energy_max = facts["energy"]["max"]
