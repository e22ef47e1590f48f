"""Where an update of the native learner spends its time, how far each part is from its floor, and what a kept
weight costs in a single layer.

Run: `python benchmarks/learner_profile.py [--maps 3m 3s5z] [--rounds N] [--json]`. Numbers are medians of
process CPU time, one thread, dense and 90 % sparse interleaved, on the batches of `benchmarks/learner.py`.

The floor of a part is the larger of two: its multiply-adds at the kept weights at the rate of a large dense
product, and its necessary bytes at the rate of a large copy, both rates measured in the same run. Gates have
neither: their floor is left out.

Source: training_speed.md, sections 2, 4 and 9.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.learner_cases import Batch, Rates, batches, measured_rates
from benchmarks.learner_variants import make
from benchmarks.output import add_output_options, finish
from mast_edge.envs.maps import env_spec
from mast_edge.native import _core
from mast_edge.spec import EnvSpec
from mast_edge.train.learners.native import NativeLearner
from mast_edge.train.learners.native_loss import Networks, learning_targets, operator_values

MAPS = ("3m", "2s3z", "3s5z", "2c_vs_64zg")
SPARSITIES = (0, 90)
DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
LAYER = (192, 64)
PANELS = 200


def timed_update(learner: NativeLearner, batch: Batch) -> dict[str, float]:
    """CPU milliseconds of the parts of one QMIX update; `whole` is `update` itself, on its own."""
    spent: dict[str, float] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        spent[name] = 1000 * (time.process_time() - started)
        return result

    loaded = part("load", lambda: learner._load(batch.episodes))
    learner._grad.fill(0.0)
    x = Networks(learner.config, loaded, learner._online, learner._target, learner._grad, False)
    agents = [(x.online["agent"], True), (x.target["agent"], False)]
    part("agents forward", lambda: _core.forward_agents(loaded, agents))
    values = part("value operator", lambda: operator_values(x, "agent"))
    mixed = part("mixers forward", lambda: x.mix(x.target, values))
    y = part("returns", lambda: learning_targets(x, mixed, 0))
    q = part("taken", lambda: x.taken("agent"))
    forward = spent["mixers forward"]
    q_tot = part("mixers forward", lambda: x.mix(x.online, q, keep=True))
    spent["mixers forward"] += forward
    slope = 2 * (q_tot - y) * x.mask / np.float32(x.transitions)
    d_q = part("mixer backward", lambda: x.mix_backward(q, slope))
    part("agent backward", lambda: x.agent_backward("agent", d_q))
    part("whole", lambda: learner.update(batch.episodes, 0))
    return spent


def floors(learner: NativeLearner, env: EnvSpec, drawn: Sequence[Batch], rates: Rates) -> dict[str, float]:
    """What the parts cannot be faster than, in ms."""
    rows = statistics.mean(b.rows for b in drawn)
    counts = {"agent": rows * env.n_agents, "mixer": rows}
    forward, backward = dict.fromkeys(counts, 0.0), dict.fromkeys(counts, 0.0)
    for network, count in counts.items():
        for layer, kept in zip(
            learner.algorithm.networks[network], learner._online[network].kept, strict=True
        ):
            forward[network] += count * kept
            reads = layer in ("fc1", "hyper_w_1.0", "hyper_w_final.0", "hyper_b_1", "V.0")
            backward[network] += count * kept * (1 if reads else 2)
    products = {
        "agents forward": 2 * forward["agent"],
        "mixers forward": 2 * forward["mixer"],
        "mixer backward": backward["mixer"],
        "agent backward": backward["agent"],
    }
    observations, hidden = counts["agent"] * env.obs_dim, counts["agent"] * learner.config.network.hidden_dim
    read = {
        "load": rows * env.state_dim,
        "agents forward": observations / 2,
        "agent backward": observations / 2,
    }
    read["agents forward"] += hidden / 2  # written, then read: half a copy each
    read["agent backward"] += hidden / 2
    return {
        name: max(products.get(name, 0.0) / rates.products, read.get(name, 0.0) / rates.copies)
        for name in {*products, *read}
    }


def profile(where: str, rounds: int, rates: Rates) -> list[dict[str, Any]]:
    """Rows of one map."""
    env = env_spec(where)
    drawn = batches(env, "ragged", 4, 32, seed=5)
    learners = {s: make(NativeLearner, env, "qmix", s) for s in SPARSITIES}
    taken: dict[int, dict[str, list[float]]] = {s: {} for s in SPARSITIES}
    for number in range(rounds + 2):
        for sparsity, learner in learners.items():
            assert isinstance(learner, NativeLearner)
            for name, ms in timed_update(learner, drawn[number % len(drawn)]).items():
                if number >= 2:
                    taken[sparsity].setdefault(name, []).append(ms)
    rows = []
    for sparsity, learner in learners.items():
        assert isinstance(learner, NativeLearner)
        least = floors(learner, env, drawn, rates)
        medians = {name: statistics.median(values) for name, values in taken[sparsity].items()}
        medians["other"] = max(0.0, medians["whole"] - sum(v for n, v in medians.items() if n != "whole"))
        for name, value in medians.items():
            rows.append(
                {
                    "suite": "learner_profile",
                    "name": name,
                    "case": f"{where}@{sparsity}" if sparsity else where,
                    "value": value,
                    "unit": "ms/update",
                    "share": value / medians["whole"],
                    "floor": sum(least.values()) if name == "whole" else least.get(name),
                }
            )
    return rows


def layer_rows(rounds: int) -> list[dict[str, Any]]:
    """Nanoseconds per kept weight and 64 columns of one GRU product, by density: where dense wins."""
    rng, (out, in_) = np.random.default_rng(0), LAYER
    probes: dict[str, tuple[Any, int]] = {}
    for density in DENSITIES:
        mask = (rng.random(LAYER) < density).view(np.uint8)
        blocks = np.repeat((rng.random((out // 8, in_)) < density), 8, axis=0).view(np.uint8)
        single = _core.LayerProbe(out, in_, None if density == 1.0 else mask, [])
        probes[f"{density:.0%}"] = single, int(mask.sum())
        if density < 1.0:
            probes[f"{density:.0%}/8x1"] = (
                _core.LayerProbe(out, in_, blocks, [8] * (out // 8)),
                int(blocks.sum()),
            )
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for case, (probe, _) in probes.items():
            for product in ("forward", "backward", "gradient"):
                started = time.process_time()
                getattr(probe, product)(PANELS)
                taken.setdefault((product, case), []).append(1e9 * (time.process_time() - started) / PANELS)
    rows = []
    for (product, case), values in taken.items():
        value, dense = statistics.median(values), statistics.median(taken[product, "100%"])
        facts = {"suite": "learner_layer", "name": product, "case": case, "value": value, "unit": "ns/panel"}
        rows.append({**facts, "per_weight": value / probes[case][1], "ratios": {"dense": dense / value}})
    return rows


def benchmark_profile(maps: Sequence[str] = MAPS, rounds: int = 20) -> dict[str, Any]:
    """A `mast-edge/benchmark/1` object."""
    torch.set_num_threads(1)
    rates = measured_rates()
    rows = [row for where in maps for row in profile(where, rounds, rates)]
    host = {
        "kernel_path": _core.kernel_path(),
        "sgemm_gflops": round(2 * rates.products / 1e6, 1),
        "copy_gbytes_per_second": round(4 * rates.copies / 1e6, 1),
    }
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows + layer_rows(rounds)}


def show(result: dict[str, Any]) -> None:
    """Tables for people."""
    print(", ".join(f"{k} {v}" for k, v in result["host"].items()))
    rows = [r for r in result["rows"] if r["suite"] == "learner_profile"]
    for case in dict.fromkeys(r["case"] for r in rows):
        print(f"\n{case}")
        for r in (r for r in rows if r["case"] == case):
            floor = (
                ""
                if r["floor"] is None
                else f"   floor {r['floor']:6.2f} ms, {r['floor'] / r['value']:4.0%} of it"
            )
            print(f"  {r['name']:16} {r['value']:7.2f} ms  {r['share']:4.0%}{floor}")
    print(f"\none layer of {LAYER[0]} x {LAYER[1]}, 64 columns")
    for r in (r for r in result["rows"] if r["suite"] == "learner_layer"):
        told = (
            f"{r['name']:9} {r['case']:8} {r['value'] / 1000:6.2f} us  {r['per_weight']:5.2f} ns per weight"
        )
        print(f"  {told}   {r['ratios']['dense']:5.2f}x dense")


def main() -> None:
    """Prints the tables, or the object with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", nargs="+", default=MAPS)
    parser.add_argument("--rounds", type=int, default=20)
    add_output_options(parser)
    arguments = parser.parse_args()
    result = benchmark_profile(arguments.maps, arguments.rounds)
    finish(result, arguments, show)


if __name__ == "__main__":
    main()
