"""Milliseconds per gradient update of QMIX, our native recurrence against torch's own GRU, in one process.

Run: `python benchmarks/update.py [--rounds N] [--json]`. One batch of 32 real 3m battles played at random,
ragged as they are. Variants are interleaved; the number is the median of process CPU time, one thread.
The floor is what the update's matrix products cost at the rate of a large one measured in the same run.

Source: training_speed.md, sections 2 and 9.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import functools
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from mast_edge.config import resolve
from mast_edge.train import nets
from mast_edge.train.recurrence import gru
from mast_edge.train.replay import PackedBatch, pack
from mast_edge.train.rollout import play_episodes
from mast_edge.train.trainer import Trainer

METHODS = ("dense", "mast")


def make(method: str) -> Trainer:
    """An untrained learner."""
    values = {"env": {"map": "3m"}, "method": method, "sparsity": 0.95, "rollout": {"n_envs": 32}}
    return Trainer(resolve(values), torch.device("cpu"))


def random_battles(trainer: Trainer) -> PackedBatch:
    """One batch of battles played at random."""
    trainer.actor.load(trainer.learner.online.numpy("agent"))
    episodes = play_episodes(trainer.env, trainer.actor, 1.0, trainer.streams["acting"]).episodes
    return pack(episodes, trainer.env.spec, timeout_is_terminal=True)


def cpu_ms(call: Callable[[], Any], repeats: int = 4) -> float:
    """Process CPU milliseconds per call."""
    started = time.process_time()
    for _ in range(repeats):
        call()
    return 1000 * (time.process_time() - started) / repeats


def floor_ms(trainer: Trainer, batch: PackedBatch) -> float:
    """What the matrix products alone cost at the rate of a large one: a forward pass of both networks, and a
    backward pass (two forwards) of the online one."""
    rows = {"agent": batch.inputs.shape[0] * batch.inputs.shape[1], "mixer": len(batch.inputs)}
    products = sum(
        rows[network] * out * in_
        for network, layers in trainer.learner.algorithm.networks.items()
        for out, in_ in layers.values()
    )
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    per_product = statistics.median(cpu_ms(lambda: a @ b, 2) for _ in range(9)) / 1024**3
    return 4 * products * per_product


def benchmark_update(rounds: int = 15) -> dict[str, Any]:
    """Interleaved measurement of every method and recurrence.

    Returns:
        A `mast-edge/benchmark/1` object; the case `3m` has dense masks, `3m@95` MAST's. Sparse weights are
        zeros in dense matrices here: the ratio between the two methods is no gain from sparsity.
    """
    torch.set_num_threads(1)
    recurrences = {"torch_native_gru": gru, "torch": functools.partial(gru, native=False)}
    subjects = {method: make(method) for method in METHODS}
    batch = random_battles(subjects["dense"])
    times: dict[tuple[str, str], list[float]] = {(m, r): [] for m in METHODS for r in recurrences}
    for _ in range(rounds + 1):
        for method, trainer in subjects.items():
            for name, recurrence in recurrences.items():
                nets.gru = recurrence
                update = functools.partial(trainer.learner.update, batch, 0)
                times[method, name].append(cpu_ms(update))
    nets.gru = gru
    floor = floor_ms(subjects["dense"], batch)
    rows = []
    for method in METHODS:
        medians = {name: statistics.median(times[method, name][1:]) for name in recurrences}
        for name, value in medians.items():
            ratios = {other: medians[other] / value for other in medians if other != name}
            rows.append(
                {
                    "suite": "learner",
                    "name": name,
                    "case": "3m" if method == "dense" else "3m@95",
                    "value": value,
                    "unit": "ms/update",
                    "ratios": ratios,
                    "floor": floor,
                }
            )
    host = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": 1,
        "longest_episode": len(batch.alive) - 1,
        "transitions": len(batch.now),
    }
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}


def main() -> None:
    """Prints the table, or the object with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = benchmark_update(arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    host = result["host"]
    print(f"32 battles of 3m, {host['transitions']} transitions, longest {host['longest_episode']}")
    for row in result["rows"]:
        ratios = ", ".join(f"{x:.2f}x {peer}" for peer, x in row["ratios"].items())
        measured = f"{row['case']:6} {row['name']:17} {row['value']:6.1f} ms"
        print(f"{measured}   {ratios}   floor {row['floor']:.1f} ms")


if __name__ == "__main__":
    main()
