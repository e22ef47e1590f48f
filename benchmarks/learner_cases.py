"""What `benchmarks/learner.py` measures on: maps, episodes, masks, and how little time an update could take.

Source: training_speed.md, sections 3 and 9.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mast_edge.config import resolve
from mast_edge.spec import EnvSpec
from mast_edge.topology import Shapes, Topology, layer_nnz
from mast_edge.train.algos.base import Algorithm
from mast_edge.train.replay import Episode
from mast_edge.train.rollout import play_episodes
from mast_edge.train.trainer import Trainer

MEAN_LENGTHS = {"3m": 25, "2s3z": 50, "3s5z": 55, "2c_vs_64zg": 70}
"""Map -> mean of the drawn lengths; their deviation is 0.3 of it."""
FULL_LENGTHS = {"3m": 60, "2s3z": 120, "3s5z": 100, "2c_vs_64zg": 150}
"""Map -> length of every episode with `full`, as in the table of section 1."""
LENGTHS = ("ragged", "full", "battles")
FIRST_LAYERS = {"fc1", "hyper_w_1.0", "hyper_w_final.0", "hyper_b_1", "net.0", "V.0"}
"""Layers that read the observation or the state: nothing asks for the gradient of their input."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch and its sizes: P rows, M transitions."""

    episodes: list[Episode]

    @property
    def transitions(self) -> int:
        """M."""
        return sum(e.length for e in self.episodes)

    @property
    def rows(self) -> int:
        """P: each episode has one row more than transitions."""
        return self.transitions + len(self.episodes)


def batches(env: EnvSpec, lengths: str, count: int, size: int, seed: int) -> list[Batch]:
    """Different batches of random episodes.

    Args:
        env: of the map.
        lengths: `ragged`: N(mean, 0.3 mean), clipped to [1, limit]; `full`: `FULL_LENGTHS`, none longer than
            another; `battles`: real battles of the simulator, played at random.
        count: of batches.
        size: episodes in each.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    if lengths == "battles":
        return [Batch(random_battles(env.map_name, size, seed + i)) for i in range(count)]
    if lengths == "full":
        drawn = np.full((count, size), FULL_LENGTHS[env.map_name])
    else:
        mean = MEAN_LENGTHS[env.map_name]
        drawn = np.rint(rng.normal(mean, 0.3 * mean, (count, size))).astype(int)
    drawn = drawn.clip(1, env.episode_limit)
    return [Batch([synthetic_episode(env, int(length), rng) for length in row]) for row in drawn]


def synthetic_episode(env: EnvSpec, length: int, rng: np.random.Generator) -> Episode:
    """Noise in the shape of an episode: half of obs is zero, actions are available ones."""
    n, a, steps = env.n_agents, env.n_actions, length + 1
    obs = rng.uniform(-1, 1, (steps, n, env.obs_dim)) * (rng.random((steps, n, env.obs_dim)) < 0.5)
    avail = (rng.random((steps, n, a)) < 0.6).astype(np.uint8)
    avail[..., 1] = 1
    cut = length == env.episode_limit
    return Episode(
        obs=obs.astype(np.float32),
        state=rng.uniform(-1, 1, (steps, env.state_dim)).astype(np.float32),
        avail=avail,
        actions=(rng.random((length, n, a)) * avail[:-1]).argmax(-1).astype(np.uint8),
        reward=rng.uniform(0, 1, length).astype(np.float32),
        terminated=not cut,
        timed_out=cut,
    )


def random_battles(map_name: str, count: int, seed: int) -> list[Episode]:
    """Battles of the simulator, played by an untrained agent that explores always."""
    own: dict[str, Any] = {"env": {"map": map_name}, "method": "dense", "rollout": {"n_envs": count}}
    trainer = Trainer(resolve({**own, "seed": seed}), torch.device("cpu"))
    trainer.actor.load(trainer.learner.online.numpy("agent"))
    return play_episodes(trainer.env, trainer.actor, 1.0, trainer.streams["acting"]).episodes


def uniform_topology(shapes: Shapes, sparsity: float, rng: np.random.Generator) -> Topology:
    """Random masks with the same density in every layer, beside Erdos-Renyi's."""
    topology: Topology = {}
    for layer, shape in shapes.items():
        mask = np.zeros(shape, bool)
        mask.flat[rng.choice(mask.size, layer_nnz(shape, 1 - sparsity), replace=False)] = True
        topology[layer] = mask
    return topology


@dataclass(frozen=True, slots=True)
class Rates:
    """What this core does at best, measured: multiply-adds and copied floats per millisecond."""

    products: float
    copies: float


def measured_rates() -> Rates:
    """A product of large matrices, and a copy larger than the caches."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    source, sink = torch.ones(2**26), torch.ones(2**26)
    return Rates(1024**3 / _cpu_ms(lambda: a @ b), len(source) / _cpu_ms(lambda: sink.copy_(source)))


def _cpu_ms(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(9):
        started = time.process_time()
        call()
        taken.append(1000 * (time.process_time() - started))
    return statistics.median(taken)


def floor_ms(
    algorithm: Algorithm,
    topologies: Mapping[str, Topology],
    env: EnvSpec,
    drawn: Sequence[Batch],
    rates: Rates,
) -> dict[str, float]:
    """What the parts of a QMIX update that cannot be left out take at best, in ms, mean over batches.

    `products`: multiply-adds at the kept weights at the rate of a large dense product: forward in both
    networks, weight gradient, and input gradient where a layer needs one; the agent on all rows, the mixer on
    transitions. Last action and agent id count as columns of the input. `activations`: what the online
    forward pass keeps for the backward one, written once and read once at the rate of a large copy.

    Args:
        algorithm: qmix.
        topologies: network -> masks; what is not named is dense.
        env: sizes.
        drawn: batches.
        rates: of this core.
    """
    rows = env.n_agents * statistics.mean(b.rows for b in drawn)
    transitions = statistics.mean(b.transitions for b in drawn)
    products, kept = 0.0, 0.0
    for network, layers in algorithm.networks.items():
        count = rows if network == "agent" else transitions
        kept += count * next(iter(layers.values()))[1]  # the input
        for layer, (out, in_) in layers.items():
            mask = topologies.get(network, {}).get(layer)
            nnz = out * in_ if mask is None else int(mask.sum())
            products += count * nnz * (3 if layer in FIRST_LAYERS else 4)
            # The GRU's two products leave r, z, n and the recurrent part of n; with the state 5 H, not 6.
            kept += count * (out * 2 / 3 if layer == "gru_hh" else out)
    return {"products": products / rates.products, "activations": kept / rates.copies}
