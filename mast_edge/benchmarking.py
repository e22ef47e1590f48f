"""Runs the scripts of `benchmarks/`: each `<suite>.py` offers `benchmark_<suite>()`."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mast_edge.errors import MissingInput

SCRIPTS = Path(__file__).resolve().parent.parent / "benchmarks"


def measure(suites: Sequence[str]) -> dict[str, Any]:
    """Rows of several suites in one `mast-edge/benchmark/1` object (cli.md).

    Args:
        suites: names of scripts.

    Raises:
        MissingInput: a script is not there, as in an installation from a wheel.
    """
    results = [_function(suite)() for suite in suites]
    return {**results[0], "rows": [row for result in results for row in result["rows"]]}


def _function(suite: str) -> Any:
    path = SCRIPTS / f"{suite}.py"
    if not path.is_file():
        raise MissingInput(
            f"benchmark: script must exist; got no {path}. Run: pip install -e . in a checkout of the sources"
        )
    name = f"mast_edge_benchmark_{suite}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MissingInput(f"benchmark: script must be a Python file; got {path}.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, f"benchmark_{suite}")
