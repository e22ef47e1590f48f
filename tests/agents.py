"""Small agents for the tests: random weights under Erdos-Renyi masks, and checkpoint folders made of them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.checkpoint_files import Recorded, write_agent_files, write_index
from mast_edge.dense_agent import DenseAgent, masked_argmax
from mast_edge.spec import LAYERS, AgentSpec, EnvSpec
from mast_edge.topology import Topology, random_topology

TINY = AgentSpec(obs_dim=7, n_actions=5, n_agents=3, hidden_dim=8)
MAP_3M = AgentSpec(obs_dim=30, n_actions=9, n_agents=3)


def env_of(spec: AgentSpec) -> EnvSpec:
    """An environment that `spec` plays."""
    return EnvSpec("3m", "skirmish", spec.n_agents, spec.n_actions, spec.obs_dim, 48, 60)


def random_agent(
    spec: AgentSpec, sparsity: float, seed: int = 0, pattern: str = "element"
) -> tuple[dict[str, NDArray[np.float32]], Topology]:
    """Weights of the size torch starts with, masked; every layer dense when sparsity is 0."""
    rng = np.random.default_rng(seed)
    masks = random_topology(spec.layer_shapes(), sparsity, rng, dict.fromkeys(LAYERS, pattern))
    weights: dict[str, NDArray[np.float32]] = {}
    for layer, (out, in_) in spec.layer_shapes().items():
        dense = rng.normal(scale=1.5 / np.sqrt(in_ * (1 - sparsity)), size=(out, in_)).astype(np.float32)
        weights[f"{layer}.weight"] = np.where(masks.get(layer, True), dense, np.float32(0))
        weights[f"{layer}.bias"] = rng.normal(scale=0.3, size=out).astype(np.float32)
    return weights, masks


def greedy_rows(
    spec: AgentSpec, weights: dict[str, Any], rows: int = 24, length: int = 8, seed: int = 1
) -> Recorded:
    """Episodes of random observations, played greedily by the plain numpy agent."""
    rng = np.random.default_rng(seed)
    n = spec.n_agents
    obs = np.where(rng.random((rows, n, spec.obs_dim)) < 0.5, rng.normal(size=(rows, n, spec.obs_dim)), 0)
    obs = obs.astype(np.float32)
    avail = (rng.random((rows, n, spec.n_actions)) < 0.6).astype(np.uint8)
    avail[..., 1] |= avail.sum(-1) == 0
    first = (np.arange(rows) % length == 0).astype(np.uint8)
    actions = np.zeros((rows, n), np.int32)
    agent = DenseAgent(spec, weights)
    ids = np.arange(n)
    for t in range(rows):
        if first[t]:
            hidden, last = np.zeros((n, spec.hidden_dim), np.float32), np.full(n, -1)
        q, hidden = agent.step(obs[t], last, ids, hidden)
        last = masked_argmax(q, avail[t])
        actions[t] = last
    return Recorded(obs, avail, actions, first)


def write_checkpoint(
    folder: Path, spec: AgentSpec = TINY, sparsity: float = 0.8, seed: int = 0, pattern: str = "element"
) -> Path:
    """A complete checkpoint folder of a random agent."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, masks = random_agent(spec, sparsity, seed, pattern)
    files = write_agent_files(folder, spec, env_of(spec), weights, masks, greedy_rows(spec, weights))
    facts = {"t_env": 1000, "updates": 10, "episodes": 20, "algorithm": "qmix", "map": "3m", "seed": seed}
    facts |= {"method": "mast" if sparsity else "dense", "sparsity": sparsity}
    write_index(folder, spec, env_of(spec), files, facts)
    return folder
