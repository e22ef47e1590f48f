"""Agents apart: rows, ratios and the floor of a short run."""

from benchmarks.decentralised import backends, benchmark_decentralised, measure_case, show


def test_rows_of_a_short_run(capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.decentralised.backends", lambda: ["csr"])
    result = benchmark_decentralised(["3m@95"], chunks=2, per_chunk=20, tell=lambda _: None)
    assert result["schema"] == "mast-edge/benchmark/1"
    rows = {row["name"]: row for row in result["rows"]}
    assert set(rows) == {"floor", "decentralised_csr", "in_process_csr", "resident_csr"}
    apart = rows["decentralised_csr"]
    assert (apart["replaced"], apart["agents"], apart["case"]) == (0, 3, "3m@95")
    assert apart["value"] > rows["floor"]["value"] > 0
    assert abs(apart["ratios"]["floor"] - rows["floor"]["value"] / apart["value"]) < 0.01
    assert 10e6 < rows["resident_csr"]["value"] < 500e6
    show(result)
    shown = capsys.readouterr().out
    assert "3m@95, 3 agents" in shown
    assert " MB" in shown


def test_a_case_of_fewer_agents(monkeypatch):
    monkeypatch.setattr("benchmarks.decentralised.backends", lambda: ["numpy"])
    assert {row.get("agents", 1) for row in measure_case("3m@95x1", 1, 5)} == {1}


def test_what_can_run_here():
    assert {"csr", "numpy"} <= set(backends())
