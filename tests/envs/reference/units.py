"""Unit types and units as smac.md 8 and 9.3 describe them, in loops and multiples of 1/4096."""

import json
import math
from importlib import resources

GRAIN = 4096
LOOPS = 16    # per game second


def grain(value):
    """Nearest multiple of 1/4096, half to even. Source: smac.md 9.1."""
    return round(value * GRAIN) / GRAIN


def data_file(name):
    return json.loads((resources.files("mast_edge.envs") / "data" / name).read_text(encoding="utf-8"))


COMMON = data_file("units.json")["common"]
SHIELD_REGEN = grain(COMMON["shield_regen"] / LOOPS)
SHIELD_DELAY = round(COMMON["shield_regen_delay"] * LOOPS)
MIN_DAMAGE = COMMON["min_damage"]
JITTER_FROM, JITTER_TO = COMMON["period_jitter_loops"]


class Weapon:
    def __init__(self, data):
        self.kind, self.targets = data["kind"], data["targets"]
        self.damage, self.bonus, self.hits = data["damage"], data["bonus"], data["hits"]
        self.range, self.scan, self.slop = data["range"], data["scan"], data["slop"]
        self.period = grain(data["period"] * LOOPS)
        self.windup = round(data["damage_point"] * LOOPS)
        self.backswing = round(data["backswing"] * LOOPS)
        self.hit_delay = round(data.get("hit_delay", 0) * LOOPS)
        self.missile_speed = data.get("missile_speed", math.inf) / LOOPS
        self.beam_delay = round(data.get("beam_delay", 0) * LOOPS)
        self.beam_half_length = data.get("beam_half_length")
        self.beam_half_width = data.get("beam_half_width")
        self.blast_radius = data.get("blast_radius")
        self.blast_on_death = data.get("blast_on_death", False)

    def can_hit(self, other):
        return other.kind.plane in self.targets

    def damage_to(self, other):
        return self.damage + sum(
            extra for attribute, extra in self.bonus.items() if attribute in other.kind.attributes
        )


class Heal:
    def __init__(self, data):
        self.give = grain(data["rate"] / LOOPS)
        self.energy_per_hp = data["energy_per_hp"]
        self.price = grain(data["energy_per_hp"] * (data["rate"] / LOOPS))    # of one full loop
        self.range, self.scan = data["range"], data["autocast_range"]
        self.min_energy = data["autocast_min_energy"]


class Kind:
    def __init__(self, name, data):
        self.name = name
        self.health_max, self.shield_max, self.armor = data["hp"], data["shield"], data["armor"]
        energy = data.get("energy", {"start": 0, "max": 0, "regen": 0})
        self.energy_start, self.energy_max = energy["start"], energy["max"]
        self.energy_regen = grain(energy["regen"] / LOOPS)
        self.life_regen = grain(data["life_regen"] / LOOPS)
        self.speed = grain(data["speed"] / LOOPS)
        self.radius, self.separation = data["radius"], data["separation"]
        self.plane, self.group, self.attributes = data["plane"], data["collision"], data["attributes"]
        self.cliff_walk = data.get("cliff_walk", False)
        self.structure = "structure" in self.attributes
        self.biological = "biological" in self.attributes
        self.weapon = Weapon(data["weapon"]) if data["weapon"] else None
        self.heal = Heal(data["heal"]) if "heal" in data else None


class Unit:
    """One unit; `index` counts agents first, then enemies, once the agents are sorted."""

    def __init__(self, kind, is_agent):
        self.kind, self.is_agent, self.index = kind, is_agent, None
        self.x = self.y = 0.0
        self.health, self.shield = float(kind.health_max), float(kind.shield_max)
        self.energy, self.cooldown = float(kind.energy_start), 0.0
        self.alive, self.damaged_loop, self.hurt_by = True, -math.inf, None
        self.order, self.target, self.goal, self.goal_unit = "stand", None, None, None
        self.windup, self.backswing, self.pending = None, 0, None
        self.fired_suicide = False
        self.goal_distance, self.stalled = math.inf, 0    # of a move order
        self.n_blocked, self.sidestep_left, self.sidestep_side = 0, 0, 0

    @property
    def target_index(self):
        return -1 if self.target is None else self.target.index

    @property
    def hurt(self):
        return self.health < self.kind.health_max

    @property
    def cell(self):
        return math.floor(self.x), math.floor(self.y)

    def restart_counters(self):
        self.stalled, self.goal_distance = 0, math.inf
        self.n_blocked = self.sidestep_left = 0

    def call_off(self):
        """The attack that winds up does not happen. Source: smac.md 9.5."""
        if self.windup is not None:
            self.windup, self.cooldown = None, 0.0

    def end_order(self):
        """The order is finished or impossible: the unit stands."""
        self.call_off()
        self.order, self.target, self.goal = "stand", None, None

    def take_damage(self, damage, source, loop):
        """Source: smac.md 9.5."""
        absorbed = min(self.shield, damage)
        self.shield -= absorbed
        if damage > absorbed:
            self.health -= max(damage - absorbed - self.kind.armor, MIN_DAMAGE)
        self.damaged_loop = loop
        self.hurt_by = self.hurt_by or source

    def die(self):
        self.alive = False
        self.health = self.shield = self.energy = self.cooldown = 0.0
        self.end_order()
        self.goal_unit, self.backswing = None, 0
        if self.pending and self.pending.needs_source:
            self.pending = None


def squared_distance(a, b):
    dx, dy = b.x - a.x, b.y - a.y
    return dx * dx + dy * dy


def radii(a, b):
    return a.kind.radius + b.kind.radius


def edge_distance(a, b):
    return math.sqrt(squared_distance(a, b)) - radii(a, b)


def within(a, b, reach):
    limit = reach + radii(a, b)
    return squared_distance(a, b) <= limit * limit
