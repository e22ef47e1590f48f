"""The folder that makes pysc2 start the stand-in where it expects the game."""

import os
import shlex
import subprocess
from pathlib import Path

from mast_edge.atomic import write_atomically
from mast_edge.envs.sc2.facts import map_path, map_paths
from mast_edge.envs.sc2.session import BUILD
from mast_edge.envs.units import unit_types
from mast_edge.errors import EnvironmentUnavailable, MastEdgeError, UsageError

MARK = "mast-edge stand-in for StarCraft II"
MODULE = "mast_edge.envs.sc2"
ISOLATED = ("-E", "-P")
"""The client's PYTHONPATH and working folder are not meant for this interpreter."""


def install(folder: Path, python: str, profile: str = "liberty", seed: int | None = None) -> int:
    """Writes the launcher layout; the folder is then what SC2PATH should name.

    Args:
        folder: created if need be. A real installation of the game is refused.
        python: the interpreter that has mast_edge and the packages of the extra `sc2`.
        profile: unit data of the games, `liberty` or `void`.
        seed: of games whose creation names none; None draws one for each.

    Returns:
        Number of maps.

    Raises:
        ConfigError: no such profile.
        UsageError: the folder holds a version of the game that was not written by this function.
        EnvironmentUnavailable: the interpreter cannot run the stand-in, or the system runs no scripts.
        MastEdgeError: a file cannot be written.

    Source: smac.md 12.
    """
    unit_types(profile)
    if os.name == "nt":
        raise EnvironmentUnavailable(
            "serve-sc2: system must run shell scripts; got Windows. Install the layout in WSL."
        )
    folder = folder.expanduser().absolute()
    program = folder / "Versions" / f"Base{BUILD}" / "SC2_x64"
    _refuse_a_real_game(folder, program)
    _check_interpreter(python)
    for part in (program.parent, (folder / "Maps" / map_path("x")).parent):
        _make(part)
    own = ["--profile", profile, *(["--seed", str(seed)] if seed is not None else [])]
    command = shlex.join([python, *ISOLATED, "-m", MODULE, *own])
    script = f'#!/bin/sh\n# {MARK}: serves its API from the embedded simulator.\nexec {command} "$@"\n'
    for path in map_paths():
        target = folder / "Maps" / path
        if not target.exists():    # a real map file does as well
            write_atomically(target, f"{MARK}: this map is played by the simulator.\n".encode())
    write_atomically(program, script.encode())
    program.chmod(0o755)
    return len(map_paths())


def _refuse_a_real_game(folder: Path, program: Path) -> None:
    versions = folder / "Versions"
    if not versions.is_dir():
        return
    for found in sorted(versions.iterdir()):
        ours = found == program.parent and _is_ours(program)
        if found.name.startswith("Base") and not ours:
            raise UsageError(
                f"serve-sc2: folder must not hold a game of its own; got {found}. Choose another folder."
            )


def _is_ours(program: Path) -> bool:
    if not program.exists():
        return not any(program.parent.iterdir())
    with program.open("rb") as file:
        return MARK.encode() in file.read(200)


def _check_interpreter(python: str) -> None:
    probe = f"from {MODULE}.messages import load_messages; load_messages(); import websockets"
    try:
        tried = subprocess.run(
            [python, *ISOLATED, "-c", probe], capture_output=True, text=True, timeout=60, check=False
        )
        problem = tried.stderr.strip().splitlines()[-1] if tried.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        advice = "" if "Run:" in problem else " Run: pip install 'mast-edge[sc2]'"
        raise EnvironmentUnavailable(
            f"serve-sc2: interpreter {python} must run the stand-in; got {problem.rstrip('.')}.{advice}"
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MastEdgeError(
            f"{folder}: folder must be creatable; got {error.strerror or error}. Choose another."
        ) from error
