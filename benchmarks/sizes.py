"""Bytes of every export of an agent, beside what it would take otherwise: .pt, dense ONNX, zipped dense ONNX.

Every file is written by the product and measured on disk. Without arguments the agents are random ones of the
paper's sparsity on its four maps; runs and checkpoints that are named are taken instead.

Source: runtime.md section 3 ("Sizes in bytes"), accounting.md 7.2. Run: python benchmarks/sizes.py [RUN ...]
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.act import SIZES, write_random_checkpoint
from benchmarks.output import add_output_options, finish
from mast_edge.checkpoint_files import AgentCheckpoint, read_agent
from mast_edge.costs.disk_bytes import npy_files, zipped_bytes
from mast_edge.export import export_run
from mast_edge.export.c_sizes import table_bytes
from mast_edge.export.c_source import all_tables, fixed_agent
from mast_edge.export.exporter import find_checkpoint
from mast_edge.layers import layers_of
from mast_edge.provenance import versions

CASES = {"3m": 0.95, "2s3z": 0.95, "3s5z": 0.9, "2c_vs_64zg": 0.9}
"""Map -> sparsity of QMIX in the paper's Table 1."""
PEERS = ("pt", "onnx", "onnx_zip", "npz")


def benchmark_sizes(sources: Sequence[Path] = ()) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `sizes`; ratios above 1: smaller than that peer.

    Args:
        sources: run or checkpoint folders.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for source in sources or _random_agents(Path(name)):
            rows += _rows(find_checkpoint(source)[1], Path(name) / "out")
    return {"schema": "mast-edge/benchmark/1", "host": versions(), "rows": rows}


def _random_agents(folder: Path) -> list[Path]:
    made = []
    for map_name, sparsity in CASES.items():
        for pattern in ("element", "8x1"):
            made.append(folder / f"{map_name}-{pattern}")
            made[-1].mkdir()
            write_random_checkpoint(made[-1], SIZES[map_name], map_name, sparsity, pattern=pattern)
    return made


def _rows(checkpoint_folder: Path, out: Path) -> list[dict[str, Any]]:
    checkpoint = read_agent(checkpoint_folder)
    sizes = _peers(checkpoint)
    real: dict[str, Any] = {}
    for precision, formats in (("f32", ["csr", "onnx", "c"]), ("int8", ["csr", "c"])):
        how = {"precision": precision, "force": True, "measure": False}
        report = export_run(checkpoint_folder, formats, out, **how).to_json()
        for entry in report["files"]:
            path = Path(entry["path"])
            variant = entry["format"] if precision == "f32" else f"{entry['format']}_int8"
            if entry["format"] == "c":
                sizes[f"{variant}_tables"] = _c_table_bytes(checkpoint, precision)
            else:
                sizes[variant] = path.stat().st_size
            if entry["format"] == "onnx":
                sizes["onnx_zip"] = zipped_bytes({path.name: path.read_bytes()})
        real = real or report
    patterns = {layer["pattern"] for layer in real["layers"]} - {"dense"}
    block = "" if patterns <= {"element"} else "/" + next(iter(patterns - {"element"}))
    case = f"{checkpoint.env.map_name}@{100 * float(checkpoint.index['sparsity']):.0f}{block}"
    sizes["csr_payload"] = sum(real["size"][f"{part}_bytes"] for part in ("values", "index", "pointer"))
    return [
        {
            "suite": "sizes",
            "name": variant,
            "case": case,
            "value": size,
            "unit": "bytes",
            "ratios": {peer: round(sizes[peer] / size, 3) for peer in PEERS if peer != variant},
        }
        for variant, size in sizes.items()
    ]


def _peers(checkpoint: AgentCheckpoint) -> dict[str, int]:
    """.pt as torch writes a state dict, and the dense arrays zipped."""
    import torch

    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()}, buffer)
    return {"pt": buffer.tell(), "npz": zipped_bytes(npy_files(checkpoint.weights))}


def _c_table_bytes(checkpoint: AgentCheckpoint, precision: str) -> int:
    """Constants of the exported C: what a device keeps in flash, beside a little code."""
    layers = layers_of(checkpoint.weights, checkpoint.masks, precision)
    tables = all_tables(checkpoint.spec, layers, fixed_agent(checkpoint.spec, layers))[1]
    return sum(size for kinds in table_bytes(tables).values() for size in kinds.values())


def show(result: dict[str, Any]) -> None:
    """One column per agent, one row per file."""
    from rich.console import Console
    from rich.table import Table

    cases = list(dict.fromkeys(row["case"] for row in result["rows"]))
    table = Table(title="Bytes; in brackets how many times smaller than the dense ONNX, zipped")
    table.add_column("")
    for case in cases:
        table.add_column(case, justify="right")
    for name in dict.fromkeys(row["name"] for row in result["rows"]):
        cells = []
        for case in cases:
            found = [row for row in result["rows"] if (row["case"], row["name"]) == (case, name)]
            ratio = found[0]["ratios"].get("onnx_zip") if found else None
            size = f"{found[0]['value']:,}" if found else "-"
            cells.append(size + (f" ({ratio:.2f}x)" if ratio else ""))
        table.add_row(name, *cells)
    Console(width=200).print(table)


def main() -> None:
    """Prints the table, or the JSON object."""
    parser = argparse.ArgumentParser(description="Bytes of every export and of its peers.")
    parser.add_argument("runs", nargs="*", type=Path, help="runs or checkpoints; default: random agents")
    add_output_options(parser)
    arguments = parser.parse_args()
    finish(benchmark_sizes(arguments.runs), arguments, show)


if __name__ == "__main__":
    main()
