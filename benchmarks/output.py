"""What every measuring script does with its result."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
