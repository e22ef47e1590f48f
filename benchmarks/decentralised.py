"""What it costs to ask agents in processes of their own: time of a step, over the bare sockets, and memory.

The agents have random weights; all variants see the same random observations, in turn, chunk by chunk. Times
are wall time of one step of the whole team, median over chunks: waiting for processes is measured too. Rows
of a case, unit us/step:

    decentralised_<backend>   all agents asked, all answers read, as in `mast-edge evaluate --decentralised`
    in_process_<backend>      the same agents, one after the other, in this process
    floor                     as many processes that answer 20 bytes to as many bytes as a STEP has: sockets
                              and the system's scheduler, no protocol, no agent
and, unit bytes, the memory of one such process when it waits (resident_<backend>; pages shared with others
count in each).

Source: docs/agent-protocol.md. Run: python benchmarks/decentralised.py [map@sparsity[xN] ...], N agents only
"""

import argparse
import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.output import add_output_options, finish, host
from benchmarks.random_agents import SIZES, inputs, sizes_of, write_random_checkpoint
from mast_edge.export import export_run
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.agent_launch import Launcher
from mast_edge.runtime.decentralised import DecentralisedTeam
from mast_edge.runtime.team import LoneTeam
from mast_edge.runtime.wire import FRAME_BYTES, step_bytes
from mast_edge.spec import AgentSpec

CASES = ("3m@95x1", "3m@95", "3s5z@90x1", "3s5z@90")
PATHS = {
    "csr": "exports/csr/agent.safetensors",
    "numpy": "exports/csr/agent.safetensors",
    "c": "exports/c/agent.c",
    "onnx": "exports/onnx/agent.onnx",
    "torch": ".",
}
ANSWER = bytes(FRAME_BYTES + 4)
ECHO = """
import socket, sys
sock, size, answer = socket.socket(fileno=0), int(sys.argv[1]), bytes(int(sys.argv[2]))
while sock.recv(size, socket.MSG_WAITALL):
    sock.sendall(answer)
"""
Step = Callable[[], object]


def backends() -> list[str]:
    """Those that can run here."""
    found = ["csr", "numpy"]
    found += ["c"] if shutil.which("gcc") or shutil.which("clang") else []
    found += ["onnx"] if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime") else []
    return found + (["torch"] if importlib.util.find_spec("torch") else [])


@contextmanager
def bare_processes(spec: AgentSpec) -> Iterator[Step]:
    """A step of as many echoing processes as there are agents."""
    question = bytes(FRAME_BYTES + step_bytes(spec.obs_dim, spec.n_actions))
    socks, processes = [], []
    for _ in range(spec.n_agents):
        here, there = socket.socketpair()
        command = [sys.executable, "-S", "-c", ECHO, str(len(question)), str(len(ANSWER))]
        with there:
            processes.append(subprocess.Popen(command, stdin=there))
        socks.append(here)

    def step() -> None:
        for sock in socks:
            sock.sendall(question)
        for sock in socks:
            sock.recv(len(ANSWER), socket.MSG_WAITALL)

    try:
        yield step
    finally:
        for sock, process in zip(socks, processes, strict=True):
            sock.close()
            process.wait()


@contextmanager
def agents(folder: Path, backend: str, spec: AgentSpec) -> Iterator[tuple[Step, Step, DecentralisedTeam]]:
    """(a step apart, a step in this process, the team of processes) on the same observations."""
    path = folder / PATHS[backend]
    agent = Agent.load(path, backend=backend)
    obs, avail = inputs(spec, 64 * spec.n_agents, np.random.default_rng(1))
    obs, avail = obs.reshape(64, 1, spec.n_agents, -1), avail.reshape(64, 1, spec.n_agents, -1)
    playing, counts = np.ones(1, bool), [0, 0]
    launcher = Launcher(path, backend, spec, agent.model.sha256)
    apart, lone = DecentralisedTeam(launcher.start, spec), LoneTeam(agent)

    def of(team: DecentralisedTeam | LoneTeam, which: int) -> Step:
        def step() -> None:
            t = counts[which] % len(obs)
            counts[which] += 1
            team.act(obs[t], avail[t], playing)

        return step

    apart.start(1)
    lone.start(1)
    try:
        yield of(apart, 0), of(lone, 1), apart
    finally:
        apart.close()
        launcher.close()


def measure(steps: Mapping[str, Step], chunks: int, per_chunk: int) -> dict[str, float]:
    """Median microseconds of wall time per step, chunks of all variants in turn; the first chunk warms up."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for chunk in range(chunks + 1):
        for name, step in steps.items():
            began = time.perf_counter_ns()
            for _ in range(per_chunk):
                step()
            if chunk:
                taken[name].append((time.perf_counter_ns() - began) / per_chunk / 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure_case(case: str, chunks: int, per_chunk: int) -> list[dict[str, Any]]:
    """Rows of one case."""
    sized, _, only = case.partition("x")
    map_name, sparsity, pattern = sizes_of(sized)
    spec = replace(SIZES[map_name], n_agents=int(only) if only else SIZES[map_name].n_agents)
    steps: dict[str, Step] = {}
    memory: dict[str, float] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_random_checkpoint(folder, spec, map_name, sparsity, pattern=pattern)
        formats = ["csr", *(name for name in ("c", "onnx") if name in backends())]
        export_run(folder, formats, measure=False)
        steps["floor"] = stack.enter_context(bare_processes(spec))
        teams = {}
        for name in backends():
            apart, lone, teams[name] = stack.enter_context(agents(folder, name, spec))
            steps[f"decentralised_{name}"], steps[f"in_process_{name}"] = apart, lone
            held = [place.resident_bytes for place in teams[name].places]
            memory[f"resident_{name}"] = statistics.median(held)
        taken = measure(steps, chunks, per_chunk)
        replaced = {name: team.replaced for name, team in teams.items()}
    rows = [_row(name, case, value, "us/step", taken) for name, value in taken.items()]
    for row in rows:
        row["agents"] = spec.n_agents
        if row["name"].startswith("decentralised_"):
            row["replaced"] = replaced[row["name"].removeprefix("decentralised_")]
    return rows + [_row(name, case, value, "bytes", memory) for name, value in memory.items()]


def _row(name: str, case: str, value: float, unit: str, peers: Mapping[str, float]) -> dict[str, Any]:
    ratios = {peer: round(other / value, 3) for peer, other in peers.items() if peer != name}
    shown = round(value, 2) if unit == "us/step" else round(value)
    return {
        "suite": "decentralised",
        "name": name,
        "case": case,
        "value": shown,
        "unit": unit,
        "ratios": ratios,
    }


def benchmark_decentralised(
    cases: Sequence[str] = CASES,
    chunks: int = 11,
    per_chunk: int = 200,
    tell: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of cli.md, suite `decentralised`.

    Args:
        cases: `<map>@<sparsity %>`, maps of `random_agents.SIZES`; `xN` behind it takes N agents instead.
        chunks: medians are over this many.
        per_chunk: steps in a chunk.
        tell: told what is being measured.
    """
    rows = []
    for number, case in enumerate(cases, 1):
        tell(f"decentralised {number}/{len(cases)}: {case}")
        rows += measure_case(case, chunks, per_chunk)
    facts = {"cores": os.cpu_count()}
    return {"schema": "mast-edge/benchmark/1", "host": host() | facts, "rows": rows}


def show(result: Mapping[str, Any]) -> None:
    """A table of times and one of memory per case."""
    from mast_edge.console import out, rows_table

    rows = result["rows"]
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = {row["name"]: row for row in rows if row["case"] == case}
        n, body = of_case["floor"]["agents"], []
        for name, row in of_case.items():
            if row["unit"] == "us/step":
                over = "1.0x" if name == "floor" else f"{1 / row['ratios']['floor']:.1f}x"
                memory = of_case.get(name.replace("decentralised", "resident"), row)["value"] / 1e6
                held = f"{memory:.0f} MB" if name.startswith("decentralised") else ""
                body.append([name, f"{row['value']:.1f}", f"{row['value'] / n:.1f}", over, held])
        head = ("variant", "us/step", "us/decision", "over floor", "resident each")
        out(rows_table(head, body, title=f"{case}, {n} agents"))


def main() -> None:
    """Prints tables, or the JSON object."""
    parser = argparse.ArgumentParser(description="Cost of agents in processes of their own.")
    parser.add_argument("cases", nargs="*", default=CASES, help="<map>@<sparsity %%>[xN]")
    parser.add_argument("--chunks", type=int, default=11)
    parser.add_argument("--per-chunk", type=int, default=200)
    add_output_options(parser)
    asked = parser.parse_args()
    finish(benchmark_decentralised(asked.cases, asked.chunks, asked.per_chunk), asked, show)


if __name__ == "__main__":
    main()
