"""`mast-edge export`: agents as files, each verified, with an account of what they weigh and compute."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mast_edge.cli_shared import RUN_OPTION, chosen_run, common, remark, show
from mast_edge.exits import stage
from mast_edge.registry import EXPORT_FORMATS

FILE_COLUMNS = ("format", "bytes", "max |dQ|", "same actions")
LAYER_COLUMNS = ("name", "shape", "kind", "pattern", "nnz", "density")


@click.command()
@RUN_OPTION
@click.option(
    "--format", "formats", type=click.Choice([*EXPORT_FORMATS, "all"]), multiple=True, required=True
)
@click.option(
    "--precision",
    type=click.Choice(["f32", "int8"]),
    default="f32",
    show_default=True,
    help="int8: weights of one byte with a scale per row (csr, c); in C the arithmetic is all integer.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write to; default: exports/ of the run."
)
@click.option("--with-avail", is_flag=True, help="onnx: take the available actions too, give the action.")
@click.option("--prefix", default="agent", show_default=True, help="c: what every name begins with.")
@click.option(
    "--force", is_flag=True, help="Export an unfinished run, or int8 weights that change decisions."
)
@click.option("--no-measure", is_flag=True, help="Take no times: faster, and the same report every time.")
@common
def export(
    run_name: str | None,
    formats: tuple[str, ...],
    precision: str,
    out: Path | None,
    with_avail: bool,
    prefix: str,
    force: bool,
    no_measure: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert agents to files, each verified.

    Every file is read back through the runtime that will play it and held against the checkpoint before it
    counts as exported. A card and a report lie beside it.

    \b
    mast-edge export --format csr
    mast-edge export --format onnx --out build/agents
    mast-edge export --format c --precision int8
    """
    found = chosen_run(run_name, quiet)
    report = stage("mast_edge.export", "export_run")(
        found.checkpoint,
        _offered(formats, precision, quiet),
        out,
        precision=precision,
        with_avail=with_avail,
        prefix=prefix,
        force=force,
        measure=not no_measure,
        on_progress=lambda text: remark(quiet, text),
    ).to_json()
    show(as_json, report, lambda: _tables(report))
    first = report["files"][0]
    if precision == "f32" and out is None:
        remark(quiet, f"next: mast-edge evaluate --run {found.path} --runtime {first['format']}")
    else:
        remark(quiet, f"next: mast-edge evaluate --artifact {first['path']} --runtime {first['format']}")


def export_what_is_missing(run_name: str | None, runtime: str, quiet: bool) -> None:
    """Makes the export that a runtime plays, where the run has none yet; says so.

    Source: cli.md: train, `export --format onnx` and `evaluate --runtime csr` work in a row.
    """
    run = chosen_run(run_name, quiet=True)
    missing = stage("mast_edge.runtime.opponents", "missing_export")(run, runtime)
    if missing is not None:
        report = stage("mast_edge.export", "export_run")(run.checkpoint, [missing]).to_json()
        remark(quiet, f"made the {missing} export, which was missing: {report['files'][0]['path']}")


def _offered(formats: Sequence[str], precision: str, quiet: bool) -> tuple[str, ...]:
    """The formats that are meant; `all` leaves out those that do not offer the precision, and says so."""
    if "all" not in formats:
        return tuple(formats)
    offered = stage("mast_edge.export.exporter", "INT8_FORMATS") if precision == "int8" else EXPORT_FORMATS
    left = [name for name in EXPORT_FORMATS if name not in offered]
    if left:
        remark(quiet, f"{precision} is not offered for {', '.join(left)}")
    return tuple(offered)


def _tables(report: dict[str, Any]) -> list[Any]:
    from mast_edge.console import pairs_table, rows_table
    from mast_edge.costs.tables import real_tables

    files = [
        [
            _entry_name(f),
            f["bytes"],
            f["max_abs_q_error"],
            f"{f['decisions'] - f['flips']} of {f['decisions']}",
        ]
        for f in report["files"]
    ]
    layers = [[layer[name] for name in LAYER_COLUMNS] for layer in report["layers"]]
    return [
        rows_table(FILE_COLUMNS, files, "Exported and verified"),
        *(f"{_entry_name(f)}: {f['path']}\n    run by {f['verified_with']}" for f in report["files"]),
        rows_table(LAYER_COLUMNS, layers, "Layers"),
        pairs_table("Rule R", {f"FLOPs {name}": value for name, value in report["flops"].items()}),
        *real_tables({report["env"]["map"]: report["real"]}, detailed=False),
    ]


def _entry_name(file: dict[str, Any]) -> str:
    return str(file["format"]) if file["precision"] == "f32" else f"{file['format']} {file['precision']}"
