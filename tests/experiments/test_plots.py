"""Pictures: the right numbers are drawn, and a picture comes out."""

import json
from pathlib import Path

import numpy as np

from mast_edge.experiments.plots import _smoothed, evaluations


def test_only_evaluations_are_read(tmp_path: Path) -> None:
    records = [
        {"kind": "evaluation", "t_env": 0, "win_rate": 0.25},
        {"kind": "train", "t_env": 10, "return": 3.0},
        {"kind": "evaluation", "t_env": 1000, "win_rate": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    t_env, win_rate = evaluations(tmp_path)
    assert t_env.tolist() == [0, 1000]
    assert win_rate.tolist() == [0.25, 0.5]


def test_smoothing_is_a_mean_of_ten_around_each_point() -> None:
    assert _smoothed(np.arange(20.0))[10] == np.mean(np.arange(5, 15))
    assert _smoothed(np.array([1.0, 3.0])).tolist() == [2.0, 2.0]
