"""What checkpoints cost: share of a training run's time, with a full replay of long episodes.

Run: `python benchmarks/checkpoint.py [--maps 3m 2c_vs_64zg] [--seconds 150]`. A real run (MAST, defaults, a
checkpoint every 60 s and at evaluations) starts with its replay filled by played episodes; the first
checkpoint, which writes all of them, is left out, as a run pays it bit by bit. Prints the share of the time,
the bytes that each checkpoint took, and how long plain writing of the same bytes takes (the floor).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from mast_edge.config import load_config
from mast_edge.runs import RunFolder
from mast_edge.train.rollout import play_episodes
from mast_edge.train.session import Session
from mast_edge.train.trainer import Trainer

PLAYED = 64
"""Different episodes that fill the replay, over and over."""


def fill(trainer: Trainer, episodes: int) -> float:
    """Fills the replay with random play; returns the mean episode length."""
    trainer.actor.load(trainer.learner.online.numpy("agent"))
    played = []
    while len(played) < PLAYED:
        played += play_episodes(trainer.env, trainer.actor, 1.0, trainer.streams["acting"]).episodes
    for i in range(episodes):
        trainer.replay.add(played[i % len(played)])
    return statistics.fmean(e.length for e in played)


def floor_seconds(folder: Path, size: int) -> float:
    """Seconds to write and force `size` bytes to the same disk, best of three."""
    data, best = os.urandom(1 << 20), float("inf")
    for _ in range(3):
        started = time.perf_counter()
        with (folder / "floor").open("wb") as file:
            for _ in range(max(1, size >> 20)):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        best = min(best, time.perf_counter() - started)
        (folder / "floor").unlink()
    return best


def measured(where: str, seconds: float, episodes: int) -> dict[str, Any]:
    """One map: trains for `seconds` after the first checkpoint."""
    config = load_config(f"configs/qmix_{where}.yaml", ["log.tensorboard=false"], {})
    trainer = Trainer(config, torch.device("cpu"))
    with tempfile.TemporaryDirectory(dir=".") as root:
        with RunFolder.open(config, trainer.env.spec, root=Path(root)) as folder:
            length = fill(trainer, episodes)
            session, stop = Session(folder, trainer), []
            timer = threading.Timer(seconds, lambda: stop.append(0))
            timer.start()
            session.run(stop)
            path = folder.path
        lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        windows = [r for r in map(json.loads, lines) if r["kind"] == "train"][1:]
        total = sum(v for r in windows for k, v in r.items() if k.startswith("seconds_"))
        spent = sum(r["seconds_checkpoint"] for r in windows)
        segments = sorted((path / "replay").iterdir())
        grown = sum(p.stat().st_size for p in segments[1:])
        newest = max(path.glob("checkpoints/step-*"))
        state = sum(p.stat().st_size for p in newest.iterdir())
        count = max(1, len(segments) - 1)
        return {
            "suite": "checkpoint",
            "name": "share of training time",
            "case": where,
            "value": spent / total,
            "unit": "fraction",
            "ratios": {},
            "seconds": total,
            "stored_episodes": len(trainer.replay.episodes),
            "mean_length_filled": length,
            "checkpoints": count,
            "journal_bytes_each": grown // count,
            "state_bytes_each": state,
            "seconds_each": spent / count,
            "floor_seconds_each": floor_seconds(path, grown // count + state),
        }


def main() -> None:
    """Prints the object of `mast-edge benchmark`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", nargs="+", default=["3m", "2s3z", "2c_vs_64zg"])
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--episodes", type=int, default=5000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for where in arguments.maps:
        rows.append(measured(where, arguments.seconds, arguments.episodes))
        print(json.dumps(rows[-1]), file=sys.stderr)
    print(json.dumps({"schema": "mast-edge/benchmark/1", "host": {"threads": 1}, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
