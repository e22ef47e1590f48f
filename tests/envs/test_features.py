"""Names of the entries of obs and state: as many as there are, and they mean what SMAC recorded."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from mast_edge.envs.features import Features
from mast_edge.envs.maps import env_spec, map_names, smac_map
from mast_edge.envs.options import SmacOptions

ORACLE = Path(__file__).parents[1] / "data" / "oracle"


@pytest.mark.parametrize("name", map_names())
def test_every_entry_has_a_name_on_every_map(name: str) -> None:
    shown = ("all_health", "own_health", "last_action", "pathing_grid", "terrain_height")
    switches = [f"obs_{what}" for what in (*shown, "instead_of_state", "timestep_number")]
    switches += ["state_timestep_number", "state_last_action"]
    for chosen in itertools.product((False, True), repeat=len(switches)):
        if name != "3m" and sum(chosen) not in (0, 1, len(switches) - 1, len(switches)):
            continue
        options = SmacOptions(**dict(zip(switches, chosen, strict=True)))
        names, spec = Features(smac_map(name), options).names(), env_spec(name, options)
        assert len(names.obs) == spec.n_agents
        assert {len(row) for row in names.obs} == {spec.obs_dim}
        assert len(names.state) == spec.state_dim
        assert len(set(names.state)) == len(names.state)
        assert all(len(set(row)) == len(row) for row in names.obs)


class Meaning:
    """What a named entry must be, from a table of units recorded with SMAC's own vectors."""

    def __init__(self, name: str, allies: np.ndarray, enemies: np.ndarray, avail: np.ndarray) -> None:
        self.sides, self.avail = {"ally": allies, "enemy": enemies}, avail
        self.types = {"ally": smac_map(name).ally_types, "enemy": smac_map(name).enemy_types}

    def of(self, agent: int, name: str) -> float | None:
        own = self.sides["ally"][agent]
        first, _, rest = name.partition("_")
        if own[2] <= 0:
            return 0.0
        if first == "can":
            what, _, number = rest.rpartition("_")
            moves = {"move": ("north", "south", "east", "west")}
            action = 2 + moves["move"].index(number) if what == "move" else 6 + int(number)
            side = "ally" if what == "heal_ally" else "enemy"
            seen = what == "move" or self._distance(own, self.sides["enemy"][action - 6]) < 9
            assert side == "enemy"
            return float(self.avail[agent, action]) if seen else 0.0
        if first == "own":
            return self._value(own, own, self.types["ally"][agent], rest)
        if first not in self.sides:
            return None
        number, _, entry = rest.partition("_")
        unit, kind = self.sides[first][int(number)], self.types[first][int(number)]
        if unit[2] <= 0 or self._distance(own, unit) >= 9 or entry.startswith("last_action"):
            return None if entry.startswith("last_action") else 0.0
        return self._value(own, unit, kind, entry)

    @staticmethod
    def _distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.hypot(float(b[0]) - float(a[0]), float(b[1]) - float(a[1])))

    def _value(self, own: np.ndarray, unit: np.ndarray, kind: str, entry: str) -> float | None:
        most = {"stalker": (80, 80), "zealot": (100, 50)}[kind]
        if entry.startswith("type_"):
            return float(entry == f"type_{kind}")
        values = {
            "visible": 1.0,
            "distance": self._distance(own, unit) / 9,
            "rel_x": (float(unit[0]) - float(own[0])) / 9,
            "rel_y": (float(unit[1]) - float(own[1])) / 9,
            "health": float(unit[2]) / most[0],
            "shield": float(unit[3]) / most[1],
            "zero": 0.0,
        }
        return values[entry]


def test_names_mean_what_smac_recorded() -> None:
    with np.load(ORACLE / "2s3z.npz", allow_pickle=False) as vectors:
        tables = {name: vectors[name] for name in ("s_ally", "s_enemy", "s_obs", "s_avail", "s_state")}
    names = Features(smac_map("2s3z"), SmacOptions()).names()
    checked = 0
    for row in range(0, len(tables["s_obs"]), 5):
        meaning = Meaning("2s3z", tables["s_ally"][row], tables["s_enemy"][row], tables["s_avail"][row])
        for agent in range(5):
            for at, name in enumerate(names.obs[agent]):
                expected = meaning.of(agent, name)
                if expected is not None:
                    assert tables["s_obs"][row, agent, at] == pytest.approx(expected, abs=1e-6), name
                    checked += 1
        state = dict(zip(names.state, tables["s_state"][row], strict=True))
        for k, unit in enumerate(tables["s_enemy"][row]):
            living = float(unit[2]) > 0
            assert state[f"enemy_{k}_rel_x"] == pytest.approx((float(unit[0]) - 16) / 32 * living, abs=1e-6)
            kind = smac_map("2s3z").enemy_types[k]
            assert state[f"enemy_{k}_type_{kind}"] == float(living)
    assert checked > 1000
