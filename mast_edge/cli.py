"""The command line: parses, calls one function per command, prints.

Stages are imported when their command runs, so that help needs none of them.

Source: cli.md; parity_and_safety.md 5, 9.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mast_edge import __version__
from mast_edge.cli_account import account
from mast_edge.cli_export import export, export_what_is_missing
from mast_edge.cli_inspect import benchmark, config, doctor, runs
from mast_edge.cli_sc2 import serve_sc2
from mast_edge.cli_shared import RUN_OPTION, common, config_options, finish, remark, show
from mast_edge.cli_sweep import sweep
from mast_edge.exits import INTERRUPTED, run, stage
from mast_edge.registry import RUNTIME_BACKENDS


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="mast-edge")
def cli() -> None:
    """Train teams of sparse cooperative agents, export them small, and prove that they still win.

    \b
    mast-edge train configs/qmix_3m.yaml --set t_max=300_000
    mast-edge export --format csr
    mast-edge evaluate --runtime csr

    Exit codes: 0 done or parity shown, 1 internal error, 2 usage, 3 missing input, 4 invalid config,
    5 artifact refused, 6 parity failed, 7 inconclusive, 8 environment unavailable, 130 interrupted.
    """


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@config_options
@click.option("--seed", type=click.IntRange(min=0), help="Short for --set seed=N.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--learner", type=click.Choice(["auto", "torch", "native"]), default="auto", show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(min=1, max=64),
    default=1,
    show_default=True,
    help="Cores for one update of the native learner. More runs at once use cores better.",
)
@click.option("--fresh", is_flag=True, help="Start over; discards what this run has so far.")
@common
def train(
    config: Path,
    variant: str | None,
    overlays: tuple[Path, ...],
    overrides: tuple[str, ...],
    seed: int | None,
    device: str,
    learner: str,
    threads: int,
    fresh: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train the agents of CONFIG. The same config and seed go on where they stopped.

    \b
    mast-edge train configs/qmix_3m.yaml
    mast-edge train configs/qmix_3m.yaml --with configs/quick.yaml --set method=dense --seed 2
    mast-edge train configs/paper/table2.yaml --variant qmix-lambda-0.6 --json
    """
    from mast_edge.config import load_config
    from mast_edge.console import TrainingDisplay, pairs_table

    sets = [*overrides, *([f"seed={seed}"] if seed is not None else [])]
    chosen = load_config(config, sets, variant=variant, overlays=overlays)
    train_run = stage("mast_edge.train.loop", "train")
    with TrainingDisplay(quiet) as display:
        result = train_run(
            chosen,
            device=device,
            learner=learner,
            threads=threads,
            fresh=fresh,
            progress=display,
            on_remark=lambda text: remark(quiet, text),
        )
    facts = {
        "run": result.run,
        "t_env": result.t_env,
        "updates": result.updates,
        "win_rate": result.win_rate,
        "wall_seconds": result.wall_seconds,
        "env_steps_per_second": result.env_steps_per_second,
        "status": result.status,
    }
    show(as_json, {"schema": "mast-edge/train/1", **facts}, lambda: [pairs_table("train", facts)])
    if result.status == "interrupted":
        remark(quiet, "interrupted; the same command goes on from here")
        finish(INTERRUPTED)
    remark(quiet, f"next: mast-edge export --run {result.run} --format csr")


@cli.command()
@RUN_OPTION
@click.option("--artifact", type=click.Path(path_type=Path), help="An exported file instead of a run.")
@click.option("--runtime", type=click.Choice(list(RUNTIME_BACKENDS)), default="csr", show_default=True)
@click.option(
    "--reference",
    metavar="RUN|dense|torch",
    help="Default: the newest dense run of the same map, else its own weights.",
)
@click.option("--episodes", type=click.IntRange(min=1), help="A fixed number of pairs instead of looks.")
@click.option(
    "--design",
    type=click.Choice(["pocock", "tapered", "anytime"]),
    help="When to look, and how strong evidence must be (docs/verdict.md). Default: pocock.",
)
@click.option("--anytime", is_flag=True, help="Short for --design anytime: a look after every 25 pairs.")
@click.option(
    "--margin", type=float, default=0.03, show_default=True, help="Largest loss that counts as parity."
)
@click.option(
    "--env",
    "backend",
    type=click.Choice(["skirmish", "smac"]),
    help="Simulator or StarCraft II. Default: where it was trained.",
)
@click.option("--decentralised", is_flag=True, help="Each agent in a process of its own, over a socket.")
@click.option(
    "--step-timeout",
    type=float,
    metavar="SECONDS",
    help="With --decentralised: who has not answered by then does nothing in this step. Default: 1.",
)
@common
def evaluate(
    run_name: str | None,
    artifact: Path | None,
    runtime: str,
    reference: str | None,
    episodes: int | None,
    design: str | None,
    anytime: bool,
    margin: float,
    backend: str | None,
    decentralised: bool,
    step_timeout: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Play with exported agents and give the verdict.

    Says whether they are as good as the reference: exit code 0 yes, 6 no, 7 not settled.

    \b
    mast-edge evaluate --runtime csr
    mast-edge evaluate --runtime onnx --reference torch --episodes 100
    mast-edge evaluate --artifact build/agents/csr/agent.safetensors --decentralised --json
    """
    if run_name is not None and artifact is not None:
        raise click.UsageError("--run and --artifact exclude each other.")
    if anytime and design not in (None, "anytime"):
        raise click.UsageError(f"--anytime and --design {design} exclude each other.")
    if step_timeout is not None and not decentralised:
        raise click.UsageError("--step-timeout needs --decentralised.")
    from mast_edge.console import EpisodeDisplay

    if artifact is None:
        export_what_is_missing(run_name, runtime, quiet)
    judge = stage("mast_edge.runtime.evaluate", "evaluate")
    with EpisodeDisplay(quiet) as display:
        verdict = judge(
            run=run_name,
            artifact=artifact,
            runtime=runtime,
            reference=reference,
            episodes=episodes,
            design="anytime" if anytime else design,
            margin=margin,
            env=backend,
            decentralised=decentralised,
            step_seconds=step_timeout,
            on_progress=lambda at: display(at.done, at.total, at.wins),
            on_remark=lambda text: remark(quiet, text),
        )
    table = ("mast_edge.runtime.verdict_table", "verdict_table")
    show(as_json, verdict.to_json(), lambda: [stage(*table)(verdict)])
    finish(verdict.exit_code)


CONFORM_COLUMNS = ("file", "snapshots", "replays", "values", "wrong", "obs off by", "state", "reward", "")


def _conform_row(file: Mapping[str, Any]) -> list[Any]:
    errors = [f"{file['max_abs_error'][what]:.0e}" for what in ("obs", "state", "reward")]
    counts = [file[name] for name in ("snapshots", "replays", "checked", "mismatched")]
    return [Path(file["path"]).name, *counts, *errors, file["reason"] or "holds"]


@cli.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--map", "maps", multiple=True, metavar="MAP", help="Only vectors of this map; repeatable.")
@common
def conform(paths: tuple[Path, ...], maps: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Hold the simulator against vectors recorded from SMAC.

    PATH: files, or folders searched to the bottom. Exit code 0 only when every vector holds, else 6.

    \b
    mast-edge conform tests/data
    mast-edge conform tests/data --map 3m --json
    """
    report = stage("mast_edge.envs.conform", "conform")(paths, maps or None)

    def tables() -> list[Any]:
        from mast_edge.console import rows_table

        return [rows_table(CONFORM_COLUMNS, [_conform_row(file) for file in report.to_json()["files"]])]

    show(as_json, report.to_json(), tables)
    finish(0 if report.ok else 6)


@cli.command()
@click.argument("target", metavar="MAP|FILE.replay")
@click.option("--policy", metavar="random|nearest|PATH", help="Who plays; default: nearest.")
@click.option("--episodes", type=click.IntRange(min=1), help="Default: 100, or 1 to render or for a replay.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the first episode; default: 0.")
@click.option("--render", type=click.Choice(["ascii", "gif"]), help="Draw in the terminal, or into a film.")
@click.option("--out", type=click.Path(path_type=Path), help="File of the film; default: MAP.gif here.")
@click.option(
    "--save-replay",
    type=click.Path(path_type=Path),
    metavar="FILE.replay|FOLDER",
    help="Save the first episode to a file, or each into a folder.",
)
@common
def play(
    target: str,
    policy: str | None,
    episodes: int | None,
    seed: int | None,
    render: str | None,
    out: Path | None,
    save_replay: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Play a map with a scripted policy or an exported agent, or play a replay back.

    \b
    mast-edge play 3m --policy random --episodes 500 --json
    mast-edge play 3m --render gif --save-replay 3m.replay
    mast-edge play 3m.replay --render ascii
    """
    from mast_edge.console import EpisodeDisplay, FrameDisplay, console_on

    if out is not None and render != "gif":
        raise click.UsageError("--out needs --render gif.")
    recorded = target.endswith(".replay")
    if recorded and any(option is not None for option in (policy, episodes, seed, save_replay)):
        raise click.UsageError("--policy, --episodes, --seed and --save-replay do not apply to a replay.")
    one = render is not None or (save_replay is not None and save_replay.suffix == ".replay")
    counts, films = not (quiet or one or recorded), render == "gif" and not quiet
    with EpisodeDisplay(not counts) as display, FrameDisplay(not films) as frames:
        shown = {
            "render": render,
            "out": out,
            "console": console_on(sys.stderr if as_json else sys.stdout),
            "on_frame": frames,
        }
        if recorded:
            result = stage("mast_edge.runtime.playback", "watch_replay")(target, **shown)
        else:
            result = stage("mast_edge.runtime.play", "play")(
                target,
                policy or "nearest",
                episodes or (1 if one else 100),
                seed or 0,
                save_replay=save_replay,
                on_progress=display,
                **shown,
            )
    show(as_json, result, lambda: [stage("mast_edge.runtime.play", "play_table")(result)])
    for kind in ("film", "replays"):
        if kind in result:
            remark(quiet, f"{kind}: {result[kind]}")


for group in (account, export, sweep, runs, config, doctor, benchmark, serve_sc2):
    cli.add_command(group)


def main() -> None:
    """Entry point of `mast-edge`. One process computes with one thread: matrices here are small, and a second
    thread that waits for work slows both runs of a machine with two cores (training_speed.md 5)."""
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    sys.exit(run(cli, sys.argv[1:]))
