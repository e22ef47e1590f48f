"""`make demo`, on a schedule of a few seconds: every step runs, and what it shows is there."""

import subprocess
import sys
from pathlib import Path

from tests.end_to_end.conftest import REPOSITORY, environment


def test_the_demo_trains_exports_and_judges(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mast_edge.experiments.demo"],
        cwd=REPOSITORY,
        env={**environment(tmp_path), "MAST_EDGE_SET": "t_max=1200"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "Verdicts" in done.stdout
    assert done.stdout.count("pass") >= 2  # both runtimes play as the checkpoint does
    assert "1. Train" in done.stderr
    runs = tmp_path / "runs"
    assert list(runs.glob("*-mast-*/exports/csr/agent.safetensors"))
    assert list(runs.glob("*-mast-*/exports/onnx/agent.onnx"))
    assert (runs / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert "-mast-" in (runs / "latest.json").read_text()
