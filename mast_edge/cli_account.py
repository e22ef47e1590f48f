"""The command that counts."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from mast_edge.cli_shared import common, config_options, remark, show
from mast_edge.exits import stage

SECONDS_OF_PATIENCE = 2.0


@click.command()
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@config_options
@click.option("--measure", is_flag=True, help="Also take times on this machine; seconds per agent.")
@click.option("--layers", is_flag=True, help="Show every layer, of many configs too.")
@common
def account(
    configs: tuple[Path, ...],
    variant: str | None,
    overlays: tuple[Path, ...],
    overrides: tuple[str, ...],
    measure: bool,
    layers: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Count sizes and FLOPs of configs, without training.

    Rule R, the paper's way of counting, stands beside what Table 1 prints; then come the bytes and operations
    of a real agent of these sizes. All variants of a file are counted, unless --variant names one.

    \b
    mast-edge account configs/paper/table1.yaml
    mast-edge account configs/qmix_3m.yaml configs/qmix_8m.yaml --set sparsity=0.9 --json
    mast-edge account configs/paper/structured.yaml --variant qmix-3m-8x1 --measure
    """
    count = stage("mast_edge.account_configs", "account_configs")
    result = count(
        configs,
        overrides,
        variant=variant,
        overlays=overlays,
        measure=measure,
        on_agent=progress(quiet),
    )
    show(as_json, result, lambda: stage("mast_edge.accounting_tables", "account_tables")(result, layers))


def progress(quiet: bool) -> Callable[[int, int], None]:
    """Tells on standard error how many agents are done, once it takes long."""
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        if done < total and time.monotonic() - started > SECONDS_OF_PATIENCE:
            remark(quiet, f"account: {done} of {total} agents")

    return tell
