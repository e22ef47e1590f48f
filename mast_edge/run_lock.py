"""One writer per run folder: a lock the operating system drops when its holder dies.

Where a file system cannot lock (some network ones), a file created exclusively takes its place; then a holder
that is gone is recognised by its process id and the boot it lived in.

Source: parity_and_safety.md 6, "concurrency".
"""

import contextlib
import errno
import json
import os
import platform
import secrets
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from mast_edge.errors import RunLocked

LOCK_FILE = "LOCK"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CANNOT_LOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class RunLock:
    """Held from creation to `release` (or the end of the process).

    Args:
        folder: the run folder; must exist.

    Raises:
        RunLocked: another process holds it; the message names the process.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._exclusive: Path | None = None
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _lock_soon(self._descriptor):
                raise self._locked(self._path)
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, json.dumps(_me()).encode())
        except OSError as problem:
            if problem.errno not in _CANNOT_LOCK:
                self.release()
                raise
            self._exclusive = self._take_exclusively(folder / f"{LOCK_FILE}.held")
        except RunLocked:
            self.release()
            raise

    def release(self) -> None:
        """Lets others in; harmless when called twice."""
        if self._exclusive is not None:
            with contextlib.suppress(FileNotFoundError):
                self._exclusive.unlink()
            self._exclusive = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _locked(self, holder: Path) -> RunLocked:
        found = _read(holder)
        who = f"process {found['pid']} on {found['host']}" if found else "an unknown process"
        return RunLocked(
            f"{self._path.parent}: run must be free; got one in use by {who}. "
            f"Wait for it, stop it, or use another --seed; remove {holder.name} only if nobody works there."
        )

    def _take_exclusively(self, path: Path) -> Path:
        for _ in range(8):
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                _remove_if_stale(path)
                if path.exists() and not _is_stale(_read(path)):
                    break
                continue
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(_me(), file)
            return path
        error = self._locked(path)
        self.release()
        raise error


def is_locked(folder: Path) -> bool:
    """Whether a living process holds the run folder."""
    held = folder / f"{LOCK_FILE}.held"
    if held.exists() and not _is_stale(_read(held)):
        return True
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _remove_if_stale(path: Path) -> None:
    """Moves a dead holder's file aside; puts it back when another process has just replaced it."""
    seen = _read(path)
    if not _is_stale(seen):
        return
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        if _read(aside) == seen:
            aside.unlink()
        else:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
            aside.unlink()


def _lock_soon(descriptor: int) -> bool:
    """Tries for a moment: `is_locked` of another process may hold the lock for an instant."""
    for _ in range(4):
        if _lock(descriptor):
            return True
        time.sleep(0.02)
    return _lock(descriptor)


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": platform.node(), "boot_id": _boot_id()}


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = (
        isinstance(found, dict) and {"pid", "host", "boot_id"} <= set(found) and isinstance(found["pid"], int)
    )
    return found if good else None


def _is_stale(holder: dict[str, Any] | None) -> bool:
    """True only when the holder cannot be alive: this host, and an earlier boot or a process that is gone."""
    if holder is None or holder["host"] != platform.node():
        return False
    if holder["boot_id"] != _boot_id():
        return True
    if os.name == "nt":
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        """Locks a byte far behind the content, so that others can still read who holds it."""
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as problem:
            if problem.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        """Takes the lock of this file if it is free."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
