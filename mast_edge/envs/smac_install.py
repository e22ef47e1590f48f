"""What real SMAC needs on this machine, looked for before anything is launched.

Source: smac.md 10 (items 1 and 3), 11, 12.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast_edge.envs import smac_worker
from mast_edge.errors import EnvironmentUnavailable

PYTHON_VARIABLE = "MAST_EDGE_SMAC_PYTHON"
INSTALL = "pip install git+https://github.com/oxwhirl/smac.git"
MAPS = "https://github.com/oxwhirl/smac/releases"
_DEFAULT_FOLDERS = {"darwin": "/Applications/StarCraft II", "win32": "C:/Program Files (x86)/StarCraft II"}


def interpreter(named: str, environ: Mapping[str, str]) -> str:
    """Path of the interpreter that has SMAC.

    Args:
        named: `env.smac.python` of the config; empty = `$MAST_EDGE_SMAC_PYTHON`, else this interpreter.
        environ: environment variables.

    Raises:
        EnvironmentUnavailable: there is no such program.
    """
    wanted = named or environ.get(PYTHON_VARIABLE) or sys.executable
    found = shutil.which(os.path.expanduser(wanted))
    if found is None:
        raise EnvironmentUnavailable(
            f"smac: interpreter must be a program; got '{wanted}'. Set env.smac.python or {PYTHON_VARIABLE} "
            "to the Python in which SMAC is installed."
        )
    return found


def is_stand_in(facts: Mapping[str, Any]) -> bool:
    """Whether a game that calls itself StarCraft II is `mast-edge serve-sc2`, the embedded simulator."""
    return str(facts.get("data_version", "")).startswith("mast-edge")


def game_folder(environ: Mapping[str, str]) -> Path:
    """Where pysc2 will look for StarCraft II: SC2PATH, or the usual place of this system."""
    usual = _DEFAULT_FOLDERS.get(sys.platform, "~/StarCraftII")
    return Path(environ.get("SC2PATH") or usual).expanduser()


def builds(folder: Path) -> list[str]:
    """Builds of the game under its folder, such as `Base75689`."""
    return sorted(path.name for path in (folder / "Versions").glob("Base*") if path.is_dir())


def maps_folder(folder: Path) -> Path:
    """Where SMAC's maps belong."""
    return folder / "Maps" / "SMAC_Maps"


def installed_maps(folder: Path) -> list[str]:
    """Names of the SMAC maps that are there."""
    return sorted(path.stem for path in maps_folder(folder).glob("*.SC2Map"))


def require_game(map_name: str, environ: Mapping[str, str]) -> Path:
    """Refuses to launch what cannot start.

    Args:
        map_name: SMAC map.
        environ: environment variables that the game would get.

    Returns:
        The game's folder.

    Raises:
        EnvironmentUnavailable: the folder, a build of the game, or the map's file is missing.
    """
    folder = game_folder(environ)
    said = "SC2PATH" if environ.get("SC2PATH") else "SC2PATH (not set; default)"
    if not builds(folder):
        raise EnvironmentUnavailable(
            f"smac: {said} must be a StarCraft II folder; got {folder}, which has no Versions/Base* folder. "
            "Set SC2PATH to where the game is installed, or use env.backend=skirmish, which needs no game."
        )
    file = maps_folder(folder) / f"{map_name}.SC2Map"
    if not file.is_file():
        there = ", ".join(installed_maps(folder)) or "none"
        raise EnvironmentUnavailable(
            f"smac: map file must be {file}; got none (maps there: {there}). "
            f"Unpack SMAC_Maps.zip from {MAPS} into {folder / 'Maps'}."
        )
    return folder


def explain(kind: str, message: str, python: str) -> str:
    """One line on what a worker refused, and what to do.

    Args:
        kind, message: of the refusal.
        python: interpreter it ran in.
    """
    known = {
        "absent": f"smac: package smac must be installed in {python}; got none. Run: {python} -m {INSTALL}",
        "smac3": f"smac: package smac of {python} must be StarCraft's; got SMAC3, a hyper-parameter "
        f"optimiser of the same name. Run: {python} -m pip uninstall smac; {python} -m {INSTALL}",
        "protobuf": f"smac: protobuf of {python} must be below 4 or run in pure Python; got: {message}. "
        f"Run: {python} -m pip install 'protobuf<3.21'",
        "options": f"smac: env.options must be known to the SMAC installed in {python}; got: {message}. "
        "Leave that option out, or install the newest SMAC.",
        "map": f"smac: map must be known to the SMAC installed in {python}; got: {message}.",
    }
    fallback = f"smac: the SMAC installed in {python} must work; got: {message}. Run: {python} -m {INSTALL}"
    return known.get(kind, fallback)


def probe(python: str, environ: Mapping[str, str], seconds: float = 60.0) -> dict[str, Any]:
    """Which SMAC an interpreter has.

    Returns:
        `smac`, `python`, `folder` of it, or `error` (a kind for `explain`) and `message`.
    """
    try:
        answer = subprocess.run(
            [python, str(Path(smac_worker.__file__)), "--probe"],
            capture_output=True,
            text=True,
            env=dict(environ),
            timeout=seconds,
            check=False,
        )
        found = json.loads((answer.stdout.strip().splitlines() or [""])[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return {"error": "broken", "message": f"{type(error).__name__}: {error}"}
    return found if isinstance(found, dict) else {"error": "broken", "message": "no answer"}
