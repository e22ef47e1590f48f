"""Mask snapshots: bits in, the same bits out, and damage found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open
from safetensors.numpy import save_file

from mast_edge.errors import ArtifactCorrupt, ArtifactMalformed, ArtifactRefused, MastEdgeError, MissingInput
from mast_edge.spec import AgentSpec
from mast_edge.train.mask_files import list_masks, read_masks, write_masks

MASK = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 1]], bool)
# Row by row, first in the lowest bit: 1 0 1 1 0 0 1 0 = 77, then 0 1 = 2.

names = st.text("abcdefghijklmnopqrstuvwxyz._012", min_size=1, max_size=20).filter(
    lambda n: n != "__metadata__"
)
masks = arrays.arrays(bool, st.tuples(st.integers(0, 20), st.integers(0, 20)))


@given(st.dictionaries(names, masks, max_size=5), st.integers(0, 400_000_000))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: dict[str, Any], t_env: int
) -> None:
    run = tmp_path_factory.mktemp("run")
    path = write_masks(run, t_env, written)
    read = read_masks(path)
    assert set(read) == set(written)
    for name, mask in written.items():
        assert read[name].dtype == bool
        assert np.array_equal(read[name], mask)
    assert list_masks(run) == [(t_env, path)]


def test_the_layout(tmp_path: Path) -> None:
    path = write_masks(tmp_path, 500_000, {"agent.fc1": MASK})
    assert path == tmp_path / "masks" / "step-000500000.safetensors"
    with safe_open(path, framework="numpy") as file:
        assert file.get_tensor("agent.fc1").tolist() == [77, 2]
        assert json.loads(file.metadata()["mast_edge"])["shapes"] == {"agent.fc1": [2, 5]}


def test_a_mask_that_is_not_contiguous(tmp_path: Path) -> None:
    path = write_masks(tmp_path, 1, {"a": MASK.T})
    assert np.array_equal(read_masks(path)["a"], MASK.T)


def test_bytes_of_an_agent(tmp_path: Path) -> None:
    shapes = AgentSpec(obs_dim=30, n_actions=9, n_agents=3).layer_shapes()
    rng = np.random.default_rng(0)
    path = write_masks(tmp_path, 0, {f"agent.{n}": rng.random(s) < 0.1 for n, s in shapes.items()})
    # fc1 64 x 42, gru 2 x 192 x 64, fc2 9 x 64: 27,840 connections in 3,480 bytes, and a header.
    assert 3480 < path.stat().st_size < 3480 + 600


def test_the_same_masks_give_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import numpy as np;"
        "from mast_edge.train.mask_files import write_masks;"
        "write_masks(Path(sys.argv[1]), 3, {n: np.eye(9, dtype=bool) for n in sys.argv[2:]})"
    )
    for folder, order in (("a", "xyz"), ("b", "zxy")):
        (tmp_path / folder).mkdir()
        subprocess.run([sys.executable, "-c", program, str(tmp_path / folder), *order], check=True)
    files = [list_masks(tmp_path / folder)[0][1].read_bytes() for folder in "ab"]
    assert files[0] == files[1]


def test_a_file_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    write_masks(tmp_path, 7, {"a": MASK})
    path = write_masks(tmp_path, 7, {"a": ~MASK})
    assert np.array_equal(read_masks(path)["a"], ~MASK)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_files_are_listed_by_step(tmp_path: Path) -> None:
    assert list_masks(tmp_path) == []
    for t_env in (2_000_000_000, 5, 999_999_999):
        write_masks(tmp_path, t_env, {})
    (tmp_path / "masks" / "step-last.safetensors").touch()
    assert [t_env for t_env, _ in list_masks(tmp_path)] == [5, 999_999_999, 2_000_000_000]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "masks" / "step-000000001.safetensors").mkdir(parents=True)
    with pytest.raises(MastEdgeError, match="must be a plain file"):
        write_masks(tmp_path, 1, {"a": MASK})


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="mask file must exist"):
        read_masks(tmp_path / "step-000000001.safetensors")


def test_cuts_and_flipped_bits_are_found(tmp_path: Path) -> None:
    path = write_masks(tmp_path, 1, {"a": MASK})
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(ArtifactRefused):
            read_masks(path)
    for bit in range(0, 8 * len(data), 3):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ArtifactRefused):
            read_masks(path)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("7", "schema must be mast-edge/masks/1; got 7"),
        ('{"schema": "mast-edge/masks/2"}', "schema must be"),
        ({"shapes": []}, "object with shapes and sha256"),
        ({"shapes": {}}, "shapes must be of a; got"),
        ({"shapes": {"a": [2, 4]}}, "a must be 1 bytes for shape .2, 4.; got 2"),
        ({"shapes": {"a": [3, 6]}}, "a must be 3 bytes"),
        ({"shapes": {"a": [10]}}, "a shape must be two sizes"),
        ({"shapes": {"a": [-2, -5]}}, "a shape must be two sizes"),
        ({"shapes": {"a": [2.0, 5]}}, "a shape must be two sizes"),
        ({"shapes": {"a": [0, 10**30]}}, "a shape must be two sizes"),
    ],
)
def test_metadata_that_does_not_fit(tmp_path: Path, facts: Any, message: str) -> None:
    whole = (
        facts
        if isinstance(facts, str)
        else json.dumps({"schema": "mast-edge/masks/1", "sha256": "", **facts})
    )
    path = tmp_path / "step-000000001.safetensors"
    save_file({"a": np.packbits(MASK.ravel(), bitorder="little")}, path, {"mast_edge": whole})
    with pytest.raises(ArtifactMalformed, match=message):
        read_masks(path)


def test_tensors_of_another_kind(tmp_path: Path) -> None:
    facts = json.dumps({"schema": "mast-edge/masks/1", "sha256": "", "shapes": {"a": [2, 5]}})
    path = tmp_path / "step-000000001.safetensors"
    save_file({"a": np.zeros(2, np.float32)}, path, {"mast_edge": facts})
    with pytest.raises(ArtifactMalformed, match="a must be a row of uint8; got float32"):
        read_masks(path)
    save_file({"a": np.zeros(2, np.uint8)}, path, {"mast_edge": facts})
    with pytest.raises(ArtifactCorrupt, match="digest"):
        read_masks(path)
    save_file({"a": np.zeros(2, np.uint8)}, path)
    with pytest.raises(ArtifactMalformed, match="must be JSON"):
        read_masks(path)
