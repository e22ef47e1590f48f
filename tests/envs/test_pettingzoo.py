"""The PettingZoo environments: PettingZoo's own tests, names, masks, ends of episodes."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mast_edge.envs.maps import map_names
from mast_edge.envs.single import StarCraft2Env
from mast_edge.errors import ConfigError, EpisodeNotRunning, IllegalAction

pytest.importorskip("pettingzoo")
from pettingzoo.test import (
    api_test,
    parallel_api_test,
    parallel_seed_test,
    render_test,
    seed_test,
    state_test,
)

from mast_edge.envs.pettingzoo_ import SkirmishParallelEnv, env, parallel_env

STOP, EAST = 0, 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["3m", "MMM", "2s3z", "bane_vs_bane"])
def test_passes_the_parallel_api_test(name: str) -> None:
    parallel_api_test(parallel_env(name), num_cycles=300)


def test_passes_the_seed_state_and_render_tests() -> None:
    # These sample without the mask.
    def parallel() -> SkirmishParallelEnv:
        return parallel_env("3m", illegal_actions="stop")

    parallel_seed_test(parallel, num_cycles=100)
    seed_test(lambda: env("3m"), num_cycles=100)
    state_test(env("3m", illegal_actions="stop"), parallel(), num_cycles=10)
    render_test(lambda **options: env("3m", **options))


@pytest.mark.filterwarnings("ignore::UserWarning")    # it would rather see plain arrays than a mask
def test_passes_the_turn_based_api_test() -> None:
    api_test(env("3m", illegal_actions="stop"), num_cycles=100)


def test_agents_observations_and_masks_are_those_of_the_single_environment() -> None:
    battle, single = parallel_env("5m_vs_6m", seed=3), StarCraft2Env("5m_vs_6m", seed=3)
    seen, infos = battle.reset()
    single.reset()
    assert battle.agents == [f"marine_{i}" for i in range(5)]
    assert set(infos) == set(seen) == set(battle.agents)
    for _ in range(6):    # nobody has fallen yet
        for i, name in enumerate(battle.agents):
            assert np.array_equal(seen[name]["observation"], single.get_obs_agent(i))
            assert seen[name]["action_mask"].tolist() == single.get_avail_agent_actions(i)[1:]
            assert battle.observation_space(name).contains(seen[name])
        assert np.array_equal(battle.state(), single.get_state())
        assert battle.state_space.contains(battle.state())
        seen, rewards, *_ = battle.step(dict.fromkeys(battle.agents, EAST))
        reward, _, _ = single.step([EAST + 1] * 5)
        assert set(rewards.values()) == {reward}


@pytest.mark.parametrize("name", map_names())
def test_spaces_hold_on_every_map(name: str) -> None:
    battle = parallel_env(name, seed=2, heuristic_ai=True)
    seen, _ = battle.reset()
    while battle.agents:
        for agent in seen:
            assert battle.observation_space(agent).contains(seen[agent]), agent
        assert battle.state_space.contains(battle.state())
        seen, *_ = battle.step(dict.fromkeys(battle.agents, STOP))


def test_agents_are_named_by_type_and_number() -> None:
    names = parallel_env("MMM").possible_agents
    assert names == ["marauder_0", "marauder_1", *[f"marine_{i}" for i in range(7)], "medivac_0"]


def test_the_dead_are_terminated_and_leave_and_the_end_terminates_all() -> None:
    battle = parallel_env("8m", seed=0)
    battle.reset()
    left, dead_before = [], 0
    while battle.agents:
        living = list(battle.agents)
        seen, rewards, terminated, truncated, infos = battle.step(dict.fromkeys(living, STOP))
        assert set(seen) == set(rewards) == set(terminated) == set(truncated) == set(infos) == set(living)
        assert not any(truncated.values())
        gone = [name for name in living if terminated[name]]
        for name in gone:
            assert not seen[name]["observation"].any()    # agents that stop are shot, all of them
            assert not seen[name]["action_mask"].any()
        dead = infos[living[0]]["dead_allies"]
        assert len(gone) == dead - dead_before
        dead_before = dead
        left += gone
    assert sorted(left) == sorted(battle.possible_agents)
    assert infos[living[0]]["battle_won"] is False
    with pytest.raises(EpisodeNotRunning, match="Call reset"):
        battle.step({})


def test_a_win_terminates_the_living() -> None:
    battle = parallel_env("3m", seed=1, heuristic_ai=True)
    for _ in range(20):
        battle.reset()
        while battle.agents:
            living = list(battle.agents)
            _, rewards, terminated, truncated, infos = battle.step(dict.fromkeys(living, STOP))
        if infos[living[0]]["battle_won"] and len(living) > 1:
            break
    assert infos[living[0]]["battle_won"]
    assert all(terminated.values())
    assert not any(truncated.values())
    assert min(rewards.values()) > 200 * 20 / 365    # the win and the last hit


@pytest.mark.parametrize(("options", "steps"), [({"step_mul": 1}, 60), ({"max_cycles": 5}, 5)])
def test_the_limit_truncates(options: dict[str, int], steps: int) -> None:
    battle = parallel_env("3m", seed=1, **options)
    battle.reset()
    for _ in range(steps - 1):
        _, _, terminated, truncated, _ = battle.step(dict.fromkeys(battle.agents, STOP))
        assert not any(terminated.values())
        assert not any(truncated.values())
    _, _, terminated, truncated, infos = battle.step(dict.fromkeys(battle.agents, STOP))
    assert battle.agents == []
    assert all(truncated.values())
    assert not any(terminated.values())
    assert "episode_limit" not in infos["marine_0"]
    battle.reset()
    assert len(battle.agents) == 3


def test_illegal_actions_are_refused_by_name_and_change_nothing() -> None:
    battle = parallel_env("3m", seed=1)
    battle.reset()
    before = battle.state()
    good = dict.fromkeys(battle.agents, STOP)
    for wrong in (5, 8, -1, None, 1.5):
        with pytest.raises(IllegalAction, match=r"agent marine_1 must be one of \[0, 1, 2, 3, 4\]; got"):
            battle.step({**good, "marine_1": wrong})
    with pytest.raises(IllegalAction, match=r"got none for \['marine_2'\]"):
        battle.step({"marine_0": STOP, "marine_1": STOP})
    with pytest.raises(IllegalAction, match=r"some for \['zealot_0'\]"):
        battle.step({**good, "zealot_0": STOP})
    assert np.array_equal(battle.state(), before)
    mild, stops = parallel_env("3m", seed=1, illegal_actions="stop"), parallel_env("3m", seed=1)
    mild.reset()
    stops.reset()
    _, _, _, _, infos = mild.step({**good, "marine_1": 5})
    stops.step(good)
    assert infos["marine_1"]["illegal_action"]
    assert "illegal_action" not in infos["marine_0"]
    assert np.array_equal(mild.state(), stops.state())


def test_seeds_and_pickles() -> None:
    first, second = parallel_env("3m"), pickle.loads(pickle.dumps(parallel_env("3m")))
    a, _ = first.reset(seed=7)
    b, _ = second.reset(seed=7)
    assert np.array_equal(a["marine_1"]["observation"], b["marine_1"]["observation"])
    a, _ = first.reset()    # the next episode of the same seed
    assert not np.array_equal(a["marine_1"]["observation"], b["marine_1"]["observation"])
    b, _ = second.reset()
    assert np.array_equal(a["marine_1"]["observation"], b["marine_1"]["observation"])


def test_render_modes(capsys: pytest.CaptureFixture[str]) -> None:
    battle = parallel_env("3m", render_mode="ansi")
    battle.reset(seed=0)
    picture = battle.render()
    assert picture is not None
    assert {"0", "1", "2", "a", "b", "c"} <= set(picture)
    loud = parallel_env("3m", render_mode="human")
    loud.reset(seed=0)
    assert loud.render() is None
    assert capsys.readouterr().out == picture + "\n"
    assert parallel_env("3m").render() is None


def test_bad_arguments_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean '3m'"):
        parallel_env("3mm")
    with pytest.raises(ConfigError, match="Did you mean 'obs_last_action'"):
        parallel_env("3m", obs_last_actoin=True)
    with pytest.raises(ConfigError, match="render_mode must be one of human, ansi; got 'gif'"):
        parallel_env("3m", render_mode="gif")
    with pytest.raises(ConfigError, match="illegal_actions must be one of refuse, stop; got 'skip'"):
        parallel_env("3m", illegal_actions="skip")
    with pytest.raises(ConfigError, match="max_cycles must be at least 1; got 0"):
        parallel_env("3m", max_cycles=0)


def test_without_the_package_the_message_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['pettingzoo'] = None\n"
        "from mast_edge.errors import MissingExtra\n"
        "try:\n    import mast_edge.envs.pettingzoo_\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60, check=False
    )
    assert "pip install 'mast-edge[pettingzoo]'" in answer.stdout, answer.stderr
