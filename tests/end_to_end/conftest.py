"""Running the command line as a user does: a process of its own, in an empty folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "configs" / "qmix_3m.yaml"
SHORT = ("--set", "t_max=2400", "--set", "sparsity=0.9")
"""About 80 battles: a few dozen updates."""

Command = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path) -> dict[str, str]:
    """The user's environment with runs in `folder`."""
    return {**os.environ, "MAST_EDGE_RUNS": str(folder / "runs"), "NO_COLOR": "1"}


def mast_edge_in(folder: Path) -> Command:
    """`mast-edge ARGUMENT...` in `folder`."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mast_edge", *arguments],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=120,
        )

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished short MAST run and one dense run."""
    folder = tmp_path_factory.mktemp("trained")
    call = mast_edge_in(folder)
    for method in ("dense", "mast"):
        done = call("train", str(CONFIG), *SHORT, "--set", f"method={method}", "--json")
        assert done.returncode == 0, done.stderr
    return folder
