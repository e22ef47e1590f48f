"""How fast untrained agents act during training beside their peers, and what a step of a rollout costs.

Run: `python benchmarks/acting.py [--map 3m]... [--rounds N] [--json] [--out FILE]`. One thread, random dense
weights, hidden state carried. Variants take turns chunk by chunk; a value is the median chunk by process CPU
time, a ratio the median over the rounds.

Acting, in team steps per second (E environments are E teams): `native`, the actor that training uses;
`numpy`, `torch` and `onnxruntime` assemble rows, run the layers and choose in numpy. Observations are random,
half zeros. Before any time is taken all must choose the same actions.

Rollouts, in microseconds per environment step with the simulator, resets, recording and, once per episode,
the weights: `rollout`, as training plays; `rollout_steps`, the same actor with a return to Python in every
step, as for environments other than the simulator; `rollout_numpy`, that with the actor in numpy. One
environment explores as in training, 32 play greedily as in an evaluation.

Source: training_speed.md, sections 5 and 9.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mast_edge.checkpoint_files import AgentCheckpoint, Recorded
from mast_edge.dense_agent import DenseAgent, assemble, forward, masked_argmax, replay
from mast_edge.envs.maps import env_spec, map_names
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.skirmish import Skirmish
from mast_edge.native._core import kernel_path
from mast_edge.provenance import git_commit, versions
from mast_edge.spec import AgentSpec, EnvSpec
from mast_edge.train.rollout import Actor, play_episodes

MAPS = ("3m", "3s5z", "2c_vs_64zg")
BATCHES = (1, 8, 32)
ROLLOUTS = ((1, 0.05), (32, 0.0))
"""Environments, and epsilon."""
RESULTS = Path(__file__).resolve().parent / "results" / "acting.json"
Weights = dict[str, np.ndarray]
StepRows = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Player(Protocol):
    """What a rollout needs of an actor."""

    def reset(self) -> None:
        """Begins an episode."""
        ...

    def act(
        self,
        obs: np.ndarray,
        avail: np.ndarray,
        epsilon: float = 0.0,
        rng: np.random.Generator | None = None,
        which: np.ndarray | None = None,
    ) -> np.ndarray:
        """See `mast_edge.train.rollout.Actor`."""
        ...


class RowsActor:
    """An actor around something that maps rows (B, F) and hidden (B, H) to q and hidden."""

    def __init__(self, spec: AgentSpec, n_envs: int, step: StepRows) -> None:
        """Begins an episode."""
        self.spec, self.step = spec, step
        self.ids = np.tile(np.arange(spec.n_agents), n_envs)
        self.reset()

    def reset(self) -> None:
        """See `Player`."""
        self.hidden = np.zeros((len(self.ids), self.spec.hidden_dim), np.float32)
        self.last = np.full(len(self.ids), -1)

    def act(
        self,
        obs: np.ndarray,
        avail: np.ndarray,
        epsilon: float = 0.0,
        rng: np.random.Generator | None = None,
        which: np.ndarray | None = None,
    ) -> np.ndarray:
        """See `Player`; computes every environment, whatever `which` says."""
        rows = assemble(self.spec, obs.reshape(len(self.ids), -1), self.last, self.ids)
        q, self.hidden = self.step(rows, self.hidden)
        actions = masked_argmax(q.reshape(avail.shape), avail)
        if epsilon > 0.0 and rng is not None:
            explore = rng.random(actions.shape) < epsilon
            if explore.any():
                random = np.where(avail, rng.random(avail.shape), -1.0).argmax(-1)
                actions = np.where(explore, random, actions)
        self.last = actions.ravel()
        return actions


def random_weights(spec: AgentSpec) -> Weights:
    """Dense weights as before training: uniform in +-1/sqrt(in)."""
    rng = np.random.default_rng(0)
    weights = {}
    for layer, (out, in_) in spec.layer_shapes().items():
        bound = 1 / np.sqrt(in_)
        weights[f"{layer}.weight"] = rng.uniform(-bound, bound, (out, in_)).astype(np.float32)
        weights[f"{layer}.bias"] = rng.uniform(-bound, bound, out).astype(np.float32)
    return weights


def peers(env: EnvSpec, spec: AgentSpec, weights: Weights) -> dict[str, StepRows]:
    """Whatever is installed of numpy, torch and onnxruntime, with these weights."""
    agent = DenseAgent(spec, weights)
    found: dict[str, StepRows] = {"numpy": lambda rows, hidden: forward(agent.affine, rows, hidden)}
    checkpoint = AgentCheckpoint(Path(), spec, env, weights, {}, {}, "")
    if importlib.util.find_spec("torch"):
        import torch

        from mast_edge.runtime.backends.torch_ import TorchModel

        torch.set_num_threads(1)
        found["torch"] = TorchModel(checkpoint, torch).step_rows
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        found["onnxruntime"] = _onnx(checkpoint)
    return found


def _onnx(checkpoint: AgentCheckpoint) -> StepRows:
    from mast_edge.export.job import Job
    from mast_edge.export.to_onnx import export_onnx
    from mast_edge.export.verify import Reference
    from mast_edge.runtime.backends.onnx_ import OnnxBackend

    spec = checkpoint.spec
    obs = np.zeros((1, spec.n_agents, spec.obs_dim), np.float32)
    avail = np.ones((1, spec.n_agents, spec.n_actions), np.uint8)
    seen = Recorded(obs, avail, np.zeros((1, spec.n_agents), np.int32), np.ones(1, np.uint8))
    answers = replay(DenseAgent(spec, checkpoint.weights).affine, spec, seen)
    with tempfile.TemporaryDirectory() as folder:
        files = export_onnx(Job(checkpoint, Reference(seen, answers), {}), Path(folder))
        model: Any = OnnxBackend.load(files["onnx"])
    step: StepRows = model.step_rows
    return step


def actors(env: EnvSpec, n_envs: int) -> dict[str, Player]:
    """Variant -> actor, all with the same weights."""
    spec = AgentSpec.of(env)
    weights = random_weights(spec)
    native = Actor(spec, n_envs)
    native.load(weights)
    others = {name: RowsActor(spec, n_envs, step) for name, step in peers(env, spec, weights).items()}
    return {"native": native, **others}


def random_steps(spec: EnvSpec, n_envs: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """obs (E, N, O), half zeros, and avail (E, N, A)."""
    rng, steps = np.random.default_rng(1), []
    shape = (n_envs, spec.n_agents)
    for _ in range(count):
        obs = rng.uniform(-1, 1, (*shape, spec.obs_dim)) * (rng.random((*shape, spec.obs_dim)) < 0.5)
        avail = (rng.random((*shape, spec.n_actions)) < 0.6).astype(np.uint8)
        avail[..., 1] = 1
        steps.append((obs.astype(np.float32), avail))
    return steps


def measure(calls: dict[str, Callable[[], int]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """CPU seconds per unit of work, round by round, variants interleaved.

    Args:
        calls: variant -> does some work and says how many units it was.
        rounds: chunks per variant, after one to warm up.
        seconds: CPU time of a chunk, about.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            units, began, passed = 0, time.process_time(), 0.0
            while passed < seconds:
                units += call()
                passed = time.process_time() - began
            taken[name].append(passed / units)
    return {name: chunks[1:] for name, chunks in taken.items()}


def acting(name: str, n_envs: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """CPU seconds per team step."""
    env = env_spec(name, SmacOptions())
    steps, found = random_steps(env, n_envs, 16), actors(env, n_envs)
    first = {variant: actor.act(*steps[0]).tolist() for variant, actor in found.items()}
    if any(chosen != first["native"] for chosen in first.values()):
        raise RuntimeError(f"acting: all variants must choose the same actions on {name}; got {first}.")

    def call_of(actor: Player) -> Callable[[], int]:
        def call() -> int:
            for obs, avail in steps:
                actor.act(obs, avail)
            return n_envs * len(steps)

        return call

    return measure({variant: call_of(actor) for variant, actor in found.items()}, rounds, seconds)


def rollouts(name: str, n_envs: int, epsilon: float, rounds: int, seconds: float) -> dict[str, list[float]]:
    """CPU seconds per environment step."""
    calls: dict[str, Callable[[], int]] = {}
    for variant, native in (("rollout", True), ("rollout_steps", False), ("rollout_numpy", False)):
        env, rng = Skirmish(name, n_envs, seed=0), np.random.default_rng(2)
        spec = AgentSpec.of(env.spec)
        weights = random_weights(spec)
        agent = DenseAgent(spec, weights)
        rows = RowsActor(spec, n_envs, lambda rows, hidden, agent=agent: forward(agent.affine, rows, hidden))
        actor: Any = rows if variant == "rollout_numpy" else Actor(spec, n_envs)

        def call(
            env: Skirmish = env,
            actor: Any = actor,
            rng: np.random.Generator = rng,
            weights: Weights = weights,
            native: bool = native,
        ) -> int:
            if isinstance(actor, Actor):
                actor.load(weights)
            return play_episodes(env, actor, epsilon, rng, native=native).steps

        calls[variant] = call
    return measure(calls, rounds, seconds)


def rows_of(taken: dict[str, list[float]], case: str, unit: str) -> list[dict[str, Any]]:
    """Rows of one case; a ratio says how many times faster than the other a variant was.

    Args:
        taken: variant -> CPU seconds per unit of work, round by round.
        case: what was measured.
        unit: `us/...` or `.../s`.
    """
    rows = []
    for variant, chunks in taken.items():
        values = sorted(1e6 * s if unit.startswith("us") else 1 / s for s in chunks)
        ratios = {
            other: float(f"{statistics.median(o / s for o, s in zip(others, chunks, strict=True)):.4g}")
            for other, others in taken.items()
            if other != variant
        }
        value, low, high = (float(f"{v:.5g}") for v in (statistics.median(values), values[0], values[-1]))
        row = {"suite": "acting", "name": variant, "case": case, "value": value, "unit": unit}
        rows.append({**row, "spread": [low, high], "ratios": ratios})
    return rows


def benchmark_acting(
    maps: Sequence[str] = MAPS,
    rounds: int = 9,
    seconds: float = 0.05,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of suite `acting`.

    Args:
        maps: names of simulated maps.
        rounds: chunks per case and variant, at least 1.
        seconds: CPU time of a chunk, about; a rollout takes at least one round of episodes.
        tell: called with the lines of the table as they are known.
    """
    rows: list[dict[str, Any]] = []
    for name in maps:
        for n_envs in BATCHES:
            taken = acting(name, n_envs, rounds, seconds)
            rows += rows_of(taken, f"{name} E={n_envs}", "team steps/s")
        for n_envs, epsilon in ROLLOUTS:
            taken = rollouts(name, n_envs, epsilon, rounds, seconds)
            rows += rows_of(taken, f"{name} E={n_envs} epsilon={epsilon}", "us/environment step")
        for row in rows if tell else ():
            if row["case"].split()[0] == name:
                tell(line_of(row))
    host = {
        "machine": platform.machine(),
        "system": platform.system(),
        "instruction_set": kernel_path(),
        "git_commit": git_commit(),
        **versions(),
    }
    return {"schema": "mast-edge/benchmark/1", "host": host, "rows": rows}


def line_of(row: dict[str, Any]) -> str:
    """A row for people."""
    ratios = ", ".join(f"{ratio:.3g}x {peer}" for peer, ratio in row["ratios"].items())
    return f"{row['case']:28} {row['name']:14} {row['value']:>11,.6g} {row['unit']:20} {ratios}"


def main() -> None:
    """Prints the table, or the JSON object with --json; --out keeps the object in a file as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    only = {"choices": map_names(), "metavar": "MAP", "help": "this one only; repeatable"}
    parser.add_argument("--map", action="append", dest="maps", **only)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, help=f"write the object there, such as {RESULTS.name}")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1; got {arguments.rounds}.")
    tell = None if arguments.json else lambda line: print(line, flush=True)
    result = benchmark_acting(arguments.maps or MAPS, arguments.rounds, tell=tell)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
