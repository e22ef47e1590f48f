import json

import numpy as np
import pytest

from mast_edge.checkpoint_files import Recorded, read_agent, read_recorded, write_agent_files, write_index
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactValue,
    MissingInput,
)
from tests.agents import TINY, env_of, greedy_rows, random_agent, write_checkpoint


def test_what_is_written_is_read_back(tmp_path):
    folder = write_checkpoint(tmp_path / "c", seed=3)
    weights, masks = random_agent(TINY, 0.8, 3)
    agent = read_agent(folder)
    assert agent.spec == TINY
    assert agent.env == env_of(TINY)
    assert agent.index["t_env"] == 1000
    assert set(agent.masks) == set(masks)
    for name, array in weights.items():
        np.testing.assert_array_equal(agent.weights[name], array)
        assert agent.weights[name].dtype == np.float32
    for layer, mask in masks.items():
        np.testing.assert_array_equal(agent.masks[layer], mask)
    rows, expected = read_recorded(folder), greedy_rows(TINY, weights)
    for name in ("obs", "avail", "actions", "first"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(expected, name))


def test_the_same_agent_gives_the_same_bytes(tmp_path):
    one, two = write_checkpoint(tmp_path / "1"), write_checkpoint(tmp_path / "2")
    assert read_agent(one).index_sha256 == read_agent(two).index_sha256


@pytest.mark.parametrize("name", ["agent.safetensors", "recorded.safetensors"])
def test_a_flipped_bit_is_found(tmp_path, name):
    folder = write_checkpoint(tmp_path / "c")
    data = bytearray((folder / name).read_bytes())
    data[-3] ^= 4
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=name):
        read_agent(folder) if name.startswith("agent") else read_recorded(folder)


def test_an_incomplete_folder_is_named(tmp_path):
    folder = write_checkpoint(tmp_path / "c")
    (folder / "agent.safetensors").unlink()
    with pytest.raises(MissingInput, match=r"agent\.safetensors"):
        read_agent(folder)
    (folder / "checkpoint.json").unlink()
    with pytest.raises(MissingInput, match="mast-edge train"):
        read_agent(folder)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("agent", {"obs_dim": 7}, ArtifactMalformed),
        ("agent", {"obs_dim": 8, "n_actions": 5, "n_agents": 3, "hidden_dim": 8}, ArtifactInconsistent),
        ("agent", {"obs_dim": -1, "n_actions": 5, "n_agents": 3, "hidden_dim": 8}, ArtifactInconsistent),
        ("files", None, ArtifactCorrupt),
    ],
)
def test_an_index_that_disagrees_is_refused(tmp_path, field, value, error):
    folder = write_checkpoint(tmp_path / "c")
    index = json.loads((folder / "checkpoint.json").read_text())
    index[field] = value
    (folder / "checkpoint.json").write_text(json.dumps(index))
    with pytest.raises(error):
        read_agent(folder)


def test_weights_that_must_not_be_stored(tmp_path):
    weights, masks = random_agent(TINY, 0.8)
    rows = greedy_rows(TINY, weights)
    layer = next(iter(masks))
    row, column = np.argwhere(~masks[layer])[0]

    def write(changed):
        write_agent_files(tmp_path, TINY, env_of(TINY), changed, masks, rows)

    stray = {**weights, f"{layer}.weight": weights[f"{layer}.weight"].copy()}
    stray[f"{layer}.weight"][row, column] = 1e-30
    with pytest.raises(ArtifactInconsistent, match="outside its mask"):
        write(stray)
    with pytest.raises(ArtifactValue, match="finite"):
        write({**weights, "fc2.bias": np.full(5, np.nan, np.float32)})
    with pytest.raises(ArtifactInconsistent, match=r"fc2.bias must be float32 \(5,\)"):
        write({**weights, "fc2.bias": np.zeros(6, np.float32)})
    with pytest.raises(ArtifactMalformed):
        write({k: v for k, v in weights.items() if k != "fc1.bias"})
    assert not list(tmp_path.iterdir())


def test_recorded_rows_are_checked(tmp_path):
    weights, masks = random_agent(TINY, 0.8)
    rows = greedy_rows(TINY, weights)
    bad = Recorded(rows.obs, np.zeros_like(rows.avail), rows.actions, rows.first)
    with pytest.raises(ArtifactInconsistent, match="available"):
        write_agent_files(tmp_path, TINY, env_of(TINY), weights, masks, bad)
    late = Recorded(rows.obs[1:], rows.avail[1:], rows.actions[1:], rows.first[1:])
    with pytest.raises(ArtifactInconsistent, match="first step"):
        write_agent_files(tmp_path, TINY, env_of(TINY), weights, masks, late)
    assert not list(tmp_path.iterdir())


def test_an_index_completes_the_folder(tmp_path):
    write_index(tmp_path, TINY, env_of(TINY), {}, {"t_env": 1})
    with pytest.raises(MissingInput, match=r"agent\.safetensors"):
        read_agent(tmp_path)
