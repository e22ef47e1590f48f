"""Runs the measuring scripts of `benchmarks/` from the command line; each also runs by itself."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mast_edge.errors import MissingInput, UsageError
from mast_edge.registry import nearest

SCRIPTS = Path(__file__).resolve().parent.parent / "benchmarks"
SUITES = {
    "acting": "acting:benchmark_acting",
    "env": "env:benchmark_env",
    "learner": "learner:benchmark_learner",
    "runtime": "act:benchmark_act",
}
"""Suite -> script in `SCRIPTS`, and its function that returns a `mast-edge/benchmark/1` object."""


def measure(suites: Sequence[str]) -> dict[str, Any]:
    """Rows of several suites in one `mast-edge/benchmark/1` object (cli.md).

    Args:
        suites: names in `SUITES`, at least one.

    Raises:
        UsageError: an unknown suite.
        MissingInput: a script is not there, as in an installation from a wheel.
    """
    results = [_function(suite)() for suite in suites]
    return {**results[0], "rows": [row for result in results for row in result["rows"]]}


def _function(suite: str) -> Any:
    if suite not in SUITES:
        raise UsageError(
            f"benchmark: suite must be one of {', '.join(SUITES)}; got '{suite}'.{nearest(suite, SUITES)}"
        )
    script, function = SUITES[suite].split(":")
    path = SCRIPTS / f"{script}.py"
    name = f"mast_edge_benchmark_{script}"
    spec = importlib.util.spec_from_file_location(name, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise MissingInput(
            f"benchmark: script must exist; got no {path}. Run: pip install -e . in a checkout of the sources"
        )
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)
