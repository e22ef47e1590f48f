"""The part of a checkpoint folder that outlives training: agent, recorded episodes and `checkpoint.json`.

The trainer writes it, export and the reference runtimes read it. Everything is safetensors or JSON; every
file is checked against the SHA-256 that `checkpoint.json` holds before a byte of it is parsed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as safetensors_bytes

from mast_edge.atomic import write_atomically
from mast_edge.disk import write_part
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactValue,
    ArtifactVersion,
    MissingInput,
)
from mast_edge.spec import LAYERS, AgentSpec, EnvSpec

SCHEMA = "mast-edge/checkpoint/1"
AGENT_FILE = "agent.safetensors"
RECORDED_FILE = "recorded.safetensors"
INDEX_FILE = "checkpoint.json"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class AgentCheckpoint:
    """One agent as training left it.

    Attributes:
        folder: the checkpoint folder.
        spec, env: sizes of the agent and of the environment it plays.
        weights: `<layer>.weight` (out, in) and `<layer>.bias` (out,), float32; inactive weights exactly 0.
        masks: layer -> bool (out, in); a layer without an entry is dense.
        index: `checkpoint.json` as read: t_env, updates, algorithm, method, map, sparsity, seed, files, ...
        index_sha256: digest of `checkpoint.json`, which covers every file of the folder.
    """

    folder: Path
    spec: AgentSpec
    env: EnvSpec
    weights: dict[str, NDArray[np.float32]]
    masks: dict[str, NDArray[np.bool_]]
    index: dict[str, Any]
    index_sha256: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """Greedy episodes played at a checkpoint, one row per joint step.

    Attributes:
        obs: (M, N, O) float32.
        avail: (M, N, A) uint8, 1 = may be taken.
        actions: (M, N) int32, what the greedy policy did.
        first: (M,) uint8, 1 on the first step of an episode.
    """

    obs: NDArray[np.float32]
    avail: NDArray[np.uint8]
    actions: NDArray[np.int32]
    first: NDArray[np.uint8]


def write_agent_files(
    folder: Path,
    spec: AgentSpec,
    env: EnvSpec,
    weights: Arrays,
    masks: Arrays,
    recorded: Recorded,
) -> dict[str, str]:
    """Writes `agent.safetensors` and `recorded.safetensors`; `write_index` completes the folder.

    Args:
        folder: existing folder (a temporary one that the trainer renames when complete).
        spec, env: sizes.
        weights: `<layer>.weight` and `<layer>.bias` of every layer in `spec.LAYERS`, float32.
        masks: layer -> (out, in), nonzero = active; dense layers left out.
        recorded: at least one episode.

    Returns:
        File name -> SHA-256, for `write_index`.

    Raises:
        ArtifactInconsistent: a shape, a mask or the recorded rows disagree with the specs.
        ArtifactValue: a weight is not finite.
        MastEdgeError: the file system refused.
    """
    agent = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in weights.items()}
    active = {layer: np.asarray(mask) != 0 for layer, mask in masks.items()}
    _check_agent(AGENT_FILE, spec, agent, active)
    rows = Recorded(
        np.ascontiguousarray(recorded.obs, dtype=np.float32),
        np.ascontiguousarray(recorded.avail, dtype=np.uint8),
        np.ascontiguousarray(recorded.actions, dtype=np.int32),
        np.ascontiguousarray(recorded.first, dtype=np.uint8),
    )
    _check_recorded(RECORDED_FILE, env, rows)
    stored: dict[str, NDArray[Any]] = dict(agent)
    stored |= {f"{layer}.mask": mask.astype(np.uint8) for layer, mask in active.items()}
    contents = {
        AGENT_FILE: safetensors_bytes(stored),
        RECORDED_FILE: safetensors_bytes(
            {"obs": rows.obs, "avail": rows.avail, "actions": rows.actions, "first": rows.first}
        ),
    }
    for name, data in contents.items():
        write_part(folder / name, data)
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}


def write_index(
    folder: Path,
    spec: AgentSpec,
    env: EnvSpec,
    files: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Writes `checkpoint.json`, last of all: its presence says that the folder is complete.

    Args:
        folder: folder that already holds every file named in `files`.
        spec, env: sizes.
        files: file name -> SHA-256, the trainer's own files included.
        facts: t_env, updates, episodes, algorithm, method, map, sparsity, seed.
    """
    index = {"schema": SCHEMA, **facts, "files": dict(files), "env": asdict(env), "agent": asdict(spec)}
    write_atomically(folder / INDEX_FILE, (json.dumps(index, indent=1, sort_keys=True) + "\n").encode())


def read_agent(folder: Path) -> AgentCheckpoint:
    """Reads and verifies the agent of a checkpoint folder.

    Raises:
        MissingInput: the folder, its `checkpoint.json` or a file is not there.
        ArtifactRefused: a digest, name, shape, mask or value is wrong; subclasses say which.
    """
    index, digest = _read_index(folder)
    spec, env = _specs(folder / INDEX_FILE, index)
    path = folder / AGENT_FILE
    stored = _read_tensors(path, index)
    masks = {
        name.removesuffix(".mask"): array != 0 for name, array in stored.items() if name.endswith(".mask")
    }
    weights = {name: array for name, array in stored.items() if not name.endswith(".mask")}
    _check_agent(str(path), spec, weights, masks)
    return AgentCheckpoint(folder, spec, env, weights, masks, index, digest)


def read_recorded(folder: Path) -> Recorded:
    """Reads and verifies the recorded episodes of a checkpoint folder; raises as `read_agent`."""
    index, _ = _read_index(folder)
    _, env = _specs(folder / INDEX_FILE, index)
    path = folder / RECORDED_FILE
    stored = _read_tensors(path, index)
    if set(stored) != {"obs", "avail", "actions", "first"}:
        raise ArtifactMalformed(
            f"{path}: tensors must be actions, avail, first, obs; got {', '.join(sorted(stored))}."
        )
    rows = Recorded(stored["obs"], stored["avail"], stored["actions"].astype(np.int32), stored["first"])
    _check_recorded(str(path), env, rows)
    return rows


def _read_index(folder: Path) -> tuple[dict[str, Any], str]:
    path = folder / INDEX_FILE
    if not path.is_file():
        raise MissingInput(
            f"{path}: checkpoint must be complete; got no {INDEX_FILE}. Run: mast-edge train CONFIG"
        )
    data = path.read_bytes()
    try:
        index = json.loads(data)
    except ValueError as problem:
        raise ArtifactMalformed(f"{path}: content must be JSON; got {problem}.") from problem
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        found = index.get("schema") if isinstance(index, dict) else type(index).__name__
        raise ArtifactVersion(f"{path}: schema must be {SCHEMA}; got {found}. Train again with this version.")
    return index, hashlib.sha256(data).hexdigest()


def _specs(path: Path, index: Mapping[str, Any]) -> tuple[AgentSpec, EnvSpec]:
    try:
        spec, env = AgentSpec(**index["agent"]), EnvSpec(**index["env"])
    except (KeyError, TypeError) as problem:
        raise ArtifactMalformed(
            f"{path}: agent and env must hold the fields of the specs; got {problem}. Use another checkpoint."
        ) from problem
    sizes = (
        *asdict(spec).values(),
        env.n_agents,
        env.n_actions,
        env.obs_dim,
        env.state_dim,
        env.episode_limit,
    )
    if not all(type(size) is int and 1 <= size <= 65_536 for size in sizes):
        raise ArtifactInconsistent(f"{path}: sizes must be integers in 1..65536; got {sizes}. Train again.")
    if (spec.obs_dim, spec.n_actions, spec.n_agents) != (env.obs_dim, env.n_actions, env.n_agents):
        raise ArtifactInconsistent(f"{path}: agent must fit env; got {spec} for {env}. Train again.")
    return spec, env


def _read_tensors(path: Path, index: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise MissingInput(f"{path}: file must exist; got none. Use another checkpoint or train again.")
    data = path.read_bytes()
    files = index.get("files")
    expected = files.get(path.name) if isinstance(files, dict) else None
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ArtifactCorrupt(
            f"{path}: SHA-256 must be {expected}, as {INDEX_FILE} says; got {found}. Use another checkpoint."
        )
    try:
        return dict(parse_safetensors(data))
    except (SafetensorError, ValueError, KeyError) as problem:
        raise ArtifactMalformed(f"{path}: content must be safetensors; got {problem}.") from problem


def _check_agent(who: str, spec: AgentSpec, weights: Arrays, masks: Arrays) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (out, in_) in spec.layer_shapes().items():
        shapes |= {f"{layer}.weight": (out, in_), f"{layer}.bias": (out,)}
    if set(weights) != set(shapes) or not set(masks) <= set(LAYERS):
        found = ", ".join(sorted(weights) + [f"{layer}.mask" for layer in sorted(masks)])
        raise ArtifactMalformed(
            f"{who}: tensors must be weight, bias and optional mask of {', '.join(LAYERS)}; got {found}."
        )
    for name, shape in shapes.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32:
            raise ArtifactInconsistent(
                f"{who}: {name} must be float32 {shape}; got {array.dtype} {array.shape}. Train again."
            )
        if not np.isfinite(array).all():
            raise ArtifactValue(
                f"{who}: {name} must be finite; got {int((~np.isfinite(array)).sum())} values that are not. "
                "Use an earlier checkpoint."
            )
    for layer, mask in masks.items():
        weight = weights[f"{layer}.weight"]
        if mask.shape != weight.shape:
            raise ArtifactInconsistent(
                f"{who}: {layer}.mask must be {weight.shape}; got {mask.shape}. Train again."
            )
        stray = int(np.count_nonzero(weight[~mask]))
        if stray:
            raise ArtifactInconsistent(
                f"{who}: {layer}.weight must be 0 outside its mask; got {stray} other values. Train again."
            )


def _check_recorded(who: str, env: EnvSpec, rows: Recorded) -> None:
    m = len(rows.first)
    shapes: dict[str, tuple[NDArray[Any], tuple[int, ...], str]] = {
        "obs": (rows.obs, (m, env.n_agents, env.obs_dim), "float32"),
        "avail": (rows.avail, (m, env.n_agents, env.n_actions), "uint8"),
        "actions": (rows.actions, (m, env.n_agents), "int32"),
        "first": (rows.first, (m,), "uint8"),
    }
    for name, (array, shape, dtype) in shapes.items():
        if array.shape != shape or array.dtype.name != dtype:
            raise ArtifactInconsistent(
                f"{who}: {name} must be {dtype} {shape}; got {array.dtype} {array.shape}. Train again."
            )
    if m == 0 or rows.first[0] != 1:
        raise ArtifactInconsistent(
            f"{who}: rows must begin with the first step of an episode; got {m} rows. Train again."
        )
    if not np.isfinite(rows.obs).all():
        raise ArtifactValue(f"{who}: obs must be finite; got values that are not. Train again.")
    in_range = (rows.actions >= 0) & (rows.actions < env.n_actions)
    chosen = np.take_along_axis(
        rows.avail, np.where(in_range, rows.actions, 0)[..., None].astype(np.intp), axis=2
    )
    if not (in_range.all() and chosen.all()):
        raise ArtifactInconsistent(f"{who}: actions must be available ones; got others. Train again.")
