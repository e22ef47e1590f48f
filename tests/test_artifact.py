import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as parse_safetensors

from mast_edge.artifact import FORMAT_VERSION, build_artifact
from mast_edge.artifact_read import parse_artifact, read_artifact
from mast_edge.checkpoint_files import read_agent
from mast_edge.contract import AgentContract
from mast_edge.errors import ArtifactTooLarge
from mast_edge.spec import AgentSpec
from tests.agents import MAP_3M, TINY, env_of, random_agent

DATA = Path(__file__).parent / "data"


def artifact_of(spec, sparsity, seed=0, pattern="element", precision="f32"):
    weights, masks = random_agent(spec, sparsity, seed, pattern)
    contract = AgentContract.of(spec, env_of(spec))
    return build_artifact(contract, weights, masks, {"algorithm": "qmix"}, precision), weights, masks


@pytest.mark.parametrize("pattern", ["element", "4x1", "8x1"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.95])
def test_weights_come_back_exactly(sparsity, pattern):
    data, weights, masks = artifact_of(MAP_3M, sparsity, pattern=pattern)
    artifact = parse_artifact("x", data)
    for name, array in artifact.dense_weights().items():
        np.testing.assert_array_equal(array, weights[name])
    for layer, mask in masks.items():
        assert artifact.layers[layer].nnz == mask.sum()
    assert {layer.pattern for layer in artifact.layers.values()} <= {pattern, "dense"}
    assert (artifact.contract.spec, artifact.precision) == (MAP_3M, "f32")


@pytest.mark.parametrize("pattern", ["element", "4x1", "8x1"])
@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_int8_weights_come_back_to_half_a_step(sparsity, pattern):
    data, weights, _ = artifact_of(MAP_3M, sparsity, pattern=pattern, precision="int8")
    artifact = parse_artifact("x", data)
    assert artifact.precision == "int8"
    assert len(data) < len(artifact_of(MAP_3M, sparsity, pattern=pattern)[0])
    for name, layer in artifact.layers.items():
        error = np.abs(layer.dense() - weights[f"{name}.weight"])
        assert (error <= 0.5001 * layer.scale[:, None]).all()
        assert layer.values.dtype == np.int8 if layer.kind != "dense" else layer.weight.dtype == np.int8


def test_a_file_of_the_version_before_is_read():
    """Written by the last code of version 1: random 3m agent, 95 % sparse, as `random_agent` makes it."""
    data = (DATA / "artifacts/agent_v1.safetensors").read_bytes()
    artifact = parse_artifact("agent_v1", data)
    assert artifact.metadata["format_version"] == FORMAT_VERSION - 1 == 1
    assert artifact.precision == "f32"
    weights, _ = random_agent(MAP_3M, 0.95)
    for name, array in artifact.dense_weights().items():
        np.testing.assert_array_equal(array, weights[name])


@pytest.mark.parametrize(("name", "patterns"), [("3m-s95", {"element"}), ("3m-s90-8x1", {"8x1"})])
def test_committed_agents_are_those_of_their_checkpoints(name, patterns):
    artifact = read_artifact(DATA / f"artifacts/{name}.safetensors")
    checkpoint = read_agent(DATA / f"agents/{name}")
    assert artifact.metadata["format_version"] == FORMAT_VERSION
    assert artifact.metadata["provenance"]["checkpoint_sha256"] == checkpoint.index_sha256
    assert {layer.pattern for layer in artifact.layers.values()} - {"dense"} == patterns
    for key, array in artifact.dense_weights().items():
        np.testing.assert_array_equal(array, checkpoint.weights[key])


def test_what_a_runtime_may_take_grows_with_the_file():
    """2 x file + 8 MB; 3m written out takes 111 kB."""
    artifact = parse_artifact("x", artifact_of(MAP_3M, 0.95)[0])
    assert artifact.room == 2 * artifact.file_bytes + 8_388_608
    artifact.require_room("tables", artifact.room, "")
    with pytest.raises(
        ArtifactTooLarge, match=rf"x: tables must take at most {artifact.room} bytes, .* Use csr."
    ):
        artifact.require_room("tables", artifact.room + 1, "Use csr.")


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


def test_a_layer_may_be_empty():
    spec = AgentSpec(obs_dim=7, n_actions=5, n_agents=3, hidden_dim=8)
    weights, masks = random_agent(spec, 0.8)
    masks["gru_hh"] = np.zeros((24, 8), bool)
    weights["gru_hh.weight"] = np.zeros((24, 8), np.float32)
    data = build_artifact(AgentContract.of(spec, env_of(spec)), weights, masks, {})
    assert parse_artifact("x", data).layers["gru_hh"].nnz == 0
