"""The command that trains many runs."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from mast_edge.cli_shared import common, config_options, finish, remark, show
from mast_edge.exits import INTERRUPTED, stage


@click.command()
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@config_options
@click.option("--seeds", metavar="LIST", help="Such as 0-3 or 1,2,7; default: each config's own.")
@click.option(
    "--engine",
    type=click.Choice(["local", "vector"]),
    default="local",
    show_default=True,
    help="A process per run; or all at once in one process, for runs of equal shape.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes at once; default: one per core.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@common
def sweep(
    configs: tuple[Path, ...],
    variant: str | None,
    overlays: tuple[Path, ...],
    overrides: tuple[str, ...],
    seeds: str | None,
    engine: str,
    workers: int | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train every CONFIG with every seed. The same command goes on where it stopped.

    Each run is what `mast-edge train` would make of it, in a folder of its own; complete ones are left alone.

    \b
    mast-edge sweep configs/qmix_3m.yaml --seeds 0-3
    mast-edge sweep configs/qmix_3m.yaml configs/qmix_2s3z.yaml --seeds 1,2 --workers 2 --json
    mast-edge sweep configs/qmix_3m.yaml --with configs/quick.yaml --seeds 0-7 --engine vector
    """
    if workers is not None and engine != "local":
        raise click.UsageError("--workers needs --engine local.")
    module = "mast_edge.experiments.sweep"
    numbers = [] if seeds is None else stage(module, "read_seeds")(seeds)
    files = [str(path) for path in overlays]
    tasks = stage(module, "plan")([str(c) for c in configs], numbers, overrides, files, variant, device)
    from mast_edge.console import console_on

    console = console_on(sys.stderr)
    console.quiet = quiet
    results = stage(module, "sweep")(tasks, engine, console, workers or os.cpu_count())
    found = {"schema": "mast-edge/sweep/1", "engine": engine, "runs": results}
    show(as_json, found, lambda: [_table(results)])
    statuses = {result["status"] for result in results}
    if "interrupted" in statuses:
        remark(quiet, "interrupted; the same command goes on from here")
        finish(INTERRUPTED)
    if "failed" in statuses:
        finish(1)
    remark(quiet, f"next: mast-edge export --run {results[-1]['run']} --format csr")


def _table(results: list[dict[str, Any]]) -> Any:
    from mast_edge.console import rows_table

    columns = ("run", "status", "t_env", "updates", "win_rate", "wall_seconds")
    return rows_table(columns, [[result[name] for name in columns] for result in results], "sweep")
