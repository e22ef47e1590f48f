"""How many episodes: the printed table, and what an inconclusive verdict asks for."""

import math

import numpy as np
import pytest

from benchmarks.verdict_errors import STEP, draw_pairs, play
from mast_edge.runtime.designs import fixed_sample
from mast_edge.runtime.parity import Pairs
from mast_edge.runtime.sample_sizes import (
    episodes_if_equal,
    episodes_per_arm,
    episodes_to_settle,
    pairs_for_equivalence,
    pairs_for_non_inferiority,
)
from mast_edge.runtime.unpaired import Arms


@pytest.mark.parametrize(
    ("psi", "ni80", "ni90", "eq80", "eq90"),
    [
        (0.18, 1237, 1713, 1713, 2165),
        (0.10, 687, 952, 952, 1203),
        (0.05, 344, 476, 476, 602),
        (0.02, 138, 191, 191, 241),
    ],
)
def test_sample_sizes_of_the_printed_table(psi, ni80, ni90, eq80, eq90):
    """parity_and_safety.md section 3, "Sizes"."""
    assert pairs_for_non_inferiority(psi, 0.03) == ni80
    assert pairs_for_non_inferiority(psi, 0.03, power=0.9) == ni90
    assert pairs_for_equivalence(psi, 0.03) == eq80
    assert pairs_for_equivalence(psi, 0.03, power=0.9) == eq90


@pytest.mark.parametrize(("psi", "at80", "at90"), [(0.05, 772, 1069), (0.10, 1545, 2139)])
def test_sample_sizes_when_one_point_is_really_lost(psi, at80, at90):
    assert pairs_for_non_inferiority(psi, 0.03, -0.01) == at80
    assert pairs_for_non_inferiority(psi, 0.03, -0.01, power=0.9) == at90


def test_the_sizes_have_the_power_they_promise():
    """Independently, by simulation; 4,000 trials: standard error 0.6 points."""
    rng = np.random.default_rng(6)
    for psi, truth, printed in ((0.10, 0.0, 687), (0.05, 0.0, 344), (0.05, -0.01, 772)):
        n = round(printed / STEP) * STEP
        passed, _, _ = play(fixed_sample(n), draw_pairs(psi, truth, 4000, rng), Pairs)
        assert passed == pytest.approx(0.80, abs=0.035)


@pytest.mark.parametrize(("p", "at80", "at90"), [(0.90, 1237, 1713), (0.95, 653, 904)])
def test_sample_sizes_of_two_arms(p, at80, at90):
    assert episodes_per_arm(p, p, 0.03) == at80
    assert episodes_per_arm(p, p, 0.03, power=0.9) == at90


def test_what_would_settle_it():
    assert episodes_to_settle(Pairs(10, 0, 0), 0.03) == 200
    assert episodes_to_settle(Pairs(500, 25, 25), 0.03) == 687
    beyond = episodes_to_settle(Pairs(100, 8, 2), 0.03)  # 6 points lost: shows a loss beyond the margin
    assert beyond == math.ceil((1.6448536 + 0.8416212) ** 2 * (0.10 - 0.0036) / 0.03**2)


def test_what_would_settle_two_arms():
    assert episodes_to_settle(Arms(500, 45, 45, 450), 0.03) == 1237
    assert episodes_if_equal(Arms(500, 45, 45, 450), 0.03) == 1237


def test_a_difference_on_the_margin_asks_what_equality_would_need():
    on_margin = Pairs(100, 3, 0)
    assert episodes_to_settle(on_margin, 0.03) is None
    assert episodes_to_settle(Pairs(2000, 160, 100), 0.03) is None
    assert episodes_to_settle(Pairs(2000, 159, 100), 0.03) is None  # over 3 million
    assert episodes_if_equal(on_margin, 0.03) == pairs_for_non_inferiority(0.03, 0.03)


def test_never_fewer_than_were_played():
    """Where so many should have been enough, it takes as many again."""
    assert episodes_to_settle(Pairs(2000, 90, 90), 0.03) == 4000
    assert episodes_to_settle(Pairs(200, 1, 1), 0.03) == 400
    assert episodes_if_equal(Pairs(2000, 150, 90), 0.03) == 4000


@pytest.mark.parametrize("margin", [0.001, 0.5, 0.99])
def test_corners(margin):
    assert episodes_to_settle(Pairs(0, 0, 0), margin) >= 200
    assert episodes_to_settle(Pairs(50, 50, 0), 0.999) >= 200
    assert episodes_if_equal(Pairs(50, 50, 0), margin) >= 200
