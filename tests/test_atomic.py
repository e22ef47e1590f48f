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


def test_devices_and_folders_are_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(MastEdgeError, match="must be a plain file or new"):
            write_atomically(path, b"data")
    assert os.listdir(tmp_path) == ["pipe"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
