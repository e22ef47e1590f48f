"""Looks and bounds: what each design decides, how often it errs, and what may be asked for."""

import math

import numpy as np
import pytest

from benchmarks.verdict_errors import PEEKING, draw_pairs, play
from mast_edge.errors import UsageError
from mast_edge.runtime.designs import (
    ANYTIME,
    ANYTIME_LOOKS,
    FIVE_LOOKS,
    POCOCK,
    TAPERED,
    Design,
    choose_design,
    fixed_sample,
)
from mast_edge.runtime.parity import Pairs, interval


def test_the_exact_rule_governs_a_single_look_without_discordance():
    assert Pairs(88, 0, 0).z(0.03) > 1.645
    assert fixed_sample(88).decide(Pairs(88, 0, 0), 0.03) == "inconclusive"
    assert fixed_sample(98).decide(Pairs(98, 0, 0), 0.03) == "inconclusive"
    assert fixed_sample(99).decide(Pairs(99, 0, 0), 0.03) == "pass"


def test_looks_and_bounds():
    assert POCOCK.looks == TAPERED.looks == FIVE_LOOKS == (125, 250, 500, 1000, 2000)
    assert POCOCK.bounds == (2.201,) * 5
    assert TAPERED.bounds == (3.551, 2.986, 2.511, 2.112, 1.776)
    assert [TAPERED.bound(n) for n in (60, 125, 249, 250, 1999, 2000, 2600)] == [
        *(3.551, 3.551, 3.551, 2.986, 2.112, 1.776, 1.776),
    ]
    assert ANYTIME_LOOKS[0] == 25
    assert ANYTIME_LOOKS[-1] == 2000
    assert fixed_sample(1000).bounds == pytest.approx((1.6448536,))


def test_tapered_bounds_fall_with_the_fourth_root_of_the_pairs():
    for n, bound in zip(TAPERED.looks, TAPERED.bounds, strict=True):
        assert bound == pytest.approx(1.776 * (2000 / n) ** 0.25, abs=1.2e-3)


def test_decisions():
    assert POCOCK.decide(Pairs(125, 0, 0), 0.03) == "inconclusive"
    assert POCOCK.decide(Pairs(250, 0, 0), 0.03) == "pass"
    assert POCOCK.decide(Pairs(1000, 60, 10), 0.03) == "fail"
    assert TAPERED.decide(Pairs(250, 0, 0), 0.03) == "inconclusive"  # z 2.78, bound 2.986
    assert TAPERED.decide(Pairs(500, 0, 0), 0.03) == "pass"
    assert TAPERED.decide(Pairs(1000, 60, 10), 0.03) == "fail"
    assert fixed_sample(500).decide(Pairs(500, 40, 20), 0.03) == "inconclusive"
    assert ANYTIME.decide(Pairs(125, 0, 0), 0.03) == "inconclusive"
    assert ANYTIME.decide(Pairs(150, 0, 0), 0.03) == "pass"
    assert ANYTIME.decide(Pairs(125, 37, 12), 0.03) == "fail"


def test_the_bound_of_the_look_that_was_taken():
    """A worst case counts more pairs than the look: the bound stays that of the look."""
    evidence = Pairs(260, 0, 0)
    assert TAPERED.decide(evidence, 0.03, at=125) == "inconclusive"
    assert POCOCK.decide(evidence, 0.03, at=125) == "pass"


def test_a_look_shows_its_statistics():
    look = ANYTIME.look(Pairs(150, 0, 0), 0.03)
    assert (look.pairs, round(look.z, 3)) == (150, 2.154)
    assert look.e_not_worse > 20 > 1 > look.e_worse
    assert POCOCK.look(Pairs(150, 0, 0), 0.03).e_worse is None


def test_fewer_wins_alone_never_fail():
    assert fixed_sample(10).decide(Pairs(10, 1, 0), 0.03) == "inconclusive"
    assert fixed_sample(200).decide(Pairs(200, 9, 3), 0.03) == "inconclusive"


@pytest.mark.parametrize("n", range(1, 99))
def test_no_pass_from_few_episodes(n):
    """Whatever the outcome without candidate gains, fewer than 99 pairs prove nothing at 3 points."""
    for lost in range(n + 1):
        assert fixed_sample(n).decide(Pairs(n, lost, 0), 0.03) != "pass"


@pytest.mark.parametrize("design", [POCOCK, TAPERED, ANYTIME, fixed_sample(500)], ids=lambda d: d.name)
def test_limits_say_what_the_decision_says(design):
    """Passing is excluding the loss of the margin, failing is excluding anything less."""
    n = design.looks[min(2, len(design.looks) - 1)]
    for lost, gained in [(0, 0), (1, 0), (n // 50, n // 60), (n // 10, n // 50), (n // 5, 0)]:
        evidence = Pairs(n, lost, gained)
        low, high = design.limits(evidence)
        said = {"pass": low > -0.03, "fail": high < -0.03}
        outcome = design.decide(evidence, 0.03)
        assert {name for name, holds in said.items() if holds} == {outcome} - {"inconclusive"}
        assert low <= evidence.difference <= high


def test_limits_are_wider_than_the_interval_of_one_look():
    pairs = Pairs(500, 20, 22)
    low, high = interval(pairs)
    for design in (POCOCK, TAPERED, ANYTIME):
        wide = design.limits(pairs)
        assert wide[0] < low
        assert high < wide[1]
    assert fixed_sample(500).limits(pairs) == pytest.approx((low, high))


def test_limits_keep_the_exact_rule():
    assert fixed_sample(88).limits(Pairs(88, 0, 0))[0] == pytest.approx(-(1 - 0.05 ** (1 / 88)))
    assert fixed_sample(1).limits(Pairs(1, 0, 0))[0] < -0.7


def test_choosing():
    assert choose_design(None, None) == POCOCK
    assert [choose_design(name, None) for name in ("pocock", "tapered", "anytime")] == [
        *(POCOCK, TAPERED, ANYTIME)
    ]
    assert choose_design(None, 300) == fixed_sample(300)


@pytest.mark.parametrize(
    ("name", "episodes", "message"),
    [
        ("pocock", 300, "episodes must be left out with a design; got 300 and pocock"),
        (
            "pococ",
            None,
            r"design must be one of pocock, tapered, anytime; got 'pococ'. Did you mean 'pocock'",
        ),
        (None, 0, "episodes must be at least 1; got 0"),
    ],
)
def test_what_cannot_be_chosen(name, episodes, message):
    with pytest.raises(UsageError, match=message):
        choose_design(name, episodes)


@pytest.mark.parametrize(
    ("name", "looks", "bounds"),
    [("pocock", (100, 200), (2.0, 2.0)), ("pocock", FIVE_LOOKS, (1.645,) * 5), ("tapered", (1,), (1.776,))],
)
def test_bounds_hold_for_their_looks_only(name, looks, bounds):
    with pytest.raises(UsageError, match=f"looks of the {name} design must be .*verdict_errors"):
        Design(name, looks, bounds)


def test_false_passes_at_the_margin_stay_near_5_percent():
    # 4,000 trials: standard error 0.35 points.
    for seed, psi in enumerate((0.05, 0.10, 0.18)):
        counts = draw_pairs(psi, -0.03, 4000, np.random.default_rng(seed))
        for design in (POCOCK, TAPERED, fixed_sample(1000)):
            assert play(design, counts, Pairs)[0] < 0.062
        assert play(PEEKING, counts, Pairs)[0] > 0.11  # what looking five times without a bound costs


def bounds_by_integration(power):
    """c with P(max z_k (n_k / 2000)^power > c) = 5 % over the five looks: densities on a grid."""
    times, step = np.array(FIVE_LOOKS) / FIVE_LOOKS[-1], 0.02
    grid = np.arange(-6, 6 + step / 2, step)

    def crossed(c):
        density, before = None, 0.0
        for t in times:
            spread = math.sqrt(t - before)
            moved = np.exp(-0.5 * ((grid[:, None] - (0.0 if density is None else grid)) / spread) ** 2)
            moved = moved / (spread * math.sqrt(2 * math.pi))
            density = moved[:, 0] if density is None else moved @ density * step
            density = np.where(grid / math.sqrt(t) * t**power > c, 0.0, density)
            before = t
        return 1.0 - density.sum() * step

    low, high = 1.0, 3.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if crossed(middle) > 0.05 else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize(("power", "bound"), [(0.0, 2.201), (0.25, 1.776)])
def test_bounds_by_numerical_integration(power, bound):
    """An independent method: Armitage, McPherson and Rowe's recursion instead of simulation."""
    assert bounds_by_integration(power) == pytest.approx(bound, abs=0.012)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("psi", "mean_pairs", "power"),
    [(0.02, 329, None), (0.05, 533, None), (0.10, 871, 0.98), (0.18, 1220, 0.86)],
)
def test_the_sequential_design_behaves_as_printed(psi, mean_pairs, power):
    passed, _, pairs = play(POCOCK, draw_pairs(psi, 0.0, 40_000, np.random.default_rng(7)), Pairs)
    assert pairs == pytest.approx(mean_pairs, rel=0.02)
    if power is not None:
        assert passed == pytest.approx(power, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("psi", [0.04, 0.05, 0.10, 0.18])
def test_false_passes_of_40_000_trials(psi):
    """Standard error 0.11 points. Score tests are slightly liberal at some discordances."""
    counts = draw_pairs(psi, -0.03, 40_000, np.random.default_rng(8))
    assert play(POCOCK, counts, Pairs)[0] < 0.052
    assert play(TAPERED, counts, Pairs)[0] < 0.055
    assert play(ANYTIME, counts, Pairs)[0] < 0.050


@pytest.mark.slow
def test_a_clear_loss_is_found_early():
    passed, failed, pairs = play(POCOCK, draw_pairs(0.10, -0.07, 40_000, np.random.default_rng(9)), Pairs)
    assert passed < 0.001
    assert failed > 0.99
    assert pairs < 500
