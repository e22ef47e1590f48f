"""Untrained agents of the sizes of four maps, and inputs for them: for times, where skill does not matter."""

from pathlib import Path

import numpy as np

from mast_edge.checkpoint_files import Recorded, write_agent_files, write_index
from mast_edge.dense_agent import DenseAgent, masked_argmax
from mast_edge.spec import LAYERS, AgentSpec, EnvSpec
from mast_edge.topology import random_topology

SIZES = {
    "3m": AgentSpec(30, 9, 3),
    "2s3z": AgentSpec(80, 11, 5),
    "3s5z": AgentSpec(128, 14, 8),
    "2c_vs_64zg": AgentSpec(332, 70, 2),
}


def sizes_of(case: str) -> tuple[str, float, str]:
    """Map, sparsity and pattern of a `<map>@<sparsity %>[/<pattern>]`."""
    sized, _, pattern = case.partition("/")
    map_name, percent = sized.split("@")
    return map_name, float(percent) / 100, pattern or "element"


def write_random_checkpoint(
    folder: Path,
    spec: AgentSpec,
    map_name: str,
    sparsity: float,
    seed: int = 0,
    pattern: str = "element",
) -> None:
    """A checkpoint folder of an untrained agent with two recorded steps."""
    rng = np.random.default_rng(seed)
    masks = random_topology(spec.layer_shapes(), sparsity, rng, dict.fromkeys(LAYERS, pattern))
    weights = {}
    for name, (out, in_) in spec.layer_shapes().items():
        dense = rng.normal(scale=1 / np.sqrt(in_ * (1 - sparsity)), size=(out, in_)).astype(np.float32)
        weights[f"{name}.weight"] = np.where(masks.get(name, True), dense, np.float32(0))
        weights[f"{name}.bias"] = rng.normal(scale=0.1, size=out).astype(np.float32)
    obs, avail = inputs(spec, 2 * spec.n_agents, rng)
    ids = np.arange(spec.n_agents)
    hidden, last = np.zeros((spec.n_agents, spec.hidden_dim), np.float32), np.full(spec.n_agents, -1)
    agent, actions = DenseAgent(spec, weights), []
    for t in range(2):
        rows = slice(t * spec.n_agents, (t + 1) * spec.n_agents)
        q, hidden = agent.step(obs[rows], last, ids, hidden)
        last = masked_argmax(q, avail[rows])
        actions.append(last)
    n = spec.n_agents
    recorded = Recorded(
        obs.reshape(2, n, -1),
        avail.reshape(2, n, -1),
        np.array(actions, np.int32),
        np.array([1, 0], np.uint8),
    )
    env = EnvSpec(map_name, "random", n, spec.n_actions, spec.obs_dim, 1, 60)
    files = write_agent_files(folder, spec, env, weights, masks, recorded)
    write_index(folder, spec, env, files, {"map": map_name, "sparsity": sparsity, "seed": seed})


def inputs(spec: AgentSpec, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Observations (n, O), half zeros, and availability (n, A)."""
    obs = np.where(rng.random((n, spec.obs_dim)) < 0.5, rng.uniform(-1, 1, (n, spec.obs_dim)), 0)
    avail = (rng.random((n, spec.n_actions)) < 0.6).astype(np.uint8)
    avail[:, 1] = 1
    return obs.astype(np.float32), avail
