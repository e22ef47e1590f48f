"""C turned into a library that this process can call: compiled once, kept in a cache, loaded with ctypes.

The key of the cache is a digest of sources, flags and compiler, so a changed source is another library.
Processes may meet there: a library is built aside and moved into place.

Source: runtime.md section 2, row `c`.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mast_edge.cache import cache_folder
from mast_edge.errors import EnvironmentUnavailable, MastEdgeError

FLAGS = ("-std=c99", "-O2", "-ffp-contract=off")
"""No fusing and no fast-math: the bits of the native kernels (runtime.md section 5)."""
_SHARED = ("-fPIC", "-shared")
_CANDIDATES = ("cc", "gcc", "clang")
_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler: `command` starts it, `version` is the first line it says about itself."""

    command: tuple[str, ...]
    version: str

    def run(self, *arguments: str, folder: Path) -> None:
        """Compiles inside `folder`.

        Raises:
            MastEdgeError: it failed; the message holds the first line it wrote.
        """
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise MastEdgeError(f"c: {self.command[0]} must run; got {problem}. Set CC.") from problem
        if done.returncode != 0:
            said = next((line for line in done.stderr.splitlines() if line.strip()), "nothing")
            raise MastEdgeError(
                f"c: {shlex.join(self.command)} must compile the exported C; got exit {done.returncode}: "
                f"{said:.200}. Set CC to another compiler."
            )


def find_compiler() -> Compiler:
    """$CC when set, else the first of cc, gcc, clang that runs.

    Raises:
        EnvironmentUnavailable: there is none.
    """
    chosen = os.environ.get("CC", "").strip()
    commands = [tuple(shlex.split(chosen))] if chosen else [(name,) for name in _CANDIDATES]
    for command in commands:
        version = _version(command)
        if version is not None:
            return Compiler(command, version)
    raise EnvironmentUnavailable(
        f"c: a C compiler must be installed; got none{f' at CC={chosen:.80}' if chosen else ' on PATH'}. "
        "Install gcc or clang (Debian: apt install gcc; macOS: xcode-select --install), or set CC."
    )


def _version(command: tuple[str, ...]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        said = subprocess.run(
            [*command, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.partition("\n")[0].strip() if said.returncode == 0 else None


def load_library(files: Mapping[str, bytes], compiler: Compiler) -> ctypes.CDLL:
    """Compiles all `.c` files of `files` together, or takes them from the cache, and loads the result.

    Args:
        files: name -> content, headers included; names are plain.
        compiler: from `find_compiler`.

    Raises:
        MastEdgeError: it does not compile, or the cache folder cannot be used.
    """
    folder = cache_folder("c")
    path = folder / f"{_key(files, compiler)}.so"
    if path.is_file():
        # A damaged file of the cache is built again.
        with contextlib.suppress(OSError):
            return ctypes.CDLL(str(path))
    _build(files, compiler, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as problem:
        raise MastEdgeError(f"{path}: library must load; got {problem}. Set CC.") from problem


def _key(files: Mapping[str, bytes], compiler: Compiler) -> str:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    what = [digests, *FLAGS, *_SHARED, *compiler.command, compiler.version, platform.machine()]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _build(files: Mapping[str, bytes], compiler: Compiler, path: Path) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as made:
            build = Path(made)
            for name, data in files.items():
                (build / name).write_bytes(data)
            sources = sorted(name for name in files if name.endswith(".c"))
            compiler.run(*FLAGS, *_SHARED, "-o", "library.so", *sources, folder=build)
            (build / "library.so").chmod(0o700)
            os.replace(build / "library.so", path)
    except OSError as problem:
        raise MastEdgeError(
            f"{path.parent}: cache folder must be writable; got {problem.strerror or problem}. "
            "Free space or set MAST_EDGE_CACHE to another folder."
        ) from problem
