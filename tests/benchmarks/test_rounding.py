"""The rounding benchmark, on a committed agent and by hand."""

import numpy as np

from benchmarks.rounding import COMMITTED, benchmark_rounding, halves
from mast_edge.checkpoint_files import read_recorded


def test_rows_of_a_committed_agent() -> None:
    rows = {row["name"]: row for row in benchmark_rounding([COMMITTED / "3m-s95"])["rows"]}
    assert {row["case"] for row in rows.values()} == {"3m@95"}
    assert rows["nearest"]["decisions"] == rows["rounded"]["decisions"] == 645
    assert rows["rounded"]["ratios"]["nearest"] > 1.5
    assert rows["rounded"]["flips"] < rows["nearest"]["flips"]
    assert rows["rounded_along_first_half"]["value"] < rows["nearest_second_half"]["value"]


def test_halves_are_whole_episodes() -> None:
    recorded = read_recorded(COMMITTED / "3m-s95")
    first, second = halves(recorded)
    assert first.first[0] == second.first[0] == 1
    assert first.first.sum() == second.first.sum() == 4
    np.testing.assert_array_equal(np.concatenate([first.obs, second.obs]), recorded.obs)
    assert halves(first)[0].first.sum() == 2
