"""`make demo`: sparse and dense agents learn 3m side by side, become files, and are judged.

Every step is a stage's public function or command, printed so that it can be repeated by hand.
"""

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mast_edge.console import EpisodeDisplay, console_on
from mast_edge.errors import MastEdgeError
from mast_edge.experiments.plots import plot_win_rates
from mast_edge.experiments.sweep import Task, train_together
from mast_edge.export import export_run
from mast_edge.runs import find_run, point_latest, runs_root
from mast_edge.runtime.evaluate import evaluate
from mast_edge.runtime.verdict import Verdict, shown_path

CONFIG = "configs/demo_3m.yaml"
FORMATS = ("csr", "onnx", "c")
RUNTIMES = ("csr", "onnx")
MAST = Task("MAST 90 %", CONFIG)
VERDICT_COLUMNS = (
    "runtime",
    "judged against",
    "win rate",
    "reference",
    "difference, 90 %",
    "pairs",
    "same actions",
    "act()",
    "verdict",
)
DENSE = Task("dense", CONFIG, ("method=dense", "optim.lr=5e-4"))


def demo(console: Console, out: Console) -> None:
    """Trains, exports, evaluates and shows.

    Args:
        console: for progress (stderr).
        out: for results (stdout).

    Raises:
        MastEdgeError: a step failed.
    """
    started = time.monotonic()
    console.print("[bold]1. Train[/bold]  MAST-QMIX and dense QMIX on 3m, one core each")
    for task in (MAST, DENSE):
        console.print(f"   mast-edge {' '.join(task.command()[3:-1])}", style="dim")
    mast, dense = train_together([MAST, DENSE], console, runs_root() / "demo-logs")
    run = find_run(mast["run"])
    point_latest(run.path)

    console.print("[bold]2. Export[/bold]  the sparse agents, each file read back and compared")
    console.print(f"   mast-edge export --run {run.path} --format all", style="dim")
    exported = export_run(run.checkpoint, FORMATS).to_json()

    console.print("[bold]3. Evaluate[/bold]  paired battles; the runtimes know nothing of torch")
    verdicts = []
    for runtime in RUNTIMES:
        for reference in ("torch", dense["run"]):
            console.print(
                f"   mast-edge evaluate --run {run.path} --runtime {runtime} --reference {reference}",
                style="dim",
            )
            with EpisodeDisplay(False) as display:
                verdicts.append(
                    evaluate(
                        run=mast["run"],
                        runtime=runtime,
                        reference=reference,
                        on_progress=lambda at: display(at.done, at.total, at.wins),
                    )
                )
    picture = runs_root() / "demo.png"
    plot_win_rates([("dense QMIX", find_run(dense["run"])), ("MAST-QMIX, 90 % sparse", run)], picture)
    out.print(_verdict_table(verdicts))
    out.print(_file_table(exported, mast, dense))
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    out.print(f"done in {minutes} min {seconds} s. Watch a battle:")
    artifact = next(f["path"] for f in exported["files"] if f["format"] == "csr")
    out.print(f"  .venv/bin/mast-edge play 3m --policy {shown_path(artifact)} --render ascii", soft_wrap=True)


def _verdict_table(verdicts: list[Verdict]) -> Table:
    table = Table(title="Verdicts: equal seeds, 3 points of win rate allowed", title_justify="left")
    for column in VERDICT_COLUMNS:
        table.add_column(column)
    for v in verdicts:
        low, high = v.difference_ci90
        same = "-" if v.certificate is None else f"{100 * v.certificate.agreement:.2f} %"
        table.add_row(
            v.runtime,
            "its own weights, torch" if v.judged == "fidelity" else "dense QMIX",
            f"{100 * v.win_rate:.1f} %",
            f"{100 * v.reference_win_rate:.1f} %",
            f"{100 * v.pairs.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
            str(v.pairs.n),
            same,
            f"{v.latency.median:.1f} us",
            v.decision,
        )
    return table


def _file_table(exported: dict[str, Any], mast: dict[str, Any], dense: dict[str, Any]) -> Table:
    table = Table(title="Where things are", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    for entry in exported["files"]:
        table.add_row(f"{entry['format']} agent", shown_path(entry["path"]), f"{entry['bytes']:,} bytes")
    table.add_row("dense float32 weights", "", f"{exported['size']['dense_f32_bytes']:,} bytes")
    for label, result in (("MAST run", mast), ("dense run", dense)):
        rate = "-" if result["win_rate"] is None else f"{100 * result['win_rate']:.1f} % in training"
        table.add_row(label, shown_path(runs_root() / result["run"]), rate)
    table.add_row("learning curves", shown_path(runs_root() / "demo.png"), "")
    return table


def main() -> int:
    """Entry point; returns the exit code."""
    try:
        demo(console_on(sys.stderr), console_on(sys.stdout))
    except MastEdgeError as error:
        console_on(sys.stderr).print(str(error), markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        console_on(sys.stderr).print("interrupted; the same command goes on from here", markup=False)
        return 130
    return 0


if __name__ == "__main__":
    if not Path(CONFIG).is_file():
        sys.exit(f"demo: working directory must hold {CONFIG}; got {Path.cwd()}. Run it as: make demo")
    sys.exit(main())
