"""The same seed gives the same battle whatever the compiler was told, and whatever the number of threads."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.digest import battles_digest

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDED = "a00ff71a55a45a745fe9c76aa8a0c7c0cac7ad8ea4cd8deb9c3cdd33d6e67bae"
"""Of simulator version 2; a change of any bit is a new version."""


def test_battles_are_the_recorded_ones() -> None:
    assert battles_digest() == RECORDED


def test_threads_do_not_matter() -> None:
    assert battles_digest(steps=15, threads=3) == battles_digest(steps=15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("g++", "-O1 -fno-tree-vectorize"), ("g++", "-O3 -march=native"), ("clang++", "-O2")],
)
def test_builds_do_not_matter(compiler: str, flags: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    options = [
        "-DCMAKE_BUILD_TYPE=None",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        f"-DCMAKE_CXX_FLAGS={flags} -DNDEBUG",
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DMAST_EDGE_OPTIMISE=",
    ]
    cmake = shutil.which("cmake") or str(Path(sys.executable).parent / "cmake")
    for call in ([cmake, "-S", str(ROOT), "-B", str(tmp_path), *options], [cmake, "--build", str(tmp_path)]):
        subprocess.run(call, check=True, capture_output=True, timeout=600)
    (build,) = tmp_path.glob("_core*.so")
    run = [sys.executable, str(ROOT / "tests/native/digest.py"), str(build)]
    found = subprocess.run(run, check=True, capture_output=True, text=True, timeout=300).stdout.strip()
    assert found == RECORDED
