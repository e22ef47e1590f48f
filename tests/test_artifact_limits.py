"""What a hostile artifact can make the reader take: never more memory or time than the format promises.

Source: runtime.md section 3, last line; parity_and_safety.md section 6, "hostile artifact".
"""

import sys
from pathlib import Path

import pytest

from tests.hostile import CHEAP, LARGE
from tests.loading import loaded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
SECONDS = 2.0
BACKENDS = ["numpy", "csr"]
REFUSED_BY_ALL = {
    "deep": "ArtifactMalformed",
    "lists": "ArtifactMalformed",
    "objects": "ArtifactMalformed",
    "strings": "ArtifactMalformed",
    "a snake before control characters": "ArtifactMalformed",
    "too many weights": "ArtifactTooLarge",
}
NOT_DENSE = {
    *("wide", "wide, some entries", "hidden units", "hidden units in blocks"),
    *("agents and hidden units", "actions and hidden units"),
    *("csr", "csr int8", "csr int8, narrow columns", "csr denormals", "8x1", "8x1 int8", "4x1 int8"),
}
"""What numpy, which writes the zeros out, refuses."""


def expect_cheap(makers, folder: Path, backend: str) -> None:
    names = list(makers)
    files = [folder / f"{at}.safetensors" for at in range(len(names))]
    for path, name in zip(files, names, strict=True):
        path.write_bytes(makers[name]())
    for name, found in zip(names, loaded(backend, files), strict=True):
        assert found["exit_code"] in (0, 5), (name, found)
        assert found["growth"] <= found["allowed"], (name, found)
        assert found["seconds"] <= SECONDS, (name, found)
        assert "\n" not in found["message"], name
        assert found["exit_code"] == 0 or found["message"].startswith(str(folder)), found
        if name in REFUSED_BY_ALL:
            assert found["outcome"] == REFUSED_BY_ALL[name], found
        elif backend == "numpy":
            assert found["outcome"] == ("ArtifactTooLarge" if name in NOT_DENSE else "loaded"), (name, found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_files_that_ask_for_much(tmp_path, backend):
    expect_cheap(CHEAP, tmp_path, backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_files_of_many_megabytes(tmp_path, backend):
    expect_cheap(LARGE, tmp_path, backend)
