"""Files that are either there whole or not there: written aside, fsynced, moved into place."""

import contextlib
import os
import tempfile
from pathlib import Path

from mast_edge.errors import MastEdgeError


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces `path` by a file holding `data`; a reader sees the old file or the new one, never a part.

    Source: parity_and_safety.md section 6, "torn write" and "disk full".

    Args:
        path: target; its folder must exist.
        data: whole content.

    Raises:
        MastEdgeError: the file system refused (disk full, not writable, no folder), or `path` is a device, a
            pipe or a folder, which must not be replaced; nothing is left behind.
    """
    if path.exists() and not path.is_file():
        raise MastEdgeError(f"{path}: path must be a plain file or new; got neither. Choose another.")
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _usual_mode())
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as problem:
        raise MastEdgeError(
            f"{path}: file must be writable ({len(data)} bytes); got {problem.strerror or problem}. "
            "Free space or choose another folder."
        ) from problem
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _usual_mode() -> int:
    """Permissions that a newly opened file would get; temporary files are private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut; a no-op where folders cannot be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
