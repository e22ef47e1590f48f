import numpy as np
import pytest

from mast_edge.checkpoint_files import Recorded
from mast_edge.errors import ArtifactRefused
from mast_edge.export.verify import Comparison, Reference, compare, require_equal, require_few_flips


def one_decision(*q):
    recorded = Recorded(
        np.zeros((1, 1, 1), np.float32),
        np.ones((1, 1, len(q)), np.uint8),
        np.zeros((1, 1), np.int32),
        np.ones(1, np.uint8),
    )
    return Reference(recorded, np.array([[q]], np.float32))


def test_a_changed_action_is_refused_even_within_the_tolerance():
    reference = one_decision(1.0, 0.99999)
    require_equal("x", reference.q, reference)
    with pytest.raises(ArtifactRefused, match="got 1 others of 1"):
        require_equal("x", np.array([[[0.99998, 0.99999]]], np.float32), reference)


def test_the_tolerance_grows_with_q():
    reference = one_decision(100.0, 0.0)
    require_equal("x", np.array([[[100.009, 0.00009]]], np.float32), reference)
    for off in ([[[100.02, 0.0]]], [[[100.0, 0.0002]]], [[[np.nan, 0.0]]]):
        with pytest.raises(ArtifactRefused, match="Q must be the checkpoint's"):
            require_equal("x", np.array(off, np.float32), reference)


def test_unavailable_actions_are_no_flips():
    reference = one_decision(1.0, 2.0, 3.0)
    reference.recorded.avail[0, 0, 2] = 0
    found = compare(np.array([[[1.0, 2.5, 9.0]]], np.float32), reference, "kernel")
    assert found == Comparison(6.0, 1.0, 1, 0, "kernel")
    assert compare(np.array([[[2.0, 1.0, 3.0]]], np.float32), reference).flips == 1


def test_one_flip_in_a_hundred_is_the_limit():
    require_few_flips("x", Comparison(0.1, 0.99, 100, 1))
    with pytest.raises(ArtifactRefused, match=r"got 2 of 100 \(2.0%\)"):
        require_few_flips("x", Comparison(0.1, 0.98, 100, 2))
