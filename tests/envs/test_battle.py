"""Physics of smac.md 9, with numbers worked out by hand (most of them in 9.11)."""

import numpy as np
import pytest

from tests.envs.arena import ATTACK, EAST, NORTH, STOP, WEST, Arena

X, Y, HEALTH, SHIELD, COOLDOWN, ALIVE, ORDER, TARGET = 0, 1, 2, 3, 5, 7, 8, 9
AGENT, ENEMY = 0, -1


def test_marine_walks_at_its_speed() -> None:
    arena = Arena([("marine", 10.0, 16.0)], [("marine", 30.0, 16.0)], step_mul=8)
    arena.step(EAST)
    assert arena.units()[AGENT, [X, Y]].tolist() == [11.125, 16.0]
    arena.step(NORTH)
    assert arena.units()[AGENT, [X, Y]].tolist() == [11.125, 17.125]


def test_move_order_ends_at_its_point() -> None:
    arena = Arena([("marine", 10.0, 16.0)], [("marine", 30.0, 16.0)], step_mul=40)
    arena.step(EAST)
    assert arena.units()[AGENT, X] == pytest.approx(12.0, abs=1 / 16)
    assert arena.units()[AGENT, ORDER] == 0


def test_blocked_move_ends_after_eight_loops_without_progress() -> None:
    arena = Arena([("marine", 0.05, 16.0)], [("marine", 30.0, 16.0)])
    for _ in range(12):
        assert arena.avail[0, 0, WEST] == 1    # truncation toward zero
        arena.step(WEST)    # a new order in every loop is never given up
        assert arena.units()[AGENT, [X, ORDER]].tolist() == [205 / 4096, 1]
    stubborn = Arena([("marine", 0.05, 16.0)], [("marine", 30.0, 16.0)], step_mul=8)
    stubborn.step(WEST)
    assert stubborn.units()[AGENT, ORDER] == 1    # the first loop has none to compare with
    stubborn = Arena([("marine", 0.05, 16.0)], [("marine", 30.0, 16.0)], step_mul=9)
    stubborn.step(WEST)
    assert stubborn.units()[AGENT, ORDER] == 0


def test_border_stops_a_zealot() -> None:
    arena = Arena([("zealot", 0.4, 16.0)], [("marine", 30.0, 16.0)], base="3s_vs_3z", step_mul=8)
    assert arena.avail[0, 0, WEST] == 1
    arena.step(WEST)
    assert 0.0 <= arena.units()[AGENT, X] < 0.4


def test_eight_hits_kill_a_marine() -> None:
    arena = Arena([("marine", 14.0, 16.0)], [("marine", 19.0, 16.0)], changes={"marine.weapon.scan": 0})
    healths = [45.0]
    while not arena.over:
        arena.step(ATTACK)
        health = arena.units()[ENEMY, HEALTH]
        if health != healths[-1]:
            healths.append(health)
    assert healths == [45, 39, 33, 27, 21, 15, 9, 3, 0]
    assert arena.units()[AGENT, HEALTH] == 45    # the enemy scans no farther than it touches


def test_damaged_enemy_answers_fire_within_twice_its_scan() -> None:
    # It sees as far as 3 + 0.75, and answers up to 6 + 0.75.
    arena = Arena([("marine", 14.0, 16.0)], [("marine", 19.0, 16.0)], changes={"marine.weapon.scan": 3})
    arena.step(STOP)
    assert arena.units()[ENEMY, TARGET] == -1
    arena.step(ATTACK)
    arena.step(ATTACK)    # hit
    arena.step(ATTACK)
    assert arena.units()[ENEMY, TARGET] == AGENT


def test_shields_take_hits_first_and_armor_the_rest() -> None:
    changes = {"marine.hp": 4500, "zealot.speed": 0}
    arena = Arena([("marine", 14.0, 16.0)], [("zealot", 19.5, 16.0)], changes=changes)
    vitals = [(100.0, 50.0)]
    while len(vitals) < 12:
        arena.step(ATTACK)
        row = arena.units()[ENEMY]
        if (row[HEALTH], row[SHIELD]) != vitals[-1]:
            vitals.append((row[HEALTH], row[SHIELD]))
    shields = [50, 44, 38, 32, 26, 20, 14, 8, 2]
    assert vitals == [(100, shield) for shield in shields] + [(97, 0), (92, 0), (87, 0)]


def test_zealot_hits_twice_four_loops_apart() -> None:
    changes = {"marine.weapon": None, "marine.speed": 0}
    arena = Arena([("marine", 14.0, 16.0)], [("zealot", 14.9, 16.0)], changes=changes)
    health = [45.0]
    for _ in range(7):
        arena.step(STOP)
        health.append(arena.units()[AGENT, HEALTH])
    # damage point 0: the first hit lands in the loop in which the attack starts
    assert health == [45, 37, 37, 37, 37, 29, 29, 29]


def test_bonus_damage_by_attribute() -> None:
    # A spine crawler does 25, and 5 more to the armored stalker, whose armor takes 1 off.
    changes = {"stalker.shield": 0, "stalker.speed": 0}
    arena = Arena([("stalker", 14.0, 16.0)], [("spine_crawler", 19.0, 16.0)], changes=changes)
    while arena.units()[AGENT, HEALTH] == 80:
        arena.step(STOP)
    assert arena.units()[AGENT, HEALTH] == 80 - 29


def test_shields_wait_160_loops_then_gain_one_per_step() -> None:
    arena = Arena(
        [("marine", 14.0, 16.0)], [("zealot", 19.5, 16.0)], changes={"zealot.speed": 0}, step_mul=8
    )
    arena.step(ATTACK)    # the shot of loop 1; the next one is more than 12 loops later
    assert arena.units()[ENEMY, SHIELD] == 44
    shields = []
    for _ in range(23):
        arena.step(STOP)
        shields.append(arena.units()[ENEMY, SHIELD])
    assert shields[18] == 44    # 160 loops played, the last of them number 159
    assert shields[19] == 44 + 7 * 0.125    # loops 161 to 167
    assert shields[20] == shields[19] + 1
    assert shields[21] == shields[20] + 1


def test_zergling_regenerates() -> None:
    changes = {"zergling.speed": 0}
    arena = Arena([("marine", 14.0, 16.0)], [("zergling", 19.0, 16.0)], changes=changes, step_mul=8)
    arena.step(ATTACK)
    first = arena.units()[ENEMY, HEALTH]
    reward = arena.step(STOP)
    assert arena.units()[ENEMY, HEALTH] - first == 560 / 4096
    # max_reward = 10 + 200 + 35; what the enemy regains pays as well (smac.md 6)
    assert reward == pytest.approx(560 / 4096 * 20 / 245, abs=1e-12)
    for _ in range(100):
        arena.step(STOP)
    assert arena.units()[ENEMY, HEALTH] == 35


def test_agents_are_passive() -> None:
    arena = Arena([("marine", 14.0, 16.0), ("marine", 14.0, 18.0)], [("marine", 18.0, 16.0)], step_mul=8)
    while not arena.over:
        arena.step(*(STOP if row[ALIVE] else 0 for row in arena.units()[:2]))
    assert arena.units()[ENEMY, HEALTH] == 45
    assert not arena.flags[2, 0]


def test_another_order_calls_the_attack_off() -> None:
    arena = Arena([("marine", 14.0, 16.0)], [("marine", 19.0, 16.0)], changes={"marine.weapon.scan": 0})
    arena.step(ATTACK)    # winding up: the weapon fires one loop later
    assert arena.units()[AGENT, COOLDOWN] > 12
    arena.step(STOP)
    assert arena.units()[AGENT, COOLDOWN] == 0
    assert arena.units()[ENEMY, HEALTH] == 45


def test_an_equal_order_changes_nothing() -> None:
    arena = Arena([("marine", 14.0, 16.0)], [("marine", 19.0, 16.0)], changes={"marine.weapon.scan": 0})
    arena.step(ATTACK)
    arena.step(ATTACK)
    assert arena.units()[ENEMY, HEALTH] == 39


def test_mean_interval_of_shots() -> None:
    changes = {"marine.hp": 6000, "marine.weapon.scan": 0}
    arena = Arena([("marine", 14.0, 16.0)], [("marine", 18.0, 16.0)], changes=changes)
    shots = []
    for loop in range(6000):
        before = arena.units()[ENEMY, HEALTH]
        arena.step(ATTACK)
        if arena.units()[ENEMY, HEALTH] < before:
            shots.append(loop)
    intervals = np.diff(shots)
    # period 13.7728 loops + uniform [-1, 2): whole loops from 12 to 16, mean 14.2728 with deviation below 1
    assert set(intervals) <= {12, 13, 14, 15, 16}
    assert intervals.mean() == pytest.approx(13.7728 + 0.5, abs=4 / np.sqrt(len(intervals)))


def test_mirrored_duels_are_even_and_can_be_drawn() -> None:
    outcomes = {"won": 0, "lost": 0, "drawn": 0}
    arena = Arena([("marine", 13.0, 16.0)], [("marine", 18.9, 16.0)], goal=(9.0, 16.0), step_mul=8)
    for _ in range(300):
        arena.reset()
        while True:
            arena.step(ATTACK)
            if arena.over:
                break
        won, lost = arena.flags[2, 0], not arena.units()[AGENT, ALIVE] and arena.units()[ENEMY, ALIVE]
        outcomes["won" if won else "lost" if lost else "drawn"] += 1
    assert outcomes["drawn"] > 3
    decided = outcomes["won"] + outcomes["lost"]
    assert abs(outcomes["won"] - decided / 2) < 4 * np.sqrt(decided / 4)


def test_enemy_takes_the_nearest_and_keeps_it() -> None:
    arena = Arena(
        [("marine", 13.0, 16.0), ("marine", 13.5, 18.5)],
        [("marine", 18.0, 16.0)],
        changes={"marine.hp": 4500},
        step_mul=8,
    )
    arena.step(STOP, STOP)
    assert arena.units()[ENEMY, TARGET] == 0    # 5 away, the other sqrt(4.5^2 + 2.5^2) = 5.15
    arena.step(WEST, EAST)
    arena.step(STOP, STOP)
    near, far = arena.units()[1], arena.units()[0]
    enemy = arena.units()[ENEMY]
    assert np.hypot(near[X] - enemy[X], near[Y] - enemy[Y]) < np.hypot(far[X] - enemy[X], far[Y] - enemy[Y])
    assert enemy[TARGET] == 0    # still within range + 1


def test_units_that_overlap_are_pushed_apart() -> None:
    # Two standing marines at distance 0.5: the overlap of 0.25 is shared equally in the first pass.
    arena = Arena([("marine", 10.0, 16.0), ("marine", 10.5, 16.0)], [("marine", 30.0, 16.0)], seed=1)
    # the 16 passes at the spawn have already parted them
    a, b = arena.units()[0], arena.units()[1]
    assert (b[X] - a[X], b[Y] - a[Y]) == (0.75, 0.0)
    assert (a[X] + b[X]) / 2 == 10.25
    for _ in range(40):
        arena.step(EAST, WEST)    # both walk into each other: neither gets through
    a, b = arena.units()[0], arena.units()[1]
    assert a[X] < b[X]
    assert np.hypot(b[X] - a[X], b[Y] - a[Y]) > 0.6


def test_mutual_kill_is_a_draw_without_bonus() -> None:
    changes = {"marine.hp": 6, "marine.weapon.damage_point": 0}
    arena = Arena([("marine", 13.0, 16.0)], [("marine", 18.0, 16.0)], changes=changes, step_mul=8)
    # both fire in the first loop; max_reward = 10 + 200 + 6
    assert arena.step(ATTACK) == pytest.approx(16 * 20 / 216, abs=1e-12)
    assert arena.flags[:, 0].tolist() == [True, False, False]
    assert arena.dead[:, 0].tolist() == [1, 1]


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"number of units must be in 2\.\.80"):
        Arena([("marine", 9.0, 16.0)] * 41, [("marine", 20.0, 16.0)] * 40)
    with pytest.raises(ValueError, match="spawn point must lie on the map"):
        Arena([("marine", 40.0, 16.0)], [("marine", 20.0, 16.0)])
