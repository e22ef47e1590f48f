"""What the runtime costs before it plays: import time, time to the first action, resident memory.

Every number is the median over fresh interpreters, the measured things in turn, so that a busy machine slows
all of them alike. `warm` keeps compiled Python files and the system's file cache; `cold` lets the interpreter
compile every file again (PYTHONPYCACHEPREFIX in an empty folder), which is what the very first start on a
device costs; the system's file cache stays, emptying it needs root.

Source: parity_and_safety.md section 8 (light base), cli.md (`benchmark`). Run: python benchmarks/light.py
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.output import add_output_options, finish, host
from mast_edge.export import export_run

AGENT = Path(__file__).resolve().parent.parent / "tests/data/agents/3m-s95"
PEERS = ("numpy", "onnxruntime", "torch")
BACKENDS = {"csr": "csr/agent.safetensors", "numpy": "csr/agent.safetensors", "onnx": "onnx/agent.onnx"}
"""Backend -> file of the exported agent."""
RUNTIME = "mast_edge.runtime"
IMPORT = """
import time
wall, cpu = time.perf_counter(), time.process_time()
{statement}
print(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu))
"""
ACT = """
import numpy, mast_edge.runtime
obs, avail = numpy.zeros(30, numpy.float32), numpy.ones(9, numpy.uint8)
agent = mast_edge.runtime.Agent.load({path!r}, backend={backend!r})
agent.act(obs, avail)
"""
MEMORY = """
{statement}
status = open("/proc/self/status", encoding="ascii").read()
print(int(status.split("VmRSS:")[1].split()[0]) / 1024)
"""


def measure_imports(repeats: int, cold: bool) -> dict[str, tuple[float, float]]:
    """Module -> median milliseconds (wall, CPU) of importing it, numpy included where it needs it."""
    names = [RUNTIME, *(name for name in PEERS if importlib.util.find_spec(name))]
    return _medians({name: IMPORT.format(statement=f"import {name}") for name in names}, repeats, cold)


def measure_first_act(folder: Path, repeats: int) -> dict[str, tuple[float, float]]:
    """`agent <backend>` -> median milliseconds (wall, CPU), from the first import to the first action."""
    codes = {backend: IMPORT.format(statement=act) for backend, act in _acts(folder).items()}
    return _medians(codes, repeats, cold=False)


def measure_memory(folder: Path, repeats: int) -> dict[str, float]:
    """What is loaded -> median resident MiB; Linux only, empty elsewhere."""
    if not Path("/proc/self/status").exists():
        return {}
    statements = {"python": "pass", "numpy": "import numpy", RUNTIME: f"import {RUNTIME}"} | _acts(folder)
    codes = {name: MEMORY.format(statement=statement) for name, statement in statements.items()}
    return {name: values[0] for name, values in _medians(codes, repeats, cold=False).items()}


def _acts(folder: Path) -> dict[str, str]:
    """`agent <backend>` -> a program that loads and acts once."""
    files = {backend: folder / name for backend, name in BACKENDS.items()}
    return {
        f"agent {backend}": ACT.format(path=str(path), backend=backend)
        for backend, path in files.items()
        if path.exists()
    }


def _medians(codes: dict[str, str], repeats: int, cold: bool) -> dict[str, Any]:
    """Medians of what each program prints, the programs in turn; the first turn does not count."""
    printed: dict[str, list[list[float]]] = {name: [] for name in codes}
    for turn in range(repeats + 1):
        for name, code in codes.items():
            with tempfile.TemporaryDirectory() as empty:
                extra = {"PYTHONPYCACHEPREFIX": empty} if cold else {}
                done = subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "OMP_NUM_THREADS": "1", **extra},
                    capture_output=True,
                    text=True,
                    check=True,
                )
            if turn:
                printed[name].append([float(word) for word in done.stdout.split()])
    return {name: tuple(map(statistics.median, zip(*rows, strict=True))) for name, rows in printed.items()}


def benchmark_light(repeats: int = 21) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `light`; `repeats` fresh interpreters each."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        formats = ["csr", "onnx"] if importlib.util.find_spec("onnx") else ["csr"]
        export_run(AGENT, formats, folder, measure=False)
        for case, cold in (("import warm", False), ("import cold", True)):
            rows += _time_rows(case, measure_imports(repeats, cold))
        rows += _time_rows("first act", measure_first_act(folder, repeats))
        rows += _rows("resident memory", "MiB", measure_memory(folder, repeats))
    return {"schema": "mast-edge/benchmark/1", "host": host(), "rows": rows}


def _time_rows(case: str, taken: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    wall = {name: times[0] for name, times in taken.items()}
    cpu = {name: times[1] for name, times in taken.items()}
    return _rows(case, "ms wall", wall) + _rows(f"{case}, CPU", "ms CPU", cpu)


def _rows(case: str, unit: str, found: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            **{"suite": "light", "name": name, "case": case, "value": round(value, 2), "unit": unit},
            "ratios": {peer: round(other / value, 3) for peer, other in found.items() if peer != name},
        }
        for name, value in found.items()
    ]


def show(result: dict[str, Any]) -> None:
    """One line a row."""
    for row in result["rows"]:
        print(f"{row['case']:18s} {row['name']:20s} {row['value']:9.2f} {row['unit']}")
    print(json.dumps(result["host"]))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Import time, time to the first action, resident memory.")
    parser.add_argument("--repeats", type=int, default=21, help="fresh interpreters per number")
    add_output_options(parser)
    arguments = parser.parse_args()
    finish(benchmark_light(arguments.repeats), arguments, show)


if __name__ == "__main__":
    main()
