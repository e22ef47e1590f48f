"""The interface layer against vectors of the real SMAC code, and the check against false vectors."""

import json
from pathlib import Path

import numpy as np
import pytest

from mast_edge.envs.conform import conform
from mast_edge.errors import ConfigError, MissingInput

VECTORS = Path(__file__).parents[1] / "data" / "oracle"
FILES = sorted(VECTORS.rglob("*.npz"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vectors_hold(path: Path) -> None:
    report = conform([path])
    (file,) = report.files
    assert report.ok, file.reason
    assert file.mismatched == file.avail_mismatches == 0
    assert file.checked > 5000
    assert file.snapshots in (8, 40)
    assert file.replays >= 5
    assert max(file.max_abs_error.values()) <= 1e-6


def test_folder_and_json() -> None:
    report = conform([VECTORS])
    assert len(report.files) == len(FILES)
    shown = json.loads(json.dumps(report.to_json()))
    assert shown["schema"] == "mast-edge/conform/1"
    assert shown["ok"] is True
    row = shown["files"][0]
    assert {"path", "map", "snapshots", "replays", "checked", "mismatched", "avail_mismatches"} <= set(row)
    assert set(row["max_abs_error"]) == {"obs", "state", "reward"}


def test_map_filter() -> None:
    assert [file.map for file in conform([VECTORS], maps=["3m", "8m"]).files] == ["3m", "8m"]
    with pytest.raises(MissingInput, match=r"must hold \.npz vector files of the chosen maps"):
        conform([VECTORS / "3m.npz"], maps=["8m"])
    with pytest.raises(ConfigError, match="map must be one of"):
        conform([VECTORS], maps=["4m"])


def altered(tmp_path: Path, **changes: np.ndarray) -> Path:
    with np.load(VECTORS / "3m.npz") as archive:
        vectors = {name: archive[name] for name in archive.files}
    path = tmp_path / "altered.npz"
    np.savez(path, **(vectors | changes))
    return path


@pytest.mark.parametrize("name", ["s_obs", "s_state", "r_obs", "r_state", "r_reward"])
def test_a_value_off_by_little_is_found(tmp_path: Path, name: str) -> None:
    with np.load(VECTORS / "3m.npz") as archive:
        values = archive[name].copy()
    values.flat[np.flatnonzero(np.isfinite(values))[7]] += 1e-5
    report = conform([altered(tmp_path, **{name: values})])
    assert not report.ok
    assert report.files[0].mismatched == 1
    what = name.split("_")[1]
    assert report.files[0].max_abs_error[what] == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize(
    "name",
    ["s_avail", "s_vis", "r_avail", "r_terminated", "r_battle_won", "r_dead_allies", "r_episode_limit"],
)
def test_a_flipped_flag_is_found(tmp_path: Path, name: str) -> None:
    with np.load(VECTORS / "3m.npz") as archive:
        values, op = archive[name].copy(), archive["r_op"]
    at = int(np.flatnonzero(op)[3]) if name[0] == "r" and name != "r_avail" else 5
    values.flat[at] = 1 - values.flat[at]
    report = conform([altered(tmp_path, **{name: values})])
    assert not report.ok
    assert report.files[0].mismatched == 1


def test_false_max_reward_and_orders_are_found(tmp_path: Path) -> None:
    with np.load(VECTORS / "3m.npz") as archive:
        meta, orders = json.loads(str(archive["meta"])), archive["r_order"].copy()
    meta["replay_end"][0]["max_reward"] = 366.0
    orders[3, 1, 0] += 1
    report = conform([altered(tmp_path, meta=np.array(json.dumps(meta)), r_order=orders)])
    assert report.files[0].mismatched == 2


def test_unreadable_files_are_rows_that_do_not_hold(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes((VECTORS / "3m.npz").read_bytes()[:5000])
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with np.load(VECTORS / "3m.npz") as archive:
        meta = json.loads(str(archive["meta"]))
    meta["options"] = {"obs_everything": True}
    altered(tmp_path, meta=np.array(json.dumps(meta)))
    report = conform([tmp_path, VECTORS / "3m.npz"])
    assert [file.ok for file in report.files] == [False, False, False, True]
    assert "option must be one of" in report.files[0].reason
    assert all("not a readable vector file" in file.reason for file in report.files[1:3])
    assert not report.ok


def test_missing_path() -> None:
    with pytest.raises(MissingInput, match="path must exist; got nowhere"):
        conform(["nowhere"])
