"""What may lie at an artifact's path, and never makes the reader wait."""

import os
import sys

import pytest

from mast_edge.artifact_file import read_file
from mast_edge.errors import ArtifactCorrupt, ArtifactTooLarge, MissingInput
from mast_edge.runtime import Agent
from mast_edge.runtime.backends.onnx_guard import read_guarded

posix = pytest.mark.skipif(os.name != "posix", reason="pipes, devices and links are POSIX")


def read(path, limit=100):
    return read_file(path, "exported agent", "Run: mast-edge export", limit)


def refused(path, why, tmp_path):
    """By the reader itself, and by every way in."""
    with pytest.raises(MissingInput, match=why):
        read(path)
    for load in (Agent.load, lambda path: Agent.load(path, backend="numpy"), read_guarded):
        with pytest.raises(MissingInput) as caught:
            load(path)
        assert caught.value.exit_code == 3
        assert str(caught.value).startswith(str(tmp_path))
        assert str(caught.value).isprintable()


def test_the_bytes_of_a_file(tmp_path):
    path = tmp_path / "agent.safetensors"
    for data in (b"", b"agent", bytes(100)):
        path.write_bytes(data)
        assert read(path) == data
    path.write_bytes(bytes(101))
    with pytest.raises(ArtifactTooLarge, match="exported agent must be at most 100 bytes; got 101"):
        read(path)


def test_nothing_of_a_huge_file_is_read(tmp_path):
    path = tmp_path / "agent.safetensors"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ArtifactTooLarge, match=f"got {2**40}"):
        Agent.load(path)


def test_no_file(tmp_path):
    refused(tmp_path / "none.safetensors", "must exist; got no file", tmp_path)
    refused(tmp_path / ("x" * 300 + ".safetensors"), "must be readable; got: File name too long", tmp_path)


@posix
def test_a_pipe_that_nobody_writes_to(tmp_path):
    os.mkfifo(tmp_path / "agent.safetensors")
    refused(tmp_path / "agent.safetensors", "must be a regular file", tmp_path)


@posix
def test_devices_and_folders(tmp_path):
    for at, target in enumerate(("/dev/zero", "/dev/null")):
        path = tmp_path / f"{at}.safetensors"
        path.symlink_to(target)
        refused(path, "must be a regular file", tmp_path)
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    refused(folder, "must be readable; got: Is a directory", tmp_path)


@posix
def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    refused(tmp_path / "loop.safetensors", "Too many levels of symbolic links", tmp_path)
    (tmp_path / "dangling.safetensors").symlink_to("none")
    refused(tmp_path / "dangling.safetensors", "must exist; got no file", tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_a_file_that_cannot_be_read(tmp_path):
    """The system refuses the read itself, also to root."""
    path = tmp_path / "agent.safetensors"
    path.symlink_to("/proc/self/mem")
    refused(path, "must be readable; got: Input/output error", tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "agent.safetensors"
    path.write_bytes(b"agent")
    path.chmod(0)
    refused(path, "must be readable; got: Permission denied", tmp_path)
    path.chmod(0o600)


@pytest.mark.parametrize("seen", [4, 6])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, seen):
    path = tmp_path / "agent.safetensors"
    path.write_bytes(b"agent")
    honest = os.fstat

    class Found:
        def __init__(self, found):
            self.st_mode, self.st_size = found.st_mode, seen

    monkeypatch.setattr("mast_edge.artifact_file.os.fstat", lambda handle: Found(honest(handle)))
    with pytest.raises(ArtifactCorrupt, match="must not change while it is read"):
        read(path)


def test_a_file_replaced_after_it_was_opened_is_the_one_opened(tmp_path, monkeypatch):
    path, other = tmp_path / "agent.safetensors", tmp_path / "other"
    path.write_bytes(b"agent")
    other.write_bytes(b"not the agent")
    honest = os.fstat

    def replace_first(handle):
        if other.exists():
            os.replace(other, path)
        return honest(handle)

    monkeypatch.setattr("mast_edge.artifact_file.os.fstat", replace_first)
    assert read(path) == b"agent"
    assert read(path) == b"not the agent"


@posix
def test_the_command_line_says_it_in_one_line(call, tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "device.safetensors").symlink_to("/dev/zero")
    (tmp_path / "empty.safetensors").touch()
    for name, code in (("pipe", 3), ("device", 3), ("none", 3), ("empty", 5)):
        path = str(tmp_path / f"{name}.safetensors")
        for command in (("evaluate", "--artifact", path), ("play", "3m", "--policy", path)):
            answer = call(*command, "--episodes", "1", "-q")
            assert answer.code == code
            assert len(answer.err.splitlines()) == 1
            assert path in answer.err
