"""Only our own kind of model reaches onnxruntime."""

import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mast_edge.artifact_file import MAX_FILE_BYTES
from mast_edge.checkpoint_files import read_agent, read_recorded
from mast_edge.errors import (
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactRefused,
    ArtifactTooLarge,
    ArtifactValue,
    MissingInput,
)
from mast_edge.export.job import Job
from mast_edge.export.to_onnx import export_onnx
from mast_edge.export.verify import reference_of
from mast_edge.runtime import Agent
from mast_edge.runtime.backends.onnx_guard import read_guarded
from tests.agents import TINY, write_checkpoint

FILES = ("agent.onnx", "agent.sparse.onnx")
EDGE = 2**63


def export(checkpoint, folder, with_avail):
    folder.mkdir()
    agent, recorded = read_agent(checkpoint), read_recorded(checkpoint)
    export_onnx(Job(agent, reference_of(agent, recorded), {}, with_avail=with_avail), folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint", TINY, 0.8)


@pytest.fixture(scope="module")
def exported(checkpoint):
    """Folder of both files."""
    return export(checkpoint, checkpoint.parent / "onnx", with_avail=False)


@pytest.fixture(scope="module")
def with_avail(checkpoint):
    """Folder of both files with the input `avail`."""
    return export(checkpoint, checkpoint.parent / "with_avail", with_avail=True)


@pytest.fixture
def model(exported):
    return onnx.load(exported / "agent.onnx")


@pytest.fixture
def sparse(exported):
    return onnx.load(exported / "agent.sparse.onnx")


def refused(model, tmp_path, error=ArtifactMalformed, match=None):
    refused_bytes(model.SerializeToString(), tmp_path, error, match)


def refused_bytes(data, tmp_path, error=ArtifactMalformed, match=None):
    path = tmp_path / "agent.onnx"
    path.write_bytes(data)
    with pytest.raises(error, match=match) as caught:
        Agent.load(path, backend="onnx")
    assert type(caught.value) is error


def weight_of(model):
    """fc1 as a sparse tensor: 15 x 8."""
    return model.graph.node[0].attribute[0].sparse_tensor


def put(tensor, array, dtype):
    """Replaces what a tensor holds."""
    table = np.asarray(array, dtype)
    tensor.raw_data = table.tobytes()
    tensor.dims[:] = list(table.shape)


def set_places(model, places):
    """Replaces places, with as many ones as values."""
    put(weight_of(model).indices, places, np.int64)
    put(weight_of(model).values, np.ones(len(places)), np.float32)


def field(number, payload):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_our_own_exports_pass(exported, with_avail):
    for path in [folder / name for folder in (exported, with_avail) for name in FILES]:
        guarded = read_guarded(path)
        assert guarded.data == path.read_bytes()
        assert set(guarded.properties) == {"mast_edge"}
    assert read_guarded(exported / "agent.onnx").tensors["gru.R"] == (1, 24, 8)
    sparse = read_guarded(exported / "agent.sparse.onnx")
    assert sparse.tensors["gru_hh.weight_t"] == (8, 24)
    constants = [node.outputs[0] for node in sparse.nodes if node.operator == "Constant"]
    assert constants == ["fc1.weight_t", "gru_ih.weight_t", "gru_hh.weight_t"]


def test_every_form_plays_the_same(checkpoint, exported, with_avail):
    recorded = read_recorded(checkpoint)
    paths = [folder / name for folder in (exported, with_avail) for name in FILES]
    for path in paths:
        agent = Agent.load(path, agent_id=1)
        for t in range(8):
            seen = agent.q(recorded.obs[t, 1])
            assert agent.act(recorded.obs[t, 1], recorded.avail[t, 1]) == recorded.actions[t, 1]
            np.testing.assert_array_equal(agent.last_q, seen)
    assert ["GRU" in Agent.load(path).model.path_taken for path in paths] == [True, False] * 2


def test_operators_outside_the_list(model, tmp_path):
    model.graph.node.append(helper.make_node("Identity", ["q"], ["r"]))
    refused(model, tmp_path, match="operator 'Identity'")


def test_operators_that_we_use_elsewhere(model, tmp_path):
    """An outer product of two biases would take rows^2 floats, folded while the model loads."""
    model.graph.node.append(helper.make_node("MatMul", ["gru.B", "gru.B"], ["r"]))
    refused(model, tmp_path, ArtifactInconsistent, match="node 7 must be None")
    del model.graph.node[-2:]
    refused(model, tmp_path, ArtifactInconsistent, match=r"node 6 must be Node\(operator='Gemm'")


def test_other_attributes_and_wires(model, sparse, tmp_path):
    model.graph.node[4].attribute[1].i = 0
    refused(model, tmp_path, ArtifactInconsistent, match="node 4 must be")
    split = next(node for node in sparse.graph.node if node.op_type == "Split")
    split.output[:] = [split.output[i] for i in (1, 0, 2)]
    refused(sparse, tmp_path, ArtifactInconsistent, match="must be Node.operator='Split'")


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


def test_other_ir_versions_and_axes(model, tmp_path):
    model.ir_version = 15
    refused(model, tmp_path, match="IR version 15")
    model.ir_version = 8
    put(model.graph.initializer[7], [1], np.int64)
    refused(model, tmp_path, match="sequence_axis with an axis other than 0")


def test_a_model_that_onnxruntime_refuses(model, tmp_path):
    """Integers of the size of the weights: what the guard counts is right, what they are is not."""
    bias = model.graph.initializer[1]
    put(bias, np.zeros(bias.dims[0]), np.int64)
    bias.data_type = TensorProto.INT64
    refused(model, tmp_path, match="must be one that onnxruntime loads; got .*ONNXRuntimeError")


def test_functions(model, tmp_path):
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(
        helper.make_function("", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opset)
    )
    refused(model, tmp_path, match="field 25 in a model")


def test_external_data(model, sparse, tmp_path):
    for found, tensor in (
        (model, model.graph.initializer[0]),
        (sparse, weight_of(sparse).values),
        (sparse, weight_of(sparse).indices),
    ):
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../etc/passwd"
        refused(found, tmp_path, match="field 1[34] in a tensor")
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")


def test_sparse_initializers(model, tmp_path):
    model.graph.sparse_initializer.add()
    refused(model, tmp_path, match="field 15 in a graph")


def test_tensors_whose_bytes_do_not_fit(model, tmp_path):
    model.graph.initializer[0].dims[0] += 1
    refused(model, tmp_path, match="a tensor of type 1")
    model.graph.initializer[0].dims[0] = 2**62
    refused(model, tmp_path, match="a tensor of type 1")


def test_values_that_are_not_finite(model, sparse, with_avail, tmp_path):
    tensor = model.graph.initializer[1]
    tensor.raw_data = np.full(tensor.dims[0], np.nan, np.float32).tobytes()
    refused(model, tmp_path, ArtifactValue, match="fc1.bias must be finite")
    values = weight_of(sparse).values
    values.raw_data = np.full(values.dims[0], np.inf, np.float32).tobytes()
    refused(sparse, tmp_path, ArtifactValue, match="a sparse weight must be finite")
    avail = onnx.load(with_avail / "agent.onnx")
    unavailable = next(t for t in avail.graph.initializer if t.name == "unavailable")
    for wrong in (np.nan, np.inf):
        put(unavailable, wrong, np.float32)
        refused(avail, tmp_path, ArtifactValue, match="unavailable must be finite")


@pytest.mark.parametrize(
    "places",
    [
        [-1],
        [120],
        [0, 120],
        [5, 4],
        [4, 4],
        [-1, 119],
        [0, EDGE - 1],
        [-EDGE],
        # Each step of these rises when it is computed as a difference of wrapping 64-bit integers.
        [EDGE - 1, -EDGE],
        [0, 2**62, EDGE - 1, -EDGE, -(2**62), -1, 5],
    ],
)
def test_sparse_places_outside_or_out_of_order(sparse, tmp_path, places):
    set_places(sparse, places)
    refused(sparse, tmp_path, match="not inside it and in order")


def test_sparse_places_at_the_edges_pass(sparse, tmp_path):
    for places in ([0, 119], [], range(120)):
        set_places(sparse, places)
        (tmp_path / "agent.onnx").write_bytes(sparse.SerializeToString())
        Agent.load(tmp_path / "agent.onnx")


@pytest.mark.parametrize(
    "dims",
    [
        [],
        [120],
        [15, 8, 1],
        [0, 8],
        [-15, -8],
        [15, 65537],
        [2**32, 2**32],
        [2**31 + 15, 8],
        [2**62, 4],
        [EDGE - 1, EDGE - 1],
    ],
)
def test_sparse_shapes_that_no_agent_has(sparse, tmp_path, dims):
    weight_of(sparse).dims[:] = dims
    refused(sparse, tmp_path, match="a sparse tensor of shape")


def test_sparse_weights_that_would_fill_the_memory(sparse, tmp_path):
    """A few bytes on disk that onnxruntime would write out as 16 GiB of zeros."""
    weight_of(sparse).dims[:] = [65536, 65536]
    refused(sparse, tmp_path, ArtifactTooLarge, match=r"must take at most 73\d{5} bytes with their zeros")
    # Together too large, each alone not.
    for node in sparse.graph.node[:3]:
        node.attribute[0].sparse_tensor.dims[:] = [4096, MAX_FILE_BYTES // 4 // 4096 // 2]
    refused(sparse, tmp_path, ArtifactTooLarge, match=f"got {MAX_FILE_BYTES // 2 * 3}")


def test_sparse_values_and_places_that_do_not_belong_together(sparse, tmp_path):
    weight = weight_of(sparse)
    values, places = weight.values.SerializeToString(), weight.indices.SerializeToString()
    put(weight.values, np.ones(3), np.float32)
    refused(sparse, tmp_path, match=r"values \(3,\) at places")
    weight.values.ParseFromString(values)
    pairs = np.stack([np.arange(weight.values.dims[0]), np.zeros(weight.values.dims[0])], axis=1)
    put(weight.indices, pairs, np.int64)
    refused(sparse, tmp_path, match="at places")
    put(weight.values, np.ones((2, 1)), np.float32)
    put(weight.indices, [[0], [1]], np.int64)
    refused(sparse, tmp_path, match="at places")
    put(weight.values, [1, 2], np.int64)
    weight.values.data_type = TensorProto.INT64
    put(weight.indices, [0, 1], np.int64)
    refused(sparse, tmp_path, match="at places")
    weight.values.ParseFromString(values)
    weight.indices.ParseFromString(places)
    weight.indices.dims[0] = 2**61
    refused(sparse, tmp_path, match="a tensor of type 7")
    weight.ClearField("indices")
    refused(sparse, tmp_path, match="a tensor of type 0")
    weight.indices.ParseFromString(places)
    weight.ClearField("values")
    refused(sparse, tmp_path, match="a tensor of type 0")


def test_sparse_data_in_another_field(sparse, tmp_path):
    weight = weight_of(sparse)
    weight.indices.ClearField("raw_data")
    weight.indices.int64_data.extend(range(weight.indices.dims[0]))
    refused(sparse, tmp_path, match="field 7 in a tensor")


def test_constants_of_another_kind(sparse, tmp_path):
    good = sparse.graph.node[0].SerializeToString()
    for wrong in (
        helper.make_node("Constant", [], ["fc1.weight_t"], value_float=1.0),
        helper.make_node("Constant", [], ["fc1.weight_t"], value=helper.make_tensor("v", 1, [1], [1.0])),
        helper.make_node("Constant", [], ["fc1.weight_t"], value_int=3),
        helper.make_node("Constant", [], ["fc1.weight_t"]),
    ):
        sparse.graph.node[0].CopyFrom(wrong)
        refused(sparse, tmp_path, match="in a attribute|a Constant with 0 sparse weights")
    for change in (
        lambda node: node.input.append("obs"),
        lambda node: node.output.append("second"),
        lambda node: node.output.pop(),
        lambda node: node.attribute.append(node.attribute[0]),
        lambda node: node.attribute.append(helper.make_attribute("axis", 1)),
    ):
        sparse.graph.node[0].ParseFromString(good)
        change(sparse.graph.node[0])
        refused(sparse, tmp_path, match="a Constant with")
    sparse.graph.node[0].ParseFromString(good)
    sparse.graph.node[0].attribute[0].name = "value"
    refused(sparse, tmp_path, match="the attribute value of type 11")
    sparse.graph.node[0].ParseFromString(good)
    relu = next(node for node in sparse.graph.node if node.op_type == "Relu")
    relu.attribute.append(sparse.graph.node[0].attribute[0])
    refused(sparse, tmp_path, match="a Relu with 1 sparse weights")


def test_a_sparse_weight_under_another_name_or_shape(sparse, tmp_path):
    weight_of(sparse).dims[:] = [8, 15]
    refused(sparse, tmp_path, ArtifactInconsistent, match=r"difference in \['fc1.weight_t'\]")
    weight_of(sparse).dims[:] = [15, 8]
    sparse.graph.node[0].output[0] = "fc2.weight_t"
    refused(sparse, tmp_path, match=r"tensor fc2.weight_t given twice")
    sparse.graph.node[0].output[0] = "unknown"
    refused(sparse, tmp_path, ArtifactInconsistent, match="'unknown'")


def test_inputs_that_are_not_the_tensors_promised(model, tmp_path):
    value = model.graph.input[0]
    shape = value.type.tensor_type.shape.dim
    shape[1].dim_value = 16
    refused(model, tmp_path, ArtifactInconsistent, match="as its contract says")
    shape[1].dim_value, shape[0].dim_value = 15, 1
    refused(model, tmp_path, ArtifactInconsistent, match="as its contract says")
    value.type.tensor_type.elem_type = 11
    refused(model, tmp_path, ArtifactInconsistent, match="as its contract says")
    value.type.sequence_type.elem_type.tensor_type.elem_type = 1
    refused(model, tmp_path, match="field 4 in a type")


def test_an_action_without_avail(with_avail, tmp_path):
    model = onnx.load(with_avail / "agent.sparse.onnx")
    del model.graph.input[2]
    refused(model, tmp_path, ArtifactInconsistent, match="as its contract says")


def test_fields_given_twice_which_protobuf_would_merge(sparse, tmp_path):
    """Two sparse tensors in one attribute: the parser behind us reads values of one, shape of the other."""
    attribute = sparse.graph.node[0].attribute[0]
    text = attribute.SerializeToString() + field(22, attribute.sparse_tensor.SerializeToString())
    node = field(2, b"fc1.weight_t") + field(4, b"Constant") + field(5, text)
    graph = field(7, field(1, node))
    refused_bytes(sparse.SerializeToString() + graph, tmp_path, match="graph of a model given twice")
    sparse.ClearField("graph")
    refused_bytes(
        sparse.SerializeToString() + graph, tmp_path, match="sparse_tensor of a attribute given twice"
    )


def test_files_made_to_take_long(sparse, tmp_path):
    """Millions of empty fields, and dimensions packed by the million."""
    begin = time.process_time()
    many = b"\x0a\x00" * 4_000_000
    refused_bytes(field(7, field(1, many)), tmp_path, match="more than 64 fields in a node")
    tensor = field(1, bytes(4_000_000))
    refused_bytes(field(7, field(5, tensor)), tmp_path, match="dimensions of 4000000 bytes")
    refused_bytes(field(14, field(1, b"k") + field(2, bytes(2**21))), tmp_path, match="metadata of")
    assert time.process_time() - begin < 2


def test_a_contract_that_is_missing_or_wrong(model, tmp_path):
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"hidden_dim":8', '"hidden_dim":9')
    refused(model, tmp_path, ArtifactInconsistent, match="as its contract says")
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


@pytest.mark.parametrize("name", FILES)
def test_truncated_missing_and_large_files(exported, tmp_path, name):
    data = (exported / name).read_bytes()
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


@pytest.mark.parametrize("name", FILES)
def test_the_guard_survives_any_damage(exported, tmp_path, name):
    good = (exported / name).read_bytes()
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


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_onnxruntime_loads_what_the_guard_lets_through(checkpoint, exported, tmp_path, name, monkeypatch):
    """Damage that passes the guard and the graph check changes numbers only: the agent loads and acts."""
    # Here at once: a process for each of thousands would take half an hour.
    monkeypatch.setattr("mast_edge.runtime.backends.onnx_.try_elsewhere", lambda *_: None)
    good = (exported / name).read_bytes()
    path = tmp_path / "damaged.onnx"
    recorded = read_recorded(checkpoint)
    played = []

    @settings(max_examples=3000, deadline=None)
    @given(st.integers(0, len(good) - 1), st.integers(0, 255))
    def damage(at, value):
        damaged = bytearray(good)
        damaged[at] = value
        path.write_bytes(damaged)
        try:
            agent = Agent.load(path, backend="onnx")
        except ArtifactRefused:
            return
        assert 0 <= agent.act(recorded.obs[0, 0], recorded.avail[0, 0]) < 5
        played.append(at)

    damage()
    assert played
