"""Run folders: what is in them, who may write, and which one is meant.

A run is `<root>/<run name>/` with `config.resolved.yaml`, `manifest.json`, `metrics.jsonl`, `tb/`,
`checkpoints/`, `exports/`, `eval/`, `log.txt` and `LOCK`; `<root>/latest.json` points to the newest complete
run. Every file appears whole or not at all.

Source: parity_and_safety.md 6, 9.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from mast_edge.atomic import write_atomically
from mast_edge.checkpoint_folders import (
    add_checkpoint,
    checkpoints,
    recover_checkpoints,
    remove_checkpoint,
    verify_checkpoint,
)
from mast_edge.config import ExperimentConfig, config_sha256, dump_yaml, run_name
from mast_edge.disk import check_free
from mast_edge.errors import ArtifactMalformed, ConfigError, MastEdgeError, MissingInput
from mast_edge.provenance import git_commit, simulator_versions, versions
from mast_edge.registry import nearest
from mast_edge.run_lock import LOCK_FILE, RunLock, is_locked
from mast_edge.spec import AgentSpec, EnvSpec

SCHEMA = "mast-edge/run/1"
LATEST_SCHEMA = "mast-edge/latest/1"
ROOT_VARIABLE = "MAST_EDGE_RUNS"
TRAIN_FIRST = "Run: mast-edge train configs/qmix_3m.yaml"
NEEDED_BYTES = 64_000_000
"""Free space without which a run does not start: checkpoints, replay segments and logs of a large map."""

Status = Literal["running", "complete", "interrupted", "failed"]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json`: what a run is and how far it got.

    Attributes:
        t_env, updates: environment steps and gradient updates at the latest checkpoint.
        win_rate: mean of the last 20 evaluations, None before the first.
        checkpoint: name of the latest good checkpoint folder.
        env: the fields of EnvSpec.
        learner: what computed the updates up to the latest checkpoint; empty in runs of older versions.
    """

    schema: str
    name: str
    status: Status
    algorithm: str
    method: str
    map: str
    sparsity: float
    seed: int
    config_sha256: str
    versions: dict[str, str]
    git_commit: str | None
    t_env: int
    updates: int
    win_rate: float | None
    checkpoint: str | None
    env: dict[str, int | str]
    learner: str = ""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run found on disk. `remark`: what to tell the user about the choice, empty when they named it."""

    path: Path
    manifest: Manifest
    remark: str = ""

    @property
    def status(self) -> str:
        """The manifest's status, or `stopped` when it says running but no process holds the folder."""
        if self.manifest.status == "running" and not is_locked(self.path):
            return "stopped"
        return self.manifest.status

    @property
    def checkpoint(self) -> Path:
        """The newest complete checkpoint.

        Raises:
            MissingInput: there is none yet.
        """
        found = checkpoints(self.path)
        if not found:
            raise MissingInput(
                f"{self.path}: run must have a checkpoint; got none. {_resume_command(self.path)}"
            )
        return found[-1]


def runs_root() -> Path:
    """`$MAST_EDGE_RUNS`, else `runs/` in the working directory."""
    return Path(os.environ.get(ROOT_VARIABLE) or "runs")


def read_manifest(run: Path) -> Manifest:
    """Reads `manifest.json`.

    Raises:
        MissingInput: no such run.
        ArtifactMalformed: the file is not a manifest of this schema.
    """
    path = run / "manifest.json"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise MissingInput(f"{run}: run must hold manifest.json; got none. {TRAIN_FIRST}") from problem
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ArtifactMalformed(f"{path}: content must be a run manifest; got {problem}.") from problem
    if manifest.schema != SCHEMA:
        raise ArtifactMalformed(f"{path}: schema must be {SCHEMA}; got {manifest.schema}.")
    return manifest


class RunFolder:
    """A run opened for writing; only one process can hold it. Use as a context manager.

    Attributes:
        path: the folder.
        name: its name.
        manifest: what `manifest.json` says now.
    """

    def __init__(self, path: Path, manifest: Manifest, lock: RunLock, keep: int) -> None:
        self.path, self.name, self.manifest = path, path.name, manifest
        self._lock, self._keep = lock, keep

    @classmethod
    def open(
        cls, config: ExperimentConfig, env: EnvSpec, *, root: Path | None = None, fresh: bool = False
    ) -> "RunFolder":
        """Opens the run that belongs to `config`: a new one, or its own earlier work.

        Args:
            config: resolved; its hash names the folder.
            env: sizes of the environment.
            root: where run folders live; `runs_root()` when None.
            fresh: discard what the folder holds.

        Raises:
            RunLocked: another process holds it.
            ConfigError: the folder belongs to another config or environment.
            MastEdgeError: the disk is full or not writable.
        """
        path = (root if root is not None else runs_root()) / run_name(config)
        check_free(path, NEEDED_BYTES)
        path.mkdir(parents=True, exist_ok=True)
        lock = RunLock(path)
        try:
            if fresh:
                _empty(path)
            _remove_leftovers(path)
            if (path / "manifest.json").exists():
                manifest = _own_manifest(path, config, env)
                run = cls(path, manifest, lock, config.checkpoint.keep)
                # A kill may have come between the two, and people remove damaged checkpoints.
                newest = next((checkpoint.name for checkpoint in reversed(checkpoints(path))), None)
                run.note(f"resumed at {newest or 'the start'}")
                if (manifest.status, manifest.checkpoint) != ("complete", newest):
                    run.update_manifest(status="running", checkpoint=newest)
                return run
            (path / "checkpoints").mkdir(exist_ok=True)
            write_atomically(path / "config.resolved.yaml", dump_yaml(config).encode())
            run = cls(path, _new_manifest(path.name, config, env), lock, config.checkpoint.keep)
            run.update_manifest()
            run.note("created")
            return run
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self.note(f"{type(error).__name__}: {error}")
                if self.manifest.status == "running":
                    interrupted = isinstance(error, KeyboardInterrupt)
                    # The error on its way matters more than a manifest that a full disk refuses.
                    with contextlib.suppress(MastEdgeError, OSError):
                        self.update_manifest(status="interrupted" if interrupted else "failed")
        finally:
            self._lock.release()

    def checkpoints(self) -> list[Path]:
        """Complete checkpoint folders, oldest first."""
        return checkpoints(self.path)

    def latest_checkpoint(self) -> Path | None:
        """The newest complete checkpoint, its files verified; None before the first.

        Raises:
            ArtifactCorrupt: a file does not have the digest that `checkpoint.json` records.
        """
        found = self.checkpoints()
        if not found:
            return None
        verify_checkpoint(found[-1])
        return found[-1]

    def write_checkpoint(
        self,
        t_env: int,
        write: Callable[[Path], object],
        *,
        spec: AgentSpec,
        env: EnvSpec,
        facts: Mapping[str, Any],
    ) -> Path:
        """Adds the checkpoint `step-<t_env>` and drops the oldest beyond `checkpoint.keep`.

        Args:
            t_env: environment steps; an existing checkpoint of the same step is replaced.
            write: called with an empty folder to fill.
            spec, env: sizes, for `checkpoint.json`.
            facts: t_env, updates, episodes, algorithm, method, map, sparsity, seed.

        Returns:
            The finished folder.

        Raises:
            MastEdgeError, OSError: the disk refused; earlier checkpoints are untouched.
        """
        final = add_checkpoint(self.path, t_env, write, spec, env, facts)
        self.update_manifest(checkpoint=final.name)  # before pruning: it must never name a removed folder
        for old in self.checkpoints()[: -self._keep]:
            remove_checkpoint(old)
        return final

    def update_manifest(self, **changes: Any) -> None:
        """Changes fields of the manifest and writes it; a complete run becomes the latest one.

        Args:
            changes: fields of Manifest.
        """
        self.manifest = msgspec.structs.replace(self.manifest, **changes)
        write_atomically(self.path / "manifest.json", _json(self.manifest))
        if changes.get("status") == "complete":
            point_latest(self.path)
        if "status" in changes:
            self.note(f"{changes['status']} at {self.manifest.t_env} environment steps")

    def note(self, text: str) -> None:
        """Appends a line to `log.txt`; a full disk does not stop the run for it."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError), (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {' '.join(text.split())}\n")


def point_latest(run: Path) -> None:
    """Makes a complete run the one that commands take when none is named."""
    write_atomically(run.parent / "latest.json", _json({"schema": LATEST_SCHEMA, "name": run.name}))


def list_runs(root: Path | None = None) -> tuple[list[Run], list[str]]:
    """All runs, the most recently changed last, and one line for each folder that could not be read."""
    runs, problems = [], []
    for path in (root if root is not None else runs_root()).glob("*/manifest.json"):
        try:
            runs.append((path.stat().st_mtime_ns, Run(path=path.parent, manifest=read_manifest(path.parent))))
        except (ArtifactMalformed, OSError, MissingInput) as problem:
            problems.append(str(problem))
    return [run for _, run in sorted(runs, key=lambda item: (item[0], item[1].path.name))], problems


def find_run(name_or_path: str | None = None, root: Path | None = None) -> Run:
    """The run a user means.

    Args:
        name_or_path: run name, or path of its folder; None = the latest complete run.
        root: where run folders live; `runs_root()` when None.

    Returns:
        The run; for None its `remark` says which one was taken and which newer ones were passed over.

    Raises:
        MissingInput: there is no such run; the message holds the command that makes one.
        ArtifactMalformed: its manifest is not readable.
    """
    root = root if root is not None else runs_root()
    if name_or_path is None:
        return _latest(root)
    for path in (Path(name_or_path), root / name_or_path):
        if (path / "manifest.json").is_file():
            return Run(path=path, manifest=read_manifest(path))
    names = [run.path.name for run in list_runs(root)[0]]
    raise MissingInput(
        f"runs: run must be a name under {root} or a run folder; got '{name_or_path}'."
        f"{nearest(name_or_path, names)} {'See: mast-edge runs list' if names else TRAIN_FIRST}"
    )


def run_facts(run: Run) -> dict[str, Any]:
    """What `runs list` and `runs show` tell: the manifest, the folder, the true status, and what is in it."""
    exports = sorted(path.name for path in (run.path / "exports").glob("*") if path.is_dir())
    manifest = msgspec.to_builtins(run.manifest)
    del manifest["schema"]
    return {
        **manifest,
        "status": run.status,
        "path": str(run.path),
        "checkpoints": [path.name for path in checkpoints(run.path)],
        "exports": exports,
    }


def _latest(root: Path) -> Run:
    runs, _ = list_runs(root)
    complete = [run for run in runs if run.manifest.status == "complete"]
    if not complete:
        others = f" (not complete: {', '.join(run.path.name for run in runs)})" if runs else ""
        raise MissingInput(f"runs: {root} must hold a complete run; got none{others}. {TRAIN_FIRST}")
    pointed = _pointed(root)
    chosen = next((run for run in complete if run.path.name == pointed), complete[-1])
    newer = [run for run in runs[runs.index(chosen) + 1 :] if run.manifest.status != "complete"]
    skipped = "".join(f"; skipped {run.path.name} ({run.status})" for run in newer)
    return Run(
        path=chosen.path,
        manifest=chosen.manifest,
        remark=f"using run {chosen.path.name}, the latest complete one{skipped}",
    )


def _pointed(root: Path) -> str | None:
    try:
        pointer = msgspec.json.decode((root / "latest.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None  # the pointer can be rebuilt from the manifests: see `_latest`
    name = pointer.get("name")
    return name if isinstance(name, str) else None


def _remove_leftovers(path: Path) -> None:
    """Clears what a killed process left."""
    for folder in (path, path / "replay", path / "masks"):
        for part in folder.glob(".*.part"):
            part.unlink()
    recover_checkpoints(path)


def _empty(path: Path) -> None:
    """Discards a run; one that a kill leaves half discarded can still go on from its newest checkpoint."""
    (path / "manifest.json").unlink(missing_ok=True)
    for checkpoint in checkpoints(path):
        remove_checkpoint(checkpoint)
    for entry in path.iterdir():
        if entry.name.startswith(LOCK_FILE):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _own_manifest(path: Path, config: ExperimentConfig, env: EnvSpec) -> Manifest:
    manifest = read_manifest(path)
    if manifest.config_sha256 != config_sha256(config):
        raise ConfigError(
            f"{path}: run must have config {config_sha256(config)[:16]}; got {manifest.config_sha256[:16]}. "
            "Use --fresh to start over."
        )
    if manifest.env != asdict(env):
        raise ConfigError(
            f"{path}: environment must be the one the run began with, {manifest.env}; got {asdict(env)}. "
            "Use --fresh to start over."
        )
    return manifest


def _new_manifest(name: str, config: ExperimentConfig, env: EnvSpec) -> Manifest:
    return Manifest(
        schema=SCHEMA,
        name=name,
        status="running",
        algorithm=config.algorithm,
        method=config.method,
        map=config.env.map,
        sparsity=config.sparsity,
        seed=config.seed,
        config_sha256=config_sha256(config),
        versions=versions() | simulator_versions(env.backend),
        git_commit=git_commit(),
        t_env=0,
        updates=0,
        win_rate=None,
        checkpoint=None,
        env=asdict(env),
    )


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _resume_command(run: Path) -> str:
    return f"Run: mast-edge train {run / 'config.resolved.yaml'}"
