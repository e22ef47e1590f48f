"""Where units stand at the start of an episode. Source: smac.md 9.9."""

from tests.envs.reference.philox import GOAL_POINT, SPAWN
from tests.envs.reference.units import GRAIN, Unit, grain

REACH = 16
LATTICE = sorted(
    ((dx, dy) for dx in range(-REACH, REACH + 1) for dy in range(-REACH, REACH + 1)),
    key=lambda place: (place[0] ** 2 + place[1] ** 2, place[1], place[0]),
)
N_PASSES = 16
WIDEST = 409    # 1/10 in units of 1/4096, rounded down


def turned(dx, dy, symmetry):
    if symmetry & 4:
        dx, dy = dy, dx
    return (-dx if symmetry & 1 else dx), (-dy if symmetry & 2 else dy)


def place_side(battle, groups, first, is_agent):
    """Units of one side in creation order, numbered from `first`."""
    units, clusters = [], {}
    for name, count, x, y in groups:
        point = (x, y)
        if point not in clusters:
            widest = max(battle.kinds[other].separation for other, _, *at in groups if tuple(at) == point)
            number = first + len(units)
            symmetry = battle.draws.below(8, 0, SPAWN, number, 0) if battle.spawn_jitter else 0
            clusters[point] = (iter(LATTICE), 2 * widest + 1 / 16, symmetry)
        lattice, pitch, symmetry = clusters[point]
        for _ in range(count):
            unit = Unit(battle.kinds[name], is_agent)
            for place in lattice:
                dx, dy = turned(*place, symmetry)
                unit.x, unit.y = grain(x + dx * pitch), grain(y + dy * pitch)
                if battle.may_stand(unit, unit.x, unit.y):
                    break
            units.append(unit)
    return units


def spawn(battle, smac):
    """Fills battle.units, agents first and sorted, enemies with their order."""
    agents = place_side(battle, smac.spawn_allies, 0, is_agent=True)
    enemies = place_side(battle, smac.spawn_enemies, len(agents), is_agent=False)
    battle.units = agents + enemies
    for number, unit in enumerate(battle.units):
        unit.index, unit.mobility = number, 1.0
        if battle.spawn_jitter:
            draws = [battle.draws.below(2 * WIDEST + 1, 0, SPAWN, number, draw) for draw in (1, 2)]
            battle.displace(unit, *((draw - WIDEST) / GRAIN for draw in draws))
    for _ in range(N_PASSES):
        battle.push()
    types = list(dict.fromkeys(smac.ally_types))
    agents.sort(key=lambda unit: (types.index(unit.kind.name), unit.x, unit.y))
    battle.units = agents + enemies
    for number, unit in enumerate(battle.units):
        unit.index = number
    for enemy in enemies:
        enemy.order, enemy.goal = "attack-move", goal_point(battle, smac.attack, enemy)


def goal_point(battle, attack, enemy):
    """The point of the enemies' attack-move, None if they go for agents. Source: smac.md 9.4."""
    if attack is None or attack["kind"] == "none":
        return enemy.x, enemy.y
    if attack["kind"] == "agents":
        return None
    first, *rest = attack["points"]
    if attack["kind"] == "segment":
        share = battle.draws.below(4097, 0, GOAL_POINT, 0, 0) / 4096
        return tuple(grain(a + share * (b - a)) for a, b in zip(first, rest[0], strict=True))
    return tuple(grain(value) for value in first)
