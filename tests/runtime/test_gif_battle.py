"""Films: a GIF that any reader takes, of the right pictures, the same bytes every time."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from mast_edge.envs.ascii_frame import Cast
from mast_edge.envs.replay import Replay, save_replay
from mast_edge.envs.skirmish import UNIT_DTYPE, Skirmish
from mast_edge.envs.strikes import Strike
from mast_edge.errors import MastEdgeError, MissingExtra
from mast_edge.runtime import gif_drawing as drawing
from mast_edge.runtime.gif_battle import Film, between, pace
from mast_edge.runtime.play import play
from mast_edge.runtime.playback import watch_replay


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "3m.gif"
    frames = []
    result = play("3m", "nearest", 1, 3, render="gif", out=path, on_frame=lambda *at: frames.append(at))
    return path, result, frames


def test_a_film_of_a_battle(film):
    path, result, told = film
    assert result["film"] == str(path)
    steps = int(result["mean_length"])
    image = Image.open(path)
    assert image.n_frames == 4 * steps + 1 == len(told)
    assert told[-1] == (4 * steps + 1, 4 * steps + 1)
    assert image.info["loop"] == 0
    durations = []
    for frame in range(image.n_frames):
        image.seek(frame)
        durations.append(image.info["duration"])
    assert durations[0] == 600
    assert durations[-1] == 2500
    assert set(durations[1:-1]) == {90}
    assert path.stat().st_size < 300_000


def test_the_same_battle_gives_the_same_bytes(film, tmp_path):
    path, *_ = film
    play("3m", "nearest", 1, 3, render="gif", out=tmp_path / "b.gif", save_replay=tmp_path / "b.replay")
    assert (tmp_path / "b.gif").read_bytes() == path.read_bytes()
    watch_replay(tmp_path / "b.replay", render="gif", out=tmp_path / "c.gif")
    assert (tmp_path / "c.gif").read_bytes() == path.read_bytes()


def test_several_episodes_follow_one_another(tmp_path):
    result = play("3m", "random", 2, 3, render="gif", out=tmp_path / "two.gif")
    image = Image.open(tmp_path / "two.gif")
    assert image.n_frames == 2 * (2 * result["mean_length"] * 2 + 1)


def test_a_film_that_breaks_off_leaves_no_file(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play("3m", "nearest", 1, 3, render="gif", out=tmp_path / "x.gif", on_frame=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "taken.gif").mkdir()
    with pytest.raises(MastEdgeError, match=r"taken\.gif"):
        play("3m", "nearest", 1, 3, render="gif", out=tmp_path / "taken.gif")


def test_without_pillow_the_extra_is_named(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "mast_edge.runtime.gif_drawing")
    monkeypatch.delattr("mast_edge.runtime.gif_drawing")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mast-edge\[view\]'"):
        play("3m", render="gif", out=tmp_path / "x.gif")


def test_frames_come_back_pixel_by_pixel():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 255, (40, 50), dtype=np.uint8)
    second = first.copy()
    second[7:12, 30:33] = 3
    film = Film()
    for frame in (first, second, second):
        film.add(frame, 10)
    image = Image.open(io.BytesIO(film.to_bytes()))
    colours = np.array(drawing.palette(), np.uint8).reshape(256, 3)
    for number, frame in enumerate((first, second, second)):
        image.seek(number)
        assert (np.asarray(image.convert("RGB")) == colours[frame]).all()


def test_the_palette_holds_every_plain_colour():
    entries = np.array(drawing.palette()).reshape(256, 3).tolist()
    for colour in (*drawing.BASES, *drawing.BACKS, drawing.GRID):
        assert list(colour) in entries[:255]
    assert len(np.unique(entries, axis=0)) < 256  # the last index is free for "unchanged"


def test_long_battles_of_many_get_fewer_frames():
    assert pace(60, 8, 6) == (4, 9)  # 3m: 1,740 bytes a frame, 919 frames affordable
    assert pace(26, 16, 6) == (8, 9)
    assert pace(200, 1, 6) == (1, 9)  # half a frame per step is not to be had
    assert pace(55, 8, 66) == (4, 9)  # 2c_vs_64zg: 7,140 bytes a frame, 224 frames affordable
    assert pace(60, 8, 66) == (3, 9)
    assert pace(110, 8, 66) == (2, 10)
    assert pace(400, 8, 66) == (1, 12)


def test_between_two_steps():
    before, after = np.zeros(1, UNIT_DTYPE), np.zeros(1, UNIT_DTYPE)
    before["x"], after["x"], before["health"], after["health"] = 4, 8, 45, 39
    halfway = between(before, after, 0.25)
    assert (halfway["x"][0], halfway["health"][0]) == (5, 43.5)


@pytest.fixture
def stage():
    env = Skirmish("3m", 1, seed=1)
    env.reset()
    units = env.units()[0]
    units["x"], units["y"] = [9.5, 9.5, 9.5, 20.5, 20.5, 20.5], [18.5, 15.5, 12.5, 18.5, 15.5, 12.5]
    cast = Cast.of(env)
    box = drawing.camera(cast, [units])
    return drawing.Painter(env, "3m", box), units, box


def colours_at(painter, box, moment, x, y, reach=0.05):
    """The set of colours near a place of the map."""
    picture = painter.paint(moment)
    cell = painter.size[0] / (box[1] - box[0] + 1)
    column, row = (x - box[0]) * cell, drawing.HEAD + (box[3] + 1 - y) * cell
    part = picture[
        int(row - reach * cell) : int(row + reach * cell) + 1,
        int(column - reach * cell) : int(column + reach * cell) + 1,
    ]
    entries = np.array(drawing.palette()).reshape(256, 3)
    return {tuple(int(v) for v in entries[index]) for index in part.flat}


def moment_of(units, strikes=(), died=None, at=0.5):
    return drawing.Moment(at, units, np.full(6, np.inf) if died is None else died, strikes)


def test_the_camera_shows_where_the_battle_is(stage):
    _, units, box = stage
    assert box == (5, 24, 10, 20)  # 9-2 to 20+2 is 16 wide: widened to 20, and 12-2 to 18+2
    everywhere = units.copy()
    everywhere["x"][0], everywhere["y"][0] = 0.1, 31.9
    cast = Cast.of(Skirmish("3m", 1))
    assert drawing.camera(cast, [units, everywhere]) == (0, 24, 8, 23)  # moved, not cut, at the border


def test_units_stand_where_they_are_in_the_colour_of_their_side(stage):
    painter, units, box = stage
    ally = colours_at(painter, box, moment_of(units), 9.5 + 0.33, 15.5)
    enemy = colours_at(painter, box, moment_of(units), 20.5 + 0.33, 15.5)
    assert drawing.SIDES[0] in ally
    assert drawing.SIDES[1] in enemy
    assert colours_at(painter, box, moment_of(units), 15.5, 15.5) == {drawing.GROUND}


def test_the_ring_is_health(stage):
    painter, units, box = stage
    units["health"][1] = 45 / 2  # the right half of the ring
    right, left = (colours_at(painter, box, moment_of(units), 9.5 + d, 15.5) for d in (0.33, -0.33))
    assert drawing.SIDES[0] in right
    assert drawing.SIDES[0] not in left


def test_shots_fade_and_the_dead_are_crossed_out(stage):
    painter, units, box = stage
    shot = [(0.4, Strike("instant", 1, 4, 0.4))]
    assert drawing.SIDES[0] in colours_at(painter, box, moment_of(units, shot), 15.5, 15.5)
    assert drawing.SIDES[0] not in colours_at(painter, box, moment_of(units, shot, at=1.0), 15.5, 15.5)
    died = np.full(6, np.inf)
    died[1] = 0.2
    dead = colours_at(painter, box, moment_of(units, died=died), 9.5, 15.5, 0.3)
    assert drawing.TEXT not in dead  # no letter
    assert drawing.GROUND in dead
    assert len(dead) > 1


def test_a_missile_flies_and_a_medic_heals(stage):
    painter, units, box = stage
    missile = [(0.0, Strike("missile", 1, 4, 0.0, 1.0))]
    assert drawing.TEXT in colours_at(painter, box, moment_of(units, missile), 15.1, 15.5, 0.4)
    assert drawing.TEXT not in colours_at(painter, box, moment_of(units, missile, at=0.05), 15.1, 15.5, 0.4)
    heal = [(0.0, Strike("heal", 0, 2, 0.0))]
    assert drawing.HEAL in colours_at(painter, box, moment_of(units, heal), 9.5, 17.2, 0.2)


def test_a_replay_of_a_beginning_is_filmed_as_such(tmp_path):
    env = Skirmish("3m", 1, seed=3)
    env.reset()
    env.step(np.full((1, 3), 4))
    save_replay(tmp_path / "a.replay", Replay.of(env, np.full((1, 3), 4)))
    result = watch_replay(tmp_path / "a.replay", render="gif", out=tmp_path / "a.gif")
    assert result["mean_length"] == 1
    assert Image.open(tmp_path / "a.gif").n_frames == 5
