"""Who shot at whom, from units before and after a step."""

import numpy as np
import pytest

from mast_edge.envs.skirmish import UNIT_DTYPE, Skirmish
from mast_edge.envs.strikes import Arms, Strike, strikes

TYPES = ("baneling", "colossus", "marine", "medivac", "stalker", "zealot")
BANELING, COLOSSUS, MARINE, MEDIVAC, STALKER, ZEALOT = range(6)
ARMS = Arms.of(TYPES)


def table(*kinds):
    units = np.zeros(len(kinds), UNIT_DTYPE)
    units["kind"], units["alive"], units["target"], units["health"] = kinds, True, -1, 40
    return units


def test_weapons():
    assert ARMS.ways == ("blast", "beam", "instant", "heal", "missile", "melee")
    assert ARMS.periods[MARINE] == pytest.approx(0.8608 * 16)
    assert ARMS.speeds == (0, 0, 0, 0, 18.75 / 16, 0)


def test_a_cooldown_that_rose_is_a_shot():
    before, after = table(MARINE, MARINE), table(MARINE, MARINE)
    before["cooldown"] = [3, 12]
    after["cooldown"], after["target"] = [11.7728, 4], [1, 0]  # period 13.7728: fired 2 loops before the end
    (shot,) = strikes(before, after, ARMS, 1, 8)
    assert (shot.kind, shot.source, shot.target, shot.lasts) == ("instant", 0, 1, 0)
    assert shot.at == pytest.approx(1 - 2 / 8)


def test_a_missile_takes_its_time():
    before, after = table(STALKER, MARINE), table(STALKER, MARINE)
    after["cooldown"], after["target"], after["x"] = [23.04, 0], [1, -1], [10, 16]
    (shot,) = strikes(before, after, ARMS, 1, 8)
    assert shot.kind == "missile"
    assert shot.lasts == pytest.approx(6 / (18.75 / 16) / 8)


def test_the_shot_that_killed_is_aimed_at_the_dead():
    before, after = table(MARINE, MARINE, MARINE), table(MARINE, MARINE, MARINE)
    before["target"], after["target"], after["cooldown"] = [1, -1, -1], [2, -1, -1], [13, 0, 0]
    after["alive"][1] = False
    assert [s.target for s in strikes(before, after, ARMS, 1, 8)] == [1]
    after["alive"][1] = True
    assert [s.target for s in strikes(before, after, ARMS, 1, 8)] == [2]
    # what the agent was told to attack is known: action 6 + 1 is enemy 1, unit 2
    after["target"][0] = -1
    assert [s.target for s in strikes(before, after, ARMS, 1, 8, np.array([7]))] == [2]


def test_the_dead_do_not_fire():
    before, after = table(MARINE, MARINE), table(MARINE, MARINE)
    before["cooldown"], after["cooldown"], after["target"] = [10, 10], [8, 13], [1, 0]
    after["alive"] = False
    assert [s.source for s in strikes(before, after, ARMS, 1, 8)] == [1]  # fired, then died
    before["alive"] = False
    assert strikes(before, after, ARMS, 1, 8) == []


def test_healing_costs_energy_and_banelings_blast_when_they_die():
    before, after = table(MEDIVAC, BANELING, BANELING), table(MEDIVAC, BANELING, BANELING)
    before["energy"], after["energy"], after["target"] = [50, 0, 0], [49, 0, 0], [1, -1, -1]
    after["alive"][2] = False
    assert strikes(before, after, ARMS, 1, 8) == [Strike("heal", 0, 1, 0.0), Strike("blast", 2, 2, 0.5)]
    after["energy"][0] = 50.25
    assert [s.kind for s in strikes(before, after, ARMS, 1, 8)] == ["blast"]


def test_damage_of_a_battle_is_the_number_of_shots():
    """Marines hit at once for 6: what both sides lost is 6 times the shots seen, but for the last on each."""
    env = Skirmish("3m", 1, seed=4)
    env.reset()
    arms, shots, lost = Arms.of(tuple(env.unit_names)), 0, 0.0
    for _ in range(12):
        before = env.units()[0]
        east = np.where(env.avail[0, :, 6:].any(axis=1), 6 + env.avail[0, :, 6:].argmax(axis=1), 4)
        actions = np.where(before["alive"][:3], east, 0)
        if env.step(actions[None]).terminated[0]:
            break
        after = env.units()[0]
        shots += len(strikes(before, after, arms, 3, 8, actions))
        lost += float((before["health"] - np.maximum(after["health"], 0)).sum())
    assert lost > 60
    assert lost <= 6 * shots <= lost + 6 * 6
