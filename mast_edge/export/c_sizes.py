"""What exported C weighs: its tables counted, its machine code measured with the compiler at hand."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mast_edge.c_library import Compiler
from mast_edge.errors import MastEdgeError
from mast_edge.export.c_tables import Table

LEVELS = ("-Os", "-O2")


@dataclass(frozen=True, slots=True)
class CodeSize:
    """One compilation of the source, without the self test.

    Attributes:
        level: optimisation flag.
        text, rodata, data: bytes of code, of constants, and of variables, of which there are none.
        stack: bytes of all its functions' frames together, more than any call needs; None when not told.
    """

    level: str
    text: int
    rodata: int
    data: int
    stack: int | None


def table_bytes(tables: Sequence[Table]) -> dict[str, dict[str, int]]:
    """Part of the agent -> kind of table (`weight`, `step`, `count`, ...) -> bytes."""
    found: dict[str, dict[str, int]] = {}
    for table in tables:
        kinds = found.setdefault(table.part, {})
        kind = table.name.rpartition("_")[2]
        kinds[kind] = kinds.get(kind, 0) + table.nbytes
    return found


def code_sizes(files: Mapping[str, bytes], source: str, compiler: Compiler) -> list[CodeSize]:
    """Compiles `source` at each of `LEVELS`; empty where the compiler or the program `size` says too little.

    Args:
        files: header and source by name.
        source: which of them to compile.
        compiler: from `find_compiler`.
    """
    if shutil.which("size") is None:
        return []
    try:
        return [_measured(files, source, compiler, level) for level in LEVELS]
    except (MastEdgeError, OSError, subprocess.SubprocessError, KeyError):
        return []


def _measured(files: Mapping[str, bytes], source: str, compiler: Compiler, level: str) -> CodeSize:
    with tempfile.TemporaryDirectory(prefix="mast-edge-") as made:
        folder = Path(made)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        flags = ("-std=c99", level, "-ffp-contract=off", "-ffreestanding")
        compiler.run(*flags, "-fstack-usage", "-c", "-o", "code.o", source, folder=folder)
        said = subprocess.run(
            ["size", "-A", "-d", "code.o"], cwd=folder, capture_output=True, text=True, timeout=60, check=True
        )
        stack = [
            int(line.split("\t")[1])
            for report in folder.glob("*.su")
            for line in report.read_text().splitlines()
        ]
    sizes = {"text": 0, "rodata": 0, "data": 0, "bss": 0}
    sections = re.findall(r"^\.?_*(text|rodata|data|bss)\S*\s+(\d+)", said.stdout, re.MULTILINE)
    for name, size in sections:
        sizes[name] += int(size)
    if not sizes["text"]:
        raise KeyError("text")
    return CodeSize(
        level, sizes["text"], sizes["rodata"], sizes["data"] + sizes["bss"], sum(stack) if stack else None
    )
