"""What untrained play reaches on every map: random and nearest-target, with intervals.

Run: `python benchmarks/battles.py [--maps 3m 8m ...] [--episodes N] [--json] [--out FILE]`. Episode i of a
map is the first one of environment seed i; random play draws from a stream of its own, begun with seed 0
on every map. The intervals are Wilson's, 95 %. With the same version of the simulator, which the result
names, the numbers come out again exactly. Progress goes to standard error.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.envs.maps import map_names, smac_map
from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import SIMULATOR_VERSION, Skirmish
from mast_edge.provenance import git_commit
from mast_edge.runtime.match import BATCH, Outcomes, play_batch
from mast_edge.runtime.parity import wilson
from mast_edge.runtime.play import ScriptedTeam

POLICIES = ("random", "nearest")
RESULTS = Path(__file__).parent / "results" / "battles.json"
ASKS_FOR = {
    "3m": "focused fire",
    "5m_vs_6m": "focused fire against one enemy more",
    "8m_vs_9m": "focused fire against one enemy more",
    "10m_vs_11m": "focused fire against one enemy more",
    "27m_vs_30m": "focused fire against three enemies more",
    "MMM": "healing and shielding the healer",
    "MMM2": "healing, and focused fire against two enemies more",
    "3s5z_vs_3s6z": "stalkers behind zealots, against one zealot more",
    "3s_vs_3z": "shooting and stepping back: zealots that arrive win",
    "3s_vs_4z": "shooting and stepping back: zealots that arrive win",
    "3s_vs_5z": "shooting and stepping back: zealots that arrive win",
    "2m_vs_1z": "one marine leading the zealot about while the other shoots",
    "6h_vs_8z": "shooting and stepping back, one zealot after the other",
    "2s_vs_1sc": "taking turns under fire, so that shields recover",
    "so_many_baneling": "standing apart, so that a blast hits one zealot",
    "2c_vs_64zg": "using the cliff",
    "corridor": "holding the narrow place",
}
"""What a map asks of a team and neither policy does: a remark for rows of 0 %, not a measurement."""
Report = Callable[[str], None]


def played(name: str, policy: str, episodes: int) -> Outcomes:
    """Episodes of seeds 0, 1, ... of a map, put together without their actions."""
    player = RandomPolicy(np.random.default_rng(0)) if policy == "random" else NearestPolicy()
    parts = []
    for first in range(0, episodes, BATCH):
        env = Skirmish(name, min(BATCH, episodes - first), seed=first)
        parts.append(play_batch(env, ScriptedTeam(player, env)))
        env.close()
    fields = ("won", "timed_out", "length", "returns")
    return Outcomes(
        *(np.concatenate([getattr(part, field) for part in parts]) for field in fields),
        actions=np.zeros((0, 0, 0), np.int16),
    )


def row(name: str, policy: str, episodes: int) -> dict[str, Any]:
    """One line of the table."""
    outcomes = played(name, policy, episodes)
    wins = int(outcomes.won.sum())
    return {
        "suite": "battles",
        "name": policy,
        "case": name,
        "value": wins / episodes,
        "unit": "win rate",
        "ci95": [round(bound, 4) for bound in wilson(wins, episodes)],
        "wins": wins,
        "episodes": episodes,
        "timeouts": int(outcomes.timed_out.sum()),
        "mean_length": round(float(outcomes.length.mean()), 2),
        "episode_limit": smac_map(name).limit,
        "mean_return": round(float(outcomes.returns.mean()), 3),
        "ratios": {},
    }


def benchmark_battles(
    maps: Sequence[str] | None = None, episodes: int = 200, tell: Report | None = None
) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of suite `battles`.

    Args:
        maps: names of simulated maps, all when None.
        episodes: per map and policy, at least 1.
        tell: called with a line per map and policy as it is done.
    """
    rows = []
    for name in maps or map_names():
        for policy in POLICIES:
            started = time.perf_counter()
            rows.append(row(name, policy, episodes))
            if tell is not None:
                seconds = time.perf_counter() - started
                tell(f"{name} {policy}: {rows[-1]['wins']}/{episodes} won, {seconds:.1f} s")
    return {
        "schema": "mast-edge/benchmark/1",
        "host": {"simulator": SIMULATOR_VERSION, "git_commit": git_commit()},
        "rows": rows,
    }


def table(result: dict[str, Any]) -> list[str]:
    """The lines of a markdown table, one per map."""
    columns = [f"{name}: won, 95 % | return | steps | time-outs" for name in POLICIES]
    lines = [
        f"| map (limit) | {' | '.join(columns)} |",
        "|---" * (1 + 4 * len(POLICIES)) + "|",
    ]
    by_map: dict[str, list[dict[str, Any]]] = {}
    for entry in result["rows"]:
        by_map.setdefault(entry["case"], []).append(entry)
    for name, entries in by_map.items():
        cells = [f"{name} ({entries[0]['episode_limit']})"]
        for entry in entries:
            low, high = entry["ci95"]
            cells.append(f"{100 * entry['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
            cells += [f"{entry['mean_return']:.2f}", f"{entry['mean_length']:.1f}", str(entry["timeouts"])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def remarks(result: dict[str, Any]) -> list[str]:
    """A line for each map and policy that won no battle or all."""
    said = []
    for entry in result["rows"]:
        wins, name = entry["wins"], f"{entry['case']} {entry['name']}"
        if wins == entry["episodes"]:
            said.append(f"{name}: won all")
        elif wins == 0 and entry["name"] == "random":
            said.append(f"{name}: won none; fights without aim or order")
        elif wins == 0:
            said.append(f"{name}: won none; the map asks for {ASKS_FOR.get(entry['case'], 'more than this')}")
    return said


def main() -> None:
    """Prints the table, or the JSON object with --json; --out keeps the object in a file as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--maps", nargs="+", choices=map_names(), metavar="MAP", help="these only")
    parser.add_argument("--episodes", type=int, default=200, help="per map and policy; default: 200")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help=f"write the object there, such as {RESULTS.name}")
    arguments = parser.parse_args()
    if arguments.episodes < 1:
        parser.error(f"--episodes must be at least 1; got {arguments.episodes}.")
    result = benchmark_battles(
        arguments.maps, arguments.episodes, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result) if arguments.json else "\n".join([*table(result), "", *remarks(result)]))


if __name__ == "__main__":
    main()
