"""The unmodified StarCraft2Env against the stand-in.

Needs SMAC and pysc2, in this interpreter or in the one that MAST_EDGE_SMAC_PYTHON names; no StarCraft II.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mast_edge.envs.sc2.layout import install
from mast_edge.envs.skirmish import Skirmish

PYTHON = os.environ.get("MAST_EDGE_SMAC_PYTHON", sys.executable)
SWITCH = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for SC2PATH."""
    tried = subprocess.run(
        [PYTHON, "-c", "from smac.env import StarCraft2Env"],
        env={**os.environ, **SWITCH},
        capture_output=True,
        timeout=120,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"{PYTHON} has no SMAC")
    folder = tmp_path_factory.mktemp("game")
    install(folder, sys.executable)
    return folder


@pytest.mark.sc2
@pytest.mark.parametrize("map_name", ["3m", "2s3z", "MMM", "2c_vs_64zg"])
def test_starcraft2env_shows_what_the_simulator_shows(game: Path, tmp_path: Path, map_name: str) -> None:
    """Obs, state, avail, reward, end and deaths to the last bit, over episodes with resets."""
    path = tmp_path / "seen.npz"
    player = str(Path(__file__).with_name("smac_player.py"))
    subprocess.run(
        [PYTHON, player, map_name, "5", "4", str(path)],
        env={**os.environ, **SWITCH, "SC2PATH": str(game)},
        timeout=200,
        check=True,
    )
    seen, env = np.load(path), Skirmish(map_name, seed=5)
    assert seen["first"].sum() == 4
    for t, actions in enumerate(seen["actions"]):
        if seen["first"][t]:
            env.reset()
        np.testing.assert_array_equal(env.obs[0], seen["obs"][t])
        np.testing.assert_array_equal(env.state[0], seen["state"][t])
        np.testing.assert_array_equal(env.avail[0], seen["avail"][t])
        step = env.step(actions[None].astype(np.int64))
        assert step.reward[0] == seen["reward"][t]
        end = [step.terminated[0], step.battle_won[0], step.dead_allies[0], step.dead_enemies[0]]
        assert end == seen["end"][t].tolist()
    assert len(list((game / "Replays").glob(f"{map_name}_*.SC2Replay"))) == 1
