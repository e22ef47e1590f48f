"""The benchmark of imports and memory, once round."""

import sys

import pytest

from benchmarks.light import benchmark_light


@pytest.mark.slow
def test_rows_of_one_round() -> None:
    rows = benchmark_light(repeats=1)["rows"]
    found = {(row["case"], row["name"]): row for row in rows}
    for case in ("import warm", "import cold", "import warm, CPU"):
        ours, numpy = found[case, "mast_edge.runtime"], found[case, "numpy"]
        assert ours["ratios"]["numpy"] == pytest.approx(numpy["value"] / ours["value"], abs=2e-3)
    assert {"agent csr", "agent numpy"} <= {name for case, name in found if case == "first act"}
    if sys.platform == "linux":
        memory = {name: row["value"] for (case, name), row in found.items() if case == "resident memory"}
        assert memory["python"] < memory["numpy"] <= memory["agent numpy"] < 200
