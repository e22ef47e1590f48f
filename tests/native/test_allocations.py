"""A step of an agent allocates nothing, whatever table its layers run from."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("agent.cpp", "agent_tables.cpp", "agent_kernels_plain.cpp")


def test_steps_allocate_nothing(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    program, native = str(tmp_path / "allocations"), ROOT / "mast_edge/native"
    flags = ["-O0", "-std=c++20", "-ffp-contract=off", "-Wno-psabi", "-I", str(native), "-o", program]
    sources = [str(ROOT / "tests/native/allocations.cpp"), *(str(native / name) for name in SOURCES)]
    subprocess.run(["g++", *flags, *sources], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["dense 0", "csr 0", "8x1 0", "4x1 0"]
