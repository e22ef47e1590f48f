"""Columns as steps, numbers without loss, rows grouped for the kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast_edge.errors import ArtifactRefused
from mast_edge.export.c_tables import Coded, Table, c_number, coded, hot_columns, layer_parts, stored_weights
from mast_edge.layers import SparseLayer, make_layer
from mast_edge.topology import layer_blocks


def decoded(table, cols):
    """(groups, cols, height) as a kernel sees the table: bridges add nothing."""
    dense = np.zeros((len(table.counts), cols, table.weights.shape[1]), table.weights.dtype)
    entry = 0
    for group, count in enumerate(table.counts):
        at = 0
        for _ in range(count):
            at += int(table.steps[entry])
            dense[group, at] += table.weights[entry]
            entry += 1
    assert entry == len(table.steps) == len(table.weights)
    return dense


def groups_of(dense):
    """The nonzero columns of each group of (groups, cols, height)."""
    chosen = [np.flatnonzero(group.any(axis=1)) for group in dense]
    return [(columns, group[columns]) for columns, group in zip(chosen, dense, strict=True)]


def test_steps_by_hand():
    row = np.zeros((1, 1200, 1), np.float32)
    row[0, [3, 258, 514, 1199], 0] = [1, 2, 3, 4]
    table = coded(groups_of(row), 1, row.dtype)
    # 255 needs no bridge, 256 needs one, 685 = 2 * 255 + 175 needs two
    assert table.steps.tolist() == [3, 255, 255, 1, 255, 255, 175]
    assert table.weights[:, 0].tolist() == [1, 2, 0, 3, 0, 0, 4]
    assert (table.counts.tolist(), table.wide) == ([7], False)


@given(st.integers(1, 4), st.integers(1, 1500), st.integers(0, 400), st.sampled_from([1, 4, 8]), st.randoms())
def test_wide_full_and_empty_rows_come_back(groups, cols, entries, height, random):
    dense = np.zeros((groups, cols, height), np.int8)
    for _ in range(entries):
        dense[random.randrange(groups), random.randrange(cols)] = random.choice([-127, 1, 5])
    if random.random() < 0.3:
        dense[random.randrange(groups)] = 7
    table = coded(groups_of(dense), height, dense.dtype)
    np.testing.assert_array_equal(decoded(table, cols), dense)
    assert table.wide == (max(table.counts, default=0) > 255)
    assert table.starts.tolist() == [0, *np.cumsum(table.counts).tolist()]


def test_a_row_that_two_bytes_cannot_count_is_refused():
    full = (np.arange(65536), np.ones((65536, 1), np.int8))
    with pytest.raises(ArtifactRefused, match="at most 65535 weights; got 65536"):
        coded([full], 1, np.dtype(np.int8))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_no_digit_of_a_float_is_lost(value):
    text = c_number(np.float32(value))
    assert text.endswith("f")
    back = np.float32(float.fromhex(text[:-1]))
    assert back.tobytes() == np.float32(value).tobytes()


def test_literals_by_hand():
    assert [c_number(np.float32(x)) for x in (0, -0.0, 1, -0.75)] == [
        "0x0p+0f",
        "-0x0p+0f",
        "0x1p+0f",
        "-0x1.8p-1f",
    ]
    assert [c_number(x) for x in (7, np.int8(-127), -(2**31))] == ["7", "-127", "(-2147483647 - 1)"]


def test_a_table_is_never_empty_and_knows_its_bytes():
    empty = Table("x", "float", "x_weight", [], "nothing")
    assert empty.text() == "/* nothing */\nstatic const float agent_x_weight[1] = {\n    0,\n};\n"
    assert empty.nbytes == 4
    assert Table("x", "unsigned short", "x_count", [1, 2, 3], "three").nbytes == 6


def test_short_groups_are_parts_of_their_own():
    """Gates of 20 rows in blocks of 8: two blocks and one of four rows each; the parts hold every weight."""
    rng = np.random.default_rng(0)
    grouped = layer_blocks("gru_ih", 60, "8x1")
    mask = grouped.spread(rng.random((len(grouped.starts), 30)) < 0.3)
    weight = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
    layer = make_layer("gru_ih", weight, np.zeros(60, np.float32), mask)
    assert isinstance(layer, SparseLayer)
    assert layer.height == 8
    parts = layer_parts("gru_ih", layer, 30)
    assert [(p.name, p.first, p.rows, p.kernel) for p in parts] == [
        ("gru_ih_0", 0, 16, "blocks8"),
        ("gru_ih_1", 16, 4, "blocks4"),
        ("gru_ih_2", 20, 16, "blocks8"),
        ("gru_ih_3", 36, 4, "blocks4"),
        ("gru_ih_4", 40, 16, "blocks8"),
        ("gru_ih_5", 56, 4, "blocks4"),
    ]
    rows = [decoded(p.weights, 30).transpose(0, 2, 1).reshape(-1, 30) for p in parts]
    np.testing.assert_array_equal(np.concatenate(rows), weight)


@pytest.mark.parametrize("precision", ["f32", "int8"])
@pytest.mark.parametrize("kept", [0.1, 1.0])
def test_one_hot_columns_are_kept_column_by_column(precision, kept):
    rng = np.random.default_rng(1)
    mask = rng.random((12, 20)) < kept
    weight = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
    layer = make_layer("fc1", weight, np.zeros(12, np.float32), mask, precision)
    hot, (part,) = hot_columns(layer, 15), layer_parts("fc1", layer, 15)
    np.testing.assert_array_equal(decoded(hot, 12)[..., 0].T, stored_weights(layer)[:, 15:])
    seen = decoded(part.weights, 15)[..., 0] if isinstance(part.weights, Coded) else part.weights
    np.testing.assert_array_equal(seen, stored_weights(layer)[:, :15])
    scale = 1 if layer.scale is None else layer.scale[:, None]
    np.testing.assert_array_equal(stored_weights(layer) * scale, layer.dense())
