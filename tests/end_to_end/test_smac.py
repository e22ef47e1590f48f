"""Real StarCraft II as far as the command line can tell: the adapter, over the fake package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import CONFIG, environment
from tests.envs.fake_games import FakeGames

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are looked for in /proc")

SMAC = ("--set", "env.backend=smac", "--set", "env.smac.backoff=0", "--set", "env.smac.evaluation_games=3")
SHORT = (*SMAC, "--set", "t_max=400", "--set", "rollout.n_envs=3", "--set", "evaluation.episodes=4")
BATCHES = ("--set", "replay.batch_size=4", "--set", "replay.capacity=50")


class CommandLine:
    """`mast-edge ARGUMENT...` in a folder, with the fake games."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fake = folder, FakeGames(folder)

    def arguments(self, *arguments: str) -> list[str]:
        """The whole command."""
        return [sys.executable, "-m", "mast_edge", *arguments]

    def environ(self) -> dict[str, str]:
        """What it runs in."""
        return {**environment(self.folder), **self.fake.environ, "MAST_EDGE_SMAC_PYTHON": sys.executable}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        done = subprocess.run(
            self.arguments(*arguments),
            cwd=self.folder,
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert self.fake.processes() == []
        return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A finished run that has lost episodes."""
    call = CommandLine(tmp_path_factory.mktemp("smac"))
    call.fake.environ["FAKE_SMAC_CHANCE"] = "0.1"
    call.fake.inject("step-exit", "step-nan", "reset-raise", "step-connection")
    done = call("train", str(CONFIG), *SHORT, *BATCHES, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "complete"
    assert call.fake.waiting() == []
    return call


def records(call: CommandLine) -> list[dict[str, object]]:
    (log,) = (call.folder / "runs").glob("*/metrics.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_training_counts_what_it_lost(trained: CommandLine) -> None:
    lines = records(trained)
    assert sum(int(str(line["episodes_lost"])) for line in lines if "episodes_lost" in line) <= 3
    (run,) = (trained.folder / "runs").glob("qmix-3m-mast-*")
    resume = max(run.glob("checkpoints/*/resume.json"))
    counters = json.loads(resume.read_text())["counters"]
    assert 0 <= counters["episodes_lost"] <= 3
    assert counters["t_env"] >= 400
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["env"]["backend"] == "smac"


def test_exported_agents_are_judged_in_the_game(trained: CommandLine) -> None:
    assert trained("export", "--format", "csr").returncode == 0
    trained.fake.inject("step-sigkill", "step-exit")
    trained.fake.environ["FAKE_SMAC_CHANCE"] = "0.05"
    judged = trained(
        "evaluate", "--env", "smac", "--runtime", "csr", "--reference", "numpy", "--episodes", "20", "--json"
    )
    verdict = json.loads(judged.stdout)
    assert judged.returncode == 7, judged.stderr
    assert (verdict["env"], verdict["paired"], verdict["episodes"]) == ("smac", False, 20)
    assert verdict["seeds"] is None
    assert verdict["game"]["game_version"] == "4.10"
    assert verdict["action_agreement"] == 1.0
    assert verdict["lost"] in (0, 1, 2)
    assert (verdict["worst_case"] is None) == (verdict["lost"] == 0)
    assert not any("embedded simulator" in said for said in verdict["not_tested"])
