"""The simulation of error rates: its draws by hand, and rows that fit the specification."""

import numpy as np
import pytest

from benchmarks.verdict_errors import benchmark_verdict_errors, draw_arms, draw_pairs, play, two_arms
from mast_edge.runtime.designs import POCOCK
from mast_edge.runtime.parity import Pairs


def test_draws_have_the_truth_they_were_asked_for() -> None:
    counts = draw_pairs(0.10, -0.03, 4000, np.random.default_rng(1))
    lost, gained = counts[-1].mean(axis=1) / 2000
    assert counts.shape == (80, 2, 4000)
    assert (lost, gained) == (pytest.approx(0.065, abs=5e-4), pytest.approx(0.035, abs=5e-4))
    wins, reference = draw_arms(0.87, 0.9, 4000, np.random.default_rng(1))[-1].mean(axis=1) / 2000
    assert (wins, reference) == (pytest.approx(0.87, abs=5e-4), pytest.approx(0.9, abs=5e-4))


def test_trials_end_where_the_design_says() -> None:
    counts = np.zeros((80, 2, 3), np.int64)
    counts[:, 0, 1] = np.arange(25, 2001, 25)  # all lost: fails at 125
    counts[:, 0, 2] = np.arange(25, 2001, 25) * 3 // 100  # on the margin: never decided
    assert play(POCOCK, counts, Pairs) == (1 / 3, 1 / 3, (250 + 125 + 2000) / 3)


def test_two_arms_hold_their_wins() -> None:
    arms = two_arms(100, 80, 90)
    assert (arms.wins, arms.reference_wins, arms.difference) == (80, 90, pytest.approx(-0.1))


def test_rows() -> None:
    rows = benchmark_verdict_errors(trials=200)["rows"]
    found = {(row["name"], row["case"]): row for row in rows}
    assert found["pocock", "psi 0 %, truth +0"]["mean_pairs"] == 250
    assert found["anytime", "psi 0 %, truth +0"]["mean_pairs"] == 150
    assert found["pocock", "psi 10 %, truth -3"]["value"] < 0.13
    assert found["bounds, pocock", "five looks"]["value"] == pytest.approx(2.201, abs=0.05)
    assert found["bounds, tapered", "five looks"]["bounds"][0] == pytest.approx(3.551, abs=0.08)
