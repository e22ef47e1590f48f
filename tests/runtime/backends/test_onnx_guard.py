"""Only our own kind of model reaches onnxruntime."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mast_edge.errors import (
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactRefused,
    ArtifactTooLarge,
    ArtifactValue,
    MissingInput,
)
from mast_edge.runtime import Agent
from mast_edge.runtime.backends.onnx_guard import read_guarded


@pytest.fixture
def model(tiny):
    return onnx.load(tiny / "exports/onnx/agent.onnx")


def refused(model, tmp_path, error=ArtifactMalformed, match=None):
    path = tmp_path / "agent.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(error, match=match) as caught:
        Agent.load(path, backend="onnx")
    assert type(caught.value) is error


def test_our_own_export_passes(tiny):
    guarded = read_guarded(tiny / "exports/onnx/agent.onnx")
    assert guarded.data == (tiny / "exports/onnx/agent.onnx").read_bytes()
    assert guarded.tensors["gru.R"] == (1, 24, 8)
    assert set(guarded.properties) == {"mast_edge"}


def test_operators_outside_the_list(model, tmp_path):
    model.graph.node.append(helper.make_node("Identity", ["q"], ["r"]))
    refused(model, tmp_path, match="operator b'Identity'")


def test_subgraphs(model, tmp_path):
    branch = helper.make_graph([], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["r"], then_branch=branch, else_branch=branch))
    refused(model, tmp_path, match="in a attribute")


def test_custom_domains(model, tmp_path):
    model.graph.node[0].domain = "com.microsoft"
    refused(model, tmp_path, match="domain")
    model.graph.node[0].domain = ""
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    refused(model, tmp_path, match="opset")


def test_other_opsets(model, tmp_path):
    model.opset_import[0].version = 18
    refused(model, tmp_path, match="opset")


def test_functions(model, tmp_path):
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(
        helper.make_function("", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opset)
    )
    refused(model, tmp_path, match="field 25 in a model")


def test_external_data(model, tmp_path):
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    refused(model, tmp_path, match="field 1[34] in a tensor")


def test_sparse_initializers(model, tmp_path):
    model.graph.sparse_initializer.add()
    refused(model, tmp_path, match="field 15 in a graph")


def test_tensors_whose_bytes_do_not_fit(model, tmp_path):
    model.graph.initializer[0].dims[0] += 1
    refused(model, tmp_path, match="a tensor of type 1")
    model.graph.initializer[0].dims[0] = 2**62
    refused(model, tmp_path, match="a tensor of type 1")


def test_values_that_are_not_finite(model, tmp_path):
    tensor = model.graph.initializer[1]
    tensor.raw_data = np.full(tensor.dims[0], np.nan, np.float32).tobytes()
    refused(model, tmp_path, ArtifactValue, match="fc1.bias must be finite")


def test_a_contract_that_is_missing_or_wrong(model, tmp_path):
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"hidden_dim":8', '"hidden_dim":9')
    refused(model, tmp_path, ArtifactInconsistent, match="shapes of its contract")
    model.metadata_props[0].value = text
    model.graph.input[0].name = "seen"
    model.graph.node[0].input[0] = "seen"
    refused(model, tmp_path, ArtifactInconsistent, match="as its contract says")
    model.metadata_props[0].value = "{"
    refused(model, tmp_path, match="strict JSON")
    del model.metadata_props[:]
    refused(model, tmp_path, match="strict JSON")


def test_weights_of_other_sizes_than_the_graph_needs(model, tmp_path):
    tensor = model.graph.initializer[1]
    tensor.raw_data = tensor.raw_data[:-4]
    tensor.dims[0] -= 1
    refused(model, tmp_path, ArtifactInconsistent, match=r"difference in \['fc1.bias'\]")


def test_truncated_missing_and_large_files(tiny, tmp_path):
    data = (tiny / "exports/onnx/agent.onnx").read_bytes()
    path = tmp_path / "agent.onnx"
    for length in range(0, len(data), 41):
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactRefused):
            Agent.load(path)
    with pytest.raises(MissingInput, match="--format onnx"):
        read_guarded(tmp_path / "none.onnx")
    with path.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(ArtifactTooLarge):
        read_guarded(path)


def test_the_guard_survives_any_damage(tiny, tmp_path):
    good = (tiny / "exports/onnx/agent.onnx").read_bytes()
    path = tmp_path / "damaged.onnx"
    refusals = []
    byte = st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255))

    @settings(max_examples=300, deadline=None)
    @given(st.lists(byte, min_size=1, max_size=4))
    def damage(changes):
        damaged = bytearray(good)
        for at, value in changes:
            damaged[at] = value
        path.write_bytes(damaged)
        try:
            assert read_guarded(path).data == damaged
        except ArtifactRefused:
            refusals.append(changes)

    damage()
    assert refusals
