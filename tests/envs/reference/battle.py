"""The battle of smac.md 9 and docs/design/physics.md, phase by phase, all pairs."""

import collections
import math

from mast_edge.envs.maps import smac_map
from mast_edge.envs.units import unit_types
from tests.envs.reference import combat
from tests.envs.reference.paths import SIZE, Ground
from tests.envs.reference.philox import SIDESTEP, Draws
from tests.envs.reference.spawn import spawn
from tests.envs.reference.units import (
    GRAIN,
    SHIELD_DELAY,
    SHIELD_REGEN,
    Kind,
    grain,
    squared_distance,
    within,
)

MOVES = {2: (0, 1), 3: (0, -1), 4: (1, 0), 5: (-1, 0)}
ARRIVED, PROGRESS, PATIENCE = 1 / 16, 1 / 32, 8
N_BLOCKED, N_SIDESTEP = 4, 6
FURTHEST_PUSH = 0.25
CHOICE_INTERVAL = 16


class Reference:
    """One episode of a map; `units` lists agents first. Events that occurred are counted in `events`."""

    def __init__(
        self,
        map_name,
        seed,
        episode,
        profile="liberty",
        spawn_jitter=True,
        *,
        smac=None,
        units=None,
        step_mul=8,
        move_amount=2,
        sidestep=True,
    ):
        """`smac` and `units` (made-up maps and unit data) take the place of the files' own."""
        smac = smac or smac_map(map_name)
        self.kinds = {name: Kind(name, data) for name, data in (units or unit_types(profile)).items()}
        self.draws, self.loop = Draws(seed, episode), 0
        self.spawn_jitter, self.step_mul, self.move_amount = spawn_jitter, step_mul, move_amount
        self.sidestep, self.heals_agents = sidestep, smac.map_type == "MMM"
        self.goes_for_agents = smac.attack is not None and smac.attack["kind"] == "agents"
        self.events = collections.Counter()
        all_cells = [(x, y) for x in range(SIZE) for y in range(SIZE)]
        self.ground = Ground([cell for cell in all_cells if smac.walkable[cell]])
        self.cliff_ground = Ground([cell for cell in all_cells if smac.walkable[cell] or smac.cliff[cell]])
        self.n_agents = len(smac.ally_types)
        spawn(self, smac)

    @property
    def agents(self):
        return self.units[: self.n_agents]

    @property
    def enemies(self):
        return self.units[self.n_agents :]

    @property
    def living(self):
        return [unit for unit in self.units if unit.alive]

    @property
    def outcome(self):
        """None, "won", "lost" or "drawn". Source: smac.md 6."""
        agents, enemies = (sum(u.alive for u in side) for side in (self.agents, self.enemies))
        medics, others = [
            sum(u.alive and u.kind.name == "medivac" for u in side) for side in (self.agents, self.enemies)
        ]
        healers_left = self.heals_agents and agents == medics
        if (agents == 0 and enemies > 0) or healers_left:
            return "lost"
        if agents > 0 and (enemies == 0 or (self.heals_agents and enemies == others == 1)):
            return "won"
        return "drawn" if agents + enemies == 0 else None

    def step(self, actions):
        for unit, action in zip(self.agents, actions, strict=True):
            if unit.alive:
                self.give_order(unit, action)
        for _ in range(self.step_mul):
            self.play_loop()

    # --- orders (9.3) ---

    def give_order(self, unit, action):
        order, target, goal = "stand", None, None
        if action in MOVES:
            dx, dy = MOVES[action]
            order, goal = "move", (unit.x + self.move_amount * dx, unit.y + self.move_amount * dy)
        elif action >= 6:
            heals = self.heals_agents and unit.kind.heal is not None
            order = "heal" if heals else "attack"
            target = (self.agents if heals else self.enemies)[action - 6]
            if combat.refuses(unit, order, target):
                self.events["refused"] += 1
                return
        if order != "move" and order == unit.order and target is unit.target:
            return
        unit.call_off()
        unit.backswing = 0
        unit.restart_counters()
        unit.order, unit.target, unit.goal = order, target, goal

    # --- one loop (9.2) ---

    def play_loop(self):
        living = self.living
        for unit in living:
            unit.cooldown -= unit.cooldown > 0
            unit.windup = max(unit.windup - 1, 0) if unit.windup is not None else None
            unit.backswing = max(unit.backswing - 1, 0)
        for unit in living:
            self.choose(unit)
        for unit in living:
            combat.use_weapon(self, unit)
        for unit in living:
            combat.give_health(self, unit)
        combat.land_hits(self)
        combat.bury(self)
        self.move()
        for unit in self.living:
            self.regenerate(unit)
        self.loop += 1

    def choose(self, unit):
        """Targets, patients and goals, from the places and vitals at the start of the loop."""
        if unit.order == "attack-move" and self.goes_for_agents:
            self.choose_goal_unit(unit)
        if unit.order == "attack-move":
            if unit.kind.heal:
                combat.choose_patient(self, unit)
            else:
                combat.choose_target(self, unit)
            unit.hurt_by = None
        elif unit.order == "attack":
            combat.check_ordered_target(unit)
        elif unit.order == "heal" and not (unit.target.alive and unit.target.hurt):
            unit.end_order()

    def choose_goal_unit(self, unit):
        if self.loop % CHOICE_INTERVAL and unit.goal_unit is not None and unit.goal_unit.alive:
            return
        alive = [agent for agent in self.agents if agent.alive]
        if unit.kind.plane == "air":
            ways = [((agent.x - unit.x) ** 2 + (agent.y - unit.y) ** 2, agent.index) for agent in alive]
        else:
            ground = self.ground_of(unit)
            ways = [(ground.field(agent.cell).get(unit.cell, math.inf), agent.index) for agent in alive]
        unit.goal_unit = self.units[min(ways)[1]] if ways else None

    # --- movement (9.3, 9.8) ---

    def move(self):
        walkers = []
        for unit in self.living:
            unit.mobility, way_point = self.plan(unit)
            if way_point is None:
                unit.n_blocked = unit.sidestep_left = 0
                continue
            unit.mobility = 1.0 if unit.kind.speed > 0 else 0.5
            walkers.append((unit, self.wanted(unit, way_point), (unit.x, unit.y)))
        for unit in self.living:
            if unit.kind.structure:
                unit.mobility = 0.0
        for unit, step, _ in walkers:
            self.displace(unit, *step)
        for _ in range(2):
            self.push()
        if self.sidestep:
            for unit, step, start in walkers:
                self.count_blocked(unit, step, start)

    def plan(self, unit):
        """Mobility if it does not walk, and the point it heads for if it does."""
        target = unit.target
        if target is not None and unit.kind.heal:
            if not target.alive or within(unit, target, unit.kind.heal.range):
                return 0.5, None
            return 1.0, (target.x, target.y)
        in_range = target is not None and within(unit, target, unit.kind.weapon.range)
        fights = target is not None or unit.order == "attack-move"
        if in_range or (fights and (unit.windup is not None or unit.backswing > 0)):
            return 0.125, None
        if target is not None:
            return 0.5, self.way_to_unit(unit, target)
        if unit.order == "move":
            return 0.5, self.next_of_move(unit)
        if unit.order == "attack-move":
            return 0.5, self.next_of_attack_move(unit)
        return 0.5, None

    def way_to_unit(self, unit, other):
        if not other.alive:
            return None
        goal = (other.x, other.y)
        if unit.kind.plane == "air" or other.kind.plane == "air":
            return goal
        return self.ground_of(unit).way_point((unit.x, unit.y), goal)

    def next_of_move(self, unit):
        dx, dy = unit.goal[0] - unit.x, unit.goal[1] - unit.y
        far = math.sqrt(dx * dx + dy * dy)
        unit.stalled = unit.stalled + 1 if unit.goal_distance - far < PROGRESS else 0
        unit.goal_distance = far
        if dx * dx + dy * dy <= ARRIVED * ARRIVED or unit.stalled >= PATIENCE:
            unit.end_order()
            return None
        return unit.goal

    def next_of_attack_move(self, unit):
        if self.goes_for_agents:
            if unit.goal_unit is None or not unit.goal_unit.alive:
                return None
            unit.goal = unit.goal_unit.x, unit.goal_unit.y
        dx, dy = unit.goal[0] - unit.x, unit.goal[1] - unit.y
        if dx * dx + dy * dy <= ARRIVED * ARRIVED:
            return None
        if unit.kind.plane == "air":
            return unit.goal
        return self.ground_of(unit).way_point((unit.x, unit.y), unit.goal)

    def wanted(self, unit, way_point):
        """The step that a walker tries."""
        dx, dy = way_point[0] - unit.x, way_point[1] - unit.y
        if unit.order != "move" and unit.sidestep_left > 0:
            dx, dy = (dy, -dx) if unit.sidestep_side else (-dy, dx)
        far = math.sqrt(dx * dx + dy * dy)
        share = unit.kind.speed / far if far > unit.kind.speed else 1.0
        return grain(dx * share), grain(dy * share)

    def count_blocked(self, unit, step, start):
        """Sidestep of walkers that gain too little. Source: smac.md 9.8."""
        if unit.order == "move" or step == (0, 0):
            unit.n_blocked = unit.sidestep_left = 0
            return
        if unit.sidestep_left > 0:
            unit.sidestep_left -= 1
            return
        gained = (unit.x - start[0]) * step[0] + (unit.y - start[1]) * step[1]
        is_blocked = gained < (step[0] * step[0] + step[1] * step[1]) / 4
        unit.n_blocked = unit.n_blocked + 1 if is_blocked else 0
        if unit.n_blocked == N_BLOCKED:
            unit.n_blocked, unit.sidestep_left = 0, N_SIDESTEP
            unit.sidestep_side = self.draws.below(2, self.loop, SIDESTEP, unit.index, 0)
            self.events["sidestep"] += 1

    def ground_of(self, unit):
        return self.cliff_ground if unit.kind.cliff_walk else self.ground

    def may_stand(self, unit, x, y):
        if unit.kind.plane == "air":
            return 0 <= x < SIZE and 0 <= y < SIZE
        return self.ground_of(unit).holds(x, y)

    def displace(self, unit, dx, dy):
        for x, y in ((unit.x + dx, unit.y + dy), (unit.x + dx, unit.y), (unit.x, unit.y + dy)):
            if self.may_stand(unit, x, y):
                unit.x, unit.y = x, y
                return

    # --- collision (9.6) ---

    def push(self):
        living = self.living
        sums = {unit.index: [0.0, 0.0] for unit in living}
        for at, a in enumerate(living):
            for b in living[at + 1 :]:
                touch = a.kind.separation + b.kind.separation
                if abs(b.x - a.x) >= touch or a.kind.group != b.kind.group:
                    continue
                far = math.sqrt(squared_distance(a, b))
                if far >= touch or a.mobility + b.mobility == 0:
                    continue
                dx, dy = (b.x - a.x, b.y - a.y) if far > 0 else (1.0, 0.0)
                share = (touch - far) / ((far or 1.0) * (a.mobility + b.mobility))
                for unit, sign in ((a, -1), (b, 1)):
                    sums[unit.index][0] += sign * grain(dx * (share * unit.mobility))
                    sums[unit.index][1] += sign * grain(dy * (share * unit.mobility))
        for unit in living:
            push = [max(-FURTHEST_PUSH, min(FURTHEST_PUSH, value)) for value in sums[unit.index]]
            if any(push):
                self.displace(unit, *push)

    def regenerate(self, unit):
        kind = unit.kind
        if self.loop - unit.damaged_loop >= SHIELD_DELAY:
            unit.shield = min(unit.shield + SHIELD_REGEN, float(kind.shield_max))
        unit.health = min(unit.health + kind.life_regen, float(kind.health_max))
        unit.energy = min(unit.energy + kind.energy_regen, float(kind.energy_max))

    def off_grain(self):
        """Values that are no multiple of 1/4096; none ever are."""
        return [
            (unit.index, name)
            for unit in self.units
            for name in ("x", "y", "health", "shield", "energy", "cooldown")
            if (getattr(unit, name) * GRAIN) % 1
        ]
