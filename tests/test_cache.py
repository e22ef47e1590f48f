"""Where the cache is, and whose it must be."""

import pytest

from mast_edge.cache import cache_folder
from mast_edge.errors import MastEdgeError


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAST_EDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(MastEdgeError, match="Set MAST_EDGE_CACHE"):
        cache_folder("c")


def test_the_cache_is_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MAST_EDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert cache_folder("c") == tmp_path / "mast-edge" / "c"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("c") == tmp_path / "home" / ".cache" / "mast-edge" / "c"


def test_a_cache_that_others_may_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MAST_EDGE_CACHE", str(tmp_path))
    cache_folder("kernels").chmod(0o777)
    with pytest.raises(MastEdgeError, match=r"kernels: cache folder must be yours alone.* mode 777"):
        cache_folder("kernels")
