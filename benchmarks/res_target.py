"""RES's target by broadcasting against one mixer call per candidate, as published, in one run.

Run: `python benchmarks/res_target.py [--rounds 9] [--json]`. Random networks and random battles of each map;
the values are compared before any time is taken. Interleaved, medians of process CPU time. The floor is one
ELU and one product per hidden unit of every candidate of both networks, measured as plain tensor operations.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mast_edge.config import resolve
from mast_edge.train.algos.base import utilities
from mast_edge.train.nets import mixer_q_tot
from mast_edge.train.replay import pack
from mast_edge.train.rollout import play_episodes
from mast_edge.train.tensor_batch import TensorBatch, tensor_batch
from mast_edge.train.trainer import Trainer

MAPS = ("3m", "2s3z", "3s5z", "2c_vs_64zg")


def published(trainer: Trainer, online_q: Tensor, target_q: Tensor, batch: TensorBatch) -> Tensor:
    """(P,) the same value, every candidate through the whole mixer of both networks."""
    best = online_q.masked_fill(~batch.avail, -torch.inf).argmax(2, keepdim=True)
    rows, n, a = online_q.shape
    joint = []
    for bank, q in ((trainer.learner.online, online_q), (trainer.learner.target, target_q)):
        parameters, chosen = bank.network("mixer"), q.gather(2, best).squeeze(2)
        values = torch.empty(rows, n, a)
        for i in range(n):
            for k in range(a):
                candidate = chosen.clone()
                candidate[:, i] = q[:, i, k]
                values[:, i, k] = mixer_q_tot(parameters, candidate, batch.state)
        joint.append(values.flatten(1))
    scores = (trainer.config.target.beta * joint[0]).masked_fill(~batch.avail.flatten(1), -torch.inf)
    return (torch.softmax(scores, 1) * joint[1]).sum(1)


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    started = time.process_time()
    call()
    return 1000 * (time.process_time() - started)


@torch.no_grad()
def measured(where: str, rounds: int) -> list[dict[str, Any]]:
    """Both ways and the floor on one map."""
    config = resolve({"env": {"map": where}, "algorithm": "res", "rollout": {"n_envs": 32}})
    trainer = Trainer(config, torch.device("cpu"))
    trainer.actor.load(trainer.learner.online.numpy("agent"))
    episodes = play_episodes(trainer.env, trainer.actor, 1.0, trainer.streams["acting"]).episodes
    batch = tensor_batch(pack(episodes, trainer.env.spec, timeout_is_terminal=True), torch.device("cpu"))
    online, target, algorithm = trainer.learner.online, trainer.learner.target, trainer.learner.algorithm
    online_q, target_q = (utilities(bank, "agent", batch) for bank in (online, target))
    hidden = torch.randn(online_q.numel() * config.network.mixer_embed_dim)
    weight = torch.randn_like(hidden)
    joint = lambda: algorithm.joint_softmax(online, target, online_q, target_q, batch)  # noqa: E731
    ways: dict[str, Callable[[], object]] = {
        "broadcast": joint,
        "published": lambda: published(trainer, online_q, target_q, batch),
        "floor": lambda: [F.elu(hidden).mul_(weight) for _ in range(2)],
    }
    torch.testing.assert_close(ways["broadcast"](), ways["published"](), rtol=1e-4, atol=1e-5)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(cpu_ms(way))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return [
        {
            "suite": "res_target",
            "name": name,
            "case": where,
            "value": value,
            "unit": "ms",
            "ratios": {peer: other / value for peer, other in medians.items() if peer != name},
            "rows": len(batch.state),
        }
        for name, value in medians.items()
    ]


def main() -> None:
    """Prints the table, or the object with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for where in MAPS for row in measured(where, arguments.rounds)]
    if arguments.json:
        print(json.dumps({"schema": "mast-edge/benchmark/1", "host": {"threads": 1}, "rows": rows}))
        return
    for row in rows:
        ratios = ", ".join(f"{x:.2f}x {peer}" for peer, x in row["ratios"].items())
        print(f"{row['case']:12} {row['name']:10} {row['value']:8.1f} ms   {ratios}   {row['rows']} rows")


if __name__ == "__main__":
    main()
