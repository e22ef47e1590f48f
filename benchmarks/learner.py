"""Milliseconds of CPU time per gradient update, all learners interleaved in one process.

Run: `python benchmarks/learner.py [--maps 3m ...] [--full-length | --battles] [--rounds N]
[--algorithms qmix ow_qmix res] [--json] [--out FILE]`.

Every learner gets the same 32 episodes and does everything that `update(episodes, t_env)` does, packing and
optimiser step included. Variants:

- `stepwise`: the published kind of learner (`stepwise.py`), `torch`: our dense reference, `torch_gru`: the
  same with torch's own GRU in place of the native recurrence;
- `native_dense`: our native learner without masks, which is its sparsity 0;
- `native`, `native_8x1`: static Erdos-Renyi masks of single weights, and of 8x1 blocks in the agent;
  `native_uniform`: single weights, the same density in every layer.

Loss and gradients of every variant must agree with the torch learner's, at the same masked weights, before
any time is taken. Ratios are formed in each round, then their median; a difference below 15 % is a tie.

Source: training_speed.md, sections 3 and 9; cli.md (`benchmark`).
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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.learner_cases import MEAN_LENGTHS, Batch, batches, floor_ms, measured_rates
from benchmarks.learner_variants import (
    GOAL_SPARSITY,
    NATIVE,
    Variant,
    expect_agreement,
    make,
    native_learner,
    variants,
)
from mast_edge.envs.maps import env_spec
from mast_edge.native import _core
from mast_edge.provenance import git_commit, versions
from mast_edge.train.learners.torch import TorchLearner

MAPS = tuple(MEAN_LENGTHS)
OTHER_ALGORITHMS_MAPS = ("3m", "3s5z")
EPISODES, BATCHES, WARM_UP = 32, 3, 2
COMPARED = 8
"""Episodes in a comparison: in a whole batch of OW-QMIX some activation always lies at a kink."""
SHOWN_PEERS = ("stepwise", "torch", "native_dense", "native")
TIE = 1.15
CONTENDED = 1.1
NOT_SLOWER = 1 / TIE
"""A tie counts as not slower."""
GOALS: dict[tuple[str, int], dict[str, float]] = {
    ("torch", 0): {"stepwise": 1.2},
    ("native_dense", 0): {"torch": NOT_SLOWER},
    ("native", GOAL_SPARSITY): {"stepwise": 5.0, "torch": 3.0, "native_dense": 3.0},
    ("native_8x1", GOAL_SPARSITY): {"native": NOT_SLOWER},
}
"""(variant, sparsity in %) -> peer -> how many times faster at least, on ragged batches with QMIX."""


def measure(found: Sequence[Variant], drawn: Sequence[Batch], rounds: int, rng: np.random.Generator) -> None:
    """Fills `cpu` and `wall`: one update of every variant per round, in another order each time."""
    for turn in range(WARM_UP + rounds):
        episodes = drawn[turn % len(drawn)].episodes
        for i in rng.permutation(len(found)):
            wall, cpu = time.perf_counter(), time.process_time()
            found[i].learner.update(episodes, 0)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if turn >= WARM_UP:
                found[i].cpu.append(1000 * cpu)
                found[i].wall.append(1000 * wall)


def rows_of(
    found: Sequence[Variant], algorithm: str, floors: Mapping[str, Mapping[str, float]], *, goals: bool
) -> list[dict[str, Any]]:
    """One row per variant. Its peers are the variants without masks, and those of the same sparsity.

    Args:
        found: measured.
        algorithm: of all.
        floors: `name case` -> `learner_cases.floor_ms`.
        goals: whether those of training_speed.md 3 hold for this run.
    """
    rows = []
    for own in found:
        peers = [v for v in found if v is not own and v.sparsity in (0, own.sparsity)]
        ratios = {
            p.name: round(statistics.median(x / y for x, y in zip(p.cpu, own.cpu, strict=True)), 3)
            for p in peers
        }
        value, (low, _, high) = statistics.median(own.cpu), statistics.quantiles(own.cpu, method="inclusive")
        row: dict[str, Any] = {
            **{"suite": "learner", "name": own.name, "case": own.case, "value": round(value, 3)},
            **{"unit": "ms/update", "ratios": ratios, "algorithm": algorithm},
            "ties": [name for name, ratio in ratios.items() if NOT_SLOWER < ratio < TIE],
            "quartiles": [round(low, 3), round(high, 3)],
            "wall": round(statistics.median(own.wall), 3),
            "contended": statistics.median(own.wall) > CONTENDED * value,
            "disagreement": own.disagreement,
        }
        if floor := floors.get(f"{own.name} {own.case}"):
            total = sum(floor.values())
            row["floor"] = {**{k: round(v, 3) for k, v in floor.items()}, "share": round(total / value, 3)}
        wanted = GOALS.get((own.name, own.sparsity), {}) if goals else {}
        row["goals"] = [
            {"peer": peer, "at_least": round(least, 3), "reached": ratios[peer] >= least}
            for peer, least in wanted.items()
            if peer in ratios
        ]
        rows.append(row)
    return rows


def benchmark_learner(
    maps: Sequence[str] = MAPS,
    algorithms: Sequence[str] = ("qmix",),
    rounds: int = 12,
    lengths: str = "ragged",
    tell: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `learner`.

    Args:
        maps: names.
        algorithms: names; others than qmix only on 3m and 3s5z, and only dense and at 90 %.
        rounds: that count.
        lengths: as in `learner_cases.batches`.
        tell: is told what is being done.

    Raises:
        MastEdgeError: a variant does not compute what the torch learner computes.
    """
    torch.set_num_threads(1)
    native, rows = native_learner(), []
    facts: dict[str, Any] = {}
    for algorithm in algorithms:
        for where in maps if algorithm == "qmix" else [m for m in maps if m in OTHER_ALGORITHMS_MAPS]:
            made, fact = measured(where, algorithm, native, rounds, lengths, tell)
            facts.setdefault(where, fact)
            rows += made
    skipped = {} if native else {"native": f"the package has no {NATIVE}"}
    return {"schema": "mast-edge/benchmark/1", "host": host(lengths, facts, rounds, skipped), "rows": rows}


def measured(
    where: str,
    algorithm: str,
    native: type[TorchLearner] | None,
    rounds: int,
    lengths: str,
    tell: Callable[[str], object],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of one map, and facts on its batches and on the core."""
    env = env_spec(where)
    drawn = batches(env, lengths, BATCHES, EPISODES, seed=5)
    found = variants(env, algorithm, native)
    tell(f"{algorithm} on {where}: comparing {len(found)} variants")
    few = [batch.episodes[i : i + COMPARED] for batch in drawn for i in range(0, EPISODES, COMPARED)]
    for variant in found:
        expect_agreement(variant, env, algorithm, few)
    tell(f"{algorithm} on {where}: measuring {rounds} rounds")
    measure(found, drawn, rounds, np.random.default_rng(6))
    rates, floors = measured_rates(), {}
    if algorithm == "qmix":
        networks = make(TorchLearner, env, algorithm).algorithm
        for v in found:
            masks = getattr(v.learner, "topologies", {})
            floors[f"{v.name} {v.case}"] = floor_ms(networks, masks, env, drawn, rates)
    played = [e.length for batch in drawn for e in batch.episodes]
    facts = {
        **{"mean_length": round(statistics.mean(played), 1), "longest": max(played)},
        "transitions": round(statistics.mean(b.transitions for b in drawn)),
        "sgemm_gflops": round(2 * rates.products / 1e6, 1),
        "copy_gbytes_per_second": round(4 * rates.copies / 1e6, 1),
    }
    return rows_of(found, algorithm, floors, goals=lengths == "ragged" and algorithm == "qmix"), facts


def host(lengths: str, maps: dict[str, Any], rounds: int, skipped: dict[str, str]) -> dict[str, Any]:
    """What a number of this suite depends on."""
    path = getattr(_core, "kernel_path", None)
    return {
        **{"machine": platform.machine(), "cpu": _cpu("model name"), "threads": torch.get_num_threads()},
        "flags": [f for f in _cpu("flags").split() if f.startswith(("avx", "fma", "amx"))],
        **{"versions": versions(), "commit": git_commit()},
        "kernel_path": path() if path else None,
        **{"allocation": "erdos_renyi", "episodes": EPISODES, "lengths": lengths, "rounds": rounds},
        **{"maps": maps, "skipped": skipped},
    }


def _cpu(field_name: str) -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith(field_name)]
    return found[0] if found else ""


def table(result: dict[str, Any]) -> list[str]:
    """One block per algorithm and map, then its goals."""
    lines, blocks = [], dict[tuple[str, str], list[dict[str, Any]]]()
    for row in result["rows"]:
        blocks.setdefault((row["algorithm"], row["case"].split("@")[0]), []).append(row)
    heads = f"  {'variant':15} {'case':17} {'ms':>7} {'quartiles':>13} {'wall':>7}"
    heads += "".join(f"{'x ' + peer:>15}" for peer in SHOWN_PEERS) + "   floor: products + activations, share"
    for (algorithm, where), rows in blocks.items():
        facts = result["host"]["maps"][where]
        lines += [
            f"{algorithm} on {where}: {EPISODES} episodes, {result['host']['lengths']}, mean length "
            f"{facts['mean_length']}, longest {facts['longest']}; {facts['sgemm_gflops']} GFLOP/s, "
            f"{facts['copy_gbytes_per_second']} GB/s",
            heads,
            *map(_line, rows),
            *(_verdict(row, goal) for row in rows for goal in row["goals"]),
            "",
        ]
    return lines + [f"{peer}: not measured: {why}" for peer, why in result["host"]["skipped"].items()]


def _line(row: dict[str, Any]) -> str:
    spread = "-".join(f"{x:.1f}" for x in row["quartiles"])
    ratios = {peer: f"{x:.2f}" + " tie" * (peer in row["ties"]) for peer, x in row["ratios"].items()}
    cells = "".join(f"{ratios.get(peer, '-'):>15}" for peer in SHOWN_PEERS)
    floor = row.get("floor")
    best = f"{floor['products']:.1f} + {floor['activations']:.1f} ms, {floor['share']:.0%}" if floor else "-"
    start = f"  {row['name']:15} {row['case']:17} {row['value']:7.1f} {spread:>13} {row['wall']:7.1f}"
    return f"{start}{cells}   {best}{'  contended' if row['contended'] else ''}"


def _verdict(row: dict[str, Any], goal: dict[str, Any]) -> str:
    wanted = "not slower" if goal["at_least"] < 1 else f"{goal['at_least']:g}x"
    verdict = "met" if goal["reached"] else "not met"
    got = row["ratios"][goal["peer"]]
    return f"  goal, {row['name']} {row['case']} over {goal['peer']}: {wanted}: {verdict}, {got:.2f}x"


def main() -> None:
    """Prints the table, or the object with --json."""
    parser = argparse.ArgumentParser(description="Milliseconds per gradient update of every learner.")
    parser.add_argument("--maps", nargs="+", default=MAPS, choices=MAPS)
    parser.add_argument("--algorithms", nargs="+", default=("qmix",), choices=("qmix", "ow_qmix", "res"))
    parser.add_argument("--rounds", type=int, default=12, help="at least 10 for numbers to quote")
    which = parser.add_mutually_exclusive_group()
    for flag, lengths, what in (
        ("--full-length", "full", "all episodes equally long"),
        ("--battles", "battles", "battles of the simulator, played at random"),
    ):
        which.add_argument(flag, dest="lengths", action="store_const", const=lengths, help=what)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help="file for the object")
    a = parser.parse_args()
    result = benchmark_learner(a.maps, a.algorithms, a.rounds, a.lengths or "ragged")
    if a.out:
        a.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if a.json else "\n".join(table(result)))


if __name__ == "__main__":
    main()
