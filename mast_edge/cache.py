"""Where a user's machine keeps what can be made again: compiled C, measured kernel costs."""

import os
import platform
from pathlib import Path

from mast_edge.errors import MastEdgeError


def cache_root() -> Path:
    """$MAST_EDGE_CACHE, else the user's cache folder; it need not exist."""
    own = os.environ.get("MAST_EDGE_CACHE")
    if own:
        return Path(own).absolute()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mast-edge"
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches" / "mast-edge"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "mast-edge"


def cache_folder(name: str) -> Path:
    """`name` in the cache, made if need be; nobody else's.

    Raises:
        MastEdgeError: it cannot be made, or someone else may write there.
    """
    folder = cache_root() / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
    except OSError as problem:
        raise MastEdgeError(
            f"{folder}: cache folder must be writable; got {problem.strerror or problem}. "
            "Set MAST_EDGE_CACHE to another folder."
        ) from problem
    if os.name != "nt" and (about.st_uid != os.geteuid() or about.st_mode & 0o022):
        raise MastEdgeError(
            f"{folder}: cache folder must be yours alone, since what lies there is run; got owner "
            f"{about.st_uid}, mode {about.st_mode & 0o777:o}. Set MAST_EDGE_CACHE to another folder."
        )
    return folder
