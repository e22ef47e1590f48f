"""Miettinen and Nurminen's score and Newcombe's interval against published examples, scipy and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from benchmarks.verdict_errors import draw_arms, play, two_arms
from mast_edge.runtime.designs import POCOCK, fixed_sample
from mast_edge.runtime.parity import farthest, interval, normal_quantile
from mast_edge.runtime.unpaired import Arms, constrained_rates, miettinen_nurminen_z, newcombe_interval


@pytest.mark.parametrize(
    ("x1", "n1", "x2", "n2", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (0, 10, 0, 10, -0.2775, 0.2775),
        (10, 10, 0, 20, 0.6791, 1.0000),
        (10, 10, 0, 10, 0.6075, 1.0000),
    ],
)
def test_newcombes_own_examples(x1, n1, x2, n2, low, high):
    """Newcombe 1998 (Statistics in Medicine 17:873-890), Table II, method 10, a to h.

    Row a and b stand in the tests of the R package propint, row d in those of ratesci; statsmodels 0.15.0
    (`confint_proportions_2indep`, method "newcomb") gives all eight to these four decimals.
    """
    assert newcombe_interval(x1, n1, x2, n2, 0.95) == pytest.approx((low, high), abs=5.1e-5)


def inverted(x1, n1, x2, n2, factor=1.0):
    """95 % interval by the score, without the factor N / (N - 1) where `factor` is its root (Mee 1984)."""
    z = normal_quantile(0.975) / factor

    def kept(d):
        return abs(miettinen_nurminen_z(x1, n1, x2, n2, d)) < z

    seen = x1 / n1 - x2 / n2
    return farthest(seen, -1.0, kept), farthest(seen, 1.0, kept)


@pytest.mark.parametrize(
    ("x1", "n1", "x2", "n2", "low", "high"),
    [(5, 56, 0, 29, -0.0326, 0.1933), (0, 16, 15, 72, -0.3164, -0.0056)],
)
def test_published_score_intervals(x1, n1, x2, n2, low, high):
    """Row 1: Newcombe 1998, example d, Miettinen-Nurminen, as printed in ratesci, tests/testthat/test3.R.
    Row 2: Ritland et al. 2007, as printed in contingencytables, tests/testthat/test-ch4.R."""
    assert inverted(x1, n1, x2, n2) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize(
    ("x1", "n1", "x2", "n2", "low", "high", "digits"),
    [
        (5, 56, 0, 29, -0.0313, 0.1926, 4),
        (56, 70, 48, 80, 0.0533, 0.3377, 4),
        (7, 34, 1, 34, 0.0284, 0.3439, 4),
        (7, 25, 2, 25, -0.014, 0.412, 3),
    ],
)
def test_published_score_intervals_without_the_factor(x1, n1, x2, n2, low, high, digits):
    """Mee 1984 is the same score without N / (N - 1). Rows 1 and 4 (Gart and Nam 1990): ratesci, test3.R; row
    2: the R package cicalc, tests/testthat/_snaps/prop_ci_diff.md; row 3: contingencytables, test-ch4.R."""
    n = n1 + n2
    found = inverted(x1, n1, x2, n2, math.sqrt(n / (n - 1)))
    assert found == pytest.approx((low, high), abs=0.51 * 10**-digits)


def test_published_score_statistics():
    """cicalc prints for 56/70 against 48/80, without the factor: 2.65 at 0 and 1.348 at 0.1."""
    without = math.sqrt(150 / 149)
    assert round(miettinen_nurminen_z(56, 70, 48, 80, 0.0) * without, 2) == 2.65
    assert round(miettinen_nurminen_z(56, 70, 48, 80, 0.1) * without, 3) == 1.348


def test_published_constrained_rates():
    """github.com/SWannell/non-inferiority-test: 60 and 70 of 1,000, difference -0.01: they are their own."""
    assert constrained_rates(60, 1000, 70, 1000, -0.01) == pytest.approx((0.06, 0.07), abs=1e-12)
    assert miettinen_nurminen_z(60, 1000, 70, 1000, -0.01) == pytest.approx(0.0, abs=1e-9)


@given(
    n1=st.integers(1, 300),
    n2=st.integers(1, 300),
    share=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    d=st.floats(-0.95, 0.95),
)
@settings(max_examples=60, deadline=None)
def test_constrained_rates_are_the_likeliest(n1, n2, share, d):
    x1, x2 = round(share[0] * n1), round(share[1] * n2)

    def loss(p2):
        rates = ((x1, n1, p2 + d), (x2, n2, p2))
        return -sum(x * math.log(p) + (n - x) * math.log1p(-p) for x, n, p in rates)

    low, high = max(0.0, -d) + 1e-9, min(1.0, 1.0 - d) - 1e-9
    best = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    p1, p2 = constrained_rates(x1, n1, x2, n2, d)
    assert p1 - p2 == pytest.approx(d, abs=1e-9)
    assert loss(min(high, max(low, p2))) <= best.fun + 1e-5  # good to 1e-8 near a double root


@given(n=st.integers(1, 500), share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(max_examples=60, deadline=None)
def test_intervals_of_swapped_arms_are_mirrored(n, share):
    a, b = round(share[0] * n), round(share[1] * n)
    low, high = interval(two_arms(n, a, b))
    assert -1.0 <= low <= (a - b) / n <= high <= 1.0
    assert interval(two_arms(n, b, a)) == pytest.approx((-high, -low), abs=1e-7)
    low, high = newcombe_interval(a, n, b, n)
    assert newcombe_interval(b, n, a, n) == pytest.approx((-high, -low), abs=1e-12)


def test_arms_know_both_win_rates():
    arms = Arms(100, lost=8, gained=3, wins=85)
    assert arms.reference_wins == 90
    assert arms.difference == pytest.approx(-0.05)
    assert arms.variance(0.0) == pytest.approx(0.85 * 0.15 + 0.9 * 0.1)
    assert not arms.unanimous
    with pytest.raises(ValueError, match="wins must be in"):
        Arms(100, lost=8, gained=3, wins=2)


def test_arms_do_not_profit_from_a_lucky_order():
    """Pairs of equal outcome say little of two arms: only the win rates count."""
    lucky, unlucky = Arms(1000, 0, 0, 900), Arms(1000, 90, 90, 900)
    assert lucky.z(0.03) == unlucky.z(0.03)
    # By hand: equal rates p, so z is about m / sqrt(2 p q / n) = 0.03 / 0.013416 = 2.24.
    assert lucky.z(0.03) == pytest.approx(2.24, abs=0.1)


def test_the_exact_rule_for_arms():
    assert Arms(98, 0, 0, 98).unanimous
    assert Arms(98, 0, 0, 98).z(0.03) > 1.645
    assert fixed_sample(98).decide(Arms(98, 0, 0, 98), 0.03) == "inconclusive"
    assert fixed_sample(99).decide(Arms(99, 0, 0, 99), 0.03) == "pass"
    assert not Arms(98, 0, 0, 90).unanimous


def test_without_an_episode():
    assert Arms(0, 0, 0, 0).z(0.03) == 0.0
    assert newcombe_interval(0, 0, 0, 5) == (-1.0, 1.0)


@pytest.mark.parametrize(("rate", "design"), [(0.9, POCOCK), (0.95, fixed_sample(1000))])
def test_false_passes_of_arms_stay_near_5_percent(rate, design):
    # 4,000 trials: standard error 0.35 points.
    rng = np.random.default_rng(3)
    passed, _, _ = play(design, draw_arms(rate - 0.03, rate, 4000, rng), two_arms)
    assert 0.035 < passed < 0.061


def test_power_of_arms_is_that_of_independent_pairs():
    """parity_and_safety.md "Sizes": unpaired at 90 % needs what pairs of 18 % discordance need, 1,237."""
    rng = np.random.default_rng(4)
    passed, _, _ = play(fixed_sample(1250), draw_arms(0.9, 0.9, 4000, rng), two_arms)
    assert passed == pytest.approx(0.80, abs=0.025)
