"""What the generated C computes: the native kernel's bits in floats, the reference's integers in int8."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.dense_agent import assemble, forward
from mast_edge.export.c_source import c_files
from mast_edge.fixed_point import FixedPointAgent
from mast_edge.kernel_costs import TABLES
from mast_edge.native import _core
from mast_edge.spec import AgentSpec
from tests.agents import MAP_3M, TINY
from tests.c_builds import compiled, random_layers, raw_steps

WIDE = AgentSpec(obs_dim=700, n_actions=9, n_agents=2, hidden_dim=20)
ODD = AgentSpec(obs_dim=3, n_actions=1, n_agents=1, hidden_dim=5)
AGENTS = [
    (MAP_3M, 0.9, "element"),
    (MAP_3M, 0.9, "8x1"),
    (MAP_3M, 0.95, "4x1"),
    (MAP_3M, 0.0, "element"),
    (WIDE, 0.98, "element"),
    (WIDE, 0.97, "8x1"),
    (WIDE, 0.45, "element"),
    (WIDE, 0.45, "8x1"),
    (ODD, 0.5, "4x1"),
]


def inputs(spec, rng, steps):
    """Random observations, half of them zero, some large; available actions with at least one."""
    shape = (steps, spec.obs_dim)
    obs = np.where(rng.random(shape) < 0.5, rng.normal(size=shape), 0).astype(np.float32)
    avail = (rng.random((steps, spec.n_actions)) < 0.5).astype(np.uint8)
    avail[np.arange(steps), rng.integers(spec.n_actions, size=steps)] = 1
    return obs, avail


def native_cell(spec, layers, agent_id, table):
    model = _core.AgentModel(spec.obs_dim, spec.n_actions, spec.n_agents, spec.hidden_dim)
    for name, layer in layers.items():
        model.add(name, *layer.rows_csr(), layer.bias, table)
    return _core.AgentCell(model, agent_id)


@pytest.mark.parametrize(("spec", "sparsity", "pattern"), AGENTS)
def test_float_q_is_the_native_kernels_to_the_bit(spec, sparsity, pattern):
    layers = random_layers(spec, sparsity, "f32", pattern)
    model = compiled(spec, layers, "f32")
    rng = np.random.default_rng(2)
    for agent_id in range(min(spec.n_agents, 2)):
        cell = model.cell(agent_id)
        natives = [native_cell(spec, layers, agent_id, table) for table in TABLES]
        q, hidden = np.empty(spec.n_actions, np.float32), np.empty(spec.hidden_dim, np.float32)
        expected_q, expected_hidden = q.copy(), hidden.copy()
        for obs, avail in zip(*inputs(spec, rng, 20), strict=True):
            action = cell.act(obs, avail, True)
            cell.read(hidden, q)
            for native in natives:
                assert native.act(obs, avail, True) == action
                native.read(expected_hidden, expected_q)
                assert np.abs(q - expected_q).max() == 0
                assert np.abs(hidden - expected_hidden).max() == 0


def test_a_raw_step_is_the_same_as_an_act():
    """An assembled row gives the bits that `agent_act` gives; other values than one-hots are weighed."""
    layers = random_layers(MAP_3M, 0.9, "f32")
    model = compiled(MAP_3M, layers, "f32")
    rng = np.random.default_rng(6)
    obs, _ = inputs(MAP_3M, rng, 6)
    last, ids = np.array([-1, 0, 3, 8, 8, 2]), np.array([0, 1, 2, 2, 0, 1])
    hidden = rng.uniform(-1, 1, (6, 64)).astype(np.float32)
    q, after = np.empty((6, 9), np.float32), hidden.copy()
    model.step_many(obs, last, ids, after, q)
    rows, found, stepped = assemble(MAP_3M, obs, last, ids), np.empty_like(q), hidden.copy()
    raw_steps(model, rows, stepped, found)
    np.testing.assert_array_equal(found, q)
    np.testing.assert_array_equal(stepped, after)
    rows[:, 30:] = rng.normal(size=(6, 12))
    expected, _ = forward(lambda name, x: layers[name].affine(x), rows.astype(np.float64), hidden)
    raw_steps(model, rows, hidden, found)
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize(("spec", "sparsity", "pattern"), AGENTS)
def test_integers_are_those_of_the_reference(spec, sparsity, pattern):
    """Recurrent play, then rows of the largest and smallest int16 on the largest and smallest states."""
    layers = random_layers(spec, sparsity, "int8", pattern)
    model = compiled(spec, layers, "int8", fc1_shift=9)
    agent = FixedPointAgent(spec, layers, fc1_shift=9)
    rng = np.random.default_rng(3)
    cell, ids = model.cell(spec.n_agents - 1), np.array([spec.n_agents - 1])
    state, last = np.zeros((1, spec.hidden_dim), np.int64), np.array([-1])
    q, hidden = np.empty(spec.n_actions, np.float32), np.empty(spec.hidden_dim, np.float32)
    for obs, avail in zip(*inputs(spec, rng, 20), strict=True):
        expected, state = agent.step(agent.rows_of(obs[None], last, ids), state)
        action = cell.act(obs, avail, True)
        cell.read(hidden, q)
        np.testing.assert_array_equal(q, (expected[0] / 2**16).astype(np.float32))
        np.testing.assert_array_equal(hidden, state[0] / 2**15)
        assert action == np.where(avail, expected[0], -(2**40)).argmax()
        last = np.array([action])
    extreme = np.array([-32768, -1, 0, 1, 16384, 32767])
    rows = rng.choice(extreme, (64, spec.input_dim)).astype(np.int16)
    states = rng.choice(extreme, (64, spec.hidden_dim)).astype(np.int16)
    expected, after = agent.step(rows.astype(np.int64), states.astype(np.int64))
    found = np.empty(expected.shape, np.int32)
    raw_steps(model, rows, states, found)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(states, after)


@pytest.fixture(scope="module")
def tiny_pair():
    layers = random_layers(TINY, 0.8, "int8")
    return compiled(TINY, layers, "int8"), FixedPointAgent(TINY, layers)


@pytest.fixture(scope="module")
def tiny_float():
    return compiled(TINY, random_layers(TINY, 0.8, "f32"), "f32")


@settings(max_examples=200)
@given(st.lists(st.floats(width=32), min_size=7, max_size=7), st.integers(0, 2))
def test_any_float_is_read_as_the_reference_reads_it(tiny_pair, values, agent_id):
    """NaN, infinities, denormals and huge numbers included."""
    model, agent = tiny_pair
    obs = np.array(values, np.float32)
    q = np.empty(TINY.n_actions, np.float32)
    model.cell(agent_id).peek(obs, q)
    rows = agent.rows_of(obs[None], np.array([-1]), np.array([agent_id]))
    expected, _ = agent.step(rows, np.zeros((1, 8), np.int64))
    np.testing.assert_array_equal(q, (expected[0] / 2**16).astype(np.float32))


@settings(max_examples=200)
@given(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -1.0, 0.0]), min_size=7, max_size=7))
def test_values_that_are_not_finite_do_not_stay_in_the_state(tiny_float, values):
    cell = tiny_float.cell(0)
    hidden, q = np.empty(8, np.float32), np.empty(5, np.float32)
    for seen in (np.array(values, np.float32), np.zeros(7, np.float32)):
        assert cell.act(seen, np.array([0, 0, 1, 1, 0], np.uint8), False) in (2, 3)
        cell.read(hidden, q)
        assert np.isfinite(hidden).all()
        assert np.isfinite(q).all()
    assert np.abs(hidden).max() < 1.001


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_indices_out_of_range_select_no_column_and_nothing_available_changes_nothing(precision):
    model = compiled(TINY, random_layers(TINY, 0.8, precision), precision)
    cell = model.cell(0)
    obs, q, first = np.ones(7, np.float32), np.empty(5, np.float32), np.empty(5, np.float32)
    cell.peek(obs, first)
    for beyond in (5, 10**6, -7):
        cell.last_action = beyond
        cell.peek(obs, q)
        np.testing.assert_array_equal(q, first)
    for beyond in (3, 10**6, -1):
        cell.agent_id = beyond
        cell.peek(obs, q)
        assert (q != first).any()
    cell.agent_id = 0
    cell.reset()
    state = bytes(cell._state)
    none = np.zeros(5, np.uint8)
    arguments = (obs.ctypes.data, none.ctypes.data, ctypes.addressof(cell._state))
    assert model.act(*arguments) == -1
    assert bytes(cell._state) == state


def test_the_same_arguments_give_the_same_bytes():
    for precision in ("f32", "int8"):
        one, two = (c_files(TINY, random_layers(TINY, 0.8, precision), "a1") for _ in range(2))
        assert one == two
        assert list(one) == ["a1.h", "a1.c", "a1_selftest.c"]
        for data in one.values():
            assert data.isascii()
            assert b"\r" not in data
            assert b"agent_" not in data
            assert b"AGENT_" not in data


def test_only_kernels_that_are_used_are_written():
    source = c_files(TINY, random_layers(TINY, 0.0, "f32"))["agent.c"]
    assert b"agent_dense(" in source
    assert b"agent_rows" not in source
    assert b"agent_blocks" not in source
    source = c_files(MAP_3M, random_layers(MAP_3M, 0.95, "f32"))["agent.c"]
    assert b"agent_rows(" in source
    assert b"agent_dense" not in source


def test_rows_of_more_than_255_entries_are_counted_in_two_bytes():
    for pattern, kernel in (("element", "rows_wide"), ("8x1", "blocks8_wide")):
        source = c_files(WIDE, random_layers(WIDE, 0.45, "f32", pattern))["agent.c"].decode()
        assert f"    agent_{kernel}(agent_fc1" in source
        assert "static const unsigned short agent_fc1" in source


def test_a_digest_is_digits_and_nothing_else():
    layers = random_layers(TINY, 0.8, "f32")
    assert b"ab" * 32 in c_files(TINY, layers, digest="ab" * 32)["agent.h"]
    for wrong in ("*/ int x;", "AB" * 32, "ab" * 31, "ab" * 32 + "\n"):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            c_files(TINY, layers, digest=wrong)
