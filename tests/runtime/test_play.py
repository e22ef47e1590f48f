"""Scripted and exported players, the numbers of `play`, replays, and the battle on a terminal."""

import io

import pytest
from rich.console import Console

from mast_edge.envs.replay import Replay, load_replay, save_replay
from mast_edge.envs.scripted import NearestPolicy
from mast_edge.envs.skirmish import SIMULATOR_VERSION, Skirmish
from mast_edge.errors import ConfigError, MissingInput, UsageError
from mast_edge.runtime.match import BATCH
from mast_edge.runtime.play import play, play_table
from mast_edge.runtime.playback import watch_replay
from tests.runtime.agents import export_csr, focus_fire, make_run


def test_random_play_never_wins_and_nearest_play_sometimes_does():
    random, nearest = (play("3m", policy, episodes=100, seed=1) for policy in ("random", "nearest"))
    assert set(random) == {
        *("schema", "map", "policy", "episodes", "win_rate", "win_rate_ci95", "mean_return", "mean_length"),
        *("env_steps_per_second", "simulator"),
    }
    assert random["simulator"] == SIMULATOR_VERSION
    assert random["win_rate"] <= 0.02
    assert 0.1 < nearest["win_rate"] < 0.9
    assert nearest["mean_return"] > random["mean_return"] > 0
    assert 1 < nearest["mean_length"] <= 60
    assert nearest["win_rate_ci95"][0] < nearest["win_rate"] < nearest["win_rate_ci95"][1]


def test_the_same_seed_plays_the_same_battles():
    keys = ("win_rate", "mean_return", "mean_length")
    a, b, c = (play("3m", "random", episodes=30, seed=s) for s in (4, 4, 5))
    assert [a[k] for k in keys] == [b[k] for k in keys]
    assert [a[k] for k in keys] != [c[k] for k in keys]


def test_seeds_go_on_at_0_after_the_largest():
    episodes = BATCH + 2
    wrapped = play("3m", "nearest", episodes=episodes, seed=2**64 - BATCH)
    first, rest = play("3m", "nearest", BATCH, 2**64 - BATCH), play("3m", "nearest", 2, 0)
    returns = BATCH * first["mean_return"] + 2 * rest["mean_return"]
    assert wrapped["mean_return"] == pytest.approx(returns / episodes)


def test_the_table_of_play():
    console = Console(width=100, file=io.StringIO())
    console.print(play_table(play("3m", "random", episodes=100, seed=1)))
    text = console.file.getvalue()
    for part in ("3m, 100 battles", "random", "0.0 %  95 % [0.0, 3.7]", "steps per second"):
        assert part in text


def test_batches_are_counted_whole():
    seen = []
    result = play("3m", "nearest", episodes=130, seed=2, on_progress=lambda *at: seen.append(at))
    assert [(done, total) for done, total, _ in seen] == [(125, 130), (130, 130)]
    assert seen[-1][2] == round(result["win_rate"] * 130)
    assert result["episodes"] == 130


def test_an_exported_agent_plays(tmp_path):
    run = make_run(tmp_path, change=focus_fire)
    exported = play("3m", str(export_csr(run)), episodes=60, seed=3)
    assert 0.05 < exported["win_rate"] < 0.6
    checkpoint = play("3m", str(run / "checkpoints" / "step-000001000"), episodes=60, seed=3)
    assert checkpoint["win_rate"] == exported["win_rate"]


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"map_name": "3mm"}, ConfigError, "got '3mm'"),
        ({"map_name": "3m", "policy": "nearst"}, MissingInput, "got 'nearst'. Did you mean 'nearest'"),
        ({"map_name": "3m", "episodes": 0}, UsageError, "episodes must be at least 1; got 0"),
        ({"map_name": "3m", "seed": -1}, UsageError, "seed must be in 0"),
        ({"map_name": "3m", "seed": 2**64}, UsageError, "seed must be in 0"),
        ({"map_name": "3m", "render": "gi"}, UsageError, "render must be one of ascii, gif; got 'gi'.*'gif'"),
        ({"map_name": "3m", "render": "gif", "out": "/no/x.gif"}, UsageError, "a folder that exists"),
        ({"map_name": "3m", "render": "gif", "out": "/dev/null"}, UsageError, "a folder that exists"),
        ({"map_name": "3m", "save_replay": "/no/x.replay"}, UsageError, "a folder that exists"),
        ({"map_name": "3m", "save_replay": __file__}, UsageError, "ending in .replay or a folder"),
    ],
)
def test_refusals(asked, error, message):
    with pytest.raises(error, match=message):
        play(**asked)


def rendered(**console):
    out = io.StringIO()
    play("3m", "nearest", 2, 3, render="ascii", console=Console(file=out, width=80, **console))
    return out.getvalue()


def test_a_pipe_gets_plain_frames():
    text = rendered()
    assert "\x1b" not in text
    assert "3m  episode 1/2  step 0/60" in text
    assert "step 8/60" in text
    assert "step 9/60" not in text
    assert "0 moves east" in text
    assert text.count(" steps\n") == 2
    assert max(map(len, text.splitlines())) <= 80


def test_a_terminal_gets_colour_and_motion(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("mast_edge.runtime.ascii_battle.time.sleep", lambda _: None)
    text = rendered(force_terminal=True, legacy_windows=False)
    assert "\x1b[1;36m" in text
    assert "step 1/60" in text


def test_no_color_is_honoured(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("mast_edge.runtime.ascii_battle.time.sleep", lambda _: None)
    text = rendered(force_terminal=True, legacy_windows=False)
    assert "\x1b[1;36m" not in text
    assert "\x1b[36m" not in text


def test_a_dumb_terminal_gets_plain_frames(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    text = rendered(force_terminal=True, legacy_windows=False)
    assert "step 9/60" not in text


NUMBERS = ("map", "episodes", "win_rate", "mean_return", "mean_length", "simulator")


def test_the_first_episode_is_saved_and_played_back(tmp_path):
    path = tmp_path / "a.replay"
    played = play("3m", "nearest", 1, 7, save_replay=path)
    assert played["replays"] == str(path)
    again = watch_replay(path)
    assert again["policy"] == str(path)
    assert {name: again[name] for name in NUMBERS} == {name: played[name] for name in NUMBERS}
    play("3m", "nearest", 130, 7, save_replay=tmp_path / "b.replay")
    assert (tmp_path / "b.replay").read_bytes() == path.read_bytes()


def test_every_episode_is_saved_into_a_folder(tmp_path):
    played = play("3m", "nearest", 5, 20, save_replay=tmp_path / "new" / "folder")
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == [f"3m-seed{20 + i}.replay" for i in range(5)]
    assert sum(len(load_replay(file).actions) for file in files) / 5 == played["mean_length"]


def test_a_replay_looks_like_the_battle_it_was_taken_of(tmp_path):
    first, second = io.StringIO(), io.StringIO()
    path = tmp_path / "a.replay"
    play("3m", "nearest", 1, 3, render="ascii", save_replay=path, console=Console(file=first))
    watch_replay(path, render="ascii", console=Console(file=second))
    assert first.getvalue() == second.getvalue()
    assert "after" in first.getvalue()


def test_the_beginning_of_a_battle_is_shown_as_such(tmp_path):
    env, actions = Skirmish("3m", 1, seed=3), []
    env.reset()
    for _ in range(4):
        actions.append(NearestPolicy().act(env)[0])
        env.step(actions[-1][None])
    save_replay(tmp_path / "begun.replay", Replay.of(env, actions))
    out = io.StringIO()
    result = watch_replay(tmp_path / "begun.replay", render="ascii", console=Console(file=out))
    assert result["mean_length"] == 4
    assert "unfinished after 4 steps" in out.getvalue()
