"""What the commands share: options, and how a result, a remark and an exit code get out."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mast_edge.runs import Run

F = TypeVar("F", bound=Callable[..., Any])

RUN_OPTION = click.option(
    "--run", "run_name", metavar="RUN", help="Name or folder of a run; default: the latest complete one."
)


def config_options(function: F) -> F:
    """`--variant`, `--with` and `--set`, for commands that read configs (`config.load_config`)."""
    options = (
        click.option("--variant", metavar="NAME", help="Which variant, for a config that holds several."),
        click.option(
            "--with",
            "overlays",
            multiple=True,
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Lay another config file over it; repeatable.",
        ),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override one value, above all files; repeatable.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def common(function: F) -> F:
    """`--json`, `--quiet` and `--debug`, which every command understands (`--debug` acts in `exits.run`)."""
    options = (
        click.option(
            "--json", "as_json", is_flag=True, help="Print exactly one JSON object on standard output."
        ),
        click.option("--quiet", "-q", is_flag=True, help="No progress and no remarks."),
        click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of failures."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def chosen_run(run_name: str | None, quiet: bool) -> "Run":
    """The run that is meant; says on standard error which one was taken when none was named."""
    from mast_edge.runs import find_run

    found = find_run(run_name)
    if found.remark:
        remark(quiet, found.remark)
    return found


def show(as_json: bool, result: Mapping[str, Any], tables: Callable[[], list[Any]]) -> None:
    """Prints the one object for machines, or tables for people, on standard output."""
    if as_json:
        click.echo(json.dumps(result))
        return
    from mast_edge.console import out

    out(*tables())


def remark(quiet: bool, text: str) -> None:
    """Prints a line on standard error."""
    if not quiet:
        click.echo(text, err=True)


def finish(code: int) -> None:
    """Ends the command with an exit code."""
    click.get_current_context().exit(code)
