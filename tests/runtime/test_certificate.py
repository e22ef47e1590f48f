"""The shadow record: epsilon of the whole run, gaps, trivial decisions, flips."""

import numpy as np
import pytest

from mast_edge.runtime.certificate import ShadowRecord, action_gap

ONE = np.array([0])


def add(record, q, shifted, avail, *, episode=0, step=0):
    q, shifted = np.asarray(q, np.float32)[None], np.asarray(shifted, np.float32)[None]
    avail = np.asarray(avail, np.uint8)[None]
    best = [np.where(avail == 1, x, -np.inf).argmax(axis=2) for x in (q, shifted)]
    record.add(np.array([episode]), np.array([step]), q, shifted, avail, best[0], best[1])


def test_action_gap_looks_at_available_actions_only():
    q = np.array([[5.0, 9.0, 4.5], [1.0, 2.0, 3.0]], np.float32)
    gap = action_gap(q, np.array([[True, False, True], [False, True, False]]))
    assert gap[0] == 0.5
    assert np.isinf(gap[1])


def test_epsilon_is_the_largest_of_the_run_not_of_the_step():
    record = ShadowRecord()
    add(record, [[1.0, 1.3]], [[1.0, 1.3]], [[1, 1]])  # gap 0.3, no error here
    add(record, [[5.0, 1.0]], [[5.25, 1.0]], [[1, 1]], step=1)  # error 0.25: 0.3 < 0.5 is not certified
    certificate = record.close()
    assert certificate.epsilon == 0.25
    assert certificate.relative == pytest.approx(0.05)
    assert (certificate.choices, certificate.certified) == (2, 1)
    assert certificate.certified_fraction == 0.5
    assert not certificate.same_weights


def test_unavailable_actions_and_single_choices_count_apart():
    record = ShadowRecord()
    add(
        record,
        [[1.0, 7.0, 3.0], [0.0, 4.0, 4.0]],
        [[1.0, 99.0, 3.0], [0.0, 9.0, 9.0]],
        [[1, 0, 1], [1, 0, 0]],
    )
    certificate = record.close()
    assert certificate.epsilon == 0.0
    assert (certificate.decisions, certificate.trivial, certificate.choices, certificate.certified) == (
        2,
        1,
        1,
        1,
    )
    assert certificate.agreement == 1.0


def test_flips_are_listed_with_their_gap():
    record = ShadowRecord()
    add(record, [[1.0, 1.001]], [[1.002, 1.001]], [[1, 1]], episode=4, step=7)
    certificate = record.close()
    assert certificate.flips[0][:3] == (4, 7, 0)
    assert certificate.flips[0][3] == pytest.approx(0.001, rel=1e-3)
    assert certificate.certified_flips == 0
    assert certificate.agreement == 0.0
    assert certificate.flips[0].error == pytest.approx(0.002, rel=1e-2)
    shown = certificate.to_json()["first_flips"][0]
    assert (shown["episode"], shown["step"], shown["agent"]) == (4, 7, 0)
    assert shown["gap"] < 2 * certificate.epsilon
    assert shown["error"] == certificate.epsilon


def test_gaps_are_listed_by_quantile():
    record = ShadowRecord()
    for gap in range(1, 102):
        add(record, [[0.0, float(gap)]], [[0.0, float(gap)]], [[1, 1]], step=gap)
    assert record.close().to_json()["gap_quantiles"] == {"p00": 1.0, "p01": 2.0, "p10": 11.0, "p50": 51.0}


def test_a_gap_of_exactly_twice_the_error_is_not_certified():
    record = ShadowRecord()
    add(record, [[1.0, 1.5]], [[1.25, 1.25]], [[1, 1]])  # both may be the best: argmax takes the first
    certificate = record.close()
    assert (certificate.certified, len(certificate.flips), certificate.certified_flips) == (0, 1, 0)


def test_gaps_are_not_rounded_up_to_a_certificate():
    """In float32 this gap would round up to 2 epsilon and more."""
    q = np.array([[np.float32(1.0), np.float32(-(2.0**-25))]], np.float32)
    assert action_gap(q, np.array([[True, True]]))[0] == 1.0 + 2.0**-25


def test_a_certified_flip_is_found():
    record = ShadowRecord()
    q = np.array([[[1.0, 2.0]]], np.float32)
    record.add(ONE, ONE, q, q, np.ones((1, 1, 2), np.uint8), np.array([[1]]), np.array([[0]]))
    assert record.close().certified_flips == 1


def test_agreement_is_clustered_by_episode():
    record = ShadowRecord()
    for step in range(10):
        add(record, [[1.0, 2.0]], [[1.0, 2.0]], [[1, 1]], episode=0, step=step)
        add(record, [[1.0, 1.1]], [[1.2, 1.1]], [[1, 1]], episode=1, step=step)
    certificate = record.close()
    assert certificate.agreement == 0.5
    assert certificate.agreement_ci95 == (0.0, 1.0)  # two episodes, one all wrong, say next to nothing
    assert certificate.episodes == 2
    assert len(certificate.to_json()["first_flips"]) == 10
