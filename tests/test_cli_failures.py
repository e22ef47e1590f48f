"""The command line when something goes wrong: one line, the right exit code, nothing left behind."""

import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mast_edge import cli as cli_module
from mast_edge.errors import ArtifactCorrupt, EnvironmentUnavailable, MastEdgeError, RunLocked

ROOT = Path(__file__).resolve().parent.parent
CONFIG = str(ROOT / "configs/qmix_3m.yaml")


def test_expected_failures_are_one_line_on_stderr_and_nothing_on_stdout(call: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("env:\n  map: 3m\noptim:\n  learning_rate: 1\n")
    other = tmp_path / "other.yaml"
    other.write_text("env: {map: 3mm}\n")
    for arguments, code, says in (
        (["train"], 2, "Missing argument 'CONFIG'. See: mast-edge train --help"),
        (["trian", "x"], 2, "No such command 'trian'."),
        (["train", CONFIG, "--fast"], 2, "No such option"),
        (["train", CONFIG, "--set", "seed"], 2, "KEY=VALUE"),
        (["train", CONFIG, "--seed", "-1"], 2, "Invalid value for '--seed'"),
        (["export", "--format", "pickle"], 2, "'pickle' is not one of"),
        (["export"], 2, "Missing option '--format'"),
        (["evaluate", "--run", "a", "--artifact", "b"], 2, "exclude each other"),
        (["train", str(tmp_path / "none.yaml")], 3, "config: file must exist"),
        (["export", "--format", "csr"], 3, "Run: mast-edge train configs/qmix_3m.yaml"),
        (["evaluate"], 3, "mast-edge train"),
        (["runs", "show", "nothing"], 3, "Run: mast-edge train"),
        (["conform", str(tmp_path / "none")], 3, "must exist"),
        (["train", str(bad)], 4, f"{bad}:4: optim.learning_rate must be a known key"),
        (
            ["train", CONFIG, "--set", "optim.lr=-1"],
            4,
            "--set optim.lr: optim.lr must be a number > 0; got -1.",
        ),
        (["config", "check", str(bad)], 4, "learning_rate"),
        (["account", str(other)], 4, "Did you mean '3m'?"),
        (["play", "3mm"], 4, "Did you mean '3m'?"),
    ):
        answer = call(*arguments)
        assert (answer.code, answer.out) == (code, ""), (arguments, answer.err)
        assert says in answer.err
        lines = answer.err.splitlines()
        assert len(lines) == 1, answer.err
        assert lines[0].startswith("mast-edge: ")
        as_json = call(*arguments, "--json")
        assert as_json.code == code
        assert as_json.json["exit_code"] == code
        assert says in as_json.json["error"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (MastEdgeError("ours"), 1, "ours"),
        (ArtifactCorrupt("bent"), 5, "bent"),
        (EnvironmentUnavailable("no map"), 8, "no map"),
        (RunLocked("busy"), 2, "busy"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 1, "disk: space must be left (/x)"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "Permission denied"),
        (MastEdgeError("two\nlines"), 1, "two lines"),
    ],
    ids=repr,
)
def test_what_a_stage_raises_becomes_a_line_and_a_code(
    call: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, says: str
) -> None:
    def broken(module: str, attribute: str) -> Any:
        raise error

    monkeypatch.setattr(cli_module, "stage", broken)
    answer = call("play", "3m")
    assert (answer.code, answer.out) == (code, "")
    line = answer.err.removeprefix("\n")  # click ends the line on which ^C was typed
    assert line.startswith("mast-edge: ")
    assert says in line
    assert line.count("\n") == 1
    assert "Traceback" not in answer.err
    assert "Traceback" in call("play", "3m", "--debug").err
    assert call("play", "3m", "--json").json == {
        "schema": "mast-edge/error/1",
        "error": answer.err.strip().removeprefix("mast-edge: "),
        "exit_code": code,
    }


def test_a_fault_of_ours_keeps_its_traceback_and_still_answers_in_json(
    call: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(module: str, attribute: str) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(cli_module, "stage", broken)
    with pytest.raises(ZeroDivisionError):
        call("play", "3m", "--json")
    assert json.loads(capsys.readouterr().out) == {
        "schema": "mast-edge/error/1",
        "error": "internal error: ZeroDivisionError: by zero",
        "exit_code": 1,
    }


@pytest.mark.parametrize("read", ["head -c 5 | true", "head -c 0"])
@pytest.mark.parametrize(
    "arguments", ["config schema", "play 3m --episodes 2 --render ascii", "play 3m --episodes 2 --json"]
)
def test_a_reader_that_leaves_is_no_failure(arguments: str, read: str) -> None:
    command = f"{shlex.quote(sys.executable)} -c 'from mast_edge.cli import main; main()' {arguments}"
    answer = subprocess.run(
        ["bash", "-c", f"set -o pipefail; ({command}; echo code $? >&2) | {read}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert answer.stderr == "code 0\n"


def test_an_interrupt_ends_with_130(tmp_path: Path) -> None:
    script = "import signal, os, mast_edge.cli as c\nfrom mast_edge import cli_inspect\n"
    script += "cli_inspect.stage = lambda *a: os.kill(os.getpid(), signal.SIGINT)\nc.main()"
    answer = subprocess.run(
        [sys.executable, "-c", script, "doctor"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "", "\nmast-edge: interrupted\n")
