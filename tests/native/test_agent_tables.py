"""Tables and calls that are wrong in any way are refused by the native core, which reads none beyond its end.

Inputs of another number type or layout are copied into the right one on the way in.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.layers import layers_of
from mast_edge.native._core import AgentCell, AgentModel
from mast_edge.native_agent import add_layer
from mast_edge.spec import LAYERS, AgentSpec
from tests.agents import random_agent

TABLES = ["dense", "csr", "8x1", "4x1"]
SPEC = AgentSpec(obs_dim=5, n_actions=3, n_agents=2, hidden_dim=9)
SHAPES = SPEC.layer_shapes()
WRONG = (ValueError, TypeError)
"""TypeError: no overload takes such arrays."""


def f32(*values):
    return np.array(values, np.float32)


def u32(*values):
    return np.array(values, np.uint32)


def new_model():
    return AgentModel(SPEC.obs_dim, SPEC.n_actions, SPEC.n_agents, SPEC.hidden_dim)


def good(name):
    """values, indices, indptr and bias of a layer with two weights in every row."""
    rows, cols = SHAPES[name]
    return (
        np.linspace(-1, 1, 2 * rows, dtype=np.float32),
        np.tile(u32(0, cols - 1), rows),
        np.arange(0, 2 * rows + 1, 2, dtype=np.uint32),
        np.zeros(rows, np.float32),
    )


def complete(table="csr"):
    model = new_model()
    for name in LAYERS:
        model.add(name, *good(name), table)
    return model


@pytest.fixture(params=TABLES)
def any_table(request):
    return request.param


@pytest.mark.parametrize("name", LAYERS)
def test_lengths_that_do_not_fit(any_table, name):
    values, indices, indptr, bias = good(name)
    one_more = np.append
    for wrong in (
        (values[:-1], indices, indptr, bias),
        (values, indices[:-1], indptr, bias),
        (values[:-1], indices[:-1], indptr, bias),
        (one_more(values, values[:1]), one_more(indices, indices[:1]), indptr, bias),
        (values, indices, indptr[:-1], bias),
        (values, indices, one_more(indptr, indptr[-1:]), bias),
        (values, indices, indptr[:-1], bias[:-1]),
        (values, indices, indptr, bias[:-1]),
        (values, indices, indptr, one_more(bias, bias[:1])),
        (values[:0], indices[:0], indptr, bias),
        (values, indices, indptr[:0], bias[:0]),
        (values[:0], indices[:0], indptr[:0], bias[:0]),
    ):
        with pytest.raises(ValueError, match=r"add:|AgentModel: "):
            new_model().add(name, *wrong, any_table)


@pytest.mark.parametrize("name", LAYERS)
def test_pointers_that_lead_outside(any_table, name):
    """Each is read only after all were checked: a pointer of 2^32 - 1 leads nowhere."""
    values, indices, indptr, bias = good(name)
    for at in (0, 1, len(indptr) // 2, len(indptr) - 2, len(indptr) - 1):
        for pointer in (1, 2**31, 2**32 - 1, len(values) + 1, 2**32 - 2):
            wrong = indptr.copy()
            wrong[at] = pointer
            if (np.diff(wrong.astype(np.int64)) < 0).any() or wrong[0] or wrong[-1] != len(values):
                with pytest.raises(ValueError, match="pointers must"):
                    new_model().add(name, values, indices, wrong, bias, any_table)
    falling = np.append(indptr[::-1], indptr[-1:])[-len(indptr) :]
    falling[0] = 0
    with pytest.raises(ValueError, match="pointers must not fall"):
        new_model().add(name, values, indices, falling, bias, any_table)


@pytest.mark.parametrize("name", LAYERS)
def test_columns_outside_or_out_of_order(any_table, name):
    values, indices, indptr, bias = good(name)
    cols = SHAPES[name][1]
    for at in (0, 1, len(indices) - 2, len(indices) - 1):
        for column in (cols, cols + 1, 65_535, 65_536, 2**31, 2**32 - 1, indices[at ^ 1]):
            wrong = indices.copy()
            wrong[at] = column
            with pytest.raises(ValueError, match=f"rise inside a row and stay below {cols}"):
                new_model().add(name, values, wrong, indptr, bias, any_table)


def test_arrays_of_another_kind(any_table):
    values, indices, indptr, bias = good("fc1")
    for wrong in (
        (values[:, None], indices, indptr, bias),
        (values, indices[None], indptr, bias),
        (values, indices, indptr[None], bias),
        (values, indices, indptr, bias[:, None]),
        (values.tolist(), indices, indptr, bias),
        (None, indices, indptr, bias),
        (values, indices, indptr, None),
        (values, indices.astype(np.int64) - 1, indptr, bias),
        (values, indices, indptr.astype(np.int64) - 1, bias),
        (values, indices.astype(np.float64) + 2.0**31, indptr, bias),
        (values, np.repeat(indices, 2)[::2][:-1], indptr, bias),
    ):
        with pytest.raises(WRONG):
            new_model().add("fc1", *wrong, any_table)


def test_names_of_nothing():
    for name in ("", "fc3", "FC1", "fc1\0", "fc1.values", "x" * 10_000, "\U0001f40d"):
        with pytest.raises(ValueError, match="layer must be"):
            new_model().add(name, *good("fc1"), "csr")
    for table in ("", "block", "CSR", "16x1", "csr\0", "x" * 10_000):
        with pytest.raises(ValueError, match="table"):
            new_model().add("fc1", *good("fc1"), table)
    for table in (True, None, 1):
        with pytest.raises(TypeError):
            new_model().add("fc1", *good("fc1"), table)


def test_a_refused_layer_leaves_the_one_before():
    model = complete()
    obs, hidden, q = np.ones((1, 5), np.float32), np.zeros((1, 9), np.float32), np.zeros((1, 3), np.float32)
    last, ids = np.array([-1]), np.array([0])
    model.step_many(obs, last, ids, hidden, q)
    values, indices, indptr, bias = good("fc2")
    with pytest.raises(ValueError, match="stay below"):
        model.add("fc2", values, indices + 1, indptr, bias, "dense")
    again, q_again = np.zeros_like(hidden), np.zeros_like(q)
    model.step_many(obs, last, ids, again, q_again)
    np.testing.assert_array_equal(q_again, q)
    np.testing.assert_array_equal(again, hidden)


def test_sizes_of_nothing():
    for sizes in ((0, 1, 1, 1), (1, -1, 1, 1), (1, 1, 65_537, 1), (1, 1, 1, 2**31 - 1), (-(2**31), 1, 1, 1)):
        with pytest.raises(ValueError, match=r"1\.\.65536"):
            AgentModel(*sizes)
    for sizes in ((2**31, 1, 1, 1), (1, 2**64, 1, 1), (1.5, 1, 1, 1), ("1", 1, 1, 1), (1, 1, 1)):
        with pytest.raises(TypeError):
            AgentModel(*sizes)


def test_an_incomplete_model_does_nothing():
    model = new_model()
    arrays = [np.zeros((1, n), np.float32) for n in (5, 9, 3)]
    for name in LAYERS:
        for call in (
            lambda: model.step_many(arrays[0], np.array([-1]), np.array([0]), arrays[1], arrays[2]),
            lambda: model.layer_many("fc2", arrays[1], arrays[2]),
            lambda: AgentCell(model, 0),
        ):
            with pytest.raises(ValueError, match="must be added first"):
                call()
        model.add(name, *good(name), "csr")
    AgentCell(model, 0)


def batch(n=4):
    return (
        np.ones((n, 5), np.float32),
        np.arange(n, dtype=np.int64) % 4 - 1,
        np.arange(n, dtype=np.int64) % 2,
        np.zeros((n, 9), np.float32),
        np.zeros((n, 3), np.float32),
    )


def test_batches_that_are_wrong(any_table):
    model = complete(any_table)
    obs, last, ids, hidden, q = batch()
    frozen = q.copy()
    frozen.flags.writeable = False
    for wrong in (
        *((obs[:, :-1].copy(), last, ids, hidden, q), (obs[:3], last, ids, hidden, q)),
        *((obs, last[:3], ids, hidden, q), (obs, last, ids[:3], hidden, q)),
        *((obs, last, ids, hidden[:3], q), (obs, last, ids, hidden, q[:3])),
        *(
            (obs, last, ids, np.zeros((4, 10), np.float32), q),
            (obs, last, ids, hidden, np.zeros((4, 2), np.float32)),
        ),
        *((obs, last + 3, ids, hidden, q), (obs, last - 1, ids, hidden, q)),
        *((obs, last, ids + 1, hidden, q), (obs, last, ids - 1, hidden, q)),
        *((obs, last + 2**32, ids, hidden, q), (obs, last, ids + 2**32, hidden, q)),
        *((obs, last - 2**62, ids, hidden, q), (obs, last, ids - 2**62, hidden, q)),
        *((obs[0], last, ids, hidden, q), (None, last, ids, hidden, q), (obs, last, ids, hidden, frozen)),
    ):
        with pytest.raises(WRONG):
            model.step_many(*wrong)
    assert not hidden.any()
    assert not q.any()
    model.step_many(*(array[:0] for array in batch()))


def test_layer_products_that_are_wrong(any_table):
    model = complete(any_table)
    for name in LAYERS:
        rows, cols = SHAPES[name]
        cols = SPEC.obs_dim if name == "fc1" else cols
        x, y = np.ones((2, cols), np.float32), np.zeros((2, rows), np.float32)
        for wrong in (
            *((name, x[:, :-1].copy(), y), (name, np.ones((2, cols + 1), np.float32), y), (name, x[:1], y)),
            *((name, x, y[:1]), (name, x, y[:, :-1].copy()), (name, x, np.zeros((2, rows + 1), np.float32))),
            *((name, x[0], y), (name, x, y[0]), (name, x, None), ("fc9", x, y)),
        ):
            with pytest.raises(WRONG):
                model.layer_many(*wrong)
        model.layer_many(name, x, y)
        assert y.any()


def test_cells_that_are_wrong(any_table):
    model = complete(any_table)
    for agent_id in (-1, 2, 2**31 - 1):
        with pytest.raises(ValueError, match="agent_id must be"):
            AgentCell(model, agent_id)
    with pytest.raises(TypeError):
        AgentCell(None, 0)
    cell = AgentCell(model, 0)
    obs, avail = np.ones(5, np.float32), np.ones(3, np.uint8)
    for wrong in (
        *((obs[:4], avail), (obs, avail[:2]), (np.ones(6, np.float32), avail), (obs, np.ones(4, bool))),
        *((obs[None], avail), (obs.astype(np.float64), avail), (obs, avail.astype(np.int8)), (None, avail)),
        *(
            (obs.tolist(), avail),
            (obs, None),
            (np.repeat(obs, 2)[::2], avail),
            (obs, np.repeat(avail, 2)[::2]),
        ),
        *((obs * np.nan, avail), (obs, avail * 0), (b"x" * 20, avail), (obs, "abc")),
        (np.frombuffer(b"\0" + obs.tobytes(), np.float32, offset=1), avail),
    ):
        assert cell.act(*wrong, True) == -1
        assert cell.last_action == -1
    hidden, q = np.zeros(9, np.float32), np.zeros(3, np.float32)
    for call in (
        lambda: cell.peek(obs[:4], q),
        lambda: cell.peek(obs, q[:2]),
        lambda: cell.read(hidden[:8], q),
        lambda: cell.read(hidden, q[:2]),
        lambda: cell.read(q, hidden),
        lambda: cell.write(hidden[:8]),
        lambda: cell.write(hidden[None]),
        lambda: cell.write(None),
    ):
        with pytest.raises(WRONG):
            call()
    for action in (-2, 3, 2**31 - 1):
        with pytest.raises(ValueError, match="last_action"):
            cell.last_action = action
    for agent_id in (-1, 2):
        with pytest.raises(ValueError, match="agent_id"):
            cell.agent_id = agent_id
    for number in (2**40, None, 0.5):
        with pytest.raises(TypeError):
            cell.last_action = number
    assert (cell.last_action, cell.agent_id) == (-1, 0)
    cell.read(hidden, q)
    assert not hidden.any()
    assert cell.act(obs, avail, True) >= 0


def test_results_are_never_written_into_a_copy():
    model = complete()
    obs, last, ids, hidden, q = batch()
    for results in (
        (hidden.astype(np.float64), q),
        (hidden, q.astype(np.float64)),
        (np.zeros((4, 18), np.float32)[:, ::2], q),
        (hidden, np.zeros((3, 4), np.float32).T),
    ):
        with pytest.raises(TypeError):
            model.step_many(obs, last, ids, *results)


numbers = st.integers(0, 30) | st.sampled_from([2**16 - 1, 2**16, 2**31, 2**32 - 1])


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(LAYERS),
    table=st.sampled_from(TABLES),
    changes=st.lists(
        st.tuples(st.sampled_from(["indices", "indptr"]), st.integers(0, 60), numbers), max_size=4
    ),
    cut=st.sampled_from([None, "values", "indices", "indptr", "bias"]),
)
def test_any_table_is_refused_or_right(name, table, changes, cut):
    """What is taken gives the products of those weights, whatever it is stored as."""
    arrays = dict(
        zip(("values", "indices", "indptr", "bias"), (array.copy() for array in good(name)), strict=True)
    )
    for part, at, number in changes:
        arrays[part][at % len(arrays[part])] = number
    if cut:
        arrays[cut] = arrays[cut][:-1]
    model = complete()
    try:
        model.add(name, *arrays.values(), table)
    except ValueError:
        assert changes or cut
        return
    rows, cols = SHAPES[name]
    dense = np.zeros((rows, cols))
    counts = np.diff(arrays["indptr"].astype(int))
    dense[np.repeat(np.arange(rows), counts), arrays["indices"]] = arrays["values"]
    x = np.linspace(-1, 1, 2 * (SPEC.obs_dim if name == "fc1" else cols), dtype=np.float32).reshape(2, -1)
    y = np.zeros((2, rows), np.float32)
    model.layer_many(name, x, y)
    np.testing.assert_allclose(y, x @ dense[:, : x.shape[1]].T, atol=1e-6)


def test_tables_of_an_agent_pass(any_table):
    weights, masks = random_agent(SPEC, 0.5)
    model = new_model()
    for name, layer in layers_of(weights, masks).items():
        add_layer(model, name, layer, any_table)
    AgentCell(model, 1)
