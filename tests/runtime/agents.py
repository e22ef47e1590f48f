"""Runs with random weights, written the way the trainer writes them."""

import numpy as np

from mast_edge.artifact import build_artifact
from mast_edge.checkpoint_files import Recorded, read_agent, write_agent_files
from mast_edge.checkpoint_folders import checkpoints
from mast_edge.config import resolve
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import DenseAgent, masked_argmax
from mast_edge.envs.maps import env_spec
from mast_edge.envs.scripted import EAST, FIRST_TARGET, NORTH
from mast_edge.envs.skirmish import Skirmish
from mast_edge.runs import RunFolder
from mast_edge.spec import AgentSpec
from mast_edge.topology import random_topology


def random_agent(env, sparsity, seed, scale=1.0):
    """(spec, weights, masks) of an untrained agent; larger `scale`, larger gaps between its Q values."""
    rng = np.random.default_rng(seed)
    spec = AgentSpec.of(env)
    masks = random_topology(spec.layer_shapes(), sparsity, rng) if sparsity else {}
    weights = {}
    for layer, (out, in_) in spec.layer_shapes().items():
        weight = scale * rng.uniform(-1, 1, (out, in_)).astype(np.float32) / np.sqrt(np.float32(in_))
        weights[f"{layer}.weight"] = np.where(masks.get(layer, True), weight, 0).astype(np.float32)
        weights[f"{layer}.bias"] = rng.uniform(-0.1, 0.1, out).astype(np.float32)
    return spec, weights, masks


def one_step_recorded(env, spec, weights):
    """The least that a checkpoint may record: one joint step, played greedily."""
    battle = Skirmish(env.map_name, 1, seed=1)
    battle.reset()
    n = env.n_agents
    hidden = np.zeros((n, spec.hidden_dim), np.float32)
    q, _ = DenseAgent(spec, weights).step(battle.obs[0], np.full(n, -1), np.arange(n), hidden)
    actions = masked_argmax(q, battle.avail[0]).astype(np.int32)[None]
    return Recorded(battle.obs, battle.avail, actions, np.ones(1, np.uint8))


def make_config(method="mast", sparsity=0.9, seed=1, **more):
    """A resolved config on 3m."""
    return resolve({"method": method, "seed": seed, "sparsity": sparsity, "env": {"map": "3m"}, **more})


def make_run(root, *, method="mast", sparsity=0.9, seed=1, map_name="3m", change=None, scale=3.0, steps=1000):
    """A complete run with one checkpoint; `change(weights)` damages the agent before it is written."""
    config = make_config(method, sparsity, seed, env={"map": map_name})
    env = env_spec(map_name)
    spec, weights, masks = random_agent(env, config.sparsity, seed, scale)
    if change is not None:
        change(weights)
    with RunFolder.open(config, env, root=root) as run:
        add_step(run, config, env, spec, weights, masks, steps)
        run.update_manifest(status="complete", t_env=steps)
    return run.path


def add_step(run, config, env, spec, weights, masks, steps):
    """One more checkpoint."""
    facts = {
        **{"t_env": steps, "updates": 10, "episodes": 10, "algorithm": config.algorithm},
        **{"method": config.method, "map": env.map_name, "sparsity": config.sparsity, "seed": config.seed},
    }
    recorded = one_step_recorded(env, spec, weights)
    run.write_checkpoint(
        steps,
        lambda folder: write_agent_files(folder, spec, env, weights, masks, recorded),
        spec=spec,
        env=env,
        facts=facts,
    )


def export_csr(run, change=None, name="agent.safetensors"):
    """Exports the run's newest checkpoint as csr; `change(weights)` damages it on the way."""
    checkpoint = read_agent(checkpoints(run)[-1])
    weights = {key: array.copy() for key, array in checkpoint.weights.items()}
    if change is not None:
        change(weights)
    provenance = {
        **{key: checkpoint.index[key] for key in ("algorithm", "method", "sparsity", "seed", "t_env")},
        "checkpoint_sha256": checkpoint.index_sha256,
        "mast_edge": "0.1.0",
    }
    path = run / "exports" / "csr" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        build_artifact(
            AgentContract.of(checkpoint.spec, checkpoint.env), weights, checkpoint.masks, provenance
        )
    )
    return path


def focus_fire(weights):
    """Replaces an agent by one that walks east and shoots at the first enemy in reach: wins much of 3m."""
    for array in weights.values():
        array[:] = 0
    weights["fc2.bias"][EAST] = 0.5
    weights["fc2.bias"][FIRST_TARGET:] = 2.0 - 0.25 * np.arange(len(weights["fc2.bias"]) - FIRST_TARGET)


def run_away(weights):
    """The same, but it walks north and never shoots: never wins."""
    focus_fire(weights)
    weights["fc2.bias"][NORTH], weights["fc2.bias"][EAST] = 3.0, 0.0
