"""Training on games that break and cannot be saved: what is left out, counted, and said."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from mast_edge.config import resolve
from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import AgentSpec
from mast_edge.train.loop import Progress, train
from mast_edge.train.rollout import Actor, play_episodes, play_exactly
from tests.envs.fake_games import FakeGames
from tests.runtime.toy_battle import SPEC, ToyBattle


def short(t_max: int, n_envs: int = 2, interval: int = 1000) -> ExperimentConfig:
    return resolve(
        {
            "env": {"map": "3m", "backend": "smac", "smac": {"python": sys.executable, "backoff": 0.0}},
            **{"t_max": t_max, "rollout": {"n_envs": n_envs}},
            "evaluation": {"episodes": 3, "interval": interval},
            "replay": {"batch_size": 4, "capacity": 50},
        }
    )


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGames:
    games = FakeGames(tmp_path / "games")
    for name, value in games.environ.items():
        monkeypatch.setenv(name, value)
    return games


class BreakingBattle(ToyBattle):
    """Loses environment `seed % 3 == 0` in its second step."""

    def step(self, actions, which=None):
        step = super().step(actions, which)
        broken = which & (self.t == 2) & (np.array(self.seeds) % 3 == 0)
        step.lost[:] = broken
        step.terminated[:] |= broken
        return step


def actor(n_envs: int) -> Actor:
    player = Actor(AgentSpec.of(SPEC), n_envs)
    shapes = player.spec.layer_shapes()
    weights = {f"{layer}.weight": np.zeros(shape, np.float32) for layer, shape in shapes.items()}
    player.load({**weights, **{f"{layer}.bias": np.zeros(s[0], np.float32) for layer, s in shapes.items()}})
    return player


def test_lost_episodes_are_left_out_of_a_rollout() -> None:
    rollout = play_episodes(BreakingBattle(4, 0), actor(4))
    assert rollout.lost == 2  # seeds 0 and 3
    assert [e.length for e in rollout.episodes] == [5, 5]
    assert (rollout.won.shape, rollout.steps) == ((2,), 10)


def test_lost_episodes_of_an_evaluation_are_replaced() -> None:
    rollout = play_exactly(BreakingBattle(4, 0), actor(4), 5)
    assert (len(rollout.episodes), len(rollout.won), rollout.lost) == (5, 5, 6)
    assert {e.length for e in rollout.episodes} == {5}


def test_the_simulator_loses_nothing() -> None:
    step = ToyBattle(2, 0)
    step.reset()
    assert step.step(np.ones((2, 2), int)).lost.tolist() == [False, False]


def test_a_stopped_run_goes_on_from_a_fresh_episode(tmp_path: Path, fake: FakeGames) -> None:
    stopped = []

    def stop(progress: Progress) -> None:
        if progress.t_env >= 100 and not stopped:
            stopped.append(progress.t_env)
            signal.raise_signal(signal.SIGINT)

    config = short(t_max=600, interval=150)  # an evaluation always shows progress, whatever the clock says
    first = train(config, device="cpu", runs_root=tmp_path / "runs", progress=stop)
    assert first.status == "interrupted"
    assert 100 <= first.t_env < 600
    assert fake.processes() == []
    fake.environ["FAKE_SMAC_CHANCE"] = "0.2"
    fake.inject("step-exit", "step-raise", "step-length")
    said: list[str] = []
    second = train(config, device="cpu", runs_root=tmp_path / "runs", on_remark=said.append)
    assert (second.status, second.run) == ("complete", first.run)
    assert second.t_env >= 600
    assert len([line for line in said if "not bit for bit" in line]) == 1
    run = tmp_path / "runs" / first.run
    assert "not bit for bit" in (run / "log.txt").read_text()
    assert fake.waiting() == []
    assert fake.processes() == []
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = max((run / "checkpoints").iterdir()) / "resume.json"
    assert json.loads(last.read_text())["counters"]["episodes_lost"] == 3
    assert sum(line.get("episodes_lost", 0) for line in lines) <= 3  # the others: recordings
    assert all(0 <= line["win_rate"] <= 1 for line in lines if line["kind"] == "evaluation")
