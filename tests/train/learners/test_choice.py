"""Which learner trains a run: by name, by what it can, and what runs and the command line say of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from mast_edge.config import resolve
from mast_edge.errors import EnvironmentUnavailable, UsageError
from mast_edge.native import _core
from mast_edge.registry import ALGORITHMS
from mast_edge.spec import EnvSpec
from mast_edge.train.learners.choice import chosen_device, chosen_learner
from mast_edge.train.learners.native import NativeLearner, supports
from mast_edge.train.learners.torch import TorchLearner
from tests.train.algos.toy import CPU, SPEC, make_learner, random_episodes
from tests.train.small_runs import StopAt, advance, folder, small

CONFIG = resolve({"env": {"map": "3m"}})
CUDA = torch.device("cuda")
ROOT = Path(__file__).resolve().parents[3]
QUICK = ["--set", "t_max=400", "--set", "replay.batch_size=4", "--set", "evaluation.episodes=2"]
NATIVE, TORCH = f"native, {_core.kernel_path()} kernels", "torch on cpu"


def many(agents: int) -> EnvSpec:
    return EnvSpec("3m", "toy", agents, 4, obs_dim=3, state_dim=5, episode_limit=9)


def kind(learner: str, device: torch.device = CPU, config: Any = CONFIG, env: EnvSpec = SPEC) -> type:
    made = chosen_learner(learner, device, config, env)
    return TorchLearner if made is TorchLearner else made.func  # type: ignore[union-attr]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("learner", "made"), [("auto", NativeLearner), ("torch", TorchLearner), ("native", NativeLearner)]
)
def test_every_algorithm_of_the_package_has_both_learners(learner, made, algorithm) -> None:
    assert kind(learner, config=resolve({"env": {"map": "3m"}, "algorithm": algorithm})) is made
    assert type(make_learner(algorithm=algorithm, learner=learner)) is made


def test_other_devices_are_torchs() -> None:
    assert kind("auto", CUDA) is kind("torch", CUDA) is TorchLearner
    with pytest.raises(EnvironmentUnavailable, match="Use --learner torch"):
        kind("native", CUDA)


def test_an_algorithm_that_is_not_written_out() -> None:
    """Registering one in algos/ is enough to train it with torch."""
    other = msgspec.structs.replace(CONFIG, algorithm="qplex")
    assert not supports(other, SPEC)
    assert kind("auto", config=other) is kind("torch", config=other) is TorchLearner
    with pytest.raises(EnvironmentUnavailable, match="got qplex with 3") as refused:
        kind("native", config=other)
    assert refused.value.exit_code == 8


def test_more_agents_than_a_panel_has_columns() -> None:
    assert kind("auto", env=many(64)) is NativeLearner
    assert kind("auto", env=many(65)) is kind("torch", env=many(65)) is TorchLearner
    with pytest.raises(EnvironmentUnavailable, match="at most 64 agents; got qmix with 65"):
        kind("native", env=many(65))
    learner = make_learner(many(65), learner="auto")
    learner.update(random_episodes(np.random.default_rng(0), [2, 1], many(65)), 1)
    assert learner.description == TORCH


def test_devices() -> None:
    assert (
        chosen_device("cpu", "native")
        == chosen_device("cpu", "torch")
        == chosen_device("auto", "native")
        == CPU
    )
    assert chosen_device("auto") == (CUDA if torch.cuda.is_available() else CPU)
    for arguments in (("cuda", "native"), ("cpu", "numpy"), ("tpu", "auto")):
        with pytest.raises(UsageError, match=r"^train: (device|learner) must be"):
            chosen_device(*arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("learner", ["auto", "torch"])
def test_a_device_that_is_not_there(learner) -> None:
    with pytest.raises(EnvironmentUnavailable, match="device cuda must be present; got none"):
        chosen_device("cuda", learner)


def test_threads_are_the_native_learners() -> None:
    made = chosen_learner("native", CPU, CONFIG, SPEC, 3)
    assert made.keywords == {"threads": 3}  # type: ignore[union-attr]
    assert chosen_learner("torch", CPU, CONFIG, SPEC, 3) is TorchLearner


@pytest.mark.parametrize("algorithm", ["qmix", "ow_qmix"])
def test_what_learners_do_not_change(algorithm) -> None:
    """Initial weights and masks are the same, and so are battles until weights matter."""
    one, other = (make_learner(algorithm=algorithm, learner=name) for name in ("torch", "native"))
    assert torch.equal(one.online.flat, other.online.flat)
    assert torch.equal(one.target.flat, other.target.flat)
    assert torch.equal(one.mask, other.mask)


# command line


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    return found


def learners_in_log(path: Path) -> list[str]:
    return [
        line.split(" learner: ")[1]
        for line in (path / "log.txt").read_text().splitlines()
        if " learner: " in line
    ]


@pytest.mark.parametrize(("learner", "description"), [("native", NATIVE), ("torch", TORCH), ("auto", NATIVE)])
def test_a_run_names_its_learner(call: Any, tmp_path: Path, learner, description) -> None:
    answer = call(
        "train", str(ROOT / "configs/qmix_3m.yaml"), *QUICK, "--device", "cpu", "--learner", learner
    )
    assert answer.code == 0, answer.err
    assert f"learner: {description}" in answer.err.splitlines()
    (run,) = (path.parent for path in (tmp_path / "runs").glob("*/manifest.json"))
    assert manifest(run)["learner"] == description
    assert learners_in_log(run) == [description]


def test_wrong_choices_end_before_anything_is_written(call: Any, tmp_path: Path) -> None:
    config = str(ROOT / "configs/qmix_3m.yaml")
    for options, code, says in (
        (["--learner", "numpy"], 2, "'numpy' is not one of"),
        (["--learner", "native", "--device", "cuda"], 2, "device must be cpu for --learner native; got cuda"),
        (["--threads", "0"], 2, "Invalid value for '--threads'"),
        (["--threads", "65"], 2, "Invalid value for '--threads'"),
    ):
        answer = call("train", config, *QUICK, *options)
        assert (answer.code, answer.out) == (code, ""), answer.err
        assert says in answer.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("first", ["native", "torch"])
def test_a_run_goes_on_with_the_other_learner(tmp_path: Path, first) -> None:
    names = {"native": NATIVE, "torch": TORCH}
    second = "torch" if first == "native" else "native"
    config = small("ow_qmix", t_max=900)
    advance(config, tmp_path, StopAt(600), learner=first)
    run = folder(config, tmp_path)
    assert manifest(run)["learner"] == names[first]
    result, _ = advance(config, tmp_path, learner=second)
    assert result is not None
    assert result.status == "complete"
    assert manifest(run)["learner"] == names[second]
    assert learners_in_log(run) == [names[first], names[second]]


def test_kernels_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    """The environment variable is read when the first kernel is wanted, in a process of its own."""
    made = subprocess.run(
        [sys.executable, "-m", "mast_edge", "train", "configs/qmix_3m.yaml"],
        env={**os.environ, "MAST_EDGE_KERNELS": "v9", "MAST_EDGE_RUNS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 8
    assert "MAST_EDGE_KERNELS must be an instruction set" in made.stderr
    assert "Traceback" not in made.stderr
