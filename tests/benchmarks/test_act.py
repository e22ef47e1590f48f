"""The suite `runtime`: rows, ratios and floors of a short run."""

import pytest

from benchmarks.act import benchmark_act, show
from benchmarks.random_agents import sizes_of


@pytest.mark.parametrize("case", ["3m@95", "3m@90/8x1"])
def test_rows_and_ratios_of_a_short_run(case, capsys):
    result = benchmark_act([case], chunks=3, per_chunk=64, tell=lambda _: None)
    assert result["schema"] == "mast-edge/benchmark/1"
    rows = {row["name"]: row for row in result["rows"]}
    assert {"csr", "csr_dense", "csr_csr", "csr_8x1", "csr_4x1", "floor_call", "floor_empty", "numpy"} <= set(
        rows
    )
    assert {row["case"] for row in rows.values()} == {case}
    csr, numpy = rows["csr"], rows["numpy"]
    assert csr["ratios"]["numpy"] > 1
    assert abs(csr["ratios"]["numpy"] * numpy["ratios"]["csr"] - 1) < 0.05
    assert csr["kernel"].startswith("native: fc1 ")
    assert 0 < rows["floor_call"]["value"] < rows["floor_empty"]["value"] < numpy["value"]
    assert 0 < rows["native_empty"]["value"] < rows["native_dense"]["value"]
    assert numpy["ratios"].keys() == {"csr"}
    assert set(rows["native"]["ratios"]) == {
        name for name, row in rows.items() if row["unit"] == "ns/step"
    } - {"native"}
    show(result)
    shown = capsys.readouterr().out
    assert case in shown
    assert "floor_empty" in shown


def test_cases():
    assert sizes_of("3m@95") == ("3m", 0.95, "element")
    assert sizes_of("2s3z@90/8x1") == ("2s3z", 0.9, "8x1")
