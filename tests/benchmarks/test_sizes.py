"""The size benchmark on a committed agent."""

from benchmarks.rounding import COMMITTED
from benchmarks.sizes import benchmark_sizes


def test_rows_of_a_committed_agent() -> None:
    rows = {row["name"]: row for row in benchmark_sizes([COMMITTED / "3m-s95"])["rows"]}
    assert {row["case"] for row in rows.values()} == {"3m@95"}
    # accounting.md 7.2, row 3m 0.95: values 5576, indices 1394, pointers 922, biases 1828.
    assert rows["csr_payload"]["value"] == 9720
    assert rows["c_int8_tables"]["value"] < rows["c_tables"]["value"] < rows["csr_payload"]["value"]
    assert rows["onnx_sparse"]["value"] < rows["onnx"]["value"] / 4
    assert rows["csr"]["ratios"]["pt"] == round(rows["pt"]["value"] / rows["csr"]["value"], 3)
