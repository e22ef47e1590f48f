"""Map and unit data against the tables of smac.md 7 and 8."""

import numpy as np
import pytest

from mast_edge.envs.maps import env_spec, map_names, native_interface, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.units import native_kind, per_loop, to_loops, unit_types
from mast_edge.errors import ConfigError

# name, agents, enemies, limit, obs, state, n_actions, max_reward (smac.md 7)
TABLE = """
3m 3 3 60 30 48 9 365
8m 8 8 120 80 168 14 640
25m 25 25 150 250 950 31 1575
5m_vs_6m 5 6 70 55 98 12 530
8m_vs_9m 8 9 120 85 179 15 695
10m_vs_11m 10 11 150 105 243 17 805
27m_vs_30m 27 30 180 285 1170 36 1850
MMM 10 10 150 160 290 16 1015
MMM2 10 12 180 176 322 18 1205
2s3z 5 5 120 80 120 11 1020
3s5z 8 8 150 128 216 14 1510
3s5z_vs_3s6z 8 9 170 136 230 15 1670
3s_vs_3z 3 3 150 36 54 9 680
3s_vs_4z 3 4 200 42 61 10 840
3s_vs_5z 3 5 250 48 68 11 1000
1c3s5z 9 9 180 162 270 15 1870
2m_vs_1z 2 1 150 16 26 7 360
corridor 6 24 400 156 282 30 1280
6h_vs_8z 6 8 150 78 140 14 1480
2s_vs_1sc 2 1 300 17 27 7 510
so_many_baneling 7 32 100 202 397 38 1480
bane_vs_bane 24 24 200 336 984 30 1260
2c_vs_64zg 2 64 400 332 342 70 3080
"""
ROWS = [line.split() for line in TABLE.split("\n") if line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_sizes(row: list[str]) -> None:
    name, (agents, enemies, limit, obs, state, actions, max_reward) = row[0], map(int, row[1:])
    spec = env_spec(name)
    assert (spec.n_agents, spec.episode_limit, spec.obs_dim, spec.state_dim) == (agents, limit, obs, state)
    assert spec.n_actions == actions
    smac = smac_map(name)
    assert len(smac.enemy_types) == enemies
    assert native_interface(smac, SmacOptions(), unit_types()).max_reward == max_reward


def test_all_maps_are_there() -> None:
    assert map_names() != []
    assert sorted(map_names()) == sorted(row[0] for row in ROWS)


def test_sizes_with_options() -> None:
    # 2s3z, all flags (the vectors' declared sizes are 142 and 121): the returned obs is one longer
    options = SmacOptions(
        obs_last_action=True,
        obs_pathing_grid=True,
        obs_terrain_height=True,
        obs_timestep_number=True,
        state_timestep_number=True,
    )
    spec = env_spec("2s3z", options)
    assert (spec.obs_dim, spec.state_dim) == (143, 121)
    assert env_spec("2s3z", SmacOptions(obs_instead_of_state=True)).state_dim == 400


def test_line_grid() -> None:
    walkable = smac_map("3m").walkable
    assert walkable[:, 8:24].all()
    assert not walkable[:, :8].any()
    assert not walkable[:, 24:].any()


def test_cliff_heights() -> None:
    height = smac_map("2c_vs_64zg").height
    assert set(np.unique(height)) <= {0, 127, *range(127, 144)}
    assert height[16, 16] == 143    # level 2: 127 + 16
    assert height[16, 9] == 127


def test_unknown_map_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean '27m_vs_30m'"):
        env_spec("27m_vs_30")


def test_rates_per_loop() -> None:
    # smac.md 9.1
    rates = {2.25: 576, 2.9531: 756, 2.75: 704, 2.5: 640, 2.0: 512, 0.2734: 70, 0.5625: 144, 9.0: 2304}
    for per_second, grains in rates.items():
        assert per_loop(per_second) * 4096 == grains


def test_windups() -> None:
    # smac.md 9.5
    expected = {"marine": 1, "marauder": 0, "zealot": 0, "stalker": 3, "colossus": 1, "hydralisk": 3}
    expected |= {"zergling": 3, "baneling": 0, "spine_crawler": 5}
    kinds = {name: native_kind(unit_types()[name]) for name in expected}
    assert {name: kind.windup for name, kind in kinds.items()} == expected
    assert kinds["zealot"].hit_delay == 4
    assert (kinds["marine"].backswing, kinds["marauder"].backswing) == (12, 0)
    assert to_loops(10.0) == 160


def test_profile_void() -> None:
    liberty, void = unit_types("liberty"), unit_types("void")
    assert (liberty["stalker"]["weapon"]["damage"], void["stalker"]["weapon"]["damage"]) == (10, 13)
    assert (liberty["hydralisk"]["hp"], void["hydralisk"]["hp"]) == (80, 90)
    assert void["stalker"]["weapon"]["bonus"]["armored"] == 5
    assert liberty["stalker"]["weapon"]["bonus"]["armored"] == 4    # the table itself is untouched
