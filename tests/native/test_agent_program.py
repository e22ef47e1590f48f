"""An agent without Python: steps allocate nothing and give the same bits whatever they were compiled for."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("agent.cpp", "agent_tables.cpp", "agent_kernels_plain.cpp")
RECORDED = "9b2eb7c83867f7ff"
"""Of all Q values of the program; the same for every table, compiler, optimisation and processor."""
ELSEWHERE = [
    ("g++", ["-O3", "-march=native"], []),
    ("clang++", ["-O2"], []),
    ("aarch64-linux-gnu-g++", ["-O3", "-static"], ["qemu-aarch64"]),
    ("riscv64-linux-gnu-g++", ["-O2", "-static"], ["qemu-riscv64"]),
]


def lines(folder: Path, compiler: str, options: list[str], emulator: list[str]) -> list[str]:
    """What the program prints."""
    for needed in (compiler, *emulator):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    program, native = str(folder / "program"), ROOT / "mast_edge/native"
    flags = [*options, "-std=c++20", "-ffp-contract=off", "-Wno-psabi", "-I", str(native), "-o", program]
    sources = [str(ROOT / "tests/native/agent_program.cpp"), *(str(native / name) for name in SOURCES)]
    subprocess.run([compiler, *flags, *sources], check=True)
    done = subprocess.run([*emulator, program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


EXPECTED = [f"{table} 0 {RECORDED}" for table in ("dense", "csr", "8x1", "4x1")]


def test_steps_allocate_nothing_and_every_table_gives_the_same_bits(tmp_path: Path) -> None:
    assert lines(tmp_path, "g++", ["-O0"], []) == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "options", "emulator"), ELSEWHERE)
def test_the_same_bits_elsewhere(
    tmp_path: Path, compiler: str, options: list[str], emulator: list[str]
) -> None:
    assert lines(tmp_path, compiler, options, emulator) == EXPECTED
