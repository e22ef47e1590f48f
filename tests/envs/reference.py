"""The marine battle of smac.md 9, written a second time: plain Python, phase by phase, all pairs.

Slow and independent of the native core, which has to give the same bits.
"""

import math

N_ROUNDS = 10
GRAIN = 4096
SPEED, RADIUS, RANGE, SCAN, SLOP = 576 / GRAIN, 0.375, 5.0, 5.0, 1.0
PERIOD = round(0.8608 * 16 * GRAIN) / GRAIN
WINDUP, BACKSWING, DAMAGE, HEALTH = 1, 12, 6.0, 45.0
REACH, KEEP, SEEN, ALERT = (r + 2 * RADIUS for r in (RANGE, RANGE + SLOP, SCAN, 2 * SCAN))


def philox(counter, key):
    """Source: smac.md 9.1."""
    c, k = list(counter), list(key)
    for _ in range(N_ROUNDS):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def grain(value):
    """Nearest multiple of 1/4096, half to even."""
    return round(value * GRAIN) / GRAIN


class Marine:
    def __init__(self, x, y):
        self.x, self.y = x, y
        self.health, self.cooldown = HEALTH, 0.0
        self.alive, self.order, self.target, self.goal = True, "stand", None, None
        self.windup, self.backswing, self.hurt_by = None, 0, None
        self.goal_distance, self.stalled = math.inf, 0
        self.blocked, self.sidestep, self.side = 0, 0, 0


def distance(a, b):
    return math.sqrt((b.x - a.x) ** 2 + (b.y - a.y) ** 2)


class Reference:
    """One episode of marines from given places on the line maps."""

    def __init__(self, seed, episode, places, n_agents, goal=(9.0, 16.0)):
        self.key = (seed & 0xFFFFFFFF, seed >> 32)
        self.episode, self.loop, self.n_agents = episode, 0, n_agents
        self.units = [Marine(x, y) for x, y in places]
        for enemy in self.enemies:
            enemy.order, enemy.goal = "attack-move", goal

    @property
    def agents(self):
        return self.units[: self.n_agents]

    @property
    def enemies(self):
        return self.units[self.n_agents :]

    def step(self, actions):
        for unit, action in zip(self.agents, actions, strict=True):
            if unit.alive:
                self.give_order(unit, action)
        for _ in range(8):
            self.play_loop()

    def give_order(self, unit, action):
        if action == 1:
            order, target, goal = "stand", None, None
        elif action < 6:
            dx, dy = {2: (0, 2), 3: (0, -2), 4: (2, 0), 5: (-2, 0)}[action]
            order, target, goal = "move", None, (unit.x + dx, unit.y + dy)
        else:
            order, target, goal = "attack", self.enemies[action - 6], None
        if order == unit.order and (order == "stand" or (order == "attack" and target is unit.target)):
            return
        self.call_off(unit)
        unit.backswing, unit.stalled, unit.goal_distance = 0, 0, math.inf
        unit.blocked, unit.sidestep = 0, 0
        unit.order, unit.target, unit.goal = order, target, goal

    @staticmethod
    def call_off(unit):
        if unit.windup is not None:
            unit.windup, unit.cooldown = None, 0.0

    def play_loop(self):
        living = [unit for unit in self.units if unit.alive]
        for unit in living:
            if unit.cooldown > 0:
                unit.cooldown -= 1
            unit.windup = max(unit.windup - 1, 0) if unit.windup is not None else None
            unit.backswing = max(unit.backswing - 1, 0)
        for unit in living:
            self.check_target(unit)
        hits = [hit for unit in living for hit in self.attack(unit)]
        for source, target in hits:
            target.health -= DAMAGE
            target.hurt_by = target.hurt_by or source
        for unit in living:
            if unit.health <= 0:
                unit.alive, unit.health, unit.cooldown = False, 0.0, 0.0
        moves = self.walk([unit for unit in living if unit.alive])
        for _ in range(2):
            self.push([unit for unit in living if unit.alive])
        self.note_progress([unit for unit in living if unit.alive], moves)
        self.loop += 1

    def check_target(self, unit):
        target = unit.target
        if unit.order == "attack":
            if not target.alive:
                self.call_off(unit)
                unit.order, unit.target = "stand", None
            elif distance(unit, target) > KEEP:
                self.call_off(unit)
        elif unit.order == "attack-move":
            if target is None or not target.alive or distance(unit, target) > KEEP:
                self.call_off(unit)
                near = [(distance(unit, o), i) for i, o in enumerate(self.agents) if o.alive]
                near = [pair for pair in near if pair[0] <= SEEN]
                unit.target = self.agents[min(near)[1]] if near else None
                attacker = unit.hurt_by
                if unit.target is None and attacker and attacker.alive and distance(unit, attacker) <= ALERT:
                    unit.target = attacker
            unit.hurt_by = None

    def attack(self, unit):
        unit.in_range = unit.target is not None and distance(unit, unit.target) <= REACH
        if unit.target is None:
            return []
        if unit.in_range and unit.windup is None and unit.backswing == 0 and unit.cooldown <= 0:
            word = philox((self.episode, self.loop, 65536 + self.units.index(unit), 0), self.key)[0]
            unit.cooldown = grain(unit.cooldown + PERIOD + ((word * 3 * GRAIN) >> 32) / GRAIN - 1)
            unit.windup = WINDUP
        if unit.windup != 0:
            return []
        unit.windup = None
        unit.backswing = min(BACKSWING, math.ceil(max(unit.cooldown, 0.0)))
        return [(unit, unit.target)]

    def walk(self, living):
        moves = []
        for unit in living:
            unit.mobility, goal = 0.5, None
            fights = unit.target is not None or unit.order == "attack-move"
            if unit.in_range or (fights and (unit.windup is not None or unit.backswing > 0)):
                unit.mobility = 0.125
            elif unit.target is not None:
                goal = (unit.target.x, unit.target.y) if unit.target.alive else None
            elif unit.order in ("move", "attack-move"):
                goal = self.next_goal(unit)
            if goal:
                unit.mobility = 1.0
                dx, dy = goal[0] - unit.x, goal[1] - unit.y
                far = math.sqrt(dx * dx + dy * dy)
                share = SPEED / far if far > SPEED else 1.0
                if unit.sidestep:
                    dx, dy = (dy, -dx) if unit.side else (-dy, dx)
                moves.append((unit, grain(dx * share), grain(dy * share)))
        starts = {id(unit): (unit.x, unit.y) for unit in living}
        for move in moves:
            self.displace(*move)
        return {id(unit): (dx, dy, *starts[id(unit)]) for unit, dx, dy in moves if unit.order != "move"}

    def note_progress(self, living, moves):
        for unit in living:
            dx, dy, x, y = moves.get(id(unit), (0, 0, 0, 0))
            wanted = dx * dx + dy * dy
            if wanted == 0:
                unit.blocked = unit.sidestep = 0
            elif unit.sidestep:
                unit.sidestep -= 1
            else:
                gained = (unit.x - x) * dx + (unit.y - y) * dy
                unit.blocked = unit.blocked + 1 if gained < wanted / 4 else 0
                if unit.blocked == 4:
                    who = 3 * 65536 + self.units.index(unit)
                    word = philox((self.episode, self.loop, who, 0), self.key)[0]
                    unit.blocked, unit.sidestep, unit.side = 0, 6, word >> 31

    @staticmethod
    def next_goal(unit):
        far = math.hypot(unit.goal[0] - unit.x, unit.goal[1] - unit.y)
        if unit.order == "move":
            unit.stalled = unit.stalled + 1 if unit.goal_distance - far < 1 / 32 else 0
            unit.goal_distance = far
            if far <= 1 / 16 or unit.stalled >= 8:
                unit.order = "stand"
                return None
        return unit.goal if far > 1 / 16 else None

    @staticmethod
    def displace(unit, dx, dy):
        for x, y in ((unit.x + dx, unit.y + dy), (unit.x + dx, unit.y), (unit.x, unit.y + dy)):
            if 0 <= x < 32 and 8 <= y < 24:
                unit.x, unit.y = x, y
                return

    def push(self, living):
        sums = {id(unit): [0.0, 0.0] for unit in living}
        for i, a in enumerate(living):
            for b in living[i + 1 :]:
                far = distance(a, b)
                if far >= 2 * RADIUS:
                    continue
                dx, dy = (b.x - a.x, b.y - a.y) if far > 0 else (1.0, 0.0)
                share = (2 * RADIUS - far) / ((far or 1.0) * (a.mobility + b.mobility))
                for unit, sign in ((a, -1), (b, 1)):
                    sums[id(unit)][0] += sign * grain(dx * (share * unit.mobility))
                    sums[id(unit)][1] += sign * grain(dy * (share * unit.mobility))
        for unit in living:
            dx, dy = (max(-0.25, min(0.25, value)) for value in sums[id(unit)])
            self.displace(unit, dx, dy)
