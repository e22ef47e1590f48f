"""Scripted and exported players, the numbers of `play`, and the battle as it is drawn."""

import io

import numpy as np
import pytest
from rich.console import Console

from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import ConfigError, EnvironmentUnavailable, MissingInput, UsageError
from mast_edge.runtime.ascii_battle import Pen, describe, draw_field, health_line
from mast_edge.runtime.play import play, play_table
from tests.runtime.agents import export_csr, focus_fire, make_run

UNICODE = Pen("·", "∙", "░", "━", "╌", "✗", "─", "▁▂▃▄▅▆▇█")


def test_random_play_never_wins_and_nearest_play_sometimes_does():
    random, nearest = (play("3m", policy, episodes=100, seed=1) for policy in ("random", "nearest"))
    assert set(random) == {
        *("schema", "map", "policy", "episodes", "win_rate", "win_rate_ci95", "mean_return", "mean_length"),
        "env_steps_per_second",
    }
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
        ({"map_name": "3s5z"}, EnvironmentUnavailable, "3s5z"),
        ({"map_name": "3m", "policy": "nearst"}, MissingInput, "got 'nearst'"),
        ({"map_name": "3m", "episodes": 0}, UsageError, "episodes must be at least 1; got 0"),
        ({"map_name": "3m", "seed": -1}, UsageError, "seed must be at least 0"),
        ({"map_name": "3m", "render": "gif"}, UsageError, "render must be one of ascii; got 'gif'"),
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


@pytest.fixture
def units():
    env = Skirmish("3m", 1, seed=1)
    env.reset()
    table = env.units()[0].copy()
    table["x"], table["y"] = [9, 9.5, 9, 20, 20, 20], [16.2, 15.2, 14, 16.2, 15, 14]
    return table


def test_the_field_has_north_on_top_and_two_columns_per_cell(units):
    units["alive"][5] = False
    lines = [line.plain for line in draw_field(units, 3, [(0, 3)], Skirmish("3m", 1).walkable, UNICODE)]
    assert len(lines) == 18  # rows y = 23 .. 8 between two edges
    assert lines[0] == " " + "─" * 64
    row = lines[1 + 23 - 16]
    assert (row[1 + 18], row[1 + 40]) == ("0", "a")
    assert row[1 + 30] == "·"
    assert lines[1 + 23 - 15][1 + 19] == "1"
    assert lines[1 + 23 - 14][1 + 40] == "✗"


def test_blocked_cells_are_drawn(units):
    grid = np.ones((32, 32), np.uint8)
    grid[4, 10] = 0
    lines = [line.plain for line in draw_field(units, 3, [], grid, UNICODE)]
    assert len(lines) == 34
    assert lines[1 + 31 - 10][1 + 8 : 1 + 10] == "░░"


def test_health_bars_and_blocks(units):
    units["health"][:3] = [45, 22.5, 3]
    units["alive"][2] = False
    most = np.full(6, 45.0)
    assert health_line(units[:3], most[:3], "012", "", UNICODE).plain == (
        " 0 ━━━━━━ 45  1 ━━━╌╌╌ 22  2 ╌╌╌╌╌╌  3  "
    )
    many = np.concatenate([units, units])
    blocks = health_line(many, np.full(12, 45.0), "0123456789ab", "", UNICODE).plain
    assert blocks == " █▅✗████▅✗███"


def test_orders_in_words():
    alive = np.array([True, False, True, True])
    said = describe(np.array([8, 0, 2, 1]), alive)
    assert said == "0 attacks c  2 moves north  3 stops"
