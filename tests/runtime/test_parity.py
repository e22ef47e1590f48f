"""Pairs, Tango's score, equivalence and McNemar, against published examples, scipy and hand computation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from mast_edge.errors import UsageError
from mast_edge.runtime import parity
from mast_edge.runtime.parity import Pairs


@pytest.mark.parametrize(
    ("b", "c", "n", "z"),
    [(50, 50, 1000, 2.9052), (40, 20, 500, -0.6542), (25, 25, 1000, 3.7926), (60, 10, 1000, -2.5895)],
)
def test_tango_score_of_the_printed_checks(b, c, n, z):
    """parity_and_safety.md section 3, "Checks"."""
    assert round(parity.tango_z(Pairs(n, b, c), 0.03), 4) == z


@pytest.mark.parametrize(
    ("both", "first", "second", "neither", "confidence", "low", "high"),
    [
        (43, 0, 1, 0, 0.90, -0.096, 0.037),
        (4, 9, 3, 16, 0.95, -0.027, 0.390),
        (53, 16, 8, 9, 0.95, -0.020, 0.207),
        (1, 1, 7, 12, 0.95, -0.517, -0.026),
    ],
)
def test_tango_interval_of_published_examples(both, first, second, neither, confidence, low, high):
    """Tango 1998 (rows 1 and 2), Agresti and Min 2005 (row 3), Fagerland, Lydersen and Laake 2014 (row 4).

    Numbers as printed in the R package ratesci, tests/testthat/test3.R (github.com/PeteLaud/ratesci), which
    names these papers.
    """
    pairs = Pairs(both + first + second + neither, second, first)
    assert parity.interval(pairs, confidence) == pytest.approx((low, high), abs=5.1e-4)


def test_consolidation_therapy_before_and_after():
    """Cavo et al. 2012 (59, 6, 16, 80): Tango -0.1240 to -0.0054, McNemar's exact conditional P = 0.052479,
    as printed in the R package contingencytables, tests/testthat/test-ch8.R (github.com/ocbe-uio)."""
    pairs = Pairs(161, 16, 6)
    assert round(pairs.difference, 4) == -0.0621
    assert parity.interval(pairs, 0.95) == pytest.approx((-0.1240, -0.0054), abs=5.1e-5)
    assert round(parity.mcnemar_p(pairs), 6) == 0.052479


@pytest.mark.parametrize("n", [1, 88, 2000])
def test_tango_score_without_discordance(n):
    assert parity.tango_z(Pairs(n, 0, 0), 0.03) == pytest.approx(math.sqrt(n * 0.03 / 0.97), rel=1e-12)


@pytest.mark.parametrize(
    ("b", "c", "n", "m"), [(12, 5, 100, 0.03), (1, 9, 60, 0.1), (7, 0, 80, -0.02), (3, 3, 9, 0.3)]
)
def test_tango_score_uses_the_constrained_maximum_likelihood(b, c, n, m):
    def loss(q):  # q = P(lost) under difference -m, so that P(gained) = q - m
        return -(b * np.log(q) + c * np.log(q - m) + (n - b - c) * np.log(1 - 2 * q + m))

    low, high = max(m, 0.0), (1 + m) / 2
    q = optimize.minimize_scalar(
        loss, bounds=(low + 1e-9, high - 1e-9), method="bounded", options={"xatol": 1e-12}
    ).x
    expected = (c - b + n * m) / math.sqrt(n * (2 * q - m * (1 + m)))
    assert parity.tango_z(Pairs(n, b, c), m) == pytest.approx(expected, rel=1e-5)


@given(n=st.integers(1, 400), b=st.integers(0, 400), c=st.integers(0, 400))
@settings(max_examples=80, deadline=None)
def test_tango_interval_inverts_the_score(n, b, c):
    b, c = min(b, n), min(c, n - min(b, n))
    pairs = Pairs(n, b, c)
    low, high = parity.interval(pairs)
    assert -1.0 <= low <= pairs.difference <= high <= 1.0
    z = parity.normal_quantile(0.95)
    if low > -1.0:
        assert parity.tango_z(pairs, -low) == pytest.approx(z, abs=1e-5)
    if high < 1.0:
        assert parity.tango_z(pairs, -high) == pytest.approx(-z, abs=1e-5)
    mirrored = parity.interval(Pairs(n, c, b))
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


def test_tango_interval_by_hand():
    # b = c = 0: |z(d)| = sqrt(n d / (1 - d)), so the bound is z^2 / (n + z^2).
    z2 = parity.normal_quantile(0.95) ** 2
    low, high = parity.interval(Pairs(100, 0, 0))
    assert high == pytest.approx(z2 / (100 + z2), rel=1e-9)
    assert low == pytest.approx(-high, rel=1e-9)


def test_gate_and_interval_say_the_same():
    z = parity.normal_quantile(0.95)
    for b, c, n in [(40, 20, 500), (20, 20, 500), (50, 50, 1000), (30, 25, 400), (9, 1, 90)]:
        pairs = Pairs(n, b, c)
        assert (parity.tango_z(pairs, 0.03) > z) == (parity.interval(pairs)[0] > -0.03)


def test_without_a_pair_nothing_is_known():
    none = Pairs(0, 0, 0)
    assert (none.difference, none.discordance, none.z(0.03)) == (0.0, 0.0, 0.0)
    assert parity.interval(none) == (-1.0, 1.0)
    assert not parity.tost(none, 0.03).equivalent
    assert parity.mcnemar_p(none) == 1.0
    assert parity.wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("margin", [0.9, 0.99, 0.999])
def test_margins_near_one(margin):
    """All lost: the score of the largest margins is finite, and negative or none."""
    assert parity.tango_z(Pairs(50, 50, 0), margin) < 0
    assert parity.tango_z(Pairs(50, 0, 0), margin) == pytest.approx(math.sqrt(50 * margin / (1 - margin)))


def test_equivalence_needs_both_sides():
    found = parity.tost(Pairs(1000, 25, 25), 0.03)
    assert found.equivalent
    assert round(found.z_loss, 4) == round(found.z_gain, 4) == 3.7926
    assert found.p_loss == pytest.approx(stats.norm.sf(3.7926), rel=1e-3)
    gain = parity.tost(Pairs(1000, 5, 60), 0.03)
    assert gain.z_loss > 1.645
    assert gain.z_gain < 0
    assert not gain.equivalent


def test_equivalence_is_the_90_percent_interval_inside_the_margin():
    for b, c, n in [(25, 25, 1000), (5, 60, 1000), (0, 3, 300), (20, 12, 700), (50, 50, 1000)]:
        low, high = parity.interval(Pairs(n, b, c))
        assert parity.tost(Pairs(n, b, c), 0.03).equivalent == (low > -0.03 and high < 0.03)


def test_equivalence_keeps_the_exact_rule():
    assert parity.tost(Pairs(98, 0, 0), 0.03).z_loss > 1.645
    assert [parity.tost(Pairs(n, 0, 0), 0.03).equivalent for n in (98, 99)] == [False, True]


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_newcombes_table(k, n, low, high):
    """Newcombe 1998 (Statistics in Medicine 17:857-872), Table I, method 3, as restated in public test suites
    (rows 1 and 2: R package propint)."""
    assert parity.wilson(k, n) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (9, 10), (900, 1000), (32, 32), (29, 32)])
def test_wilson_agrees_with_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert parity.wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_the_customary_32_episodes_cannot_see_3_points():
    low, high = parity.wilson(900, 1000)
    assert (round(low, 3), round(high, 3)) == (0.880, 0.917)
    low, high = parity.wilson(29, 32)
    assert low < 0.76
    assert high > 0.95


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (10, 3), (8, 8), (0, 6)])
def test_mcnemar_agrees_with_the_binomial_test(b, c):
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert parity.mcnemar_p(Pairs(100, b, c)) == pytest.approx(expected, rel=1e-12)


def test_zero_discordance_rule():
    assert [parity.zero_discordance_pairs(m) for m in (0.03, 0.01, 0.005)] == [99, 299, 598]


@pytest.mark.parametrize("margin", [0.0, -0.03, 1.0, float("nan")])
def test_margins_out_of_range(margin):
    with pytest.raises(UsageError, match="margin must be between 0 and 1"):
        parity.check_margin(margin)


def test_pairs_that_cannot_be():
    with pytest.raises(ValueError, match="lost \\+ gained"):
        Pairs(10, 6, 5)


def test_clustered_interval_is_wider_than_counting_decisions():
    agreed, decisions = [90] * 18 + [40, 40], [100] * 20
    low, high = parity.clustered_interval(agreed, decisions)
    # rate 0.85, episode deviations +5 (18 times) and -45 (twice): spread 4500.
    half = 1.959963985 * math.sqrt(4500 * 20 / 19) / 2000
    assert (low, high) == pytest.approx((0.85 - half, 0.85 + half), rel=1e-9)
    assert half > 2 * 1.96 * math.sqrt(0.85 * 0.15 / 2000)  # what counting 2,000 decisions would claim


def test_clustered_interval_when_every_decision_agreed():
    low, high = parity.clustered_interval([480] * 100, [480] * 100)
    assert high == 1.0
    assert low == pytest.approx(0.05 ** (1 / 100))
    assert parity.clustered_interval([], []) == (0.0, 1.0)
    assert parity.clustered_interval([3], [4]) == (0.0, 1.0)
