import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.layers import (
    DenseLayer,
    SparseLayer,
    block_height,
    layers_of,
    make_layer,
    quantised,
    sparse_table_bytes,
)
from mast_edge.topology import random_topology
from tests.agents import MAP_3M, random_agent


def test_csr_tables_by_hand():
    weight = np.array([[0, 5, 0, 0, 0, 0], [0] * 6, [7, 0, 0, 0, 0, 8]], np.float32)
    mask = weight != 0
    mask[1, 2] = True
    layer = make_layer("fc1", weight, np.array([1, 2, 3], np.float32), mask)
    assert isinstance(layer, SparseLayer)
    assert layer.values.tolist() == [5, 0, 7, 8]
    assert layer.indices.tolist() == [1, 2, 0, 5]
    assert layer.indptr.tolist() == [0, 1, 2, 4]
    assert (layer.indices.dtype, layer.indptr.dtype) == (np.uint8, np.uint16)
    np.testing.assert_array_equal(layer.dense(), weight)
    x = np.array([[1, 10, 100, 0, 0, 2]], np.float32)
    assert layer.affine(x).tolist() == [[51, 2, 26]]


def test_a_layer_is_dense_when_that_is_smaller():
    """4x4: dense 64 bytes; CSR 5 per entry and 10 of pointers: 54 + ... smaller up to 10 entries (60
    bytes)."""
    weight = np.ones((4, 4), np.float32)
    for nnz, kind in ((10, SparseLayer), (11, DenseLayer)):
        mask = np.arange(16).reshape(4, 4) < nnz
        assert isinstance(make_layer("fc1", np.where(mask, weight, 0), np.zeros(4, np.float32), mask), kind)
    assert isinstance(make_layer("fc1", weight, np.zeros(4, np.float32), None), DenseLayer)


def test_wide_layers_take_wider_columns():
    for cols, dtype in ((256, np.uint8), (257, np.uint16)):
        weight = np.zeros((2, cols), np.float32)
        weight[1, -1] = 1
        assert make_layer("fc1", weight, np.zeros(2, np.float32), weight != 0).indices.dtype == dtype


def test_rows_longer_than_one_chunk(monkeypatch):
    monkeypatch.setattr("mast_edge.layers._VALUES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    mask = rng.random((40, 30)) < np.linspace(0, 0.9, 40)[:, None]
    weight = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
    layer = make_layer("fc1", weight, rng.normal(size=40).astype(np.float32), mask)
    x = rng.normal(size=(3, 30))
    np.testing.assert_allclose(layer.affine(x), x @ weight.T + layer.bias, rtol=1e-12, atol=1e-12)


def test_affine_keeps_the_float_type():
    layer = make_layer("fc1", np.eye(9, dtype=np.float32), np.zeros(9, np.float32), np.eye(9, dtype=bool))
    assert layer.affine(np.ones((2, 9))).dtype == np.float64
    assert layer.affine(np.ones((2, 9), np.float32)).dtype == np.float32


def test_block_tables_by_hand():
    """Ten rows in 8x1 blocks: a group of 8 and a short one of 2, padded to 8 with zeros."""
    mask = np.zeros((10, 12), bool)
    mask[:8, 3] = mask[:8, 9] = mask[8:, 5] = True
    weight = np.where(mask, np.arange(120, dtype=np.float32).reshape(10, 12), np.float32(0))
    layer = make_layer("fc2", weight, np.zeros(10, np.float32), mask)
    assert (layer.kind, layer.pattern, layer.height, layer.nnz) == ("block", "8x1", 8, 18)
    assert layer.values.shape == (3, 8)
    assert layer.values[1].tolist() == [9, 21, 33, 45, 57, 69, 81, 93]
    assert layer.values[2].tolist() == [101, 113, 0, 0, 0, 0, 0, 0]
    assert (layer.indices.tolist(), layer.indptr.tolist()) == ([3, 9, 5], [0, 2, 3])
    assert not layer.padding().any()
    assert layer.padding().shape == (6,)
    assert set(layer.sections()) == {"blocks", "bcols", "bptr", "bias"}
    np.testing.assert_array_equal(layer.dense(), weight)
    values, indices, indptr = layer.rows_csr()
    assert indptr.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 17, 18]
    assert (values[:4].tolist(), indices[:4].tolist()) == ([3, 9, 15, 21], [3, 9, 3, 9])


def test_bytes_by_hand():
    assert sparse_table_bytes(10, 1, 256, 7) == 7 * 5 + 11 * 2
    assert sparse_table_bytes(10, 1, 257, 7, "int8") == 7 * 3 + 11 * 2
    assert sparse_table_bytes(24, 8, 64, 100) == 100 * 33 + 25 * 2
    assert sparse_table_bytes(1000, 1, 64, 70_000) == 70_000 * 5 + 1001 * 4


def test_blocks_of_a_gate_end_with_it():
    """Three gates of 10 rows: groups of 8 and 2 in each; one mask that spans two gates is none of blocks."""
    mask = np.zeros((30, 4), bool)
    mask[10:18, 1] = True
    assert block_height("gru_hh", mask) == 8
    assert block_height("fc1", mask) == 1
    mask[8:10, 1] = True
    assert block_height("gru_hh", mask) == 8
    mask[7, 2] = True
    assert block_height("gru_hh", mask) == 1


def test_the_tallest_block_wins_and_no_block_is_element():
    mask = np.zeros((16, 4), bool)
    assert block_height("fc1", mask) == 1
    mask[:8, 0] = True
    assert block_height("fc1", mask) == 8
    mask[8:12, 1] = True
    assert block_height("fc1", mask) == 4
    assert block_height("fc1", mask[:3]) == 1


def test_int8_by_hand():
    weight = np.array([[1.27, -0.635, 0.004, 0.006], [0, 0, 0, 0]], np.float32)
    steps, scale = quantised(weight)
    assert steps.tolist() == [[127, -64, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_allclose(scale, [0.01, 1.0], rtol=1e-6)
    layer = make_layer("fc1", weight, np.zeros(2, np.float32), None, "int8")
    assert isinstance(layer, DenseLayer)
    np.testing.assert_allclose(layer.dense()[0], [1.27, -0.64, 0, 0.01], rtol=1e-6)


def test_int8_of_denormal_rows_has_a_scale_above_zero():
    steps, scale = quantised(np.array([[1e-45, 0], [1e38, -3e38]], np.float32))
    assert (scale > 0).all()
    assert np.isfinite(steps * scale[:, None]).all()


def test_layers_of_an_agent():
    weights, masks = random_agent(MAP_3M, 0.95)
    layers = layers_of(weights, masks)
    assert list(layers) == ["fc1", "gru_ih", "gru_hh", "fc2"]
    assert {name: layer.nnz for name, layer in layers.items()} == {
        "fc1": 214, "gru_ih": 516, "gru_hh": 516, "fc2": 148,
    }  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(["fc1", "gru_ih"]),
    rows=st.integers(1, 40),
    cols=st.integers(1, 300),
    sparsity=st.floats(0.1, 0.99),
    pattern=st.sampled_from(["element", "4x1", "8x1"]),
    precision=st.sampled_from(["f32", "int8"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_form_means_the_same_matrix(name, rows, cols, sparsity, pattern, precision, seed):
    rng = np.random.default_rng(seed)
    rows = 3 * rows if name == "gru_ih" else rows
    masks = random_topology({name: (rows, cols)}, sparsity, rng, {name: pattern})
    mask = masks.get(name)
    weight = np.where(True if mask is None else mask, rng.normal(size=(rows, cols)), 0).astype(np.float32)
    bias = rng.normal(size=rows).astype(np.float32)
    layer = make_layer(name, weight, bias, mask, precision)
    assert (layer.rows, layer.cols) == (rows, cols)
    stored = layer.dense()
    if precision == "f32":
        np.testing.assert_array_equal(stored, weight)
    else:
        assert (np.abs(stored - weight) <= 0.5001 * layer.scale[:, None]).all()
    values, indices, indptr = layer.rows_csr()
    rebuilt = np.zeros_like(weight)
    rebuilt[np.repeat(np.arange(rows), np.diff(indptr.astype(int))), indices] = values
    np.testing.assert_array_equal(rebuilt, stored)
    for row in range(rows):
        assert (np.diff(indices[indptr[row] : indptr[row + 1]].astype(int)) > 0).all()
    x = rng.normal(size=(3, cols))
    np.testing.assert_allclose(layer.affine(x), x @ stored.T.astype(float) + bias, rtol=1e-9, atol=1e-9)
    if isinstance(layer, SparseLayer):
        assert layer.nnz == mask.sum()
        assert not layer.padding().any()
        tables = [table for part, table in layer.sections().items() if part not in ("bias", "scale")]
        assert sum(table.nbytes for table in tables) == sparse_table_bytes(
            len(layer.indptr) - 1, layer.height, cols, len(layer.indices), precision
        )
