"""Holds the interface layer against vectors recorded from the real SMAC code.

The vectors give unit tables and what SMAC made of them; the native functions that show simulated battles
are fed those tables. The physics takes no part, so maps that the simulator does not fight yet are checked as
well. Source: data/oracle/README.md of the vectors (format `mast-edge/smac-vectors/1`).
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.maps import SmacMap, native_interface, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.units import unit_types
from mast_edge.errors import MastEdgeError, MissingInput
from mast_edge.native import _core

SCHEMA = "mast-edge/conform/1"
FORMAT = "mast-edge/smac-vectors/1"
TOLERANCE = 1e-6
"""Absolute, for obs, state and reward; everything else must be equal."""

Vectors = Mapping[str, NDArray[Any]]


@dataclass(slots=True)
class FileReport:
    """What became of one file.

    Attributes:
        path, map: the file and the map it is about.
        snapshots, replays: how many it holds.
        checked, mismatched: single values compared, and how many of them differ.
        max_abs_error: largest difference in obs, state and reward.
        avail_mismatches: differing entries of the available actions.
        reason: why the file does not hold, empty when it does.
    """

    path: str
    map: str = ""
    snapshots: int = 0
    replays: int = 0
    checked: int = 0
    mismatched: int = 0
    max_abs_error: dict[str, float] = field(default_factory=lambda: {"obs": 0.0, "state": 0.0, "reward": 0.0})
    avail_mismatches: int = 0
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Every vector of the file holds, and it has some."""
        return not self.reason and self.checked > 0 and self.mismatched == 0

    def compare(self, what: str, got: Any, expected: Any, tolerance: float = 0.0) -> None:
        """Counts entries of `got` that differ from `expected` by more than `tolerance`."""
        expected = np.asarray(expected)
        got = np.asarray(got)
        if got.shape != expected.shape:
            self.checked += expected.size
            self.mismatched += max(expected.size, 1)
            self.reason = self.reason or f"{what} has shape {got.shape}, expected {expected.shape}"
            return
        if tolerance:
            error = np.abs(got.astype(np.float64) - expected.astype(np.float64))
            wrong = int((~(error <= tolerance)).sum())
            if what in self.max_abs_error and error.size:
                self.max_abs_error[what] = max(self.max_abs_error[what], float(error.max()))
        else:
            wrong = int((got != expected).sum())
        self.checked += expected.size
        self.mismatched += wrong
        if what == "avail":
            self.avail_mismatches += wrong
        if wrong and not self.reason:
            self.reason = f"{wrong} entries of {what} differ"


@dataclass(frozen=True, slots=True)
class ConformReport:
    """The result of `conform`; `to_json` is the command's object (cli.md)."""

    files: tuple[FileReport, ...]

    @property
    def ok(self) -> bool:
        """Every file holds."""
        return all(file.ok for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """The `mast-edge/conform/1` object."""
        rows = [{**asdict(file), "ok": file.ok} for file in self.files]
        return {"schema": SCHEMA, "ok": self.ok, "files": rows}


def conform(paths: Sequence[str | Path], maps: Sequence[str] | None = None) -> ConformReport:
    """Checks vector files.

    Args:
        paths: `.npz` files, or folders that are searched to the bottom for them.
        maps: only files about these maps; all when None.

    Returns:
        One row per file. A file that cannot be checked is a row that does not hold, with its reason.

    Raises:
        MissingInput: a path does not exist, or no file is left to check.
        ConfigError: a name in `maps` is not a map.
    """
    for name in maps or ():
        smac_map(name)
    reports = [_check_file(path) for path in _files(paths)]
    if maps is not None:
        # A file whose map cannot be read is kept: it must not vanish from the verdict.
        reports = [report for report in reports if report.map in maps or not report.map]
    if not reports:
        raise MissingInput(
            f"conform: paths must hold .npz vector files{' of the chosen maps' if maps else ''}; got "
            f"{', '.join(str(path) for path in paths)}. Name a folder with conformance vectors."
        )
    return ConformReport(tuple(reports))


def _files(paths: Sequence[str | Path]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise MissingInput(f"conform: path must exist; got {path}. Name a vector file or a folder.")
        found += sorted(path.rglob("*.npz")) if path.is_dir() else [path]
    return found


def _check_file(path: Path) -> FileReport:
    report = FileReport(str(path))
    try:
        with np.load(path, allow_pickle=False) as archive:
            vectors = {name: archive[name] for name in archive.files}
        meta = json.loads(str(vectors["meta"]))
        report.map = str(meta["map"])
        if meta["format"] != FORMAT:
            report.reason = f"format is {meta['format']}, expected {FORMAT}"
            return report
        _Check(report, meta, vectors).run()
    except MastEdgeError as error:
        report.reason = str(error)
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, IndexError) as error:
        report.reason = f"not a readable vector file: {error}"
    return report


class _Check:
    """One file's vectors against the interface layer."""

    def __init__(self, report: FileReport, meta: Mapping[str, Any], vectors: Vectors) -> None:
        self._report, self._meta, self._vectors = report, meta, vectors
        self._smac = smac_map(meta["map"])
        self._options = SmacOptions.of(meta["options"])
        self._face = native_interface(
            self._smac, self._options, unit_types(), vectors["grid"], vectors["height"]
        )
        self._buffers = _Buffers(self._face)

    def run(self) -> None:
        """Sizes, snapshots, replays."""
        self._check_declared(self._smac)
        self._report.snapshots = len(self._vectors["s_ally"])
        for row in range(self._report.snapshots):
            self._check_snapshot(row)
        starts = self._vectors["r_start"]
        self._report.replays = len(starts) - 1
        for replay in range(self._report.replays):
            self._check_replay(replay, int(starts[replay]), int(starts[replay + 1]))

    def _check_declared(self, smac: SmacMap) -> None:
        declared, face, options = self._meta["declared"], self._face, self._options
        # SMAC declares one number less than it returns with obs_timestep_number (smac.md 4).
        extra = int(options.obs_timestep_number)
        obs_dim = face.obs_dim - extra
        state_dim = face.state_dim - (face.n_agents * extra if options.obs_instead_of_state else 0)
        got = [obs_dim, state_dim, face.n_actions, face.n_agents, smac.limit]
        names = ("obs_shape", "state_shape", "n_actions", "n_agents", "episode_limit")
        self._report.compare("declared sizes", got, [declared[name] for name in names])
        types = [list(smac.ally_types), list(smac.enemy_types)]
        self._report.compare("unit types", types[0], self._meta["ally_types"])
        self._report.compare("unit types", types[1], self._meta["enemy_types"])

    def _check_snapshot(self, row: int) -> None:
        vectors, probe = self._vectors, _core.Probe(self._face)
        probe.pose(
            vectors["s_ally"][row],
            vectors["s_enemy"][row],
            vectors["s_last_action"][row].astype(np.int64),
            int(vectors["s_episode_step"][row]),
        )
        seen = self._buffers.fill(probe)
        self._report.compare("obs", seen.obs, vectors["s_obs"][row], TOLERANCE)
        self._report.compare("state", seen.state, vectors["s_state"][row], TOLERANCE)
        self._report.compare("avail", seen.avail, vectors["s_avail"][row])
        self._report.compare("visibility", seen.visible, vectors["s_vis"][row])

    def _check_replay(self, replay: int, begin: int, end: int) -> None:
        probe = _core.Probe(self._face)
        for call in range(begin, end):
            if int(self._vectors["r_op"][call]) == 0:
                frame = int(self._vectors["r_frame"][call])
                probe.begin(self._vectors["r_ally"][frame], self._vectors["r_enemy"][frame])
            else:
                self._check_step(probe, call)
            row = int(self._vectors["r_check"][call])
            if row >= 0:
                seen = self._buffers.fill(probe)
                self._report.compare("obs", seen.obs, self._vectors["r_obs"][row], TOLERANCE)
                self._report.compare("state", seen.state, self._vectors["r_state"][row], TOLERANCE)
                self._report.compare("avail", seen.avail, self._vectors["r_avail"][row])
        expected = self._meta["replay_end"][replay]
        self._report.compare("max_reward", self._face.max_reward, expected["max_reward"], TOLERANCE)
        self._check_stats(probe, expected["stats"])

    def _check_step(self, probe: _core.Probe, call: int) -> None:
        vectors, report = self._vectors, self._report
        actions = vectors["r_action"][call].astype(np.int64)
        orders = np.empty((self._face.n_agents, 4), dtype=np.float32)
        probe.orders(actions, orders)
        report.compare("orders", orders, vectors["r_order"][call])
        frame = int(vectors["r_frame"][call])
        reward, terminated, timed_out, won, dead_allies, dead_enemies = probe.step(
            actions, vectors["r_ally"][frame], vectors["r_enemy"][frame]
        )
        report.compare("reward", reward, vectors["r_reward"][call], TOLERANCE)
        announced = 1 if timed_out and self._options.continuing_episode else -1
        names = ("terminated", "battle_won", "dead_allies", "dead_enemies", "episode_limit")
        got = (terminated, won, dead_allies, dead_enemies, announced)
        for name, value in zip(names, got, strict=True):
            report.compare(name, int(value), int(vectors[f"r_{name}"][call]))

    def _check_stats(self, probe: _core.Probe, expected: Mapping[str, Any] | None) -> None:
        won, finished, timeouts = probe.counters
        if expected is None:
            self._report.compare("battles finished", finished, 0)
            return
        got = {"battles_won": won, "battles_game": finished, "battles_draw": timeouts, "timeouts": timeouts}
        for name, value in got.items():
            self._report.compare(name, value, expected[name])


@dataclass(slots=True)
class _Seen:
    obs: NDArray[np.float32]
    state: NDArray[np.float32]
    avail: NDArray[np.uint8]
    visible: NDArray[np.uint8]


class _Buffers:
    """Arrays that a probe writes what agents see into."""

    def __init__(self, face: _core.Interface) -> None:
        n = face.n_agents
        self._seen = _Seen(
            np.empty((n, face.obs_dim), dtype=np.float32),
            np.empty(face.state_dim, dtype=np.float32),
            np.empty((n, face.n_actions), dtype=np.uint8),
            np.empty((n, n + face.n_enemies), dtype=np.uint8),
        )

    def fill(self, probe: _core.Probe) -> _Seen:
        seen = self._seen
        probe.observe(seen.obs, seen.state, seen.avail, seen.visible)
        return seen
