"""From evidence to a verdict: every ground, and what an inconclusive one asks for."""

import pytest

from mast_edge.runtime.contest import Contest
from mast_edge.runtime.decision import advise, decide
from mast_edge.runtime.designs import ANYTIME, POCOCK, TAPERED, fixed_sample
from mast_edge.runtime.parity import Pairs

DESIGNS = [POCOCK, TAPERED, ANYTIME, fixed_sample(2000)]


def contest(pairs, reference_wins=None, lost=0, worst=None):
    won = pairs.n - pairs.gained if reference_wins is None else reference_wins
    return Contest(pairs, won - pairs.lost + pairs.gained, won, 0, (), lost, worst)


def test_between_the_interval_of_one_look_and_the_bound_of_the_design():
    """z 1.97: one look would pass, the sequential bound does not, and the ground says so."""
    outcome, reason = decide("compression", contest(Pairs(125, 0, 0)), 0.03, POCOCK, None)
    assert outcome == "inconclusive"
    assert reason == "a loss of up to 3.7 points is not excluded; 3 are allowed"


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: d.name)
@pytest.mark.parametrize(("lost", "gained"), [(200, 165), (200, 145), (160, 100), (950, 910)])
def test_inconclusive_always_comes_with_a_number(design, lost, gained):
    pairs = Pairs(2000, lost, gained)
    outcome, reason = decide("compression", contest(pairs), 0.03, design, None)
    assert outcome == "inconclusive"
    said = float(reason.split("up to ")[1].split(" points")[0])
    assert said >= 3.0
    advice = advise("compression", pairs, None, 0.03, design)
    assert advice.episodes > pairs.n
    assert f"--episodes {advice.episodes}" in advice.text


def test_a_difference_on_the_margin():
    advice = advise("compression", Pairs(2000, 160, 100), None, 0.03, POCOCK)
    assert advice.episodes == 4000
    assert "on the margin" in advice.text


def test_a_loss_beyond_the_margin_that_is_not_yet_shown():
    pairs = Pairs(125, 10, 4)
    assert decide("compression", contest(pairs), 0.03, POCOCK, None)[0] == "inconclusive"
    assert "show a loss beyond the margin" in advise("compression", pairs, None, 0.03, POCOCK).text


def test_no_pair_at_all():
    outcome, reason = decide("compression", contest(Pairs(0, 0, 0), 0), 0.03, fixed_sample(1), None)
    assert (outcome, reason) == (
        "inconclusive",
        "a loss of up to 100.0 points is not excluded; 3 are allowed",
    )
    assert advise("compression", Pairs(0, 0, 0), None, 0.03, fixed_sample(1)).episodes == 200


def test_a_reference_that_hardly_wins_shows_nothing():
    quiet = contest(Pairs(250, 0, 0), reference_wins=7)
    assert decide("compression", quiet, 0.03, POCOCK, None)[0] == "inconclusive"
    assert decide("fidelity", quiet, 0.03, POCOCK, None)[0] == "pass"
    assert decide("compression", contest(Pairs(250, 0, 0), 8), 0.03, POCOCK, None)[0] == "pass"
    assert "reference that wins" in advise("compression", quiet.pairs, None, 0.03, POCOCK).text


def test_a_few_crashes_ask_for_more_episodes():
    """3 of 500 lost: worst case 0.6 points, which the bound of the look does not exclude at 250."""
    pairs, worst = Pairs(250, 0, 0), Pairs(253, 3, 0)
    assert POCOCK.decide(worst, 0.03, at=250) == "inconclusive"
    crashed = contest(pairs, lost=3, worst=worst)
    outcome, reason = decide("compression", crashed, 0.03, POCOCK, None)
    assert (outcome, "3 episodes were lost to crashes" in reason) == ("inconclusive", True)
    advice = advise("compression", pairs, worst, 0.03, POCOCK)
    assert advice.episodes > 250
    assert "rate of crashes" in advice.text


def test_a_pass_that_survives_its_crashes():
    crashed = contest(Pairs(500, 2, 2), lost=1, worst=Pairs(501, 3, 2))
    assert decide("compression", crashed, 0.03, POCOCK, None)[0] == "pass"


def test_a_wide_margin():
    assert decide("compression", contest(Pairs(125, 100, 0), 125), 0.99, POCOCK, None)[0] == "pass"
    assert decide("compression", contest(Pairs(125, 125, 0), 125), 0.99, POCOCK, None)[0] != "pass"
