"""Checkpoint folders of a run: added whole, replaced, listed, verified and removed, at any instant readable.

A folder counts once its `checkpoint.json` is there. It is filled under a temporary name, forced to disk and
renamed; one that replaces the same step lets the old one step aside first.

Source: parity_and_safety.md 6, "torn write".
"""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mast_edge.atomic import sync_folder
from mast_edge.checkpoint_files import INDEX_FILE, write_index
from mast_edge.disk import file_sha256, sync_file
from mast_edge.errors import ArtifactCorrupt, ArtifactMalformed
from mast_edge.spec import AgentSpec, EnvSpec


def checkpoints(run: Path) -> list[Path]:
    """Complete checkpoint folders, oldest first."""
    folder = run / "checkpoints"
    found = {path.name: path for path in folder.glob("step-*") if (path / INDEX_FILE).is_file()}
    # A replacement of the same step that was cut short leaves the old folder beside its place.
    for path in folder.glob(".step-*.old"):
        if (path / INDEX_FILE).is_file():
            found.setdefault(path.name[1:-4], path)
    return [found[name] for name in sorted(found)]


def add_checkpoint(
    run: Path,
    t_env: int,
    write: Callable[[Path], object],
    spec: AgentSpec,
    env: EnvSpec,
    facts: Mapping[str, Any],
) -> Path:
    """Adds `checkpoints/step-<t_env>`, replacing one of the same step.

    Args:
        run: run folder.
        t_env: environment steps.
        write: called with an empty folder to fill.
        spec, env: sizes, for `checkpoint.json`.
        facts: what else `checkpoint.json` says.

    Returns:
        The finished folder.
    """
    parent = run / "checkpoints"
    final = parent / f"step-{t_env:09d}"
    part = parent / f".{final.name}.{secrets.token_hex(4)}.part"
    part.mkdir(parents=True)
    try:
        write(part)
        files = sorted(path for path in part.iterdir() if path.name != INDEX_FILE)
        for path in files:
            sync_file(path)
        write_index(part, spec, env, {path.name: file_sha256(path) for path in files}, facts)
        _move_into_place(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def recover_checkpoints(run: Path) -> None:
    """Puts in order what a killed process left; only for the holder of the run's lock."""
    for part in run.glob("checkpoints/.*.part"):
        shutil.rmtree(part)
    for step in run.glob("checkpoints/step-*"):
        if not (step / INDEX_FILE).is_file():
            shutil.rmtree(step)
    for aside in run.glob("checkpoints/.step-*.old"):
        final = aside.with_name(aside.name[1:-4])
        if final.exists() or not (aside / INDEX_FILE).is_file():
            remove_checkpoint(aside)
        else:
            os.rename(aside, final)


def verify_checkpoint(folder: Path) -> None:
    """Compares every file of a checkpoint with the digest recorded for it.

    Raises:
        ArtifactCorrupt: a file is missing or differs.
        ArtifactMalformed: `checkpoint.json` is not readable.
    """
    path = folder / INDEX_FILE
    try:
        files = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])["files"].items()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, KeyError, AttributeError) as problem:
        raise ArtifactMalformed(
            f"{path}: content must be a checkpoint index; got {problem}. Remove {folder.name} to go back one."
        ) from problem
    for name, expected in files:
        found = file_sha256(folder / name) if (folder / name).is_file() else "no file"
        if found != expected:
            raise ArtifactCorrupt(
                f"{folder / name}: SHA-256 must be {expected}; got {found}. "
                f"Remove {folder.name} to go back one."
            )


def remove_checkpoint(folder: Path) -> None:
    """Removes a checkpoint so that a half-removed one never looks complete."""
    (folder / INDEX_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _move_into_place(part: Path, final: Path) -> None:
    """Renames; an existing folder of that name steps aside first and stays readable (`checkpoints`)."""
    aside = final.with_name(f".{final.name}.old")
    sync_folder(part)
    if final.exists():
        if aside.exists():
            remove_checkpoint(aside)
        os.rename(final, aside)
    os.rename(part, final)
    sync_folder(final.parent)
    if aside.exists():
        remove_checkpoint(aside)
