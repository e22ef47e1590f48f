import itertools
from pathlib import Path

import numpy as np
import pytest

from mast_edge.checkpoint_files import read_agent, read_recorded
from mast_edge.dense_agent import DenseAgent, replay
from mast_edge.export.rounding import rounded_rows, rounded_weights
from mast_edge.layers import layers_of, quantised

AGENTS = Path(__file__).parent.parent / "data/agents"


def squared_error(weight, seen, wanted):
    error = seen @ weight - wanted
    return float(((error - error.mean()) ** 2).sum())


def test_two_weights_by_hand():
    """Inputs that always come together: 0.4 + 0.4 steps must become 1 + 0, not 0 + 0. 127 keeps the scale."""
    weight = np.array([[127, 0.4, 0.4]], np.float32)
    x = np.random.default_rng(0).normal(size=(50, 1))
    seen = np.hstack([np.zeros((50, 1)), x, x])
    rounded = rounded_rows(weight, seen, seen @ weight.T.astype(float))
    assert sorted(rounded[0].tolist()) == [0, 1, 127]
    assert quantised(weight)[0].tolist() == [[127, 0, 0]]


def test_no_single_change_is_better_and_all_changes_are_rarely():
    rng = np.random.default_rng(1)
    best = 0
    for _ in range(30):
        weight = rng.normal(size=(1, 6)).astype(np.float32)
        seen = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
        wanted = seen @ weight.T.astype(float)
        steps, scale = quantised(weight)
        found = rounded_rows(weight, seen, wanted)[0]
        error = squared_error(found, seen, wanted[:, 0])
        assert error <= squared_error((steps * scale[:, None])[0], seen, wanted[:, 0]) + 1e-9
        floor = np.floor(weight[0] / scale[0])
        errors = []
        for up in itertools.product((0, 1), repeat=6):
            other = np.where(np.abs(steps[0]) == 127, steps[0], floor + up)
            errors.append(squared_error(other * scale[0], seen, wanted[:, 0]))
            if (np.abs(other * scale[0] - found) > 1e-6).sum() == 1:
                assert errors[-1] >= error - 1e-6
        best += error <= min(errors) + 1e-6
    assert best > 15


def test_zeros_stay_zero_and_the_file_gives_the_same_steps():
    checkpoint = read_agent(AGENTS / "3m-s95")
    found = rounded_weights(checkpoint, read_recorded(AGENTS / "3m-s95"))
    for name, layer in layers_of(found, checkpoint.masks, "int8").items():
        weight = found[f"{name}.weight"]
        np.testing.assert_array_equal(layer.dense(), weight)
        assert not weight[~checkpoint.masks[name]].any()
        original = checkpoint.weights[f"{name}.weight"]
        assert (np.abs(weight - original) <= 1.0001 * layer.scale[:, None]).all()


@pytest.mark.parametrize("agent", ["3m-s95", "3m-s90-8x1"])
def test_q_is_nearer_than_with_the_nearest_steps(agent):
    checkpoint, recorded = read_agent(AGENTS / agent), read_recorded(AGENTS / agent)
    spec = checkpoint.spec
    wanted = replay(DenseAgent(spec, checkpoint.weights).affine, spec, recorded)

    def error(weights):
        layers = layers_of(weights, checkpoint.masks, "int8")
        q = replay(lambda name, x: layers[name].affine(x), spec, recorded)
        return float(np.sqrt(np.mean((q - wanted) ** 2)))

    assert error(rounded_weights(checkpoint, recorded)) < 0.6 * error(checkpoint.weights)
