"""The command line: what every command prints, where, and how it ends."""

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from mast_edge import cli_inspect, exits
from mast_edge.benchmarking import SUITES
from mast_edge.cli import cli

ROOT = Path(__file__).resolve().parent.parent
CONFIG = str(ROOT / "configs/qmix_3m.yaml")
QUICK = ["--set", "t_max=600", "--set", "replay.batch_size=4", "--set", "evaluation.episodes=4"]


def process(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from mast_edge.cli import main; main()", *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


EVERY = dict(commands())


def examples(command: click.Command) -> list[str]:
    lines = (line.strip() for line in (command.help or "").splitlines())
    return [line for line in lines if line.startswith("mast-edge ")]


# help


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_help_shows_two_or_three_commands_that_parse(call: Any, path: tuple[str, ...]) -> None:
    answer = call(*path, "--help")
    assert answer.code == 0
    found = examples(EVERY[path])
    assert 2 <= len(found) <= 3
    for line in found:
        assert line in answer.out
        words = shlex.split(line)[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        context = command.make_context("mast-edge", words)
        for value in context.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Path) and part.suffix == ".yaml":
                    assert (ROOT / part).is_file(), line


def test_all_commands_of_the_contract_are_there() -> None:
    names = {" ".join(path) for path in EVERY}
    assert {
        "train",
        "sweep",
        "export",
        "evaluate",
        "account",
        "conform",
        "play",
        "benchmark",
        "doctor",
        "serve-sc2",
        "runs list",
        "runs show",
        "config show",
        "config check",
        "config schema",
    } <= names


def test_help_takes_less_than_200_ms_of_processor_time() -> None:
    """Processor time, so that a busy machine does not decide; nothing is waited for."""
    times = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.2


def test_no_arguments_print_the_help_and_count_as_usage(call: Any) -> None:
    answer = call()
    assert answer.code == 2
    assert "mast-edge train configs/qmix_3m.yaml" in answer.err


# commands


def test_config_show_check_and_schema(call: Any) -> None:
    shown = call("config", "show", CONFIG, "--set", "seed=5")
    assert shown.code == 0
    assert "seed: 5  # --set seed" in shown.out
    assert "sparsity: 0.95  # " in shown.out
    facts = call("config", "show", CONFIG, "--json").json
    assert facts["schema"] == "mast-edge/config/1"
    assert facts["config"]["target"]["start"] == 750_000
    assert facts["origins"]["target.start"] == "derived"
    checked = call("config", "check", CONFIG, str(ROOT / "configs/qmix_3s5z.yaml"), "--json").json
    assert [row["run"].split("-seed")[0] for row in checked["files"]] == [
        "qmix-3m-mast-s95",
        "qmix-3s5z-mast-s90",
    ]
    assert "variants" in call("config", "schema", "--json").json["$defs"]["ExperimentConfig"]["properties"]


def test_account_agrees_with_the_papers_row(call: Any) -> None:
    """Table 1, MAST-QMIX on 3s5z at 90 %: total size 0.109x, FLOPs of training 0.101x, of acting 0.100x."""
    row = call("account", str(ROOT / "configs/qmix_3s5z.yaml"), "--json").json["rows"][0]
    assert row["total_size_ratio"] == pytest.approx(0.109, abs=5e-4)
    assert row["train_flops_ratio"] == pytest.approx(0.101, abs=5e-4)
    assert row["test_flops_ratio"] == pytest.approx(0.100, abs=5e-4)
    assert [layer["nnz"] for layer in row["layers"] if layer["network"] == "agent"] == [934, 1117, 1117, 341]
    assert "gru_ih" in call("account", CONFIG).out


def test_play_counts_and_draws(call: Any) -> None:
    result = call("play", "3m", "--policy", "random", "--episodes", "8", "--json").json
    assert result["schema"] == "mast-edge/play/1"
    assert (result["episodes"], result["win_rate"]) == (8, 0.0)
    assert "2 battles" in call("play", "3m", "--episodes", "2", "--quiet").out
    drawn = call("play", "3m", "--render", "ascii", "--json", "--quiet")
    assert drawn.json["episodes"] == 1
    assert "after" in drawn.err


def test_doctor_answers_and_ends_with_8_when_something_essential_is_missing(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mast_edge import doctor

    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_python, doctor.check_native))
    answer = call("doctor", "--json")
    assert (answer.code, answer.json["ok"]) == (0, True)
    assert [check["name"] for check in answer.json["checks"]] == ["python", "native core"]
    monkeypatch.setattr(doctor, "CHECKS", (lambda: doctor.Check("python", "fail", "2.7", "use another"),))
    answer = call("doctor")
    assert answer.code == 8
    assert "use another" in answer.out


def test_benchmark_runs_the_scripts_of_the_source_tree(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mast_edge.benchmarking.SCRIPTS", tmp_path)
    assert call("benchmark", "env").code == 3
    row = {
        "suite": "env",
        "name": "native",
        "case": "3m",
        "value": 1234.5,
        "unit": "steps/s",
        "ratios": {"old": 2.0},
    }
    for script, function in (place.split(":") for place in SUITES.values()):
        result = {"schema": "mast-edge/benchmark/1", "host": {}, "rows": [row]}
        (tmp_path / f"{script}.py").write_text(f"def {function}():\n    return {result}\n")
    assert call("benchmark", "all", "--json").json["rows"] == [row] * len(SUITES)
    assert "old 2.00x" in call("benchmark", "env").out


def test_an_empty_list_of_runs_is_no_failure(call: Any) -> None:
    assert call("runs", "list").out == "no runs yet\n"
    assert call("runs", "list", "--json").json == {"schema": "mast-edge/runs/1", "runs": [], "unreadable": []}


def test_conform_ends_with_6_when_a_vector_does_not_hold(call: Any, tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"not a zip")
    answer = call("conform", str(tmp_path), "--json")
    assert (answer.code, answer.json["ok"]) == (6, False)
    assert "torn.npz" in call("conform", str(tmp_path)).out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of 3m, trained through the command line in a process of its own."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("trained")
    answer = process("train", CONFIG, *QUICK, "--json", MAST_EDGE_RUNS=str(folder / "runs"), MAST_EDGE_SET="")
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    assert answer.stdout.count("\n") == 1
    assert result["schema"] == "mast-edge/train/1"
    assert set(result) == {
        "schema",
        "run",
        "t_env",
        "updates",
        "win_rate",
        "wall_seconds",
        "env_steps_per_second",
        "status",
    }
    assert (result["status"], result["t_env"] >= 600, result["updates"] > 0) == ("complete", True, True)
    first, learner, second = answer.stderr.splitlines()[:3]
    assert first.startswith("memory: replay up to ")
    assert learner.startswith("learner: native, ")
    assert second == f"run {result['run']}"
    assert f"next: mast-edge export --run {result['run']}" in answer.stderr
    return folder / "runs"


def test_export_evaluate_and_play_take_the_latest_run_and_say_so(
    call: Any, trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAST_EDGE_RUNS", str(trained))
    exported = call("export", "--format", "csr", "--json")
    assert exported.code == 0
    assert exported.err.startswith("using run qmix-3m-mast-s95-seed1-")
    report = exported.json
    assert report["schema"] == "mast-edge/export/1"
    assert report["files"][0]["argmax_agreement"] == 1.0
    elsewhere = call("export", "--format", "csr", "--out", str(tmp_path / "out"), "--quiet")
    decisions = report["files"][0]["decisions"]
    assert f"{decisions} of {decisions}" in elsewhere.out
    assert elsewhere.err == ""
    artifact = str(tmp_path / "out/csr/agent.safetensors")
    verdict = call("evaluate", "--runtime", "csr", "--episodes", "100", "--json")
    assert verdict.code == 0
    assert verdict.json["decision"] == "pass"
    assert verdict.json["action_agreement"] == 1.0
    assert call("evaluate", "--artifact", artifact, "--episodes", "5", "-q").code == 7
    assert call("play", "3m", "--policy", artifact, "--episodes", "3", "--json").json["episodes"] == 3
    with Path(artifact).open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    assert call("evaluate", "--artifact", artifact).code == 5


def test_runs_are_listed_and_shown(call: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAST_EDGE_RUNS", str(trained))
    listed = call("runs", "list", "--json").json["runs"]
    assert [(entry["map"], entry["status"]) for entry in listed] == [("3m", "complete")]
    shown = call("runs", "show", "--json").json
    assert shown["schema"] == "mast-edge/run-facts/1"
    assert shown["checkpoint"] in shown["checkpoints"]
    assert listed[0]["name"] in call("runs", "show", listed[0]["name"]).out


def test_the_same_command_again_finds_its_run_complete(trained: Path) -> None:
    answer = process("train", CONFIG, *QUICK, "--json", "-q", MAST_EDGE_RUNS=str(trained), MAST_EDGE_SET="")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["status"] == "complete"
    assert len([path for path in trained.iterdir() if path.is_dir()]) == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_during_training_writes_a_checkpoint_and_the_command_resumes(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    arguments = ["train", CONFIG, "--set", "t_max=100_000", "--set", "replay.batch_size=4", "--json"]
    env = {**os.environ, "MAST_EDGE_RUNS": str(tmp_path), "OMP_NUM_THREADS": "1", "MAST_EDGE_SET": ""}
    child = subprocess.Popen(
        [sys.executable, "-c", "from mast_edge.cli import main; main()", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "win rate" in line:
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    result = json.loads(out)
    assert result["status"] == "interrupted"
    assert "the same command goes on from here" in err
    folder = tmp_path / result["run"]
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    assert list(folder.glob("checkpoints/step-*/checkpoint.json"))


def test_output_is_plain_where_it_is_no_terminal_or_colour_is_unwanted(call: Any) -> None:
    for env in ({}, {"NO_COLOR": "1", "FORCE_COLOR": ""}, {"TERM": "dumb"}):
        answer = process("account", CONFIG, **env)
        assert answer.returncode == 0
        assert "\x1b" not in answer.stdout + answer.stderr


def test_inspection_commands_share_the_same_stage_function() -> None:
    assert cli_inspect.stage is exits.stage
