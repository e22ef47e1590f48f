"""`mast-edge export` when something is wrong: one line, the right exit code, and nothing left behind."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from mast_edge.checkpoint_files import AGENT_FILE, INDEX_FILE
from tests.runtime.agents import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A complete run with one checkpoint of random weights on 3m."""
    path: Path = make_run(tmp_path / "runs")
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def rewrite(run: Path, change: Any) -> None:
    """Changes the tensors of the newest checkpoint and makes its digests right again."""
    folder = next((run / "checkpoints").iterdir())
    tensors = load((folder / AGENT_FILE).read_bytes())
    change(tensors)
    (folder / AGENT_FILE).write_bytes(save(tensors))
    index = json.loads((folder / INDEX_FILE).read_bytes())
    index["files"][AGENT_FILE] = hashlib.sha256((folder / AGENT_FILE).read_bytes()).hexdigest()
    (folder / INDEX_FILE).write_text(json.dumps(index))


def nan_weight(tensors: dict[str, Any]) -> None:
    tensors["fc2.weight"][0, 0] = np.nan


def stray_weight(tensors: dict[str, Any]) -> None:
    tensors["fc1.mask"][tensors["fc1.weight"] != 0] = 0


def other_mask(tensors: dict[str, Any]) -> None:
    tensors["fc1.mask"] = tensors["fc1.mask"][:, :-1].copy()


@pytest.mark.parametrize("kind", ["csr", "onnx", "c"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_weight, "fc2.weight must be finite; got 1 values that are not"),
        (stray_weight, "fc1.weight must be 0 outside its mask"),
        (other_mask, "fc1.mask must be (64, 42); got (64, 41)"),
    ],
)
def test_damaged_checkpoints(call: Any, run: Path, change: Any, message: str, kind: str) -> None:
    rewrite(run, change)
    before = files(run)
    answer = call("export", "--format", kind)
    assert (answer.code, answer.out) == (5, "")
    assert message in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert files(run) == before


def test_a_run_that_is_not_there_and_one_that_has_not_ended(call: Any, run: Path) -> None:
    missing = call("export", "--run", "none", "--format", "csr")
    assert (missing.code, "got 'none'" in missing.err) == (3, True)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    before = files(run)
    unfinished = call("export", "--run", run.name, "--format", "csr", "--json")
    assert unfinished.code == 3
    assert "must be complete to be exported; got interrupted" in unfinished.json["error"]
    assert files(run) == before
    assert call("export", "--run", run.name, "--format", "csr", "--force", "-q").code == 0


def test_a_folder_that_cannot_be_written(call: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    answer = call("export", "--format", "csr", "--out", str(tmp_path / "file"))
    assert answer.code == 1
    assert "export must be writable; got" in answer.err
    assert "--out" in answer.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onnx", "--precision", "int8"), "int8 must be one of the formats csr, c; got onnx"),
        (("--format", "c", "--prefix", "int"), "prefix"),
        (("--format", "c", "--prefix", "a b"), "prefix"),
        (("--format", "c", "--prefix", '*/\n#include "x"'), "prefix"),
    ],
)
def test_what_is_not_offered(call: Any, run: Path, options: tuple[str, ...], message: str) -> None:
    answer = call("export", *options)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not (run / "exports").exists() or files(run / "exports") == []


def test_no_compiler_no_c(call: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/no/such/compiler")
    answer = call("export", "--format", "c")
    assert answer.code == 8
    assert "a C compiler must be installed" in answer.err
    assert not (run / "exports/c").exists()


def test_all_formats_of_a_precision(call: Any, run: Path) -> None:
    everything = call("export", "--format", "all", "--json")
    assert everything.code == 0, everything.err
    assert [f["format"] for f in everything.json["files"]] == ["csr", "onnx", "onnx_sparse", "c"]
    small = call("export", "--format", "all", "--precision", "int8", "--force", "--json")
    assert small.code == 0, small.err
    assert "int8 is not offered for onnx" in small.err
    assert [(f["format"], f["precision"]) for f in small.json["files"]] == [("csr", "int8"), ("c", "int8")]
    assert f"--artifact {run}/exports/csr-int8/agent.safetensors --runtime csr" in small.err
