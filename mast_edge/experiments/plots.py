"""Pictures of runs: win rate over environment steps."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mast_edge.errors import MissingExtra, UsageError
from mast_edge.runs import Run

SMOOTHED_OVER = 10
"""Evaluations per point of the line; the single ones are the pale dots."""


def plot_win_rates(runs: Sequence[tuple[str, Run]], path: Path) -> None:
    """Draws the evaluations of runs as one picture.

    Args:
        runs: label and run, in the order of the legend.
        path: PNG to write.

    Raises:
        MissingExtra: matplotlib is not installed.
        UsageError: the runs were not all played in the same kind of environment.
    """
    kinds = sorted({str(run.manifest.env.get("backend")) for _, run in runs})
    if len(kinds) > 1:
        raise UsageError(
            f"plots: runs must be of one kind of environment; got {', '.join(kinds)}. Draw them separately."
        )
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plots", "matplotlib", "report") from error
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, run in runs:
        t_env, win_rate = evaluations(run.path)
        line = axes.plot(t_env, _smoothed(win_rate), label=label, linewidth=2)[0]
        axes.plot(t_env, win_rate, ".", color=line.get_color(), alpha=0.25, markersize=4)
    axes.set(xlabel="environment steps", ylabel="battles won, greedy", ylim=(-0.02, 1.02))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=150)


def evaluations(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Environment steps and win rate of every evaluation in a run's metrics.jsonl."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    points = [(r["t_env"], r["win_rate"]) for r in records if r["kind"] == "evaluation"]
    t_env, win_rate = np.array(points, float).reshape(-1, 2).T
    return t_env, win_rate


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Mean of the evaluations around each, fewer at the ends."""
    half = SMOOTHED_OVER // 2
    return np.array([values[max(0, i - half) : i + half].mean() for i in range(len(values))])
