"""Who plays against whom: finds the exported agent, its checkpoint, and what it is held against."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mast_edge.artifact_read import read_artifact
from mast_edge.c_contract import CONTRACT_FILE, read_c_export
from mast_edge.checkpoint_files import INDEX_FILE
from mast_edge.checkpoint_folders import checkpoints
from mast_edge.errors import ArtifactContract, ArtifactInconsistent, MissingInput, UsageError
from mast_edge.registry import RUNTIME_BACKENDS, nearest
from mast_edge.runs import Run, find_run, list_runs, read_manifest
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.decision import Judged

EXPORT_OF = {
    "csr": ("csr", "agent.safetensors"),
    "numpy": ("csr", "agent.safetensors"),
    "onnx": ("onnx", "agent.onnx"),
    "c": ("c", CONTRACT_FILE),
}
"""Runtime -> export format and file it plays; torch plays the checkpoint itself."""
OWN_WEIGHTS = ("torch", "numpy")
"""References that mean "the same checkpoint, run densely by this backend"."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is judged.

    Attributes:
        agent: loaded and verified.
        path: file or checkpoint folder it came from.
        runtime: backend name.
        run: the run it belongs to, when known.
        checkpoint: folder of the very checkpoint it was made from, when it is still there.
        checkpoint_sha256: of that checkpoint, as the artifact records it.
        algorithm, method: as recorded; None where unknown.
        rounded: its weights are the checkpoint's, rounded to 8 bits.
    """

    agent: Agent
    path: Path
    runtime: str
    run: Run | None
    checkpoint: Path | None
    checkpoint_sha256: str | None
    algorithm: str | None
    method: str | None
    rounded: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """What it is held against.

    Attributes:
        agent: loaded and verified.
        label: for people.
        judged: which claim follows. Rounded weights are not the same weights: what rounding costs is a
            question of battles (parity_and_safety.md 2).
        checkpoint_sha256, run: where it comes from.
        own: it holds the weights that the candidate was made from.
    """

    agent: Agent
    label: str
    judged: Judged
    checkpoint_sha256: str | None
    run: Run | None
    own: bool


def find_candidate(
    run: str | None, artifact: str | Path | None, runtime: str, root: Path | None
) -> Candidate:
    """The agent to judge.

    Args:
        run: run name or folder; the latest complete run when both are None.
        artifact: exported file; its run is found from its place, if it lies in one.
        runtime: backend that plays it.
        root: where run folders live.

    Raises:
        UsageError: unknown runtime.
        MissingInput: no such run, or the run has no such export.
        ArtifactRefused: the file did not pass validation, or is not of the run's present checkpoint.
    """
    if runtime not in RUNTIME_BACKENDS:
        raise UsageError(
            f"evaluate: runtime must be one of {', '.join(RUNTIME_BACKENDS)}; got '{runtime}'."
            f"{nearest(runtime, RUNTIME_BACKENDS)}"
        )
    if artifact is not None and run is None:
        path = Path(artifact)
        found = _run_around(path)
    else:
        found = find_run(run, root)
        path = Path(artifact) if artifact is not None else _export_of(found, runtime)
    agent = Agent.load(path, backend=runtime)
    # A checkpoint's digest is the model's own; an export records that of the checkpoint it was made from.
    is_checkpoint = (path / INDEX_FILE).is_file()
    recorded = agent.model.sha256 if is_checkpoint else agent.model.provenance.get("checkpoint_sha256")
    checkpoint_sha256 = recorded if isinstance(recorded, str) else None
    if found is not None and (run is not None or artifact is None):
        require_current(path, checkpoint_sha256, found)
    return Candidate(
        agent=agent,
        path=path,
        runtime=runtime,
        run=found,
        checkpoint=path if is_checkpoint else _checkpoint_of(found, checkpoint_sha256),
        checkpoint_sha256=checkpoint_sha256,
        algorithm=_text(agent, "algorithm"),
        method=_text(agent, "method"),
        rounded=_rounded(path, runtime),
    )


def _rounded(path: Path, runtime: str) -> bool:
    if runtime == "c":
        return read_c_export(path)[0].precision == "int8"
    return path.suffix == ".safetensors" and read_artifact(path).precision == "int8"


def _text(agent: Agent, name: str) -> str | None:
    value = agent.model.provenance.get(name)
    return value if isinstance(value, str) else None


def _run_around(path: Path) -> Run | None:
    """The run whose `exports/<format>/` or `checkpoints/` holds `path`."""
    for folder in list(Path(os.path.realpath(path)).parents)[1:3]:
        if (folder / "manifest.json").is_file():
            return Run(path=folder, manifest=read_manifest(folder))
    return None


def missing_export(run: Run, runtime: str) -> str | None:
    """The export format that `runtime` plays and `run` does not hold; None when nothing is missing."""
    if runtime not in EXPORT_OF or _export_path(run, runtime).is_file():
        return None
    return EXPORT_OF[runtime][0]


def _export_path(run: Run, runtime: str) -> Path:
    kind, name = EXPORT_OF[runtime]
    return run.path / "exports" / kind / name


def _export_of(run: Run, runtime: str) -> Path:
    if runtime not in EXPORT_OF:
        return run.checkpoint
    kind, path = EXPORT_OF[runtime][0], _export_path(run, runtime)
    if not path.is_file():
        raise MissingInput(
            f"{run.path}: run must hold a {kind} export; got none. "
            f"Run: mast-edge export --run {run.path.name} --format {kind}"
        )
    return path


def index_sha256(checkpoint: Path) -> str:
    """Digest of a checkpoint: that of its `checkpoint.json`, which covers all its files."""
    return hashlib.sha256((checkpoint / INDEX_FILE).read_bytes()).hexdigest()


def require_current(path: Path, recorded: str | None, run: Run) -> None:
    """Refuses an artifact that is not of the run's newest checkpoint.

    Raises:
        ArtifactInconsistent: training has gone on since the export, or the file is another run's.
    """
    expected = index_sha256(run.checkpoint)
    if recorded != expected:
        raise ArtifactInconsistent(
            f"{path}: checkpoint must be {run.checkpoint.name} of {run.path.name} ({expected[:12]}); "
            f"got {(recorded or 'none')[:12]}. Run: mast-edge export --run {run.path.name}"
        )


def _checkpoint_of(run: Run | None, recorded: str | None) -> Path | None:
    if run is None or recorded is None:
        return None
    return next((p for p in reversed(checkpoints(run.path)) if index_sha256(p) == recorded), None)


def own_weights(candidate: Candidate, backend: str = "numpy") -> Reference | None:
    """The candidate's own weights run densely: from its checkpoint, else from the artifact itself.

    Returns:
        None when neither can be run: an ONNX file whose checkpoint is gone, or torch without a checkpoint.
    """
    sha256, run = candidate.checkpoint_sha256, candidate.run
    if candidate.checkpoint is not None:
        agent = Agent.load(candidate.checkpoint, backend=backend)
        kind = "float32" if candidate.rounded else "own"
        label = f"the checkpoint's {kind} weights, dense {backend} ({candidate.checkpoint.name})"
        judged: Judged = "compression" if candidate.rounded else "fidelity"
        return Reference(agent, label, judged, sha256, run, own=True)
    if backend == "numpy" and candidate.path.suffix == ".safetensors":
        agent = Agent.load(candidate.path, backend=backend)
        return Reference(agent, "the artifact's own weights, dense numpy", "fidelity", sha256, run, own=True)
    return None


def find_reference(candidate: Candidate, wanted: str | None, root: Path | None) -> Reference:
    """What the candidate is held against.

    Args:
        candidate: what is judged.
        wanted: None for the default of cli.md (the newest complete dense run of the same map and algorithm,
            else its own weights by numpy); "dense" for that run or nothing; "torch" or "numpy" for its own
            weights; else a run.
        root: where run folders live.

    Raises:
        MissingInput: the reference is not there.
        ArtifactContract: the reference plays another map.
    """
    if wanted in OWN_WEIGHTS:
        return _required(own_weights(candidate, str(wanted)), candidate)
    if wanted is None or wanted == "dense":
        dense = None if wanted is None and candidate.method == "dense" else newest_dense(candidate, root)
        if dense is not None:
            return _run_reference(candidate, dense)
        if wanted == "dense":
            game = candidate.agent.contract.map_name
            raise MissingInput(
                f"evaluate: reference must be a complete dense {candidate.algorithm} run on {game}; "
                f"got none. Run: mast-edge train configs/qmix_3m.yaml --set env.map={game} --set method=dense"
            )
        return _required(own_weights(candidate), candidate)
    return _run_reference(candidate, find_run(wanted, root))


def _required(reference: Reference | None, candidate: Candidate) -> Reference:
    if reference is None:
        raise MissingInput(
            f"{candidate.path}: checkpoint it was made from must be at hand; got none. "
            "Name a run with --reference, or export again."
        )
    return reference


def newest_dense(candidate: Candidate, root: Path | None) -> Run | None:
    """The newest complete dense run of the candidate's map, backend and algorithm, other than its own."""
    game, own = candidate.agent.contract.map_name, candidate.run.path.resolve() if candidate.run else None
    for run in reversed(list_runs(root)[0]):
        m = run.manifest
        kind = (m.status, m.method, m.map, m.algorithm, m.env.get("backend"))
        same = kind == ("complete", "dense", game, candidate.algorithm, candidate.agent.contract.env_backend)
        if same and run.path.resolve() != own:
            return run
    return None


def _run_reference(candidate: Candidate, run: Run) -> Reference:
    folder = run.checkpoint
    agent = Agent.load(folder, backend="numpy")
    if agent.contract.map_name != candidate.agent.contract.map_name:
        raise ArtifactContract(
            f"{run.path}: reference must play {candidate.agent.contract.map_name}; "
            f"got {agent.contract.map_name}. Choose a run on the same map."
        )
    sha256 = index_sha256(folder)
    own = sha256 == candidate.checkpoint_sha256
    judged: Judged = "fidelity" if own and not candidate.rounded else "compression"
    label = f"run {run.path.name} ({run.manifest.method}, {folder.name})"
    return Reference(agent, label, judged, sha256, run, own)
