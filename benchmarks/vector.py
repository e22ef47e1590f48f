"""Updates per second and run: R learners at once against R learners one after another, in one process.

Run: `python benchmarks/vector.py [--map 3m] [--runs 1 4 16] [--rounds N] [--json]`. Every run draws 32 of its
own 64 ragged episodes, N(mean, 0.3 mean) long; both ways get the same. What one update leaves must agree
before any time is taken. The two are interleaved, in another order each round; numbers are medians of process
CPU time on a CPU (one thread), of wall time on a GPU. Ratios are formed in each round, then their median.

On a CPU the two do the same arithmetic, but the vector way pads every run to the longest episode of all:
expect it to be slower there. It is made for GPUs.

Source: training_speed.md, sections 7 ("acceptance") and 9.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.learner_cases import batches
from mast_edge.config import resolve
from mast_edge.envs.maps import env_spec
from mast_edge.errors import MastEdgeError
from mast_edge.registry import ALGORITHMS, SPARSE_METHODS
from mast_edge.registry import resolve as resolve_name
from mast_edge.train.learners.torch import TorchLearner
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.vector.learner import VectorLearner
from mast_edge.widths import network_widths

EPISODES, STORED, WARM_UP = 32, 64, 2
RUNS = {"cpu": (1, 4, 16), "cuda": (1, 8, 32, 96)}
TOLERANCE = 1e-5
"""Largest difference of weights after one update, over the largest weight."""


def make(map_name: str, runs: int, device: torch.device) -> list[TorchLearner]:
    """R learners of QMIX with masks of 95 %, which stay."""
    learners = []
    for seed in range(runs):
        config = resolve(
            {"env": {"map": map_name}, "seed": seed, "sparsity": 0.95, "topology": {"interval": 2**30}}
        )
        env = env_spec(map_name)
        algorithm = resolve_name("algorithm", ALGORITHMS, config.algorithm)(
            config, env, network_widths(config, env)
        )
        method, rng = resolve_name("method", SPARSE_METHODS, config.method), np.random.default_rng(seed)
        methods = {n: method(config.topology, n, config.sparsity, rng) for n in algorithm.networks}
        learners.append(TorchLearner(config, algorithm, methods, env, rng, device))
    return learners


def replay_of(map_name: str, seed: int) -> ReplayBuffers:
    """A full one."""
    replay = ReplayBuffers(STORED, 1, EPISODES, 0)
    for episode in batches(env_spec(map_name), "ragged", 1, STORED, seed)[0].episodes:
        replay.add(episode)
    return replay


class Pair:
    """R learners alone and R at once, from equal beginnings."""

    def __init__(self, map_name: str, runs: int, device: torch.device) -> None:
        self.runs, self.device = runs, device
        self.alone = make(map_name, runs, device)
        self.replays = [replay_of(map_name, seed) for seed in range(runs)]
        self.together = make(map_name, runs, device)
        cached = self.replays if device.type == "cuda" else None
        self.vector = VectorLearner(self.together, cached)
        self.seconds: dict[str, list[float]] = {"alone": [], "vector": []}
        self.longest = 0

    def one_after_another(self, drawn: Sequence[list[Episode]]) -> None:
        """One update of each learner."""
        for learner, episodes in zip(self.alone, drawn, strict=True):
            learner.update(episodes, 0)

    def at_once(self, drawn: Sequence[list[Episode]]) -> None:
        """One update of all; its metrics are read as in training with one environment."""
        self.vector.update(drawn, [0] * self.runs)
        self.vector.read()

    def expect_agreement(self) -> None:
        """Raises where the two ways differ."""
        for one, other in zip(self.alone, self.together, strict=True):
            a, b = one.online.flat.detach(), other.online.flat.detach()
            off = float((a - b).abs().max() / a.abs().max())
            if not off <= TOLERANCE:
                raise MastEdgeError(f"benchmark: weights must agree within {TOLERANCE}; got {off:.1e}.")

    def measure(self, rounds: int, rng: np.random.Generator) -> None:
        """Fills `seconds`: what one update of all R learners takes."""
        ways: dict[str, Callable[[Sequence[list[Episode]]], None]] = {
            "alone": self.one_after_another,
            "vector": self.at_once,
        }
        for turn in range(WARM_UP + rounds):
            drawn = [replay.draw(rng) for replay in self.replays]
            self.longest = max(self.longest, max(e.length for episodes in drawn for e in episodes))
            for name in rng.permutation(list(ways)):
                began = self._now()
                ways[name](drawn)
                if turn >= WARM_UP:
                    self.seconds[name].append(self._now() - began)
            if turn == 0:
                self.expect_agreement()

    def _now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def rows(self, map_name: str) -> list[dict[str, Any]]:
        """Of both ways."""
        made = []
        for name, other in (("vector", "alone"), ("alone", "vector")):
            ratios = [b / a for a, b in zip(self.seconds[name], self.seconds[other], strict=True)]
            median = statistics.median(self.seconds[name])
            made.append(
                {
                    "suite": "vector",
                    "name": name,
                    "case": f"{map_name} x{self.runs}",
                    "value": 1 / median,
                    "unit": "updates/s per run",
                    "ratios": {other: statistics.median(ratios)},
                    "total": self.runs / median,
                    "longest_episode": self.longest,
                }
            )
        return made


def benchmark_vector(
    map_name: str = "3m", runs: Sequence[int] = (), rounds: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Measures every number of runs.

    Args:
        map_name: whose sizes.
        runs: R; empty: `RUNS` of the device, which is a GPU where there is one.
        rounds: of each.
        seed: of the draws.

    Returns:
        A `mast-edge/benchmark/1` object; `value` is per run, `total` of all runs together.

    Raises:
        MastEdgeError: the two ways do not agree.
    """
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, rng = [], np.random.default_rng(seed)
    for count in runs or RUNS[device.type]:
        pair = Pair(map_name, count, device)
        pair.measure(rounds, rng)
        rows += pair.rows(map_name)
    host = {
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": 1,
    }
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}


def main() -> None:
    """Prints the table, or the object with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--map", default="3m")
    parser.add_argument("--runs", type=int, nargs="+", default=[], help="default: 1 4 16; on a GPU 1 8 32 96")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = benchmark_vector(arguments.map, arguments.runs, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"device {result['host']['device']}")
    for row in result["rows"]:
        ratios = ", ".join(f"{x:.2f}x {peer}" for peer, x in row["ratios"].items())
        speed = f"{row['value']:7.2f} updates/s per run, {row['total']:7.1f} in all"
        print(f"{row['case']:10} {row['name']:8} {speed}   {ratios}")


if __name__ == "__main__":
    main()
