"""The benchmark of many runs at once: what it reports, and that unequal ways are not timed."""

import numpy as np
import pytest
import torch

from benchmarks.vector import Pair, benchmark_vector
from mast_edge.errors import MastEdgeError


def test_rows_of_a_short_run() -> None:
    result = benchmark_vector(runs=(1, 2), rounds=1)
    assert result["schema"] == "mast-edge/benchmark/1"
    assert [(r["name"], r["case"]) for r in result["rows"]] == [
        ("vector", "3m x1"),
        ("alone", "3m x1"),
        ("vector", "3m x2"),
        ("alone", "3m x2"),
    ]
    for row in result["rows"]:
        assert row["value"] > 0
        assert row["total"] == pytest.approx(int(row["case"][-1]) * row["value"])
        assert row["ratios"].keys() == {"alone" if row["name"] == "vector" else "vector"}


def test_ways_that_disagree_are_not_timed() -> None:
    pair = Pair("3m", 1, torch.device("cpu"))
    with torch.no_grad():
        pair.alone[0].online.flat[0] += 0.5
    with pytest.raises(MastEdgeError, match="weights must agree within 1e-05; got"):
        pair.measure(1, np.random.default_rng(0))
