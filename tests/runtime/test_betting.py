"""The e-process: what each pair multiplies it by, where stakes come from, and how often it errs."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.verdict_errors import draw_pairs, play
from mast_edge.runtime.betting import (
    LARGEST_LOSS,
    SHARES,
    STAKES,
    e_not_worse,
    e_worse,
    next_stake,
)
from mast_edge.runtime.designs import ANYTIME
from mast_edge.runtime.parity import Pairs

MARGIN = 0.03


def after(outcomes):
    return Pairs(len(outcomes), outcomes.count(-1), outcomes.count(1))


def test_money_is_shared_out_once():
    assert sum(SHARES) == pytest.approx(1.0)
    assert max(STAKES) == 1.0
    assert e_not_worse(Pairs(0, 0, 0), MARGIN) == pytest.approx(1.0)
    assert e_worse(Pairs(0, 0, 0), MARGIN) == pytest.approx(1.0)


def test_the_first_pair_by_hand():
    # L = 0.9 / 0.97 * (0.4 * 1 + 0.2 * 0.5 + 0.4 * 0.25) = 0.9 / 0.97 * 0.6.
    stake = 0.9 / 0.97 * 0.6
    assert next_stake(Pairs(0, 0, 0), MARGIN) == pytest.approx(stake)
    for outcome in (-1, 0, 1):
        assert e_not_worse(after([outcome]), MARGIN) == pytest.approx(1 + stake * (outcome + MARGIN))
        assert e_worse(after([outcome]), MARGIN) == pytest.approx(1 - 0.9 / 1.03 * 0.6 * (outcome + MARGIN))


@given(outcomes=st.lists(st.sampled_from([-1, 0, 0, 0, 1]), max_size=60), margin=st.floats(0.001, 0.9))
@settings(max_examples=60, deadline=None)
def test_it_is_a_product_of_stakes_known_before_the_pair(outcomes, margin):
    """E_t = prod(1 + L_i (D_i + m)), L_i from the past only and in [0, 0.9 / (1 - m)]."""
    product = 1.0
    for i, outcome in enumerate(outcomes):
        stake = next_stake(after(outcomes[:i]), margin)
        assert 0.0 <= stake <= LARGEST_LOSS / (1 - margin) * (1 + 1e-12)
        product *= 1 + stake * (outcome + margin)
    assert e_not_worse(after(outcomes), margin) == pytest.approx(product, rel=1e-9)


@pytest.mark.parametrize("psi", [0.03, 0.1, 0.5, 1.0])
def test_it_cannot_gain_on_average_where_the_claim_is_true(psi):
    """Exactly: the mean over all courses of six pairs is 1 on the margin, below 1 beyond it."""
    for difference, sign in ((-MARGIN, 0), (-MARGIN - 0.02, -1)):
        chance = {-1: (psi - difference) / 2, 1: (psi + difference) / 2, 0: 1 - psi}
        if min(chance.values()) < 0:
            continue
        means = [
            sum(
                math.prod(chance[d] for d in course) * e(after(list(course)), MARGIN)
                for course in itertools.product((-1, 0, 1), repeat=6)
            )
            for e in (e_not_worse, e_worse)
        ]
        if sign == 0:
            assert means == pytest.approx([1.0, 1.0])
        else:
            assert means[0] < 1.0 < means[1]


def test_equal_play_passes_after_150_pairs():
    assert e_not_worse(Pairs(125, 0, 0), MARGIN) < 20 <= e_not_worse(Pairs(150, 0, 0), MARGIN)


def test_it_neither_overflows_nor_vanishes_into_an_error():
    assert e_not_worse(Pairs(2000, 0, 2000), 0.9) > 1e290
    assert e_not_worse(Pairs(2000, 2000, 0), 0.9) >= 0.0
    assert math.isfinite(e_worse(Pairs(2000, 2000, 0), 0.999))


def test_ville_holds_at_every_look():
    # 4,000 trials: standard error 0.35 points, guaranteed 5 % at most.
    rng = np.random.default_rng(2)
    for psi in (0.03, 0.10):
        passed, failed, _ = play(ANYTIME, draw_pairs(psi, -MARGIN, 4000, rng), Pairs)
        assert passed < 0.06
        assert failed < 0.06
