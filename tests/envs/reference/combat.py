"""Targets, weapons, healing, hits and deaths. Source: smac.md 9.4, 9.5, 9.7."""

import math

from tests.envs.reference.philox import WEAPON_DELAY
from tests.envs.reference.units import (
    GRAIN,
    JITTER_FROM,
    JITTER_TO,
    edge_distance,
    grain,
    squared_distance,
    within,
)


class Hit:
    """A hit under way: damage `n` times on the target, or a beam across its place."""

    def __init__(self, due, source, target, *, n=1, needs_source=False, beam=None, event="hit"):
        self.due, self.source, self.target, self.n = due, source, target, n
        self.needs_source, self.beam, self.event = needs_source, beam, event


def refuses(unit, order, target):
    """Whether the game would refuse this order. Source: physics.md, orders."""
    if order == "heal":
        return not (target.hurt and target.kind.biological and unit.energy >= unit.kind.heal.price)
    return unit.kind.weapon is None or not unit.kind.weapon.can_hit(target)


# --- targets ---


def check_ordered_target(unit):
    if not unit.target.alive:
        unit.end_order()
    elif not may_keep(unit):
        unit.call_off()


def may_keep(unit):
    weapon = unit.kind.weapon
    return unit.target.alive and within(unit, unit.target, weapon.range + weapon.slop)


def choose_target(battle, unit):
    """Target of an enemy on attack-move."""
    weapon = unit.kind.weapon
    if weapon is None or (unit.target is not None and may_keep(unit)):
        return
    unit.call_off()
    near = [
        (0 if other.kind.weapon else 1, edge_distance(unit, other), other.index)
        for other in battle.agents
        if other.alive and weapon.can_hit(other) and within(unit, other, weapon.scan)
    ]
    unit.target = battle.units[min(near)[2]] if near else None
    source = unit.hurt_by
    if unit.target is not None or source is None or not source.alive:
        return
    if weapon.can_hit(source) and within(unit, source, 2 * weapon.scan):
        unit.target = source
        battle.events["answer"] += 1


def choose_patient(battle, unit):
    """Patient of an enemy medivac on attack-move."""
    heal = unit.kind.heal
    patient = unit.target
    if patient is not None and patient.alive and patient.hurt and unit.energy >= heal.price:
        return
    unit.target = None
    if unit.energy < heal.min_energy:
        return
    near = [
        (other.health / other.kind.health_max, squared_distance(unit, other), other.index)
        for other in battle.enemies
        if other.alive and other.hurt and other.kind.biological and within(unit, other, heal.scan)
    ]
    unit.target = battle.units[min(near)[2]] if near else None


# --- weapons and healing ---


def use_weapon(battle, unit):
    unit.fired = []
    weapon, target = unit.kind.weapon, unit.target
    if weapon is None or target is None:
        return
    ready = unit.windup is None and unit.backswing == 0 and unit.cooldown <= 0
    if ready and within(unit, target, weapon.range):
        span = (JITTER_TO - JITTER_FROM) * GRAIN
        draw = battle.draws.below(span, battle.loop, WEAPON_DELAY, unit.index, 0)
        unit.cooldown = grain(unit.cooldown + weapon.period + (draw / GRAIN + JITTER_FROM))
        unit.windup = weapon.windup
    if unit.windup == 0:
        unit.windup = None
        unit.backswing = min(weapon.backswing, math.ceil(max(unit.cooldown, 0.0)))
        fire(battle, unit, target)


def fire(battle, unit, target):
    weapon, loop = unit.kind.weapon, battle.loop
    battle.events[f"fired {weapon.kind}"] += 1
    if weapon.kind == "suicide":
        unit.fired_suicide = True
    elif weapon.kind == "missile":
        flight = max(1, math.ceil(edge_distance(unit, target) / weapon.missile_speed))
        unit.pending = Hit(loop + flight, unit, target, n=weapon.hits, event="missile")
    elif weapon.kind == "beam":
        line = beam_line(unit, target, weapon.beam_half_length)
        unit.pending = Hit(loop + weapon.beam_delay, unit, target, n=weapon.hits, beam=line)
    elif weapon.hits == 1 or weapon.hit_delay == 0:
        unit.fired = [Hit(loop, unit, target, n=weapon.hits)]
    else:
        unit.fired = [Hit(loop, unit, target)]
        unit.pending = Hit(loop + weapon.hit_delay, unit, target, needs_source=True, event="second hit")


def beam_line(unit, target, half_length):
    """Centre and half vector of the line that the beams sweep."""
    dx, dy = target.x - unit.x, target.y - unit.y
    far = math.sqrt(dx * dx + dy * dy)
    if far == 0:
        return (target.x, target.y), (0.0, half_length)
    return (target.x, target.y), (grain(-dy * (half_length / far)), grain(dx * (half_length / far)))


def give_health(battle, unit):
    heal, patient = unit.kind.heal, unit.target
    if heal is None or patient is None or unit.energy < heal.price:
        return
    give = min(heal.give, patient.kind.health_max - patient.health)
    if give > 0 and within(unit, patient, heal.range):
        patient.health += give
        unit.energy -= grain(give * heal.energy_per_hp)
        battle.events["heal"] += 1


# --- hits and deaths ---


def land_hits(battle):
    """Hits due in this loop, by source; one under way before one fired in this loop."""
    for unit in battle.units:
        if unit.pending and unit.pending.due == battle.loop:
            hit, unit.pending = unit.pending, None
            if unit.alive or not hit.needs_source:
                land(battle, hit)
        if unit.alive:
            for hit in unit.fired:
                land(battle, hit)


def land(battle, hit):
    struck = [hit.target] if hit.target.alive else []
    if hit.beam:
        struck += [other for other in swept(battle, hit) if other is not hit.target]
        battle.events["beam"] += 1
        battle.events["splash"] += struck != [hit.target] and struck != []
    for target in struck:
        battle.events[hit.event] += 1
        for _ in range(hit.n):
            target.take_damage(hit.source.kind.weapon.damage_to(target), hit.source, battle.loop)


def swept(battle, hit):
    """Living ground opponents that the beams' line touches."""
    (cx, cy), (hx, hy) = hit.beam
    weapon = hit.source.kind.weapon
    for other in battle.units:
        if not other.alive or other.is_agent == hit.source.is_agent or not weapon.can_hit(other):
            continue
        ex, ey = other.x - cx, other.y - cy
        t = max(-1.0, min(1.0, (ex * hx + ey * hy) / (hx * hx + hy * hy)))
        ox, oy = ex - t * hx, ey - t * hy
        limit = weapon.beam_half_width + other.kind.radius
        if ox * ox + oy * oy <= limit * limit:
            yield other


def bury(battle):
    """Deaths, and the blasts of banelings in rounds. Source: smac.md 9.7."""
    dying = [unit for unit in battle.living if unit.health <= 0 or unit.fired_suicide]
    rounds = 0
    while dying:
        for unit in dying:
            unit.die()
        battle.events["death"] += len(dying)
        living = battle.living
        blasting = [unit for unit in dying if unit.kind.weapon and unit.kind.weapon.kind == "suicide"]
        for source in blasting:
            battle.events["blast"] += 1
            blast(battle, source, living)
        rounds += bool(blasting)
        dying = [unit for unit in living if unit.health <= 0]
    battle.events["chain"] += rounds > 1


def blast(battle, source, living):
    weapon = source.kind.weapon
    for other in living:
        if other.is_agent == source.is_agent or not weapon.can_hit(other):
            continue
        limit = weapon.blast_radius + other.kind.radius
        if squared_distance(source, other) <= limit * limit:
            battle.events["blast hit"] += 1
            other.take_damage(weapon.damage_to(other), source, battle.loop)
