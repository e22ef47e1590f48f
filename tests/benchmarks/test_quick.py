"""The tables of the quick benchmark: every row is another run, and a row tells what its run did."""

import json
from pathlib import Path

import pytest

from benchmarks.quick import LAST, TABLES, row, tasks
from mast_edge.config import load_config, run_name
from mast_edge.runs import find_run
from mast_edge.train.loop import train

MAPS = ("3m", "2s3z")


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_a_run_of_its_own(table: str) -> None:
    chosen = tasks(table, MAPS, ())
    configs = [load_config(t.config, t.overrides, {}, overlays=t.overlays) for t in chosen]
    assert len({run_name(c) for c in configs}) == len(chosen) == len(MAPS) * len(TABLES[table])
    assert {c.t_max for c in configs} == {2_000_000 if table == "full" else 500_000}


def test_a_row_holds_the_curve_and_its_end(tmp_path: Path) -> None:
    short = ["t_max=1500", "sparsity=0.9", "replay.batch_size=4", "evaluation.interval=50"]
    config = load_config("configs/qmix_3m.yaml", [*short, "evaluation.episodes=2", "topology.interval=5"], {})
    result = train(config, runs_root=tmp_path)
    run = find_run(result.run, tmp_path)
    made = row("MAST 3m", run)
    lines = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    rates = [r["win_rate"] for r in lines if r["kind"] == "evaluation"]
    assert [rate for _, rate in made["curve"]] == rates
    assert made["last_20_mean"] == pytest.approx(sum(rates[-LAST:]) / len(rates[-LAST:]), abs=1e-4)
    assert made["layers_at_end"]["agent.fc1"]["nnz"] == 428
    assert (made["seed"], made["t_max"], made["sparsity"]) == (1, 1500, 0.9)
    assert made["seconds"]["learn"] > 0
