import errno
import json
import sys

import numpy as np
import onnx
import pytest

from mast_edge.artifact_read import read_artifact
from mast_edge.checkpoint_files import Recorded, read_agent, read_recorded, write_agent_files, write_index
from mast_edge.errors import (
    ArtifactInconsistent,
    ArtifactRefused,
    MastEdgeError,
    MissingExtra,
    MissingInput,
    UsageError,
)
from mast_edge.export import export_run
from mast_edge.export.to_onnx import to_onnx_gates
from mast_edge.export.verify import judge
from tests.agents import MAP_3M, TINY, env_of, greedy_rows, random_agent, write_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "run" / "checkpoints" / "step-000001000")


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_is_exported_beside_its_checkpoints(checkpoint):
    run = checkpoint.parent.parent
    manifest = {"checkpoint": checkpoint.name, "config_sha256": "ab" * 32, "versions": {"torch": "2.13.0"}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    report = export_run(run, ["csr", "onnx"])
    assert files_under(run / "exports") == [
        "csr/agent.safetensors",
        "csr/report.json",
        "onnx/agent.onnx",
        "onnx/report.json",
    ]
    shown = report.to_json()
    assert shown["schema"] == "mast-edge/export/1"
    assert shown["run"] == str(run)
    assert [entry["format"] for entry in shown["files"]] == ["csr", "onnx"]
    for entry in shown["files"]:
        assert entry["argmax_agreement"] == 1.0
        assert entry["max_abs_q_error"] < 1e-5
    provenance = read_artifact(run / "exports/csr/agent.safetensors").metadata["provenance"]
    assert provenance["config_sha256"] == "ab" * 32
    assert provenance["torch"] == "2.13.0"
    assert provenance["checkpoint_sha256"] == report.checkpoint_sha256
    stored = json.loads((run / "exports/onnx/report.json").read_text())
    assert stored == {**shown, "files": [shown["files"][1]]}


def test_ledger_and_flops_of_3m(tmp_path):
    """Bytes: accounting.md 7.2, row 3m 0.95. Dense FLOPs: accounting.md 4."""
    report = export_run(write_checkpoint(tmp_path / "c", MAP_3M, 0.95), ["csr"], tmp_path / "out")
    size = report.size
    assert size["dense_f32_bytes"] == 113188
    assert (size["values_bytes"], size["index_bytes"], size["pointer_bytes"]) == (5576 + 1828, 1394, 922)
    whole = (tmp_path / "out/csr/agent.safetensors").stat().st_size
    assert whole == sum(size[f"{part}_bytes"] for part in ("values", "index", "pointer", "header"))
    assert report.files[0]["bytes"] == size["file_bytes"] == whole
    assert report.flops["dense"] == 55415
    by_hand = 214 / (42 * 64) * 83 * 64 + 516 / (64 * 192) * 192 * 255 + 148 / (64 * 9) * 127 * 9
    assert report.flops["sparse"] == pytest.approx(by_hand, abs=0.01)
    assert {layer["name"]: layer["nnz"] for layer in report.layers} == {
        "fc1": 214,
        "gru_ih": 516,
        "gru_hh": 516,
        "fc2": 148,
    }


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint, tmp_path):
    for out in ("one", "two"):
        export_run(checkpoint, ["csr", "onnx"], tmp_path / out)
    for name in ("csr/agent.safetensors", "onnx/agent.onnx"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_gates_are_reordered_for_onnx():
    assert to_onnx_gates(np.arange(6)).tolist() == [2, 3, 0, 1, 4, 5]


def test_swapped_gates_are_found_and_nothing_is_left(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("mast_edge.export.to_onnx.to_onnx_gates", lambda stacked: stacked)
    with pytest.raises(ArtifactRefused, match="random rows"):
        export_run(checkpoint, ["onnx"], tmp_path / "out")
    assert files_under(tmp_path / "out") == []


def test_the_onnx_graph_is_the_one_promised(checkpoint, tmp_path):
    export_run(checkpoint, ["onnx"], tmp_path)
    model = onnx.load(tmp_path / "onnx/agent.onnx")
    assert [node.op_type for node in model.graph.node] == [
        "Gemm", "Relu", "Unsqueeze", "Unsqueeze", "GRU", "Squeeze", "Gemm",
    ]  # fmt: skip
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    assert {a.name: a.i for a in gru.attribute} == {"hidden_size": 8, "linear_before_reset": 1}
    assert (model.ir_version, model.opset_import[0].version, len(model.opset_import)) == (8, 17, 1)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "obs": ["batch", 15],
        "hidden": ["batch", 8],
        "q": ["batch", 5],
        "hidden_next": ["batch", 8],
    }
    metadata = json.loads(model.metadata_props[0].value)
    assert metadata["contract"]["input"] == ["obs", "last_action", "agent_id"]
    assert metadata["env"]["map"] == "3m"
    assert "/" not in model.metadata_props[0].value


def test_a_file_that_answers_otherwise_is_refused(checkpoint, tmp_path, monkeypatch):
    from mast_edge.export import to_csr

    right = to_csr.build_artifact

    def wrong(contract, weights, masks, provenance):
        return right(contract, {**weights, "fc2.bias": weights["fc2.bias"] + 0.01}, masks, provenance)

    monkeypatch.setattr(to_csr, "build_artifact", wrong)
    with pytest.raises(ArtifactRefused, match=r"0\.01 off"):
        export_run(checkpoint, ["csr"], tmp_path / "out")
    assert files_under(tmp_path / "out") == []


def test_a_changed_action_is_refused_even_within_the_tolerance():
    recorded = Recorded(
        np.zeros((1, 1, 1), np.float32),
        np.ones((1, 1, 2), np.uint8),
        np.zeros((1, 1), np.int32),
        np.ones(1, np.uint8),
    )
    expected = np.array([[[1.0, 0.99999]]], np.float32)
    assert judge("x", expected, expected, recorded).max_abs_q_error == 0
    with pytest.raises(ArtifactRefused, match="got 1 others of 1"):
        judge("x", np.array([[[0.99998, 0.99999]]], np.float32), expected, recorded)


def test_recorded_actions_must_belong_to_the_weights(tmp_path):
    weights, masks = random_agent(TINY, 0.8)
    rows = greedy_rows(TINY, random_agent(TINY, 0.8, seed=9)[0])
    files = write_agent_files(tmp_path, TINY, env_of(TINY), weights, masks, rows)
    write_index(tmp_path, TINY, env_of(TINY), files, {})
    with pytest.raises(ArtifactInconsistent, match="greedy under the stored weights"):
        export_run(tmp_path, ["csr"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_things_name_the_command(checkpoint, tmp_path, monkeypatch):
    with pytest.raises(MissingInput, match="mast-edge train"):
        export_run(tmp_path / "nothing", ["csr"])
    (checkpoint.parent.parent / "manifest.json").write_text(json.dumps({"checkpoint": "step-2"}))
    with pytest.raises(MissingInput, match="step-2"):
        export_run(checkpoint.parent.parent, ["csr"])
    (checkpoint.parent.parent / "manifest.json").write_text(json.dumps({"checkpoint": "../../x"}))
    with pytest.raises(MissingInput, match="complete checkpoint"):
        export_run(checkpoint.parent.parent, ["csr"])
    with pytest.raises(UsageError, match="Did you mean 'onnx'"):
        export_run(checkpoint, ["onx"])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mast-edge\[export\]'"):
        export_run(checkpoint, ["onnx"], tmp_path / "out")
    assert files_under(tmp_path / "out") == []


def test_a_full_disk_keeps_the_old_export(checkpoint, tmp_path, monkeypatch):
    export_run(checkpoint, ["csr"], tmp_path / "out")
    old = (tmp_path / "out/csr/agent.safetensors").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MastEdgeError, match="No space left on device"):
        export_run(checkpoint, ["csr"], tmp_path / "out")
    assert (tmp_path / "out/csr/agent.safetensors").read_bytes() == old
    assert files_under(tmp_path / "out") == ["csr/agent.safetensors", "csr/report.json"]


def test_a_folder_that_cannot_be_made(checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MastEdgeError, match="--out"):
        export_run(checkpoint, ["csr"], tmp_path / "file")


def test_recorded_rows_come_from_this_agent(checkpoint):
    assert read_recorded(checkpoint).obs.shape[1:] == (3, 7)
    assert read_agent(checkpoint).spec == TINY
