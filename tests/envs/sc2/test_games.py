"""Whole games over a real websocket show the very numbers of the simulator."""

from itertools import pairwise

import numpy as np
import pytest

from mast_edge.envs.maps import map_names
from mast_edge.envs.skirmish import Skirmish
from tests.envs.sc2.client import Client, SmacView

MAPS = {"3m": (3, 40), "2s3z": (2, 30), "MMM": (2, 25), "2c_vs_64zg": (2, 20)}
"""Episodes, and the most steps of each; the rest of an episode is cut off by a restart."""


def some_actions(avail: np.ndarray, rng: np.random.Generator, fierce: bool) -> np.ndarray:
    """Legal actions; fierce players take a target whenever there is one."""
    scores = rng.random(avail.shape) + avail
    if fierce:
        scores[:, 6:] += avail[:, 6:]
        scores[:, 4] += 0.4 * avail[:, 4]
    return scores.argmax(axis=-1).astype(np.int64)


@pytest.mark.parametrize("map_name", MAPS)
def test_games_through_the_api_are_those_of_the_simulator_bit_for_bit(client: Client, map_name: str) -> None:
    play_both(client, map_name, *MAPS[map_name])


@pytest.mark.slow
@pytest.mark.parametrize("map_name", map_names())
def test_whole_games_of_every_map_through_the_api(client: Client, map_name: str) -> None:
    play_both(client, map_name, episodes=2, most_steps=400)


def play_both(client: Client, map_name: str, episodes: int, most_steps: int) -> None:
    """The same actions through the API and in the simulator itself, everything seen compared exactly."""
    env, rng = Skirmish(map_name, seed=11), np.random.default_rng(5)
    client.begin(map_name, seed=11)
    view = SmacView(client, map_name)
    view.reset()
    tags, fought_out = [view.tags], 0
    for episode in range(episodes):
        if episode:
            view.restart()
            tags.append(view.tags)
        env.reset()
        for _ in range(most_steps):
            np.testing.assert_array_equal(view.obs, env.obs[0])
            np.testing.assert_array_equal(view.state, env.state[0])
            np.testing.assert_array_equal(view.avail, env.avail[0])
            actions = some_actions(env.avail[0], rng, fierce=episode != 1)
            reward, terminated, timed_out, won, dead_allies, dead_enemies = view.step(actions)
            result = env.step(actions[None])
            assert reward == result.reward[0]
            assert (terminated, timed_out, won) == (
                result.terminated[0],
                result.timed_out[0],
                result.battle_won[0],
            )
            assert (dead_allies, dead_enemies) == (result.dead_allies[0], result.dead_enemies[0])
            if terminated:
                break
        fought_out += terminated
    assert all(set(one).isdisjoint(two) for one, two in pairwise(tags))
    if map_name == "3m":
        assert fought_out, "no battle was fought to its end"


def test_numbers_of_loops_add_up_over_episodes(client: Client) -> None:
    client.begin("3m", seed=1)
    view = SmacView(client, "3m")
    view.reset()
    view.step(np.ones(3, dtype=np.int64))
    assert client.do(observation={})["observation"]["game_loop"] == 8
    view.restart()
    assert client.do(observation={})["observation"]["game_loop"] == 10
    assert client.do(step={})["simulation_loop"] == 11


def test_the_dead_leave_the_list_and_the_rest_fights_on(client: Client) -> None:
    client.begin("3m", seed=1)
    before = [unit["tag"] for unit in client.units()]
    client.kill([before[1], before[4]])
    left = [tag for k, tag in enumerate(before) if k not in (1, 4)]
    assert [unit["tag"] for unit in client.units()] == left
    client.kill([before[1]])    # again, and in vain
    client.do(step={"count": 40})
    assert [unit["tag"] for unit in client.units()] == left
    client.kill(before[3:])
    client.do(step={"count": 400})
    left = [before[0], before[2]]
    assert [unit["tag"] for unit in client.units()] == left, "one side's death starts nothing"


def test_an_empty_battlefield_fills_after_two_loops_however_they_come(client: Client) -> None:
    client.begin("3m", seed=1)
    first = client.units()
    client.kill([unit["tag"] for unit in first])
    assert client.units() == []
    client.do(step={"count": 1})
    assert client.units() == []
    client.kill([])
    client.do(step={"count": 1})
    second = client.units()
    env = Skirmish("3m", seed=1)
    env.reset()
    env.reset()
    x = [unit["pos"]["x"] for unit in second]
    np.testing.assert_array_equal(np.float32(x), env.units()["x"][0].astype(np.float32))
    assert {unit["tag"] for unit in first}.isdisjoint(unit["tag"] for unit in second)
    client.kill([unit["tag"] for unit in first])    # tags of the last episode mean nobody
    assert client.units() == second


def test_a_battle_that_kills_everybody_stays_empty_until_the_next_call(client: Client) -> None:
    """A baneling that meets a zergling takes it along (35 damage, 35 health): nobody is left."""
    client.begin("bane_vs_bane", seed=1)
    units = client.units()
    zergling = max((unit for unit in units[:24] if unit["health_max"] == 35), key=lambda u: u["pos"]["y"])
    baneling = next(unit for unit in units[24:] if unit["health_max"] == 30)
    client.kill([unit["tag"] for unit in units if unit not in (zergling, baneling)])
    calls = 0
    while left := client.units():
        assert {unit["tag"] for unit in left} <= {zergling["tag"], baneling["tag"]}
        client.do(step={"count": 40})
        calls += 1
        assert calls < 20
    assert calls > 1
    client.kill([])
    client.do(step={"count": 2})
    assert len(client.units()) == 48


def test_loops_after_the_respawn_are_played(client: Client) -> None:
    client.begin("3m", seed=1)
    client.kill([unit["tag"] for unit in client.units()])
    client.do(step={"count": 10})
    env = Skirmish("3m", seed=1)
    env.reset()
    env.reset()
    env.step(np.ones((1, 3), dtype=np.int64))
    x = [unit["pos"]["x"] for unit in client.units()]
    np.testing.assert_array_equal(np.float32(x), env.units()["x"][0].astype(np.float32))


def test_a_restarted_game_begins_its_next_episode(client: Client) -> None:
    client.begin("3m", seed=1)
    first = {unit["tag"] for unit in client.units()}
    assert client.do(restart_game={}) == {}
    assert first.isdisjoint(unit["tag"] for unit in client.units())


def test_seeds(client: Client) -> None:
    """The client's seed, else the server's (7 here), decides the battle."""

    def places(seed: int | None) -> list[float]:
        client.begin("3m", seed)
        found = [unit["pos"]["x"] for unit in client.units()]
        client.do(leave_game={})
        return found

    assert places(3) == places(3)
    assert places(3) != places(4)
    assert places(None) == places(7)
