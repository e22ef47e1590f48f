"""What a file system has room for, and making sure that bytes are really on it."""

import hashlib
import os
import shutil
from pathlib import Path

from mast_edge.errors import MastEdgeError


def check_free(path: Path, needed: int) -> None:
    """Refuses to start what could not be finished.

    Source: parity_and_safety.md 6, "disk full".

    Args:
        path: where bytes will go; it need not exist yet.
        needed: bytes.

    Raises:
        MastEdgeError: less than `needed` is free there.
    """
    folder = path.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MastEdgeError(
            f"disk: free space at {folder} must be at least {needed / 1e6:.0f} MB; got {free / 1e6:.0f} MB. "
            "Free some, or set MAST_EDGE_RUNS to another disk."
        )


def write_part(path: Path, data: bytes) -> None:
    """Writes a file of a folder that counts once it is complete, whose owner forces it to disk.

    Args:
        path: in an existing folder.
        data: whole content.

    Raises:
        MastEdgeError: the file system refused.
    """
    try:
        path.write_bytes(data)
    except OSError as problem:
        raise MastEdgeError(
            f"{path}: file must be writable ({len(data)} bytes); got {problem.strerror or problem}. "
            "Free space, then run the same command again."
        ) from problem


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Forces a closed file's content to disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
