"""How many environment steps the embedded simulator plays per second of processor time, beside its peers.

Run: `python benchmarks/env.py [--map 3m]... [--rounds N] [--json] [--out FILE]`. One core, a batch of 32
battles, with observations, state and available actions, played by uniformly random legal actions, episodes
reset as they end. Counted: the calls of `Skirmish.step` and `Skirmish.reset`, by process CPU time; not
counted: choosing the random actions. On each map the variants take turns, chunk by chunk; a value is the
median chunk, a ratio the median over the rounds: both sides of it were measured within a second or so.

Variants: `native`; `threads_2`, the same with two threads, by wall time against the wall time of `native`;
`single`, one battle through `mast_edge.envs.single.StarCraft2Env`, which is SMAC's class over this simulator;
`smax`, JaxMARL's SMAX on one core (env_smax.py), where MAST_EDGE_JAXMARL_PYTHON or this interpreter has
jaxmarl; `smac_over_stand_in`, SMAC's own Python class with `mast-edge serve-sc2` for a game (env_smac.py),
where MAST_EDGE_SMAC_PYTHON or this interpreter has smac: the client's CPU time alone, without what any game
costs. SMAX is another, simpler battle, without cliffs, ways round them, shields or missiles: that ratio
compares what a step costs, not the same work. `yardstick` is a fixed piece of arithmetic, measured in every
round: where machines are noisy, compare value / yardstick.

What bounds it, by perf on a build with symbols, per share of the counted time: on 3m walking takes 23 %,
targets, weapons and timers 24 %, pushing 21 %, observations, state, mask and reward 10 %, the calls from
Python 23 %, less with more battles. On 2c_vs_64zg pushing takes 43 % (12 of them listing near pairs), ways
round the cliffs 21 %, targets, weapons and timers 15 %, walking 13 %, observations 3 %, Python 4 %.

A floor for 2c_vs_64zg: 66 units of 144 bytes, read and written in each of 8 loops, are 150 kB a step, in the
nearest cache; at 32 bytes a cycle and 3 GHz 1.6 microseconds, 600,000 steps a second. A step takes 60 to 80,
forty times that: branches and arithmetic per unit and pair bound it, not memory. On 3m that floor is 0.15
microseconds, and a step takes 2 to 3. Near pairs are found among all pairs, in single precision and several
at a time: a grid of cells was tried, and was slower at 66 units.
"""

import os

# Idle helpers of a linear algebra library would count as CPU time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mast_edge.envs.maps import map_names
from mast_edge.envs.sc2.layout import install
from mast_edge.envs.scripted import RandomPolicy
from mast_edge.envs.single import StarCraft2Env
from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import MastEdgeError
from mast_edge.provenance import git_commit

N_ENVS = 32
GOALS = {"3m": 400_000, "3s5z": 120_000, "2c_vs_64zg": 30_000}
"""Map -> environment steps per CPU second that `native` is to reach."""
THREADS_GOAL = 1.7
"""What two threads are to be worth, in wall time."""
THREADED = ("3m", "3s5z", "2c_vs_64zg", "27m_vs_30m")
SINGLE = SMAC = ("3m", "3s5z", "2c_vs_64zg")
SMAX = ("3m", "2s3z", "3s5z")
CPU, WALL = "environment steps per CPU second", "environment steps per second"
BENCHMARKS = Path(__file__).resolve().parent
RESULTS = BENCHMARKS / "results" / "env.json"
START_SECONDS = 300  # until a peer has compiled
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was played in one go: environment steps, and the CPU and wall seconds that count."""

    steps: int
    cpu: float
    wall: float


class Variant(Protocol):
    """Something that plays one map."""

    def run_chunk(self, seconds: float) -> Chunk:
        """Plays until about `seconds` of counted CPU time are spent."""
        ...


class Batch:
    """A batch of the simulator's battles."""

    def __init__(self, name: str, threads: int = 1) -> None:
        """Begins N_ENVS battles of map `name`."""
        self.env = Skirmish(name, N_ENVS, seed=0, threads=threads)
        self.env.reset()
        self.policy = RandomPolicy(np.random.default_rng(0))

    def run_chunk(self, seconds: float) -> Chunk:
        """See `Variant`."""
        cpu = wall = 0.0
        steps = 0
        while cpu < seconds:
            actions = self.policy.act(self.env)
            wall_begin, cpu_begin = time.perf_counter(), time.process_time()
            outcome = self.env.step(actions)
            if outcome.terminated.any():
                self.env.reset(outcome.terminated)
            cpu += time.process_time() - cpu_begin
            wall += time.perf_counter() - wall_begin
            steps += N_ENVS
        return Chunk(steps, cpu, wall)


class Single:
    """One battle through SMAC's interface."""

    def __init__(self, name: str) -> None:
        """Begins a battle of map `name`."""
        self.env = StarCraft2Env(name, seed=0)
        self.env.reset()
        self.rng = np.random.default_rng(0)
        self.avail = np.array(self.env.get_avail_actions())

    def run_chunk(self, seconds: float) -> Chunk:
        """See `Variant`; a step is all that a runner asks for: obs, state and available actions as well."""
        cpu = wall = 0.0
        steps = 0
        while cpu < seconds:
            actions = (self.rng.random(self.avail.shape) + self.avail).argmax(axis=-1)
            wall_begin, cpu_begin = time.perf_counter(), time.process_time()
            if self.env.step(actions)[1]:
                self.env.reset()
            self.env.get_obs()
            self.env.get_state()
            self.avail = np.array(self.env.get_avail_actions())
            cpu += time.process_time() - cpu_begin
            wall += time.perf_counter() - wall_begin
            steps += 1
        return Chunk(steps, cpu, wall)


class Peer:
    """A program that plays in an interpreter of its own, a chunk per line that it is sent."""

    def __init__(self, script: Path, name: str, python: str, environ: dict[str, str], said: Path) -> None:
        """Starts the program and waits until it has compiled or connected.

        Args:
            script: what to run.
            name: its argument, a map.
            python: the interpreter.
            environ: to be added to the environment.
            said: a file for its standard error.

        Raises:
            MastEdgeError: the program ended before it was ready.
        """
        self.said = said
        try:
            with said.open("w") as errors:
                self.process = subprocess.Popen(
                    [python, str(script), name],
                    env={**os.environ, **environ},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        except OSError as error:
            raise MastEdgeError(f"{python}: {error.strerror or error}") from error
        alarm = threading.Timer(START_SECONDS, self.process.kill)
        alarm.start()
        try:
            self.remark = str(self._answer()["peer"])
        finally:
            alarm.cancel()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if line:
            return dict(json.loads(line))
        self.close()
        last = (self.said.read_text().strip().splitlines() or [f"exit code {self.process.returncode}"])[-1]
        raise MastEdgeError(f"{self.process.args[0]}: {last}")

    def run_chunk(self, seconds: float) -> Chunk:
        """See `Variant`."""
        if self.process.stdin:
            print(seconds, file=self.process.stdin, flush=True)
        return Chunk(**self._answer())

    def close(self) -> None:
        """Ends the program, which reads to the end of its lines."""
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def start(script: str, name: str, python: str, environ: dict[str, str], stack: ExitStack) -> Peer:
    """The peer that a script of this folder plays, ended with the stack."""
    said = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "stderr"
    peer = Peer(BENCHMARKS / script, name, os.environ.get(python, sys.executable), environ, said)
    stack.callback(peer.close)
    return peer


def smax(name: str, stack: ExitStack) -> Peer:
    """SMAX on map `name`."""
    return start("env_smax.py", name, "MAST_EDGE_JAXMARL_PYTHON", {}, stack)


def smac_over_stand_in(name: str, stack: ExitStack) -> Peer:
    """SMAC's class on map `name` and a stand-in for the game."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    install(Path(folder), sys.executable)
    environ = {"SC2PATH": folder, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    return start("env_smac.py", name, "MAST_EDGE_SMAC_PYTHON", environ, stack)


PEERS = {"smax": (smax, SMAX), "smac_over_stand_in": (smac_over_stand_in, SMAC)}


def yardstick(turns: int = 400) -> float:
    """Turns per CPU second of a fixed piece of arithmetic, in numpy (distances of points) and in Python."""
    points, begin = np.linspace(0.0, 1.0, 64), time.process_time()
    for _ in range(turns):
        np.sqrt((points[:, None] - points) ** 2).sum()
        sum(i * 0.5 for i in range(100))
    return turns / (time.process_time() - begin)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def variants(
    name: str, skipped: dict[str, str], peers: dict[str, str], stack: ExitStack
) -> dict[str, Variant]:
    """Everything that plays a map here.

    Args:
        name: of the map.
        skipped: variant -> why not; those in it are not tried again, those that fail are added.
        peers: variant -> what it told about itself; added to.
        stack: ends the peers.
    """
    found: dict[str, Variant] = {"native": Batch(name)}
    if name in THREADED and cores() > 1:
        found["threads_2"] = Batch(name, threads=2)
    elif name in THREADED:
        skipped["threads_2"] = "one core only"
    if name in SINGLE:
        found["single"] = Single(name)
    for variant, (begin, maps) in PEERS.items():
        if name not in maps or variant in skipped:
            continue
        try:
            peer = found[variant] = begin(name, stack)
            peers[variant] = peer.remark
        except MastEdgeError as error:
            skipped[variant] = str(error)
    return found


def rate(variant: str, chunk: Chunk) -> float:
    """Steps per second, of the kind that the variant is measured by."""
    return chunk.steps / (chunk.wall if variant == "threads_2" else chunk.cpu)


def ratio_to(peer: str, variant: str, chunks: dict[str, list[Chunk]]) -> float:
    """How many times faster than `peer` a variant was: the median round. By wall time if one of them has two
    threads."""
    by_wall = "threads_2" in (peer, variant)
    rounds = []
    for mine, other in zip(chunks[variant], chunks[peer], strict=True):
        taken, others = (mine.wall, other.wall) if by_wall else (mine.cpu, other.cpu)
        rounds.append((mine.steps / taken) / (other.steps / others))
    return statistics.median(rounds)


def rows_of(name: str, chunks: dict[str, list[Chunk]], pace: float) -> list[dict[str, Any]]:
    """The rows of one map.

    Args:
        name: of the map.
        chunks: variant -> its chunks, round by round.
        pace: the yardstick's, in the same rounds.
    """
    rows = []
    for variant, played in chunks.items():
        rates = [rate(variant, chunk) for chunk in played]
        others = [other for other in chunks if other != variant] if variant == "native" else ["native"]
        row: dict[str, Any] = {
            "suite": "env",
            "name": variant,
            "case": name,
            "value": round(statistics.median(rates)),
            "unit": WALL if variant == "threads_2" else CPU,
            "spread": [round(min(rates)), round(max(rates))],
            "ratios": {other: float(f"{ratio_to(other, variant, chunks):.4g}") for other in others},
            "yardstick": round(pace),
        }
        if variant == "native" and name in GOALS:
            row |= {"goal": GOALS[name], "reached": row["value"] >= GOALS[name]}
        if variant == "threads_2":
            row |= {"goal": THREADS_GOAL, "reached": row["ratios"]["native"] >= THREADS_GOAL}
        rows.append(row)
    return rows


def benchmark_env(
    maps: Sequence[str] | None = None, rounds: int = 7, seconds: float = 0.25, tell: Report | None = None
) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of suite `env`.

    Args:
        maps: names of simulated maps, all when None.
        rounds: chunks per map and variant, at least 1; the value of a row is their median.
        seconds: CPU time of a chunk.
        tell: called with the lines of the table as they are known.
    """
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    peers: dict[str, str] = {}
    for name in maps or map_names():
        with ExitStack() as stack:
            found = variants(name, skipped, peers, stack)
            for variant in found.values():
                variant.run_chunk(seconds / 4)  # warm up
            chunks: dict[str, list[Chunk]] = {variant: [] for variant in found}
            paces = []
            for _ in range(rounds):
                paces.append(yardstick())
                for variant, player in found.items():
                    chunks[variant].append(player.run_chunk(seconds))
        added = rows_of(name, chunks, statistics.median(paces))
        rows += added
        for row in added if tell else ():
            tell(line_of(row))
    host = {
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cores": cores(),
        "git_commit": git_commit(),
        "peers": peers,
        "skipped": skipped,
    }
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}


def line_of(row: dict[str, Any]) -> str:
    """A row for people."""
    low, high = row["spread"]
    ratios = ", ".join(f"{ratio:.3g}x {peer}" for peer, ratio in row["ratios"].items())
    told = f"{row['case']:16} {row['name']:18} {row['value']:>9,} {row['unit']} ({low:,} to {high:,})"
    told += f"  yardstick {row['yardstick']:,}"
    if ratios:
        told += f"  {ratios}"
    if "goal" in row:
        unit = "x" if row["name"] == "threads_2" else ""
        told += f"  goal {row['goal']:,}{unit}: {'reached' if row['reached'] else 'missed'}"
    return told


def main() -> None:
    """Prints the table, or the JSON object with --json; --out keeps the object in a file as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    only = {"choices": map_names(), "metavar": "MAP", "help": "this one only; repeatable"}
    parser.add_argument("--map", action="append", dest="maps", **only)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help=f"write the object there, such as {RESULTS.name}")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1; got {arguments.rounds}.")
    tell = None if arguments.json else lambda line: print(line, flush=True)
    result = benchmark_env(arguments.maps, arguments.rounds, tell=tell)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(result))
    for peer, why in result["host"]["skipped"].items():
        print(f"{peer}: not measured: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
