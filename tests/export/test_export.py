import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from mast_edge.artifact_read import read_artifact
from mast_edge.checkpoint_files import read_agent, read_recorded, write_agent_files, write_index
from mast_edge.errors import (
    ArtifactInconsistent,
    ArtifactRefused,
    MastEdgeError,
    MissingExtra,
    MissingInput,
    UsageError,
)
from mast_edge.export import export_run as measured_export
from tests.agents import MAP_3M, TINY, env_of, greedy_rows, random_agent, write_checkpoint

export_run = partial(measured_export, measure=False)
TRAINED = Path(__file__).parent.parent / "data/agents/3m-s95"
CSR_FILES = ["csr/agent.safetensors", "csr/card.md", "csr/report.json"]


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
        "csr/card.md",
        "csr/report.json",
        "onnx/agent.onnx",
        "onnx/agent.sparse.onnx",
        "onnx/card.md",
        "onnx/report.json",
    ]
    shown = report.to_json()
    assert shown["schema"] == "mast-edge/export/1"
    assert shown["run"] == str(run)
    assert [entry["format"] for entry in shown["files"]][:2] == ["csr", "onnx"]
    assert shown["files"][0]["verified_with"].startswith("native: ")
    assert shown["files"][0]["others"] == []
    for entry in shown["files"]:
        assert entry["argmax_agreement"] == 1.0
        assert entry["max_abs_q_error"] < 1e-5
    provenance = read_artifact(run / "exports/csr/agent.safetensors").metadata["provenance"]
    assert provenance["config_sha256"] == "ab" * 32
    assert provenance["torch"] == "2.13.0"
    assert provenance["checkpoint_sha256"] == report.checkpoint_sha256
    stored = json.loads((run / "exports/csr/report.json").read_text())
    assert stored == {**shown, "files": [shown["files"][0]]}


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
    for name in ("csr/agent.safetensors", "csr/card.md", "onnx/agent.onnx"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_file_that_answers_otherwise_is_refused(checkpoint, tmp_path, monkeypatch):
    from mast_edge.export import to_csr

    right = to_csr.build_artifact

    def wrong(contract, weights, *rest):
        return right(contract, {**weights, "fc2.bias": weights["fc2.bias"] + 0.01}, *rest)

    monkeypatch.setattr(to_csr, "build_artifact", wrong)
    with pytest.raises(ArtifactRefused, match=r"0\.01 off"):
        export_run(checkpoint, ["csr"], tmp_path / "out")
    assert files_under(tmp_path / "out") == []


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
    assert files_under(tmp_path / "out") == CSR_FILES


def test_a_report_is_only_there_while_its_files_are(checkpoint, tmp_path, monkeypatch):
    """Moving into place fails at every point in turn: no folder aside, no report of other files."""
    out = tmp_path / "out"
    right = os.replace
    for fails_at in range(4):
        export_run(checkpoint, ["csr"], out)
        calls = []

        def replace(source, target, fails_at=fails_at, calls=calls):
            calls.append(target)
            if len(calls) > fails_at:
                raise OSError(errno.EIO, "Input/output error")
            right(source, target)

        monkeypatch.setattr("os.replace", replace)
        if fails_at < 3:
            with pytest.raises(MastEdgeError, match="Input/output error"):
                export_run(checkpoint, ["csr"], out, precision="f32")
        else:
            export_run(checkpoint, ["csr"], out)
        monkeypatch.setattr("os.replace", right)
        assert ("csr/report.json" in files_under(out)) == (fails_at == 3)
        assert set(files_under(out)) <= set(CSR_FILES)


@pytest.mark.parametrize("limit", [0, 512, 4_000])
def test_a_disk_that_is_full_for_real(checkpoint, tmp_path, limit):
    """No file of this process may grow beyond `limit` bytes."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from mast_edge.export import export_run\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "export_run(Path(sys.argv[1]), ['csr'], Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "out")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "export must be writable; got File too large" in answer.stderr
    assert files_under(tmp_path / "out") == []
    assert not (tmp_path / "out/csr").exists()


def test_another_prefix_leaves_nothing_of_the_one_before(tmp_path):
    export_run(TRAINED, ["c"], tmp_path, prefix="red")
    (tmp_path / "c/notes.txt").write_text("mine")
    export_run(TRAINED, ["c"], tmp_path, prefix="blue")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "README.md", "blue.c", "blue.h", "blue_selftest.c", "card.md", "contract.json", "notes.txt",
        "report.json",
    ]  # fmt: skip


def test_what_a_killed_export_left_aside_is_removed_later(checkpoint, tmp_path):
    """Killed by the kernel while it writes: nothing in place; its folder goes with a later export."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from mast_edge.export import export_run, exporter\n"
        "exporter.read_back = lambda *rest: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export_run(Path(sys.argv[1]), ['csr'], Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "out")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = next((tmp_path / "out/csr").iterdir())
    assert left.name.startswith(".export-")
    export_run(checkpoint, ["csr"], tmp_path / "out")
    assert left.exists()  # it might be at work
    os.utime(left, (0, 0))
    export_run(checkpoint, ["csr"], tmp_path / "out")
    assert files_under(tmp_path / "out") == CSR_FILES
    assert not left.exists()


def test_blocks_are_exported_as_blocks(tmp_path):
    report = export_run(write_checkpoint(tmp_path / "c", MAP_3M, 0.9, pattern="8x1"), ["csr"], tmp_path)
    layers = {layer["name"]: layer for layer in report.layers}
    assert {layer["pattern"] for layer in layers.values()} == {"8x1"}
    assert {layer["kind"] for layer in layers.values()} == {"block"}
    gates = layers["gru_ih"]
    assert gates["nnz"] == 8 * gates["blocks"]
    assert gates["short_blocks"] == 0
    assert gates["target_density"] == pytest.approx(0.084, abs=1e-3)
    fc2 = layers["fc2"]  # 9 rows: a group of 8 and a short one of 1
    assert fc2["nnz"] == 8 * fc2["blocks"] + fc2["short_blocks"]
    assert fc2["short_blocks"] > 0
    assert report.size["file_bytes"] == sum(
        report.size[f"{part}_bytes"] for part in ("values", "index", "pointer", "header")
    )


def test_int8_is_smaller_and_says_what_it_changes(tmp_path):
    """A trained agent: 3m, 95 % sparse (tests/data/agents)."""
    out = tmp_path / "out"
    small = export_run(TRAINED, ["csr"], out, precision="int8")
    entry = small.files[0]
    assert (entry["precision"], entry["path"]) == ("int8", str(out / "csr-int8/agent.safetensors"))
    assert entry["decisions"] == 645
    assert entry["flips"] == round((1 - entry["argmax_agreement"]) * 645) <= 6
    assert 1e-4 < entry["max_abs_q_error"] < 1
    assert entry["bytes"] < export_run(TRAINED, ["csr"], out).files[0]["bytes"]
    assert read_artifact(out / "csr-int8/agent.safetensors").precision == "int8"


def test_int8_that_changes_too_much_is_refused_unless_forced(tmp_path, monkeypatch):
    monkeypatch.setattr("mast_edge.export.verify.MAX_FLIP_RATE", 0.0)
    with pytest.raises(ArtifactRefused, match=r"at most 0% of the recorded decisions; got \d of 645"):
        export_run(TRAINED, ["csr"], tmp_path / "out", precision="int8")
    assert files_under(tmp_path / "out") == []
    forced = export_run(TRAINED, ["csr"], tmp_path / "out", precision="int8", force=True)
    assert forced.files[0]["flips"] > 0


def test_precisions_that_are_not_offered(checkpoint, tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'int8'"):
        export_run(checkpoint, ["csr"], tmp_path, precision="int9")
    with pytest.raises(UsageError, match="got onnx"):
        export_run(checkpoint, ["csr", "onnx"], tmp_path, precision="int8")


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_that_has_not_ended_is_exported_by_force_only(checkpoint, tmp_path, status):
    run = checkpoint.parent.parent
    manifest = {"checkpoint": checkpoint.name, "status": status, "t_env": 1000}
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MissingInput, match=f"must be complete to be exported; got {status} after 1000"):
        export_run(run, ["csr"])
    assert not (run / "exports").exists()
    export_run(run, ["csr"], force=True)
    assert files_under(run / "exports") == CSR_FILES


HOSTILE = 'x](http://a) | `rm` <script>\n# **bold** _it_ */ "; system("true"); %s \\ \u202e'


def test_texts_from_a_run_do_not_reach_the_card_unescaped(checkpoint, tmp_path):
    run = checkpoint.parent.parent
    manifest = {"checkpoint": checkpoint.name, "name": HOSTILE, "git_commit": HOSTILE}
    (run / "manifest.json").write_text(json.dumps(manifest))
    export_run(run, ["csr"])
    card = (run / "exports/csr/card.md").read_text(encoding="utf-8")
    row = next(line for line in card.splitlines() if line.startswith("| run |"))
    assert row.count(" | ") == 1
    assert "\u202e" not in card
    cell = row.removeprefix("| run |").removesuffix("|").replace("\\\\", "")
    assert re.findall(r"(?<!\\)[`*_<>\[\]|]", cell) == []
    assert len(re.findall(r"\\[`*_<>\[\]|]", cell)) == 13


def test_the_card_says_how_to_call_it_what_it_costs_and_where_it_comes_from(tmp_path):
    measured_export(TRAINED, ["csr"], tmp_path)
    card = (tmp_path / "csr/card.md").read_text(encoding="utf-8")
    digest = hashlib.sha256((tmp_path / "csr/agent.safetensors").read_bytes()).hexdigest()
    said = ("645 of 645", "Rule R", "t\\_env | 3000", "us, all layers dense")
    for text in (digest, 'Agent.load("agent.safetensors"', *said):
        assert text in card


def test_a_folder_that_cannot_be_made(checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MastEdgeError, match="--out"):
        export_run(checkpoint, ["csr"], tmp_path / "file")


def test_recorded_rows_come_from_this_agent(checkpoint):
    assert read_recorded(checkpoint).obs.shape[1:] == (3, 7)
    assert read_agent(checkpoint).spec == TINY
