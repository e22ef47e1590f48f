"""What training did since the last line of metrics.jsonl, kept across stops."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PHASES = ("env", "act", "learn", "evaluate", "checkpoint")
"""Where the wall time of a run goes; `learn` includes sampling and packing, `evaluate` the estimates."""


@dataclass
class Window:
    """Sums since the last line of metrics.jsonl."""

    updates: int = 0
    episodes_lost: int = 0
    started: float = field(default_factory=time.perf_counter)
    sums: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    wins: list[bool] = field(default_factory=list)

    def add(self, metrics: dict[str, float]) -> None:
        """Counts one update."""
        self.updates += 1
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Means over updates and episodes of the window, and where its seconds went."""
        means = {name: value / self.updates for name, value in self.sums.items()}
        if self.returns:
            means["return"] = float(np.mean(self.returns))
            means["episode_length"] = float(np.mean(self.lengths))
            means["train_win_rate"] = float(np.mean(self.wins))
        elapsed = max(1e-9, time.perf_counter() - self.started)
        means["updates_per_second"] = self.updates / elapsed
        for name, value in self.seconds.items():
            means[f"seconds_{name}"] = value
        means["seconds_other"] = max(0.0, elapsed - sum(self.seconds.values()))
        return means

    def state(self) -> dict[str, Any]:
        """What JSON keeps of it; its beginning becomes the seconds since then."""
        return {**vars(self), "started": time.perf_counter() - self.started}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Window":
        """Inverse of `state`: the time between the two does not count."""
        return cls(**{**state, "started": time.perf_counter() - state["started"]})
