"""What every measuring script does with its result."""

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mast_edge.provenance import git_commit, processor, versions


def host() -> dict[str, Any]:
    """What numbers must be read with: machine, CPU, commit and versions."""
    return {"machine": platform.machine(), "cpu": processor(), "commit": git_commit(), **versions()}


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--json and --out."""
    parser.add_argument("--json", action="store_true", help="print the object")
    parser.add_argument("--out", type=Path, help="also write the object to this file")


def finish(
    result: dict[str, Any], arguments: argparse.Namespace, show: Callable[[dict[str, Any]], None]
) -> None:
    """Writes the object where asked, then prints it or the tables for people."""
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)
