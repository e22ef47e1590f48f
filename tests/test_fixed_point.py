"""The integer agent: hand-computed numbers, its distance from the float one, and what it refuses."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast_edge.checkpoint_files import Recorded
from mast_edge.dense_agent import assemble, forward
from mast_edge.errors import ArtifactRefused
from mast_edge.fixed_point import (
    FixedPointAgent,
    fc1_shift_of,
    fixed_golden,
    fixed_layer,
    largest_fc1,
    q14_of,
    scaled,
    sigmoid_q15,
    tanh_q15,
    tanh_table,
)
from mast_edge.golden import STEPS, golden_inputs
from mast_edge.layers import DenseLayer
from mast_edge.spec import AgentSpec
from tests.agents import MAP_3M, TINY
from tests.c_builds import random_layers

EVERY = np.arange(-(2**17), 2**17 + 1)


def int8_layer(weight, scale, bias):
    return DenseLayer(np.array(weight, np.int8), np.array(bias, np.float32), np.array(scale, np.float32))


def test_the_table_by_hand():
    table = tanh_table()
    assert len(table) == 257
    # tanh(1/32) = 0.03123983, tanh(1) = 0.76159416, tanh(8) = 0.99999977, in units of 2^-15
    assert (table[0], table[1], table[32], table[256]) == (0, 1024, 24956, 32767)


def test_tanh_and_sigmoid_are_close_odd_and_never_fall():
    value = tanh_q15(EVERY)
    assert np.abs(value / 2**15 - np.tanh(EVERY / 2**13)).max() < 1.2e-4
    np.testing.assert_array_equal(value, -value[::-1])
    assert (np.diff(value) >= 0).all()
    gate = sigmoid_q15(EVERY)
    assert np.abs(gate / 2**15 - 1 / (1 + np.exp(-EVERY / 2**12))).max() < 8e-5
    assert (gate.min(), gate.max(), sigmoid_q15(np.array(0))) == (0, 32767, 16384)


def test_floats_as_q14_by_hand():
    values = np.array([0, -0.0, 1, -1, 1.5, 2, -2, 1e30, np.inf, -np.inf, np.nan, -np.nan, 1e-40], np.float32)
    expected = [0, 0, 16384, -16384, 24576, 32767, -32767, 32767, 32767, -32767, 0, 0, 0]
    assert q14_of(values).tolist() == expected
    half = np.float32(2**-15)  # half a step goes away from zero
    assert q14_of(np.array([half, -half, np.nextafter(half, np.float32(0))])).tolist() == [1, -1, 0]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_as_q14_are_the_nearest(value):
    found = int(q14_of(np.array([value], np.float32))[0])
    exact = Fraction(value) * 2**14
    if abs(exact) > 32767:
        assert found == (32767 if value > 0 else -32767)
    else:
        assert abs(found - exact) <= Fraction(1, 2)


def test_scaling_by_hand():
    # 3 * 0.5 = 1.5 -> 2, -3 * 0.5 = -1.5 -> -1: halves go up
    factor = np.array(2**23)
    assert [int(scaled(np.array(sums), factor)) for sums in (3, -3, 4, 2**31 - 1)] == [2, -1, 2, 2**30]


def test_a_layer_by_hand():
    layer = fixed_layer("fc2", int8_layer([[127, -2]], [0.25], [1.5]), 15, 16)
    # a unit of Q15 is two of Q16: 0.25 * 2 * 2^24; bias 1.5 * 2^16
    assert (layer.factor.tolist(), layer.bias.tolist()) == ([2**23], [98304])
    # 127 * 16384 / 2 + 2 * 32768 / 2 + 98304
    assert layer.affine(np.array([[16384, -32768]])).tolist() == [[1040384 + 32768 + 98304]]


def test_what_int32_cannot_hold_is_refused():
    full = np.ones((1, 517), np.int8)
    with pytest.raises(ArtifactRefused, match=r"fc1 must have at most 516 nonzero .* got 517"):
        fixed_layer("fc1", int8_layer(full, [1e-3], [0]), 14, 11)
    full[0, 0] = 0
    fixed_layer("fc1", int8_layer(full, [1e-3], [0]), 14, 11)
    with pytest.raises(ArtifactRefused, match="fc2 must be small enough for int32"):
        fixed_layer("fc2", int8_layer([[127]], [300.0], [0]), 15, 16)
    with pytest.raises(ArtifactRefused, match="fc2 must be small enough for int32"):
        fixed_layer("fc2", int8_layer([[0]], [1.0], [40000.0]), 15, 16)
    with pytest.raises(ArtifactRefused, match="gru_hh must be small enough for int32 in Q12"):
        fixed_layer("gru_hh", int8_layer([[127, 127]], [600.0], [0]), 15, 12)
    with pytest.raises(ValueError, match="must be int8"):
        fixed_layer("fc1", DenseLayer(np.ones((1, 2), np.float32), np.zeros(1, np.float32)), 14, 11)


@pytest.mark.parametrize(("largest", "shift"), [(0, 14), (0.99, 14), (1, 13), (4, 11), (3.99, 12), (1e9, 4)])
def test_the_shift_of_fc1_leaves_room_for_twice_the_largest(largest, shift):
    assert fc1_shift_of(largest) == shift


def test_the_largest_output_of_fc1_is_found_where_the_last_action_makes_it():
    spec = AgentSpec(obs_dim=1, n_actions=2, n_agents=1, hidden_dim=1)
    fc1 = int8_layer([[1, 0, 10, 0]], [0.5], [0.25])
    recorded = Recorded(
        np.array([[[1.0]], [[1.0]], [[2.0]]], np.float32),
        np.ones((3, 1, 2), np.uint8),
        np.array([[1], [0], [0]], np.int32),
        np.array([1, 0, 1], np.uint8),
    )
    # step 0: 0.75; step 1, after action 1: 0.25 + 0.5 + 5; step 2 begins an episode: 1.25
    assert largest_fc1(spec, fc1, recorded) == 5.75


@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_it_follows_the_same_weights_in_floats(sparsity):
    layers = random_layers(MAP_3M, sparsity, "int8")
    agent = FixedPointAgent(MAP_3M, layers, fc1_shift=11)
    inputs = golden_inputs(MAP_3M)
    integer, real = np.zeros((1, 64), np.int64), np.zeros((1, 64))
    last = np.array([-1])
    for t in range(STEPS):
        seen = inputs.obs[t : t + 1], last, inputs.agent_ids[t : t + 1]
        q, integer = agent.step(agent.rows_of(*seen), integer)
        row = assemble(MAP_3M, *seen).astype(np.float64)
        expected, real = forward(lambda name, x: layers[name].affine(x), row, real)
        assert np.abs(q / 2**16 - expected).max() < 0.01
        assert np.abs(integer / 2**15 - real).max() < 0.01
        last = np.array([t % MAP_3M.n_actions])


def test_hidden_states_stay_in_their_range():
    """Whatever goes in: the largest weights, inputs and states that int16 holds."""
    spec = TINY
    layers = {
        name: int8_layer(np.full(shape, 127), np.full(shape[0], 2.0**-7), np.full(shape[0], 3.0))
        for name, shape in spec.layer_shapes().items()
    }
    agent = FixedPointAgent(spec, layers)
    for row in (-32768, 32767):
        for state in (-32768, 32767):
            rows, hidden = np.full((1, spec.input_dim), row), np.full((1, spec.hidden_dim), state)
            for _ in range(4):
                q, hidden = agent.step(rows, hidden)
                assert -(2**15) <= hidden.min() <= hidden.max() < 2**15
                assert np.abs(q).max() < 2**31


def test_golden_actions_are_the_greedy_ones():
    agent = FixedPointAgent(TINY, random_layers(TINY, 0.8, "int8"))
    q, actions = fixed_golden(agent)
    avail = golden_inputs(TINY).avail
    assert q.shape == (STEPS, TINY.n_actions)
    assert [int(np.where(may, row, -(2**40)).argmax()) for row, may in zip(q, avail, strict=True)] == actions


def test_a_shift_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"fc1_shift must be in 4\.\.14; got 15"):
        FixedPointAgent(TINY, random_layers(TINY, 0.8, "int8"), 15)
