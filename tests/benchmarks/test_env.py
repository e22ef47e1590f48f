import importlib.util
import sys
from pathlib import Path

import pytest

from mast_edge.errors import MastEdgeError

FAKE = """
import json, sys
if sys.argv[1] == "gone":
    sys.exit("no such map")
print(json.dumps({"peer": "fake 1"}), flush=True)
for line in sys.stdin:
    print(json.dumps({"steps": 10, "cpu": float(line), "wall": 2 * float(line)}), flush=True)
"""


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "benchmarks" / "env.py"
    spec = importlib.util.spec_from_file_location("benchmark_env_script", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fake(tmp_path):
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


@pytest.fixture
def said(tmp_path):
    return tmp_path / "said"


def test_rows_ratios_and_what_was_skipped(script, monkeypatch, tmp_path):
    for name in ("MAST_EDGE_JAXMARL_PYTHON", "MAST_EDGE_SMAC_PYTHON"):
        monkeypatch.setenv(name, str(tmp_path / "no-python"))
    monkeypatch.setattr(script, "cores", lambda: 2)
    lines = []
    result = script.benchmark_env(["3m"], rounds=1, seconds=0.005, tell=lines.append)
    assert result["schema"] == "mast-edge/benchmark/1"
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["native", "threads_2", "single"]
    assert set(rows["native"]["ratios"]) == {"threads_2", "single"}
    assert rows["native"]["ratios"]["single"] > 1
    for name in ("threads_2", "single"):
        assert rows[name]["ratios"]["native"] * rows["native"]["ratios"][name] == pytest.approx(1, abs=0.05)
    assert rows["native"]["goal"] == 400_000
    assert "No such file" in result["host"]["skipped"]["smax"]
    assert set(result["host"]["skipped"]) == {"smax", "smac_over_stand_in"}
    assert [line.split()[1] for line in lines] == list(rows)


def test_one_core_has_no_row_of_two_threads(script, monkeypatch):
    monkeypatch.setattr(script, "cores", lambda: 1)
    monkeypatch.setattr(script, "PEERS", {})
    result = script.benchmark_env(["3m"], rounds=1, seconds=0.001)
    assert "threads_2" not in {row["name"] for row in result["rows"]}
    assert result["host"]["skipped"] == {"threads_2": "one core only"}


def test_goals_and_median_ratios_by_hand(script):
    chunks = {
        "native": [script.Chunk(100, 1.0, 2.0), script.Chunk(400, 1.0, 2.0), script.Chunk(200, 1.0, 1.0)],
        "threads_2": [script.Chunk(100, 9.0, 1.0), script.Chunk(300, 9.0, 1.0), script.Chunk(340, 9.0, 1.0)],
        "smax": [script.Chunk(50, 1.0, 9.0), script.Chunk(20, 1.0, 9.0), script.Chunk(10, 0.5, 9.0)],
    }
    native, threads, smax = script.rows_of("3s5z", chunks, 7.4)
    assert (native["value"], native["spread"]) == (200, [100, 400])
    assert (native["goal"], native["reached"]) == (120_000, False)
    assert native["yardstick"] == 7
    # wall: 50, 200, 200 against 100, 300, 340; CPU: 100, 400, 200 against 50, 20, 20
    assert native["ratios"] == {"threads_2": 0.5882, "smax": 10.0}
    assert (threads["value"], threads["ratios"], threads["goal"]) == (300, {"native": 1.7}, 1.7)
    assert threads["reached"]
    assert (smax["value"], smax["ratios"]) == (20, {"native": 0.1})
    assert script.line_of(threads).endswith("1.7x native  goal 1.7x: reached")


def test_a_peer_answers_line_by_line_and_ends(script, fake, said):
    peer = script.Peer(fake, "3m", sys.executable, {}, said)
    assert peer.remark == "fake 1"
    assert peer.run_chunk(0.5) == script.Chunk(10, 0.5, 1.0)
    assert peer.run_chunk(0.25) == script.Chunk(10, 0.25, 0.5)
    peer.close()
    assert peer.process.returncode == 0


def test_a_peer_that_cannot_start_says_why(script, fake, said):
    with pytest.raises(MastEdgeError, match="no such map"):
        script.Peer(fake, "gone", sys.executable, {}, said)
