"""Verdicts of one run in every runtime: the script's rows are those of `evaluate`."""

import pytest

from benchmarks.verdicts import RUNTIMES, benchmark_verdicts, show
from tests.runtime.agents import make_run


@pytest.mark.slow
def test_rows_of_a_run_in_every_runtime(tmp_path, capsys):
    run = make_run(tmp_path)
    result = benchmark_verdicts([run.name], run.name, 2, tmp_path, tell=lambda _: None)
    rows = result["rows"]
    assert [row["name"] for row in rows] == [name for name in (*RUNTIMES, "csr") for _ in range(2)]
    for row in rows:
        assert (row["judged"], row["decision"], row["episodes"]) == ("fidelity", "inconclusive", 2)
        assert row["action_agreement"] == 1.0
    assert [bool(row["decentralised"]) for row in rows] == [False, True] * (len(rows) // 2)
    assert {row["decentralised"]["in_process_identical"] for row in rows[1::2]} == {2}
    show(result)
    assert "2 of 2 alike" in capsys.readouterr().out
