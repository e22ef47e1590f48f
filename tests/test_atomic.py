import errno
import os

import pytest

from mast_edge.atomic import write_atomically
from mast_edge.errors import MastEdgeError


def test_replaces_whole_files(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_call_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(MastEdgeError, match=r"a: file must be writable \(3 bytes\); got No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_missing_folder(tmp_path):
    with pytest.raises(MastEdgeError, match="No such file"):
        write_atomically(tmp_path / "none" / "a", b"")
