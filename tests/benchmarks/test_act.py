import importlib.util
from pathlib import Path


def test_rows_and_ratios_of_a_short_run():
    path = Path(__file__).parents[2] / "benchmarks" / "act.py"
    spec = importlib.util.spec_from_file_location("benchmark_act_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.benchmark_act(["3m@95"], chunks=1, per_chunk=3)
    assert result["schema"] == "mast-edge/benchmark/1"
    rows = {row["name"]: row for row in result["rows"]}
    assert {"numpy", "csr", "csr_all_dense", "csr_all_csr"} <= set(rows)
    csr, numpy = rows["csr"], rows["numpy"]
    assert csr["case"] == "3m@95"
    assert csr["ratios"]["numpy"] > 1
    assert abs(csr["ratios"]["numpy"] * numpy["ratios"]["csr"] - 1) < 0.05
