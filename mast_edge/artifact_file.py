"""Taking a file from elsewhere into memory once, whatever lies at its path.

What is checked afterwards are the bytes read here: a file that is replaced meanwhile changes nothing.
"""

import os
import stat
from pathlib import Path

from mast_edge.errors import ArtifactCorrupt, ArtifactTooLarge, MissingInput

MAX_FILE_BYTES = 64 * 2**20


def read_file(path: Path, what: str, command: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file, or of a link to it.
        what: the file should be, for messages.
        command: that makes one, for messages.
        limit: of its size; nothing is allocated for a larger one.

    Raises:
        MissingInput: nothing is there, it may not be read, or it is no regular file (a folder, pipe, device).
        ArtifactTooLarge: it is larger than `limit`.
        ArtifactCorrupt: it grew or shrank meanwhile.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise MissingInput(f"{path}: {what} must be a regular file; got another kind. {command}")
            if found.st_size > limit:
                raise ArtifactTooLarge(
                    f"{path}: {what} must be at most {limit} bytes; got {found.st_size}. "
                    "Is it the right file?"
                )
            data = file.read(found.st_size + 1)
    except FileNotFoundError as problem:
        raise MissingInput(f"{path}: {what} must exist; got no file. {command}") from problem
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise MissingInput(f"{path}: {what} must be readable; got: {why}. {command}") from problem
    if len(data) != found.st_size:
        raise ArtifactCorrupt(f"{path}: {what} must not change while it is read; got other bytes. Try again.")
    return data


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
