"""Commands that look at things: runs, configs, this machine, its speed."""

import json
from pathlib import Path
from typing import Any

import click

from mast_edge.benchmarking import SUITES
from mast_edge.cli_shared import chosen_run, common, config_options, finish, remark, show
from mast_edge.exits import stage


@click.group()
def runs() -> None:
    """What has been trained here.

    \b
    mast-edge runs list
    mast-edge runs show
    """


@runs.command("list")
@common
def runs_list(as_json: bool, quiet: bool) -> None:
    """List runs, oldest first.

    \b
    mast-edge runs list
    mast-edge runs list --json
    """
    from mast_edge.runs import list_runs, run_facts

    found, problems = list_runs()
    for problem in problems:
        remark(quiet, problem)
    rows = [run_facts(entry) for entry in found]

    def tables() -> list[Any]:
        from mast_edge.console import rows_table

        columns = ("name", "status", "t_env", "win_rate", "checkpoint")
        return (
            [rows_table(columns, [[row[name] for name in columns] for row in rows])]
            if rows
            else ["no runs yet"]
        )

    show(as_json, {"schema": "mast-edge/runs/1", "runs": rows, "unreadable": problems}, tables)


@runs.command("show")
@click.argument("run_name", metavar="[RUN]", required=False)
@common
def runs_show(run_name: str | None, as_json: bool, quiet: bool) -> None:
    """Show one run; default: the latest complete one.

    \b
    mast-edge runs show
    mast-edge runs show --json
    """
    from mast_edge.console import pairs_table
    from mast_edge.runs import run_facts

    facts = run_facts(chosen_run(run_name, quiet))
    show(as_json, {"schema": "mast-edge/run-facts/1", **facts}, lambda: [pairs_table(facts["name"], facts)])


@click.group()
def config() -> None:
    """What a config means, and whether it is valid.

    \b
    mast-edge config check configs/qmix_3m.yaml
    mast-edge config show configs/qmix_3m.yaml --set t_max=300_000
    """


@config.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@config_options
@common
def config_show(
    path: Path,
    variant: str | None,
    overlays: tuple[Path, ...],
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Print every value, and where those that are not defaults come from.

    \b
    mast-edge config show configs/qmix_3m.yaml
    mast-edge config show configs/qmix_3m.yaml --with configs/quick.yaml --set method=dense --json
    mast-edge config show configs/paper/table2.yaml --variant qmix-lambda-0.6
    """
    from mast_edge.config import config_sha256, dump_yaml, load_config, run_name, to_dict

    loaded = load_config(path, overrides, variant=variant, overlays=overlays)
    facts = {
        "schema": "mast-edge/config/1",
        "run": run_name(loaded),
        "sha256": config_sha256(loaded),
        "config": to_dict(loaded),
        "origins": {".".join(map(str, key)): origin for key, origin in loaded.origins.items()},
    }
    show(as_json, facts, lambda: [f"# run {facts['run']}", dump_yaml(loaded).rstrip()])


@config.command("check")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@config_options
@common
def config_check(
    paths: tuple[Path, ...],
    variant: str | None,
    overlays: tuple[Path, ...],
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Check configs; exit code 4 at the first one that is not valid.

    All variants of a file are checked, unless --variant names one.

    \b
    mast-edge config check configs/qmix_3m.yaml
    mast-edge config check configs/paper/table2.yaml configs/paper/fig9.yaml
    mast-edge config check configs/qmix_3m.yaml configs/qmix_3s5z.yaml --with configs/quick.yaml --json
    """
    from mast_edge.config import load_config, run_name
    from mast_edge.config_files import variant_names

    rows = []
    for path in paths:
        every: list[str | None] = [*variant_names(path)] if variant is None else []
        for name in every or [variant]:
            loaded = load_config(path, overrides, variant=name, overlays=overlays)
            rows.append({"path": str(path), "variant": name, "run": run_name(loaded)})
    result = {"schema": "mast-edge/config-check/1", "ok": True, "files": rows}

    def line(row: dict[str, str | None]) -> str:
        chosen = f" --variant {row['variant']}" if row["variant"] else ""
        return f"{row['path']}{chosen}: ok, run {row['run']}"

    show(as_json, result, lambda: [line(row) for row in rows])


@config.command("schema")
@common
def config_schema(as_json: bool, quiet: bool) -> None:
    """Print the JSON schema of config files, for editors.

    \b
    mast-edge config schema
    mast-edge config schema --json
    """
    from mast_edge.config import json_schema

    click.echo(json.dumps(json_schema(), indent=None if as_json else 2))


@click.command()
@common
def doctor(as_json: bool, quiet: bool) -> None:
    """Check what this machine has and lacks.

    Exit code 8 when something essential is missing.

    \b
    mast-edge doctor
    mast-edge doctor --json
    """
    report = stage("mast_edge.doctor", "examine")()
    show(as_json, report.to_json(), lambda: [stage("mast_edge.doctor", "doctor_table")(report)])
    finish(0 if report.ok else 8)


@click.command()
@click.argument("suite", type=click.Choice([*SUITES, "all"]))
@common
def benchmark(suite: str, as_json: bool, quiet: bool) -> None:
    """Measure speed, with the scripts of benchmarks/.

    \b
    mast-edge benchmark env
    mast-edge benchmark runtime --json
    """
    result = stage("mast_edge.benchmarking", "measure")(tuple(SUITES) if suite == "all" else (suite,))

    def tables() -> list[Any]:
        from mast_edge.console import rows_table

        columns = ["suite", "name", "case", "value", "unit", "times the peer", "goal"]
        rows = [
            [*(row[key] for key in columns[:5]), _ratios(row["ratios"]), _goal(row)] for row in result["rows"]
        ]
        skipped = [f"{peer}: not measured: {why}" for peer, why in result["host"].get("skipped", {}).items()]
        return [rows_table(columns, rows), *skipped]

    show(as_json, result, tables)


def _goal(row: dict[str, Any]) -> str:
    """A value, or ratios over peers."""
    if "goal" in row:
        return f"{row['goal']:,} {_met(row)}"
    return ", ".join(f"{goal['peer']} {goal['at_least']:g}x {_met(goal)}" for goal in row.get("goals", []))


def _met(goal: dict[str, Any]) -> str:
    return "reached" if goal["reached"] else "missed"


def _ratios(ratios: dict[str, float]) -> str:
    return ", ".join(f"{peer} {ratio:.{2 if ratio >= 0.1 else 5}f}x" for peer, ratio in ratios.items())
