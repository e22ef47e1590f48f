"""Compiling into the cache and loading from it."""

import ctypes
import subprocess
import sys

import pytest

from mast_edge.c_library import Compiler, find_compiler, load_library
from mast_edge.errors import EnvironmentUnavailable, MastEdgeError
from tests.c_builds import some_compiler

SOURCE = {
    "answer.h": b"int answer(void);\n",
    "answer.c": b'#include "answer.h"\nint answer(void) { return 42; }\n',
}
PROGRAM = (
    "from mast_edge.c_library import find_compiler, load_library\n"
    f"print(load_library({SOURCE!r}, find_compiler()).answer())\n"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAST_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "c"


def libraries(cache):
    return sorted(cache.iterdir())


def test_a_library_is_built_once(cache):
    compiler = some_compiler()
    assert load_library(SOURCE, compiler).answer() == 42
    (built,) = libraries(cache)
    before = built.stat()
    assert load_library(SOURCE, compiler).answer() == 42
    assert (libraries(cache), built.stat().st_mtime_ns) == ([built], before.st_mtime_ns)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert built.stat().st_mode & 0o077 == 0


def test_another_source_name_or_compiler_is_another_library(cache):
    compiler = some_compiler()
    load_library(SOURCE, compiler)
    changed = {**SOURCE, "answer.c": SOURCE["answer.c"].replace(b"42", b"43")}
    assert load_library(changed, compiler).answer() == 43
    load_library(SOURCE, Compiler(compiler.command, "another version"))
    assert len(libraries(cache)) == 3


def test_a_damaged_library_is_built_again(cache):
    compiler = some_compiler()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    (built,) = libraries(cache)
    built.write_bytes(built.read_bytes()[:100])
    with pytest.raises(OSError, match=r"\.so"):
        ctypes.CDLL(str(built))
    assert load_library(SOURCE, compiler).answer() == 42
    assert libraries(cache) == [built]


def test_processes_meet_at_the_cache(cache):
    some_compiler()
    running = [subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in running] == [b"42"] * 4
    assert len(libraries(cache)) == 1


def test_a_cache_that_others_may_write_to_is_not_loaded_from(cache):
    compiler = some_compiler()
    load_library(SOURCE, compiler)
    cache.chmod(0o777)
    with pytest.raises(MastEdgeError, match=r"cache folder must be yours alone.* mode 777"):
        load_library(SOURCE, compiler)


def test_no_compiler_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(EnvironmentUnavailable, match=r"got none on PATH\. Install gcc or clang") as refused:
        find_compiler()
    assert refused.value.exit_code == 8
    monkeypatch.setenv("CC", "no-such-compiler -m32")
    with pytest.raises(EnvironmentUnavailable, match="got none at CC=no-such-compiler -m32"):
        find_compiler()


def test_cc_is_preferred_with_its_flags(cache, monkeypatch):
    name = some_compiler().command[0]
    monkeypatch.setenv("CC", f"{name} -DANSWER=7")
    compiler = find_compiler()
    assert compiler.command == (name, "-DANSWER=7")
    source = {"answer.c": b"int answer(void);\nint answer(void) { return ANSWER; }\n"}
    assert load_library(source, compiler).answer() == 7


def test_c_that_does_not_compile_gives_the_first_line_of_the_compiler(cache):
    with pytest.raises(MastEdgeError, match=r"must compile the exported C; got exit \d+: .*answer\.c"):
        load_library({"answer.c": b"int answer(void) { return }\n"}, some_compiler())
    assert libraries(cache) == []


def test_a_cache_that_cannot_be_written_names_the_variable(cache):
    """A file stands where its folder should be, which stops root as well."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("not a folder")
    with pytest.raises(MastEdgeError, match="Set MAST_EDGE_CACHE"):
        load_library(SOURCE, some_compiler())
