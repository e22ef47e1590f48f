"""A battle as text: where things stand, who is who, how they are."""

import numpy as np
import pytest

from mast_edge.envs.ascii_frame import (
    FINE,
    LETTERS,
    PLAIN,
    Cast,
    deeds,
    field_lines,
    frame_text,
    legend,
    pen_for,
    shown_box,
    side_line,
)
from mast_edge.envs.maps import map_names, smac_map
from mast_edge.envs.skirmish import UNIT_DTYPE, Skirmish
from mast_edge.envs.strikes import Strike
from mast_edge.envs.units import unit_types
from mast_edge.spec import EnvSpec


class Setting:
    """What `Cast.of` asks of an environment, for maps of any unit type."""

    profile = "liberty"

    def __init__(self, name):
        smac = smac_map(name)
        self.spec = EnvSpec(name, "skirmish", len(smac.ally_types), 0, 0, 0, smac.limit)
        self.ally_types, self.enemy_types, self.walkable = smac.ally_types, smac.enemy_types, smac.walkable

    def units(self, cast):
        units = np.zeros(len(cast.names), UNIT_DTYPE)
        units["health"], units["shield"], units["alive"] = cast.most_health, cast.most_shield, True
        columns, rows = np.nonzero(self.walkable)
        units["x"], units["y"] = columns[: len(units)] + 0.5, rows[: len(units)] + 0.5
        return units


def stage(name, pen=FINE):
    setting = Setting(name)
    cast = Cast.of(setting, pen)
    return cast, setting.units(cast)


def text(line):
    return "".join(part for part, _ in line)


def test_every_unit_type_has_a_letter_of_its_own():
    assert set(LETTERS) == set(unit_types())
    assert len(set(LETTERS.values())) == len(LETTERS)


def test_the_field_has_north_on_top_and_two_columns_per_cell():
    cast, units = stage("3m")
    units["x"], units["y"] = [9, 9.5, 9, 20, 20, 20], [16.2, 15.2, 14, 16.2, 15, 14]
    units["alive"][5] = False
    lines = [text(line) for line in field_lines(units, cast, [Strike("instant", 0, 3, 0.5)], FINE)]
    assert len(lines) == 18  # rows y = 23 .. 8 between two edges
    assert lines[0] == "─" * 64
    row = lines[1 + 23 - 16]
    assert (row[18], row[40]) == ("0", "a")
    assert row[30] == "·"
    assert lines[1 + 23 - 15][19] == "1"
    assert lines[1 + 23 - 14][40] == "✗"


def test_roles_tell_the_sides_apart():
    cast, units = stage("3m")
    roles = {mark: role for line in field_lines(units, cast, (), FINE) for mark, role in line}
    assert (roles["0"], roles["a"]) == ("ally", "enemy")


def test_walls_are_drawn_and_only_what_matters_is_shown():
    assert shown_box("2m_vs_1z") == (6, 25, 6, 25)
    assert shown_box("2c_vs_64zg") == (0, 31, 5, 20)  # the cliffs too, but not the void
    cast, units = stage("so_many_baneling")
    lines = [text(line) for line in field_lines(units[:0], cast, (), FINE)]
    assert len(lines) == 28 + 2
    assert lines[1] == "░" * 40 + " " * 16  # y = 29: free from x = 22 to 29, box 2 to 29
    squeezed = [text(line) for line in field_lines(units[:0], cast, (), PLAIN, squeeze=2)]
    assert len(squeezed) == 14 + 2
    assert squeezed[1] == "#" * 40 + " " * 16


@pytest.mark.parametrize("name", map_names())
@pytest.mark.parametrize("pen", [FINE, PLAIN])
def test_every_map_fits_80_columns_and_its_pen(name, pen):
    cast, units = stage(name, pen)
    sides = [side_line(units, cast, ally, pen) for ally in (True, False)]
    lines = [text(line) for line in [*field_lines(units, cast, (), pen), *sides]]
    limit = smac_map(name).limit
    lines.append(f"{name}  episode 100/100  step {limit}/{limit}  {legend(cast)}")
    assert max(map(len, lines)) <= 79
    if pen is PLAIN:
        assert all(line.isascii() for line in lines)


def test_letters_tell_types_where_there_are_several():
    cast, _ = stage("1c3s5z")
    assert "".join(cast.marks) == "CSSSZZZZZcssszzzzz"
    assert legend(cast) == "C colossus  S stalker  Z zealot"
    cast, _ = stage("2c_vs_64zg")
    assert "".join(cast.marks) == "CC" + "g" * 64
    cast, _ = stage("27m_vs_30m")
    assert "".join(cast.marks[:30]) == "0123456789ABCDEFGHIJKLMNOPQabc"
    assert legend(cast) == ""
    assert stage("27m_vs_30m", PLAIN)[0].typed  # 30 names would need Greek letters


def test_a_bar_each_while_there_are_few():
    cast, units = stage("3m")
    units["health"][:3] = [45, 22.5, 3]
    units["alive"][2] = False
    assert text(side_line(units, cast, True, FINE)) == "0 ━━━━━━ 45  1 ━━━╌╌╌ 22  2 ╌╌╌╌╌╌  0  "


def test_shields_stand_behind_health():
    cast, units = stage("3s_vs_3z")
    units["shield"][:3] = [80, 40, 0]
    units["health"][:3] = [80, 80, 20]
    assert text(side_line(units, cast, True, PLAIN)) == "S ===%%%160  S ===%%-120  S =----- 20  "


def test_a_block_each_when_there_are_many():
    cast, units = stage("3s5z")
    units["health"][1], units["shield"][1], units["alive"][4] = 40, 0, False
    assert text(side_line(units, cast, True, FINE)) == "S█▃█ Z█✗███  600 hp  360 sh"
    cast, units = stage("25m")
    units["alive"][1:25] = False
    assert text(side_line(units, cast, True, PLAIN)) == "8" + "x" * 24 + "  45 hp"


def test_deeds_in_words():
    cast, _ = stage("5m_vs_6m")
    alive = np.array([True, False, True, True, False] + [True] * 6)
    assert deeds(np.array([8, 0, 2, 1, 0]), alive, cast) == "0 attacks c  2 moves north  3 stops"
    assert deeds(None, alive, cast) == ""


def test_deeds_of_many_are_counted():
    cast, _ = stage("MMM")
    assert cast.names[9] == "medivac"
    said = deeds(np.array([6, 7, 4, 4, 1, 8, 6, 4, 0, 6]), np.arange(20) != 8, cast)
    assert said == "4 attack  1 heal  3 move east  1 stop"


def test_plain_text_of_an_environment():
    env = Skirmish("3m", 2, seed=1)
    env.reset()
    shown = frame_text(env, 1)
    assert shown.startswith("3m  step 0/60\n───")
    assert shown.endswith("a ━━━━━━ 45  b ━━━━━━ 45  c ━━━━━━ 45\n")
    assert frame_text(env, 1, "latin-1").isascii()
    assert frame_text(env, 0) != shown


def test_pens():
    assert pen_for("UTF-8") is pen_for("utf8") is FINE
    assert pen_for("ascii") is pen_for("cp1252") is PLAIN
