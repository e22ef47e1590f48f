"""Weapons, healing, blasts and ways of all unit types, with numbers worked out by hand (smac.md 8, 9.11)."""

import copy

import numpy as np
import pytest

from mast_edge.envs import skirmish
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.units import unit_types
from tests.envs.arena import ATTACK, EAST, NORTH, STOP, WEST, Arena
from tests.envs.test_battle import ALIVE, HEALTH, ORDER, SHIELD, TARGET, X, Y

ENERGY, AGENT = 4, 0
FAR = ("marine", 2.0, 16.0)
"""An agent that keeps the battle going and sees none of it."""
LIFE = 70 / 4096    # zerg life per loop
GIVE, PRICE, ENERGY_REGEN = 9 / 16, 760 / 4096, 144 / 4096

STILL = {"zealot.speed": 0, "zealot.weapon": None, "stalker.speed": 0, "zergling.speed": 0}


def loops_until(arena: Arena, row: int, column: int, *actions: int) -> tuple[int, float]:
    """Number of the loop in which a value falls, and by how much."""
    before = arena.units()[row, column]
    for loop in range(60):
        arena.step(*actions)
        after = arena.units()[row, column]
        if after < before:
            return loop, before - after
    raise AssertionError("it never fell")


@pytest.mark.parametrize(
    ("shooter", "gap", "loop", "damage"),
    [
        # edge distance = gap - radii; missiles cover 18.75/16 = 1.171875 (hydralisk 2.5) per loop
        ("stalker", 6.0, 3 + 5, 10),    # 4.875 / 1.171875 = 4.16
        ("stalker", 4.0, 3 + 3, 10),    # 2.875 / 1.171875 = 2.45
        ("stalker", 1.2, 3 + 1, 10),
        ("hydralisk", 6.0, 3 + 2, 12),    # 4.875 / 2.5 = 1.95
        ("marauder", 6.0, 0 + 5, 10),    # 4.9375 / 1.171875 = 4.21; a zealot is not armored
        ("marine", 5.5, 1, 6),
        ("colossus", 6.0, 1 + 6, 40),
        ("spine_crawler", 5.0, 5, 25),
    ],
)
def test_first_hit_on_a_zealot(shooter: str, gap: float, loop: int, damage: float) -> None:
    arena = Arena([(shooter, 14.0, 16.0)], [("zealot", 14.0 + gap, 16.0)], changes=STILL)
    assert loops_until(arena, 1, SHIELD, ATTACK) == (loop, damage)
    assert arena.units()[1, HEALTH] == 100


@pytest.mark.parametrize(
    ("shooter", "profile", "target", "damage"),
    [
        ("stalker", "liberty", "stalker", 10 + 4 - 1),
        ("stalker", "void", "stalker", 13 + 5 - 1),
        ("stalker", "liberty", "zealot", 10 - 1),
        ("hydralisk", "liberty", "stalker", 12 - 1),
        ("marauder", "liberty", "stalker", 10 + 10 - 1),
        ("marauder", "liberty", "spine_crawler", 10 + 10 - 2 - LIFE),
        ("spine_crawler", "liberty", "stalker", 25 + 5 - 1),
        ("colossus", "liberty", "zealot", 2 * (20 - 1)),
        ("colossus", "void", "zealot", 2 * (10 + 5 - 1)),
        ("zealot", "liberty", "marine", 8),
        ("zergling", "liberty", "zealot", 5 - 1),
        ("marine", "liberty", "zergling", 6 - LIFE),
    ],
)
def test_damage_to_health(shooter: str, profile: str, target: str, damage: float) -> None:
    units = unit_types(profile)
    changes = {f"{name}.shield": 0 for name in ("stalker", "zealot", "colossus")}
    changes |= {f"{target}.speed": 0, f"{target}.weapon.scan": 0, f"{target}.weapon.range": 0}
    near = units[shooter]["radius"] + units[target]["radius"] + 0.05
    gap = near if shooter in ("zealot", "zergling") else 5.0
    changes |= {"zergling.hp": 100}
    if shooter == target:
        del changes[f"{target}.weapon.range"], changes[f"{target}.weapon.scan"]
    arena = Arena([(shooter, 14.0, 16.0)], [(target, 14.0 + gap, 16.0)], changes=changes, profile=profile)
    assert loops_until(arena, 1, HEALTH, ATTACK)[1] == damage


def test_what_shields_leave_is_reduced_by_armor() -> None:
    changes = STILL | {"stalker.shield": 5}
    arena = Arena([("stalker", 14.0, 16.0)], [("stalker", 18.0, 16.0)], changes=changes)
    assert loops_until(arena, 1, HEALTH, ATTACK)[1] == 14 - 5 - 1
    assert arena.units()[1, SHIELD] == 0


def test_a_hit_does_at_least_half_a_point() -> None:
    changes = {"zergling.weapon.damage": 1, "zealot.shield": 0, "zealot.weapon": None, "zealot.armor": 3}
    arena = Arena([("zergling", 14.0, 16.0)], [("zealot", 14.9, 16.0)], changes=changes)
    assert loops_until(arena, 1, HEALTH, ATTACK) == (3, 0.5)


def test_colossus_kills_zerglings_along_its_beam() -> None:
    # The beam runs 1.25 to each side of the target, across the line of fire, and reaches 0.15 + 0.375 beyond.
    places = [(19.0, 16.0), (19.0, 17.75), (19.0, 14.2), (19.5, 16.0), (18.4, 16.0)]
    changes = {"zergling.speed": 0, "zergling.hp": 100, "zergling.separation": 0.05}
    arena = Arena([("colossus", 14.0, 16.0)], [("zergling", *at) for at in places], changes=changes)
    for _ in range(7):
        arena.step(ATTACK)
    assert (arena.units()[1:, HEALTH] == 100).all()
    arena.step(ATTACK)
    struck = 100 - 40 + LIFE
    assert arena.units()[1:, HEALTH].tolist() == [struck, struck, 100, struck, 100]


def test_one_beam_pair_kills_a_zergling() -> None:
    arena = Arena([("colossus", 14.0, 16.0)], [("zergling", 19.0, 16.0)], changes={"zergling.speed": 0})
    while not arena.over:
        arena.step(ATTACK)
    assert arena.units()[1, [HEALTH, ALIVE]].tolist() == [0, 0]


def test_beams_land_though_the_colossus_is_dead() -> None:
    # Both start in loop 0 and fire in loop 1; the marine's shot kills, the beams land in loop 7.
    changes = {"colossus.hp": 5, "colossus.shield": 0, "marine.speed": 0}
    arena = Arena(
        [("colossus", 14.0, 16.0), FAR], [("marine", 19.0, 16.0)], changes=changes, step_mul=7
    )
    arena.step(ATTACK, STOP)
    assert arena.units()[AGENT, ALIVE] == 0
    assert arena.units()[2, HEALTH] == 45
    arena.step(0, STOP)
    assert arena.units()[2, HEALTH] == 45 - 40


def test_missile_of_a_dead_stalker_still_hits() -> None:
    # It fires in loop 3 and lands in loop 8; the marine's shot comes in loop 5.
    changes = STILL | {"stalker.hp": 1, "stalker.shield": 0, "marine.speed": 0}
    changes["marine.weapon.damage_point"] = 5 / 16
    arena = Arena(
        [FAR, ("stalker", 14.0, 16.0)],
        [("zealot", 20.0, 16.0), ("marine", 14.0, 20.0)],
        changes=changes,
        step_mul=8,
    )
    arena.step(STOP, ATTACK)
    assert arena.units()[1, ALIVE] == 0
    assert arena.units()[2, SHIELD] == 50
    arena.step(STOP, 0)
    assert arena.units()[2, SHIELD] == 40


@pytest.mark.parametrize(("zealot_hp", "healths"), [(100, [37, 37, 37, 37, 29]), (5, [37, 37, 37, 37, 37])])
def test_second_hit_comes_unless_the_zealot_is_dead(zealot_hp: int, healths: list[int]) -> None:
    changes = {"zealot.hp": zealot_hp, "zealot.shield": 0, "marine.speed": 0}
    arena = Arena(
        [("marine", 14.0, 16.0)], [("zealot", 14.9, 16.0), ("marine", 30.0, 16.0)], changes=changes
    )
    seen = []
    for _ in range(5):
        arena.step(ATTACK if arena.units()[1, ALIVE] else STOP)    # fires in loop 1
        seen.append(arena.units()[AGENT, HEALTH])
    assert seen == healths
    assert arena.units()[1, ALIVE] == (zealot_hp == 100)


def test_second_hit_follows_its_target() -> None:
    arena = Arena([("marine", 14.0, 16.0)], [("zealot", 13.1, 16.0)], step_mul=5, goal=(14.0, 16.0))
    arena.step(EAST)    # 5 * 0.140625 away, out of the zealot's reach
    assert arena.units()[AGENT, HEALTH] == 45 - 16


def test_medivac_heals_and_pays() -> None:
    arena = Arena(
        [("marine", 14.0, 16.0), ("medivac", 14.0, 18.0)],
        [("marine", 19.0, 16.0)],
        base="MMM",
    )
    arena.step(STOP, ATTACK)    # healing agent 0, who is in full health: refused
    assert arena.units()[1, ORDER] == 0
    arena.step(STOP, STOP)    # the enemy's shot
    assert arena.units()[AGENT, HEALTH] == 39
    for loop in range(1, 11):
        arena.step(STOP, ATTACK)
        assert arena.units()[AGENT, HEALTH] == 39 + loop * GIVE
        assert arena.units()[1, ENERGY] == 50 + (2 + loop) * ENERGY_REGEN - loop * PRICE
    arena.step(STOP, ATTACK)    # the last 0.375 cost q(0.12375) = 507/4096
    assert arena.units()[AGENT, HEALTH] == 45
    assert arena.units()[1, ENERGY] == 50 + 13 * ENERGY_REGEN - 10 * PRICE - 507 / 4096
    assert arena.units()[1, [ORDER, TARGET]].tolist() == [4, 0]
    arena.step(STOP, ATTACK)
    assert arena.units()[1, [ORDER, TARGET]].tolist() == [0, -1]


@pytest.mark.parametrize(("energy", "begins"), [(5, True), (4, False)])
def test_enemy_medivac_begins_with_five_energy(energy: int, begins: bool) -> None:
    changes = {"marine.speed": 0, "medivac.energy.start": energy, "medivac.energy.regen": 0}
    arena = Arena(
        [("marine", 14.0, 16.0)],
        [("marine", 19.0, 16.0), ("medivac", 19.0, 21.0)],
        changes=changes,
        base="MMM",
    )
    arena.step(ATTACK)
    arena.step(ATTACK)
    assert arena.units()[1, HEALTH] == 39
    arena.step(ATTACK)
    assert arena.units()[1, HEALTH] == (39 + GIVE if begins else 39)
    assert arena.units()[2, [ENERGY, TARGET]].tolist() == ([5 - PRICE, 1] if begins else [4, -1])


def test_medivac_without_energy_for_a_loop_gives_nothing() -> None:
    changes = {"medivac.energy.start": 759 / 4096, "medivac.energy.regen": 0}
    arena = Arena(
        [("marine", 14.0, 16.0), ("medivac", 14.0, 18.0)],
        [("marine", 19.0, 16.0)],
        changes=changes,
        base="MMM",
    )
    for _ in range(4):
        arena.step(STOP, ATTACK)
    assert arena.units()[AGENT, HEALTH] == 39
    assert arena.units()[1, [ORDER, ENERGY]].tolist() == [0, 759 / 4096]


def test_refused_orders_leave_the_last_one_in_force() -> None:
    arena = Arena(
        [("zealot", 14.0, 16.0), ("medivac", 14.0, 18.0)],
        [("medivac", 16.0, 14.0)],
        step_mul=4,
        goal=(31.0, 14.0),
    )
    arena.step(EAST, NORTH)
    arena.step(ATTACK, ATTACK)    # a zealot cannot hit the air; without the MMM rules a medivac cannot heal
    assert arena.units()[:2, ORDER].tolist() == [1, 1]
    assert arena.units()[AGENT, X] == 14 + 8 * 576 / 4096
    assert arena.units()[1, Y] == 18 + 8 * 704 / 4096


def test_blast_of_a_baneling() -> None:
    # 20, and 15 more to light units, within 2.2 + the victim's radius; friends and air are safe.
    changes = STILL | {"zergling.hp": 100, "marine.speed": 0, "stalker.weapon": None, "zergling.weapon": None}
    victims = [("zergling", 14.9, 16.0), ("zergling", 14.0, 18.57), ("zergling", 14.0, 13.42)]
    victims += [("zealot", 16.0, 17.8), ("stalker", 11.2, 16.0), ("medivac", 15.0, 14.5)]
    arena = Arena([("baneling", 14.0, 16.0), ("marine", 12.8, 17.0)], victims, changes=changes)
    arena.step(ATTACK, STOP)
    rows = arena.units()
    assert rows[:2, [ALIVE, HEALTH]].tolist() == [[0, 0], [1, 45]]
    assert rows[2:5, HEALTH].tolist() == [65 + LIFE, 65 + LIFE, 100]    # 2.57 <= 2.575 < 2.58
    assert rows[5, [HEALTH, SHIELD]].tolist() == [100, 15]    # hypot(2, 1.8) = 2.69 <= 2.7
    assert rows[6, [HEALTH, SHIELD]].tolist() == [80, 60]    # not light, 2.8 <= 2.825
    assert rows[7, HEALTH] == 150


def test_blasts_go_on_in_rounds() -> None:
    # Each reaches only the next: 2.3 <= 2.575 < 4.5.
    changes = STILL | {"baneling.hp": 20, "zergling.hp": 100, "zergling.weapon": None, "baneling.speed": 0}
    arena = Arena(
        [("baneling", 10.0, 16.0), ("baneling", 14.5, 16.0), FAR],
        [("zergling", 10.9, 16.0), ("baneling", 12.3, 16.0), ("marine", 16.8, 16.0)],
        changes=changes,
    )
    arena.step(ATTACK, STOP, STOP)
    rows = arena.units()
    assert rows[:, ALIVE].tolist() == [0, 0, 1, 1, 0, 1]
    assert rows[3, HEALTH] == 65 + LIFE
    assert rows[5, HEALTH] == 45 - 35


def test_stopped_agents_hurt_nobody_but_a_dying_baneling() -> None:
    names = ("marine", "marauder", "zealot", "stalker", "colossus", "hydralisk", "zergling", "spine_crawler")
    changes = {f"{name}.hp": 40 for name in names} | {f"{name}.shield": 0 for name in names}
    allies = [(name, 10.0 + 1.3 * at, 16.0) for at, name in enumerate(names)]
    changes["marine.hp"] = 45
    arena = Arena(allies, [("marine", 14.0, 20.0)], changes=changes, goal=(14.0, 16.0), step_mul=8, limit=300)
    while not arena.over:
        arena.step(*(STOP if row[ALIVE] else 0 for row in arena.units()[:-1]))
    assert arena.units()[-1, HEALTH] == 45
    assert arena.units()[:-1, ALIVE].sum() == 0
    arena = Arena([("baneling", 14.0, 16.0)], [("marine", 16.0, 16.0)], step_mul=8)
    while not arena.over:
        assert arena.units()[1, HEALTH] == 45
        arena.step(STOP)
    assert arena.units()[:, HEALTH].tolist() == [0, 10]


def test_colossus_crosses_the_cliff_and_a_zergling_goes_round() -> None:
    place = {"goal": (16.5, 16.0), "base": "2c_vs_64zg", "step_mul": 20}
    arena = Arena([("marine", 30.0, 14.5)], [("colossus", 16.5, 10.0)], **place)
    arena.step(STOP)
    assert arena.units()[1, [X, Y]].tolist() == [16.5, 10 + 20 * 576 / 4096]    # 12.8, among blocked cells
    arena = Arena([("marine", 30.0, 14.5)], [("zergling", 9.5, 10.5)], **place)
    # Straight west 6 cells: the field falls by 10 a cell toward the west end of the cliff.
    arena.step(STOP)
    x, y = arena.units()[1, [X, Y]]
    assert 9.5 - 20 * 756 / 4096 - 0.01 < x < 7
    assert y < 12


def test_enemies_go_for_the_agent_with_the_shortest_way() -> None:
    # 6.2 beyond the cliff against 10 on the same side.
    arena = Arena(
        [("marine", 16.5, 15.2), ("marine", 26.5, 9.0)],
        [("zergling", 16.5, 9.0)],
        base="2c_vs_64zg",
        attack={"kind": "agents"},
    )
    arena.step(STOP, STOP)
    assert arena.units()[2, [X, Y]].tolist() == [16.5 + 756 / 4096, 9.0]


def test_enemies_choose_their_agent_anew_every_sixteen_loops() -> None:
    # Both agents walk west: 7 cells against 8 in loop 0, 8 against 7 from loop 8 on, 9 against 6 in loop 16.
    arena = Arena(
        [("marine", 9.5, 16.5), ("marine", 24.5, 16.5)],
        [("zergling", 16.5, 16.5)],
        attack={"kind": "agents"},
        changes={"zergling.speed": 0.5, "zergling.weapon.scan": 0},
        base="3s_vs_3z",
    )
    for _ in range(16):
        arena.step(WEST, WEST)
    assert arena.units()[2, X] == 16.5 - 16 * 128 / 4096
    arena.step(WEST, WEST)
    assert arena.units()[2, X] == 16.5 - 15 * 128 / 4096


def test_sidestep_round_an_obstacle() -> None:
    # Contact at 18 + 1.25: loops 0-4 are free, loop 5 gains a third of the step, loops 6-9 are blocked.
    arena = Arena([FAR], [("zealot", 20.0, 16.0), ("spine_crawler", 18.0, 16.0)], goal=(10.0, 16.0))
    for _ in range(10):
        arena.step(STOP)
    x, y = arena.units()[1, [X, Y]]
    assert (x, y) == (pytest.approx(19.25, abs=1 / 2048), 16.0)
    arena.step(STOP)
    assert abs(arena.units()[1, Y] - 16) == 576 / 4096
    for _ in range(60):
        arena.step(STOP)
    assert arena.units()[1, X] < 16


def invulnerable(monkeypatch: pytest.MonkeyPatch) -> None:
    units = copy.deepcopy(dict(unit_types()))
    for unit in units.values():
        unit["hp"] = 1_000_000
    monkeypatch.setattr(skirmish, "unit_types", lambda profile: units)


@pytest.mark.parametrize("name", ["corridor", "2c_vs_64zg", "so_many_baneling", "6h_vs_8z", "bane_vs_bane"])
def test_every_enemy_reaches_an_agent(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    invulnerable(monkeypatch)
    env = Skirmish(name, 4, seed=5)
    env.reset()
    n = env.spec.n_agents
    closest = np.full((4, env.spec.n_actions - 6), np.inf)
    over = np.zeros(4, dtype=bool)
    for _ in range(120):
        over |= env.step(np.full((4, n), STOP), ~over).terminated
        units = env.units()
        dx = units["x"][:, None, n:] - units["x"][:, :n, None]
        dy = units["y"][:, None, n:] - units["y"][:, :n, None]
        closest = np.minimum(closest, np.hypot(dx, dy).min(axis=1))
    # In touch, or in the second row round the two colossi (1.0 + 0.375 + 0.5 from their centres).
    assert closest.max() < 1.9


def test_nothing_happens_at_the_spine_crawler(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Skirmish("2s_vs_1sc", seed=5)
    env.reset()
    before = env.units()
    for step in range(300):
        outcome = env.step(np.full((1, 2), STOP))
        assert bool(outcome.terminated[0]) == (step == 299)
    assert outcome.timed_out[0]
    np.testing.assert_array_equal(env.units(), before)
