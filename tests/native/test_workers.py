"""Threads that share rounds of items do each item once, however late a helper is."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_rounds_of_different_sizes(tmp_path: Path) -> None:
    """A helper that wakes up late in a round of two must not take an item of the round of twelve after it."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    program = str(tmp_path / "workers")
    source, headers = str(ROOT / "tests/native/workers.cpp"), str(ROOT / "mast_edge/native")
    subprocess.run(["g++", "-O2", "-std=c++20", "-pthread", "-I", headers, source, "-o", program], check=True)
    for threads in ("2", "3", "6"):
        made = subprocess.run([program, threads, "5"], capture_output=True, text=True, check=True)
        assert made.stdout == "0\n", threads
