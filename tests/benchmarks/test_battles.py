import importlib.util
from pathlib import Path

import pytest

from mast_edge.runtime.play import play


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "benchmarks" / "battles.py"
    spec = importlib.util.spec_from_file_location("benchmark_battles_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_numbers_are_those_of_play(script):
    told = []
    result = script.benchmark_battles(["3m"], 130, told.append)
    assert result["schema"] == "mast-edge/benchmark/1"
    assert [line.split(":")[0] for line in told] == ["3m random", "3m nearest"]
    for entry in result["rows"]:
        expected = play("3m", entry["name"], 130, 0)
        assert entry["value"] == expected["win_rate"]
        assert entry["mean_return"] == pytest.approx(expected["mean_return"], abs=5e-4)
        assert entry["mean_length"] == pytest.approx(expected["mean_length"], abs=5e-3)
        assert entry["ci95"] == pytest.approx(expected["win_rate_ci95"], abs=5e-5)
        assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
    assert script.benchmark_battles(["3m"], 130) == result


def test_the_table(script):
    entry = {
        **{"case": "3m", "value": 0.5, "ci95": [0.25, 0.75], "mean_return": 9.876, "mean_length": 20.04},
        **{"timeouts": 3, "episode_limit": 60},
    }
    lines = script.table({"rows": [entry, entry]})
    cells = "50.0 % [25.0, 75.0] | 9.88 | 20.0 | 3"
    assert lines[2:] == [f"| 3m (60) | {cells} | {cells} |"]
    assert len({line.count("|") for line in lines}) == 1


def test_remarks_on_none_and_all(script):
    rows = [
        {"case": "3s_vs_5z", "name": name, "wins": wins, "episodes": 4}
        for name, wins in (("random", 0), ("nearest", 0), ("nearest", 4), ("nearest", 2))
    ]
    none, why, everything = script.remarks({"rows": rows})
    assert none == "3s_vs_5z random: won none; fights without aim or order"
    assert why.startswith("3s_vs_5z nearest: won none; the map asks for shooting and stepping back")
    assert everything == "3s_vs_5z nearest: won all"
