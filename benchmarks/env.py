"""How many environment steps the embedded simulator plays per second of processor time.

Run: `python benchmarks/env.py [--map 3m]... [--rounds N] [--json]`. One core, a batch of 32 battles, with
observations, state and available actions, played by uniformly random legal actions, episodes reset as they
end. Counted: the calls of `Skirmish.step` and `Skirmish.reset`, by process CPU time; not counted: choosing
the random actions. Maps are measured in interleaved chunks; the number is the median chunk.

What bounds it: on 3m about 15,000 instructions per step, three quarters of them the eight loops of the battle
(targets, walking, pushing), an eighth the observations, state and mask; the calls from Python cost another
eighth at 32 battles and less with more. On the large maps pushing and its pair lists take half.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mast_edge.envs.maps import map_names
from mast_edge.envs.scripted import RandomPolicy
from mast_edge.envs.skirmish import Skirmish

N_ENVS = 32


@dataclass(slots=True)
class Course:
    """One map being measured: its battles, its player, and the steps per CPU second of each chunk so far."""

    env: Skirmish
    policy: RandomPolicy
    rates: list[float]

    def run_chunk(self, cpu_seconds: float) -> None:
        """Plays until the simulator has used `cpu_seconds`, and notes the rate."""
        spent, steps = 0.0, 0
        while spent < cpu_seconds:
            actions = self.policy.act(self.env)
            begin = time.process_time()
            outcome = self.env.step(actions)
            if outcome.terminated.any():
                self.env.reset(outcome.terminated)
            spent += time.process_time() - begin
            steps += self.env.n_envs
        self.rates.append(steps / spent)


def measure(maps: Sequence[str], rounds: int = 7, cpu_seconds: float = 0.25) -> dict[str, list[float]]:
    """Environment steps per CPU second.

    Args:
        maps: names of simulated maps.
        rounds: chunks per map.
        cpu_seconds: length of a chunk.

    Returns:
        Map name -> rate of every chunk.
    """
    courses = {}
    for name in maps:
        env = Skirmish(name, N_ENVS, seed=0)
        env.reset()
        courses[name] = Course(env, RandomPolicy(np.random.default_rng(0)), [])
        courses[name].run_chunk(cpu_seconds / 4)    # warm up
        courses[name].rates.clear()
    for _ in range(rounds):
        for course in courses.values():
            course.run_chunk(cpu_seconds)
    return {name: course.rates for name, course in courses.items()}


def benchmark_env(maps: Sequence[str] | None = None, rounds: int = 7) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of suite `env`.

    Args:
        maps: names of simulated maps, all when None.
        rounds: chunks per map; the value of a row is their median.
    """
    rates = measure(maps or map_names(), rounds)
    rows = [
        {
            "suite": "env",
            "name": "native",
            "case": name,
            "value": round(statistics.median(chunk)),
            "unit": "environment steps per CPU second",
            "spread": [round(min(chunk)), round(max(chunk))],
            "ratios": {},
        }
        for name, chunk in rates.items()
    ]
    host = {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version()}
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}


def main() -> None:
    """Prints the table, and the JSON object with --json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--map", action="append", dest="maps", help="measure this map only; repeatable")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = benchmark_env(arguments.maps, arguments.rounds)
    if arguments.json:
        print(json.dumps(result))
        return
    for row in result["rows"]:
        low, high = row["spread"]
        print(f"{row['case']:12} {row['value']:>10,} steps per CPU second  ({low:,} to {high:,})")


if __name__ == "__main__":
    main()
