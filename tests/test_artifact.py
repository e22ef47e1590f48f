import json

import numpy as np
import pytest
from safetensors.numpy import load as parse_safetensors

from mast_edge.artifact import CsrLayer, DenseLayer, build_artifact, make_layer
from mast_edge.artifact_read import parse_artifact
from mast_edge.contract import AgentContract
from mast_edge.spec import AgentSpec
from tests.agents import MAP_3M, TINY, env_of, random_agent


def artifact_of(spec, sparsity, seed=0, provenance=None):
    weights, masks = random_agent(spec, sparsity, seed)
    contract = AgentContract.of(spec, env_of(spec))
    return build_artifact(contract, weights, masks, provenance or {"algorithm": "qmix"}), weights, masks


def test_csr_tables_by_hand():
    weight = np.array([[0, 5, 0, 0, 0, 0], [0] * 6, [7, 0, 0, 0, 0, 8]], np.float32)
    mask = weight != 0
    mask[1, 2] = True
    layer = make_layer(weight, np.array([1, 2, 3], np.float32), mask)
    assert isinstance(layer, CsrLayer)
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
    for nnz, kind in ((10, CsrLayer), (11, DenseLayer)):
        mask = np.arange(16).reshape(4, 4) < nnz
        assert isinstance(make_layer(np.where(mask, weight, 0), np.zeros(4, np.float32), mask), kind)
    assert isinstance(make_layer(weight, np.zeros(4, np.float32), None), DenseLayer)


def test_wide_layers_take_wider_columns():
    for cols, dtype in ((256, np.uint8), (257, np.uint16)):
        weight = np.zeros((2, cols), np.float32)
        weight[1, -1] = 1
        assert make_layer(weight, np.zeros(2, np.float32), weight != 0).indices.dtype == dtype


def test_rows_longer_than_one_chunk(monkeypatch):
    monkeypatch.setattr("mast_edge.artifact._ENTRIES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    mask = rng.random((40, 30)) < np.linspace(0, 0.9, 40)[:, None]
    weight = np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32)
    layer = make_layer(weight, rng.normal(size=40).astype(np.float32), mask)
    x = rng.normal(size=(3, 30))
    np.testing.assert_allclose(layer.affine(x), x @ weight.T + layer.bias, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.95])
def test_weights_come_back_exactly(sparsity):
    data, weights, masks = artifact_of(MAP_3M, sparsity)
    artifact = parse_artifact("x", data)
    for name, array in artifact.dense_weights().items():
        np.testing.assert_array_equal(array, weights[name])
    for layer, mask in masks.items():
        assert artifact.layers[layer].nnz == mask.sum()
    assert artifact.contract.spec == MAP_3M


def test_bytes_of_the_tables_are_those_of_the_accounting():
    """accounting.md 7.2, row 3m 0.95: 5576 values, 1394 indices, 922 pointers, 1828 biases."""
    data, _, _ = artifact_of(MAP_3M, 0.95)
    artifact = parse_artifact("x", data)
    parts = {"values": 0, "indices": 0, "indptr": 0, "bias": 0}
    for layer in artifact.layers.values():
        for section, table in layer.sections().items():
            parts[section] += table.nbytes
    assert parts == {"values": 5576, "indices": 1394, "indptr": 922, "bias": 1828}
    assert len(data) == 9720 + artifact.golden_q.nbytes + artifact.header_bytes
    assert len(json.dumps(artifact.metadata, separators=(",", ":"))) < 3000


def test_same_agent_same_bytes_and_the_library_reads_it():
    data, weights, _ = artifact_of(TINY, 0.8)
    assert data == artifact_of(TINY, 0.8)[0]
    assert data != artifact_of(TINY, 0.8, seed=1)[0]
    np.testing.assert_array_equal(parse_safetensors(data)["fc1.bias"], weights["fc1.bias"])


def test_affine_keeps_the_float_type():
    layer = make_layer(np.eye(9, dtype=np.float32), np.zeros(9, np.float32), np.eye(9, dtype=bool))
    assert layer.affine(np.ones((2, 9))).dtype == np.float64
    assert layer.affine(np.ones((2, 9), np.float32)).dtype == np.float32


def test_a_layer_may_be_empty():
    spec = AgentSpec(obs_dim=7, n_actions=5, n_agents=3, hidden_dim=8)
    weights, masks = random_agent(spec, 0.8)
    masks["gru_hh"] = np.zeros((24, 8), bool)
    weights["gru_hh.weight"] = np.zeros((24, 8), np.float32)
    data = build_artifact(AgentContract.of(spec, env_of(spec)), weights, masks, {})
    assert parse_artifact("x", data).layers["gru_hh"].nnz == 0
