"""Runs trained at once: each leaves what `train` leaves, ends by itself, and goes on where it stopped."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import ArtifactCorrupt, ConfigError, RunLocked
from mast_edge.runs import RunFolder, read_manifest
from mast_edge.train.loop import train
from mast_edge.train.session import Progress, TrainResult
from mast_edge.train.trainer import Trainer
from mast_edge.train.vector.loop import train_at_once
from tests.train.small_runs import contents, folder, small, timeless_metrics

SELDOM = {"checkpoint": {"interval_seconds": 0.5}, "evaluation": {"interval": 150}}
GROUP = [
    small("qmix", "mast", seed=1, t_max=300, **SELDOM),
    small("qmix", "dense", seed=2, t_max=420, **SELDOM),
    small("qmix", "mast", seed=3, t_max=300, sparsity=0.5, **SELDOM),
]
"""They end at different times."""


class Stop:
    """Progress that sends this process SIGTERM when a run has come far enough."""

    def __init__(self, t_env: int) -> None:
        self.t_env = t_env

    def __call__(self, state: Progress) -> None:
        if state.t_env >= self.t_env:
            self.t_env = 10**9
            os.kill(os.getpid(), signal.SIGTERM)


def statuses(results: list[TrainResult]) -> list[str]:
    return [result.status for result in results]


def test_every_run_leaves_what_train_leaves(tmp_path: Path) -> None:
    results = train_at_once(GROUP, runs_root=tmp_path)
    assert statuses(results) == ["complete"] * 3
    for config, result in zip(GROUP, results, strict=True):
        assert result.run == folder(config, tmp_path).name
        assert result.t_env >= config.t_max
        assert result.updates > 5
        alone = train(config, runs_root=tmp_path / "alone")
        here, there = contents(config, tmp_path), contents(config, tmp_path / "alone")
        assert here.keys() == there.keys()
        # The first evaluation comes before any rounding: the same weights, battles and seeds.
        assert here["metrics"][0] == there["metrics"][0]
        assert {m["kind"] for m in here["metrics"]} == {m["kind"] for m in there["metrics"]}
        names = [set().union(*(m for m in c["metrics"] if m["kind"] == "train")) for c in (here, there)]
        assert names[0] == names[1]
        assert alone.status == "complete"


def test_a_run_goes_on_alone_and_together(tmp_path: Path) -> None:
    """One format of checkpoints, whoever wrote them."""
    assert statuses(train_at_once(GROUP, runs_root=tmp_path, progress=Stop(150))) == ["interrupted"] * 3
    alone = train(GROUP[0], runs_root=tmp_path)
    assert alone.status == "complete"
    results = train_at_once(GROUP, runs_root=tmp_path)
    assert statuses(results) == ["complete"] * 3
    assert results[0].updates == alone.updates


def test_runs_that_stopped_together_end_with_the_same_bytes(tmp_path: Path) -> None:
    train_at_once(GROUP, runs_root=tmp_path / "straight")
    for t_env in (120, 330):  # the second when two of them may have ended
        results = train_at_once(GROUP, runs_root=tmp_path / "cut", progress=Stop(t_env))
        assert "interrupted" in statuses(results)
    assert statuses(train_at_once(GROUP, runs_root=tmp_path / "cut")) == ["complete"] * 3
    for config in GROUP:
        assert contents(config, tmp_path / "cut") == contents(config, tmp_path / "straight")


def test_complete_runs_are_left_alone(tmp_path: Path) -> None:
    train_at_once(GROUP[:2], runs_root=tmp_path)
    before = [contents(config, tmp_path) for config in GROUP[:2]]
    results = train_at_once(GROUP, runs_root=tmp_path)
    assert statuses(results) == ["complete"] * 3
    assert [contents(config, tmp_path) for config in GROUP[:2]] == before


def test_a_diverged_run_fails_alone(tmp_path: Path) -> None:
    """Its steps are too large: the others end as ever, and its last good checkpoint is kept."""
    sick = small("qmix", "dense", seed=2, t_max=300, **SELDOM, optim={"lr": 1e38})
    told: list[tuple[str, str]] = []
    results = train_at_once(
        [GROUP[0], sick, GROUP[2]], runs_root=tmp_path, on_remark=lambda run, text: told.append((run, text))
    )
    assert statuses(results) == ["complete", "failed", "complete"]
    assert "must be finite; got others in weights at update 1." in results[1].error
    assert told == [(results[1].run, results[1].error)]
    run = folder(sick, tmp_path)
    manifest = read_manifest(run)
    assert manifest.status == "failed"
    assert manifest.checkpoint == max(p.name for p in (run / "checkpoints").iterdir())
    assert "Divergence" in (run / "log.txt").read_text()
    again = train_at_once([sick], runs_root=tmp_path)  # it can be tried again, and does the same
    assert again[0].status == "failed"


def test_what_stops_one_run_stops_the_others_with_a_checkpoint(tmp_path: Path) -> None:
    assert statuses(train_at_once(GROUP, runs_root=tmp_path, progress=Stop(100))) == ["interrupted"] * 3
    run = folder(GROUP[2], tmp_path)
    state = max((run / "checkpoints").iterdir()) / "state.safetensors"
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=r"state\.safetensors"):
        train_at_once(GROUP, runs_root=tmp_path)
    assert [read_manifest(folder(c, tmp_path)).status for c in GROUP] == [
        "interrupted",
        "interrupted",
        "failed",
    ]


def test_a_run_held_by_another_process_is_refused(tmp_path: Path) -> None:
    env = Trainer(GROUP[1], torch.device("cpu")).env
    with RunFolder.open(GROUP[1], env.spec, root=tmp_path), pytest.raises(RunLocked):
        train_at_once(GROUP, runs_root=tmp_path)


UNEQUAL: list[tuple[str, ExperimentConfig, str]] = [
    ("algorithm", small("vdn", "mast", seed=1), "qmix .* and vdn"),
    ("env.map", small("qmix", "mast", env={"map": "2s3z"}), "3m .* and 2s3z"),
    ("obs_dim", small("qmix", "mast", env={"options": {"obs_last_action": True}}), r"30 .* and \d+"),
    ("state_dim", small("qmix", "mast", env={"options": {"state_timestep_number": True}}), "48 .* and 49"),
    ("network.hidden_dim", small("qmix", "dense", network={"hidden_dim": 32}), "16 .* and 32"),
    ("network.hidden_dim", small("qmix", "tiny", sparsity=0.5), r"16 .* and \d+ in qmix-3m-tiny"),
    ("network.mixer_embed_dim", small("qmix", "dense", network={"mixer_embed_dim": 4}), "8 .* and 4"),
    ("replay.batch_size", small("qmix", "dense", replay={"batch_size": 8}), "4 .* and 8"),
    ("rollout.n_envs", small("qmix", "dense", rollout={"n_envs": 2}), "1 .* and 2"),
    ("rollout.updates_per_episode", small("qmix", "dense", rollout={"updates_per_episode": 3}), "1 .* and 3"),
]


@pytest.mark.parametrize(("name", "other", "values"), UNEQUAL, ids=[f"{u[0]} {u[2]}" for u in UNEQUAL])
def test_runs_of_unequal_shape_are_refused(
    tmp_path: Path, name: str, other: ExperimentConfig, values: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.* must be the same .*; got {values}.*--engine local"):
        train_at_once([GROUP[0], other], runs_root=tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "algorithm", ["ow_qmix", *(pytest.param(name, marks=pytest.mark.slow) for name in ("res", "vdn"))]
)
def test_other_algorithms_with_several_updates_in_an_iteration(tmp_path: Path, algorithm: str) -> None:
    rollout: dict[str, Any] = {"n_envs": 2, "updates_per_episode": 2}
    configs = [
        small(algorithm, method, seed=seed, t_max=150, rollout=rollout)
        for seed, method in ((1, "mast"), (2, "rlx2"), (3, "dense"))
    ]
    results = train_at_once(configs, runs_root=tmp_path)
    assert statuses(results) == ["complete"] * 3
    for config, result in zip(configs, results, strict=True):
        lines = timeless_metrics(folder(config, tmp_path))
        assert all(m["updates"] % 4 == 0 for m in lines if m["kind"] == "train")
        assert result.updates >= 4
        assert json.loads((folder(config, tmp_path) / "manifest.json").read_text())["status"] == "complete"
