"""What a model does to onnxruntime happens in another process first."""

import subprocess

import pytest

from mast_edge.errors import ArtifactMalformed
from mast_edge.runtime import Agent
from mast_edge.runtime.backends import onnx_probe


@pytest.fixture(autouse=True)
def _nothing_tried(monkeypatch):
    monkeypatch.setattr(onnx_probe, "_passed", set())


def refused(monkeypatch, program, match):
    """Another program in the place of onnxruntime's, under the limits of the real one."""
    start = onnx_probe.PROGRAM[: onnx_probe.PROGRAM.index("options = ")]
    monkeypatch.setattr(onnx_probe, "PROGRAM", start + program)
    with pytest.raises(ArtifactMalformed, match=match) as caught:
        onnx_probe.try_elsewhere("agent.onnx", b"model", "digest")
    assert str(caught.value).startswith("agent.onnx: model must be one that onnxruntime loads; got ")
    assert str(caught.value).isprintable()
    assert not onnx_probe._passed


def test_a_model_is_tried_once_per_content(tiny, monkeypatch):
    tried = []
    honest = subprocess.run

    def run(command, **options):
        tried.append(len(options["input"]))
        return honest(command, **options)

    monkeypatch.setattr(onnx_probe.subprocess, "run", run)
    path = tiny / "exports/onnx/agent.onnx"
    onnx_probe._passed.clear()
    for _ in range(2):
        Agent.load(path)
    assert tried == [path.stat().st_size]


def test_what_is_no_model():
    with pytest.raises(ArtifactMalformed, match=r"got Invalid.*: .*ONNXRuntimeError"):
        onnx_probe.try_elsewhere("agent.onnx", b"model", "digest")


def test_a_crash(monkeypatch):
    refused(monkeypatch, "import os; os.abort()", "a process that ended with -?[0-9]+")


def test_words_that_would_move_the_cursor(monkeypatch):
    refused(monkeypatch, r"print('\x1b[2J\n\u202e'); sys.exit(3)", r"got \\x1b\[2J\\n")


def test_a_model_that_takes_too_long_to_compute(monkeypatch):
    monkeypatch.setattr(onnx_probe, "SECONDS", 1.0)
    refused(monkeypatch, "while True: pass", "a process that ended with -|none after 30 seconds")


def test_a_model_that_waits(monkeypatch):
    monkeypatch.setattr(onnx_probe, "WALL_SECONDS", 2.0)
    refused(monkeypatch, "import time; time.sleep(60)", "none after 2 seconds")


def test_a_model_that_takes_too_much_memory(monkeypatch):
    pytest.importorskip("resource")
    refused(monkeypatch, "bytearray(onnxruntime and 300 * 2**20)", "a process that ended with 1")


def test_a_model_that_writes(monkeypatch, tmp_path):
    pytest.importorskip("resource")
    target = tmp_path / "escaped"
    refused(monkeypatch, f"open({str(target)!r}, 'wb', 0).write(b'x')", "a process that ended with -?[0-9]+")
    assert not target.exists() or target.read_bytes() == b""
