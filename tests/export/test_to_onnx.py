"""The ONNX files: the graphs promised, and the checkpoint's answers in onnx, onnxruntime and torch."""

import hashlib
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from mast_edge.artifact import build_artifact
from mast_edge.checkpoint_files import read_agent, read_recorded, write_agent_files, write_index
from mast_edge.dense_agent import DenseAgent, forward, masked_argmax, replay
from mast_edge.errors import ArtifactRefused, MissingExtra, UsageError
from mast_edge.export import to_onnx_graph
from mast_edge.export.job import Job
from mast_edge.export.to_onnx import export_onnx
from mast_edge.export.to_onnx_check import EvaluatedModel, check_file
from mast_edge.export.to_onnx_graph import to_onnx_gates
from mast_edge.export.verify import reference_of
from mast_edge.registry import RUNTIME_BACKENDS, resolve
from tests.agents import MAP_3M, TINY, env_of, greedy_rows, random_agent, write_checkpoint

PROVENANCE = {"algorithm": "qmix", "seed": 0}
ENTRIES = ("onnx", "onnx_sparse")


def job_of(folder, **kwargs):
    checkpoint = read_agent(folder)
    return Job(checkpoint, reference_of(checkpoint, read_recorded(folder)), PROVENANCE, **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoint of 3m at 95 %."""
    return write_checkpoint(tmp_path_factory.mktemp("3m") / "c", MAP_3M, 0.95)


@pytest.fixture(scope="module")
def job(folder):
    return job_of(folder)


@pytest.fixture(scope="module")
def files(job, tmp_path_factory):
    return export_onnx(job, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def avail_files(folder, tmp_path_factory):
    return export_onnx(job_of(folder, with_avail=True), tmp_path_factory.mktemp("avail"))


def session_of(path):
    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def shapes(values):
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


def sparse_weights(model):
    """Output of each sparse Constant -> (values, places, shape), as a reader of the file finds them."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "Constant":
            sparse = node.attribute[0].sparse_tensor
            values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
            found[node.output[0]] = (values, places, tuple(sparse.dims))
    return found


def test_two_files_the_sparse_one_smaller(files):
    assert {entry: path.name for entry, path in files.items()} == {
        "onnx": "agent.onnx",
        "onnx_sparse": "agent.sparse.onnx",
    }
    assert files["onnx_sparse"].stat().st_size < files["onnx"].stat().st_size / 4


def test_gates_are_reordered_for_onnx():
    assert to_onnx_gates(np.arange(6)).tolist() == [2, 3, 0, 1, 4, 5]


def test_the_dense_graph_is_the_one_promised(files):
    model = onnx.load(files["onnx"])
    assert [node.op_type for node in model.graph.node] == [
        "Gemm", "Relu", "Unsqueeze", "Unsqueeze", "GRU", "Squeeze", "Gemm",
    ]  # fmt: skip
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    assert {a.name: a.i for a in gru.attribute} == {"hidden_size": 64, "linear_before_reset": 1}


def test_the_sparse_graph_has_the_weight_on_the_right_and_its_places_in_order(files, job):
    model = onnx.load(files["onnx_sparse"])
    products = {n.input[1]: n for n in model.graph.node if n.op_type == "MatMul"}
    assert set(products) == {f"{layer}.weight_t" for layer in ("fc1", "gru_ih", "gru_hh", "fc2")}
    assert {n.op_type for n in model.graph.node} == {
        "Constant", "MatMul", "Add", "Relu", "Split", "Sigmoid", "Mul", "Tanh", "Sub",
    }  # fmt: skip
    assert not model.graph.sparse_initializer
    stored = sparse_weights(model)
    for layer, mask in job.checkpoint.masks.items():
        values, places, shape = stored.pop(f"{layer}.weight_t")
        assert shape == mask.T.shape
        assert places.dtype == np.int64
        assert places.tolist() == [r * shape[1] + c for r, c in np.argwhere(mask.T)]
        np.testing.assert_array_equal(values, job.checkpoint.weights[f"{layer}.weight"].T[mask.T])
    assert not stored
    assert {t.name for t in model.graph.initializer} == {
        "fc1.bias", "gru_ih.bias", "gru_hh.bias", "fc2.bias",
    }  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_signature_versions_and_what_is_left_out(files, avail_files, entry):
    plain = {"obs": (1, ["batch", 42]), "hidden": (1, ["batch", 64])}
    answers = {"q": (1, ["batch", 9]), "hidden_next": (1, ["batch", 64])}
    for found, more, action in (
        (files, {}, {}),
        (avail_files, {"avail": (9, ["batch", 9])}, {"action": (7, ["batch"])}),
    ):
        model = onnx.load(found[entry])
        assert shapes(model.graph.input) == plain | more
        assert shapes(model.graph.output) == answers | action
        assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 17)])
        assert not model.functions
        assert all(node.domain == "" for node in model.graph.node)
        assert not any(a.HasField("g") for node in model.graph.node for a in node.attribute)
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        notes = {value.name: value.doc_string for value in model.graph.input}
        assert notes["obs"] == (
            "observation (30), one-hot of the last action (9; zeros before the first), "
            "one-hot of the agent id (3)"
        )
        assert "start of an episode" in notes["hidden"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_metadata_says_what_it_is_and_which_artifact_it_belongs_to(files, job, entry):
    (entry_found,) = onnx.load(files[entry]).metadata_props
    assert entry_found.key == "mast_edge"
    assert "/" not in entry_found.value
    metadata = json.loads(entry_found.value)
    assert set(metadata) == {"contract", "env", "provenance", "sparsity", "mast_edge", "artifact_sha256"}
    assert metadata["contract"]["input"] == ["obs", "last_action", "agent_id"]
    assert metadata["env"]["map"] == "3m"
    assert metadata["provenance"] == PROVENANCE
    artifact = build_artifact(job.contract, job.checkpoint.weights, job.checkpoint.masks, PROVENANCE)
    assert metadata["artifact_sha256"] == hashlib.sha256(artifact).hexdigest()
    layers = metadata["sparsity"]["layers"]
    # runtime.md section 1 has 147 for fc2; the mask of this seed has 148.
    assert {name: layer["nnz"] for name, layer in layers.items()} == {
        "fc1": 214, "gru_ih": 516, "gru_hh": 516, "fc2": 148,
    }  # fmt: skip
    assert layers["fc1"]["shape"] == [64, 42]
    assert layers["fc1"]["density"] == pytest.approx(214 / 2688, abs=1e-6)
    assert metadata["sparsity"]["total"] == pytest.approx(1 - 1394 / 27840, abs=1e-6)
    assert {layer["stored"] for layer in layers.values()} == {"sparse" if entry == "onnx_sparse" else "dense"}


def test_the_same_checkpoint_gives_the_same_bytes(folder, files, avail_files, tmp_path):
    for name, first, with_avail in (("a", files, False), ("b", avail_files, True)):
        (tmp_path / name).mkdir()
        again = export_onnx(job_of(folder, with_avail=with_avail), tmp_path / name)
        for entry in ENTRIES:
            assert again[entry].read_bytes() == first[entry].read_bytes()
            assert str(tmp_path).encode() not in first[entry].read_bytes()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("with_avail", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_onnxruntime_answers_as_the_reference(files, avail_files, job, entry, with_avail, batch):
    """Recurrent: each keeps its own hidden state for 20 steps."""
    spec, agent = job.checkpoint.spec, DenseAgent(job.checkpoint.spec, job.checkpoint.weights)
    session = session_of((avail_files if with_avail else files)[entry])
    rng = np.random.default_rng(batch)
    hidden = expected_hidden = np.zeros((batch, spec.hidden_dim), np.float32)
    for _ in range(20):
        rows = rng.standard_normal((batch, spec.input_dim)).astype(np.float32)
        avail = rng.random((batch, spec.n_actions)) < 0.5
        avail[:, 2] = True
        expected, expected_hidden = forward(agent.affine, rows, expected_hidden)
        inputs = {"obs": rows, "hidden": hidden, **({"avail": avail} if with_avail else {})}
        q, hidden, *action = session.run(None, inputs)
        np.testing.assert_allclose(q, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(hidden, expected_hidden, rtol=0, atol=1e-5)
        if with_avail:
            assert action[0].dtype == np.int64
            assert action[0].tolist() == masked_argmax(q, avail).tolist()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("with_avail", [False, True])
def test_the_runtime_plays_recorded_episodes_with_it(files, avail_files, job, folder, entry, with_avail):
    path = (avail_files if with_avail else files)[entry]
    model = resolve("runtime", RUNTIME_BACKENDS, "onnx").load(path)
    spec, recorded = job.checkpoint.spec, read_recorded(folder)
    expected = replay(DenseAgent(spec, job.checkpoint.weights).affine, spec, recorded)
    hidden, q = np.zeros((3, 64), np.float32), np.zeros((3, 9), np.float32)
    last = np.full(3, -1)
    for t, first in enumerate(recorded.first):
        if first:
            hidden[:], last = 0, np.full(3, -1)
        model.step_many(recorded.obs[t], last, np.arange(3), hidden, q)
        np.testing.assert_allclose(q, expected[t], rtol=0, atol=1e-5)
        last = recorded.actions[t].astype(np.int64)


@pytest.mark.parametrize("entry", ENTRIES)
def test_ties_go_to_the_lowest_available_action(tmp_path, entry):
    """fc2 gives every action its bias: 1 for actions 2 and 4, less for the others."""
    weights, masks = random_agent(MAP_3M, 0.9)
    weights["fc2.weight"][:] = 0
    weights["fc2.bias"][:] = [0, -1, 1, 0.5, 1, 0, -2, 0, 0]
    recorded = greedy_rows(MAP_3M, weights)
    made = write_agent_files(tmp_path, MAP_3M, env_of(MAP_3M), weights, masks, recorded)
    write_index(tmp_path, MAP_3M, env_of(MAP_3M), made, {})
    path = export_onnx(job_of(tmp_path, with_avail=True), tmp_path)[entry]
    rows, hidden = np.zeros((5, 42), np.float32), np.zeros((5, 64), np.float32)
    avail = np.ones((5, 9), np.bool_)
    avail[1, 2:4], avail[2, [2, 4]], avail[3, :8], avail[4] = False, False, False, False
    inputs = {"obs": rows, "hidden": hidden, "avail": avail}
    (action,) = session_of(path).run(["action"], inputs)
    assert action.tolist() == [2, 4, 3, 8, 0]
    assert EvaluatedModel(path, MAP_3M).act(rows, hidden, avail)[2].tolist() == [2, 4, 3, 8, 0]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_cell_is_torchs(tmp_path, entry):
    torch = pytest.importorskip("torch")
    folder = write_checkpoint(tmp_path / "c", MAP_3M, 0.8)
    weights = {key: torch.from_numpy(array) for key, array in read_agent(folder).weights.items()}
    cell = torch.nn.GRUCell(64, 64)
    for side in ("ih", "hh"):
        getattr(cell, f"weight_{side}").data = weights[f"gru_{side}.weight"]
        getattr(cell, f"bias_{side}").data = weights[f"gru_{side}.bias"]
    session = session_of(export_onnx(job_of(folder), tmp_path)[entry])
    rng = np.random.default_rng(3)
    hidden, expected_hidden = np.zeros((4, 64), np.float32), torch.zeros(4, 64)
    with torch.no_grad():
        for _ in range(12):
            rows = rng.standard_normal((4, 42)).astype(np.float32)
            x = torch.relu(torch.from_numpy(rows) @ weights["fc1.weight"].T + weights["fc1.bias"])
            expected_hidden = cell(x, expected_hidden)
            expected = expected_hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
            q, hidden = session.run(None, {"obs": rows, "hidden": hidden})
            np.testing.assert_allclose(hidden, expected_hidden.numpy(), rtol=0, atol=1e-5)
            np.testing.assert_allclose(q, expected.numpy(), rtol=0, atol=1e-5)


def test_swapped_gates_are_found_in_the_dense_file(job, tmp_path, monkeypatch):
    monkeypatch.setattr(to_onnx_graph, "to_onnx_gates", lambda stacked: stacked)
    with pytest.raises(ArtifactRefused, match="on random rows"):
        export_onnx(job, tmp_path)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
def test_swapped_gates_are_found_in_the_sparse_file(files, job, tmp_path, order):
    model = onnx.load(files["onnx_sparse"])
    for node in model.graph.node:
        if node.op_type == "Split":
            names = list(node.output)
            node.output[:] = [names[i] for i in order]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactRefused, match="on random rows"):
        check_file(tmp_path / "m.onnx", job.checkpoint)


def test_a_reset_gate_before_the_recurrent_bias_is_found(files, job, tmp_path):
    """`linear_before_reset=0` is what ONNX takes by default and torch does not."""
    model = onnx.load(files["onnx"])
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    next(a for a in gru.attribute if a.name == "linear_before_reset").i = 0
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactRefused, match="random rows"):
        check_file(tmp_path / "m.onnx", job.checkpoint)


@pytest.mark.parametrize("entry", ENTRIES)
def test_another_argmax_is_found(avail_files, job, tmp_path, entry):
    model = onnx.load(avail_files[entry])
    where = next(node for node in model.graph.node if node.op_type == "Where")
    where.input[:] = ["avail", "unavailable", "q"]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactRefused, match="actions on random rows"):
        check_file(tmp_path / "m.onnx", job.checkpoint)


def test_one_wrong_weight_and_an_invalid_graph_are_found(files, job, tmp_path):
    path = tmp_path / "m.onnx"
    model = onnx.load(files["onnx_sparse"])
    values = model.graph.node[0].attribute[0].sparse_tensor.values
    table = numpy_helper.to_array(values).copy()
    table[7] += 0.01
    values.raw_data = table.tobytes()
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactRefused, match="random rows"):
        check_file(path, job.checkpoint)
    del model.graph.node[-1]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactRefused, match="must pass onnx's checker"):
        check_file(path, job.checkpoint)


def test_a_dense_agent_has_no_sparse_file(tmp_path):
    files = export_onnx(job_of(write_checkpoint(tmp_path / "c", TINY, 0.0)), tmp_path)
    assert set(files) == {"onnx"}
    assert not (tmp_path / "agent.sparse.onnx").exists()


def test_a_weight_below_67_percent_stays_dense(tmp_path):
    """12 bytes an entry: 896 of 2688 weights take 10752 bytes, as many as all of them dense; 4095 of 12288
    take 12 bytes less."""
    weights, _ = random_agent(MAP_3M, 0.0)
    masks = {}
    for layer, kept in (("fc1", 896), ("gru_ih", 2000), ("gru_hh", 4095)):
        weight = weights[f"{layer}.weight"]
        mask = np.random.default_rng(0).permutation(np.arange(weight.size) < kept)
        masks[layer] = mask.reshape(weight.shape)
        weight *= masks[layer]
    made = write_agent_files(tmp_path, MAP_3M, env_of(MAP_3M), weights, masks, greedy_rows(MAP_3M, weights))
    write_index(tmp_path, MAP_3M, env_of(MAP_3M), made, {})
    path = export_onnx(job_of(tmp_path), tmp_path)["onnx_sparse"]
    assert set(sparse_weights(onnx.load(path))) == {"gru_ih.weight_t", "gru_hh.weight_t"}
    assert {t.name: list(t.dims) for t in onnx.load(path).graph.initializer} == {
        "fc1.weight_t": [42, 64], "fc1.bias": [64], "gru_ih.bias": [192], "gru_hh.bias": [192],
        "fc2.weight_t": [64, 9], "fc2.bias": [9],
    }  # fmt: skip
    resolve("runtime", RUNTIME_BACKENDS, "onnx").load(path)


def test_a_layer_without_any_weight(tmp_path):
    weights, masks = random_agent(MAP_3M, 0.9)
    weights["gru_hh.weight"][:], masks["gru_hh"][:] = 0, False
    made = write_agent_files(tmp_path, MAP_3M, env_of(MAP_3M), weights, masks, greedy_rows(MAP_3M, weights))
    write_index(tmp_path, MAP_3M, env_of(MAP_3M), made, {})
    path = export_onnx(job_of(tmp_path), tmp_path)["onnx_sparse"]
    values, places, shape = sparse_weights(onnx.load(path))["gru_hh.weight_t"]
    assert (len(values), len(places), shape) == (0, 0, (64, 192))
    resolve("runtime", RUNTIME_BACKENDS, "onnx").load(path)


def test_onnxs_own_evaluator_cannot_run_sparse_constants(files, job):
    """Why `to_onnx_check.Constant` exists; when this fails, it may go."""
    rows, hidden = np.zeros((1, 42), np.float32), np.zeros((1, 64), np.float32)
    with pytest.raises(TypeError):
        ReferenceEvaluator(onnx.load(files["onnx_sparse"])).run(None, {"obs": rows, "hidden": hidden})


def test_int8_and_a_missing_package_are_told(folder, job, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"f32; got 'int8'.*0\.37") as caught:
        export_onnx(job_of(folder, precision="int8"), tmp_path)
    assert caught.value.exit_code == 2
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mast-edge\[export\]'"):
        export_onnx(job, tmp_path)
    assert not list(tmp_path.iterdir())
