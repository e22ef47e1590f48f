"""What a sweep is made of, and which of its runs are trained."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mast_edge.config import run_name
from mast_edge.errors import ConfigError, UsageError
from mast_edge.experiments.sweep import Task, complete_result, plan, read_seeds, sweep
from mast_edge.experiments.sweep_bars import Bars

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MAP_3M, MAP_8M = str(CONFIGS / "qmix_3m.yaml"), str(CONFIGS / "qmix_8m.yaml")
TABLE = str(CONFIGS / "paper" / "table2.yaml")


def silent() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", [3]), ("0-3", [0, 1, 2, 3]), ("5,1", [5, 1]), ("0-2, 7,1-1", [0, 1, 2, 7])],
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1,", "-1", "3-1", "1-", "1.5", "²", "0-100000", "0--1", "99999999999"]
)
def test_what_are_no_seeds(text: str) -> None:
    with pytest.raises(UsageError, match="sweep: seeds must"):
        read_seeds(text)


def test_a_plan_is_configs_times_seeds_each_run_once() -> None:
    tasks = plan([MAP_3M, MAP_8M, MAP_3M], [2, 0], ["t_max=600"])
    assert [(Path(t.config).stem, t.overrides) for t in tasks.values()] == [
        ("qmix_3m", ("t_max=600", "seed=2")),
        ("qmix_3m", ("t_max=600", "seed=0")),
        ("qmix_8m", ("t_max=600", "seed=2")),
        ("qmix_8m", ("t_max=600", "seed=0")),
    ]
    assert all(name == run_name(task.load()) == task.label for name, task in tasks.items())
    assert [task.load().seed for task in plan([MAP_3M], []).values()] == [1]


def test_a_task_is_a_command_line() -> None:
    task = Task("x", TABLE, ("seed=4",), (str(CONFIGS / "quick.yaml"),), "qmix-lambda-0.6", "cpu")
    words = task.command()[3:]
    assert words == [
        "train", TABLE, "--variant", "qmix-lambda-0.6", "--with", str(CONFIGS / "quick.yaml"),
        "--set", "seed=4", "--device", "cpu", "--json",
    ]  # fmt: skip
    assert (task.load().target.lambda_, task.load().seed) == (0.6, 4)
    assert Task("x", MAP_3M).command()[3:] == ["train", MAP_3M, "--json"]


def test_unequal_shapes_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAST_EDGE_RUNS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"env\.map must be the same"):
        sweep(plan([MAP_3M, MAP_8M], []), "vector", silent())
    assert not any(tmp_path.iterdir())


def test_only_a_complete_run_of_the_same_config_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.train.small_runs import StopAfter, advance, folder, small

    monkeypatch.setenv("MAST_EDGE_RUNS", str(tmp_path))
    config = small(t_max=150)
    assert complete_result(config) is None
    advance(config, tmp_path, StopAfter(2))
    assert complete_result(config) is None
    result, _ = advance(config, tmp_path)
    found = complete_result(config)
    assert result is not None
    assert found is not None
    assert found == {
        "run": result.run,
        "t_env": result.t_env,
        "updates": result.updates,
        "win_rate": result.win_rate,
        "wall_seconds": result.wall_seconds,
        "env_steps_per_second": 0.0,
        "status": "complete",
    }
    path = folder(config, tmp_path) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "config_sha256": "0" * 64}))
    assert complete_result(config) is None


def test_without_a_terminal_progress_is_a_line_per_running_run(monkeypatch: pytest.MonkeyPatch) -> None:
    console = silent()
    with Bars(console) as bars:
        bars.add("first", 200)
        bars.add("second", 100)
        bars.update("first", 50, {"win_rate": 0.5, "return": None, "sparsity": 0.9})
        bars.tell(["first"])  # too early
        bars.said -= 60
        bars.tell(["first"])
        bars.remark("second: [not] a style")
    assert console.file.getvalue().splitlines() == [
        "first:  25%  win rate  0.50  sparsity 90%",
        "second: [not] a style",
    ]
