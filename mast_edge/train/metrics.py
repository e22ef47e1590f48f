"""metrics.jsonl, the truth about a run, and TensorBoard events beside it."""

import json
import os
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class MetricsLog:
    """Appends one JSON object per line: {"kind": "train" | "evaluation", "t_env": ..., ...}.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / "metrics.jsonl"
        self.file = self.path.open("ab")
        self.events = SummaryWriter(str(run / "tb"))

    def resume(self, size: int) -> list[float]:
        """Drops what was written after the checkpoint, torn lines included.

        Args:
            size: bytes of the log at the checkpoint.

        Returns:
            The win rates of all evaluations that remain.
        """
        self.file.truncate(size)
        lines = self.path.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return [r["win_rate"] for r in records if r["kind"] == "evaluation"]

    def write(self, kind: str, t_env: int, metrics: dict[str, Any]) -> None:
        """Appends one line and sends its numbers to TensorBoard under `kind/`."""
        line = json.dumps({"kind": kind, "t_env": t_env, **metrics})
        self.file.write(line.encode() + b"\n")
        self.file.flush()
        for name, value in metrics.items():
            self.events.add_scalar(f"{kind}/{name}", value, t_env)

    def sync(self) -> int:
        """Forces the log to disk; returns its size in bytes."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.events.flush()
        return self.path.stat().st_size

    def close(self) -> None:
        """Closes both logs."""
        self.file.close()
        self.events.close()
