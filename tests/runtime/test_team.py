"""One call for all agents, and every agent called alone: the same actions, in every runtime."""

import numpy as np
import pytest

from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import ArtifactContract, MissingInput
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.match import play_batch
from mast_edge.runtime.team import BatchTeam, LoneTeam, load_team, with_choice
from tests.runtime.agents import export_csr, make_run


@pytest.mark.parametrize("backend", ["csr", "numpy"])
def test_a_batch_plays_as_lone_agents_do(tmp_path, backend):
    agent = Agent.load(export_csr(make_run(tmp_path)), backend=backend)
    batch, lone = (play_batch(Skirmish("3m", 6, seed=40), team(agent)) for team in (BatchTeam, LoneTeam))
    assert np.array_equal(batch.actions, lone.actions)
    assert np.array_equal(batch.won, lone.won)
    assert np.array_equal(batch.returns, lone.returns)
    assert len(np.unique(batch.actions)) > 3  # not all the same action


def test_an_episode_does_not_depend_on_its_company(tmp_path):
    agent = Agent.load(export_csr(make_run(tmp_path)))
    together = play_batch(Skirmish("3m", 4, seed=50), BatchTeam(agent))
    for b in range(4):
        alone = play_batch(Skirmish("3m", 1, seed=50 + b), BatchTeam(agent))
        steps = int(together.length[b])
        assert alone.length[0] == steps
        assert np.array_equal(alone.actions[:, 0], together.actions[:steps, b])


def test_a_team_starts_each_episode_without_memory(tmp_path):
    team = BatchTeam(Agent.load(export_csr(make_run(tmp_path))))
    first, second = (play_batch(Skirmish("3m", 2, seed=60), team) for _ in range(2))
    assert np.array_equal(first.actions, second.actions)


def test_with_choice_touches_finished_episodes_only():
    avail = np.zeros((2, 2, 3), np.uint8)
    avail[0, :, 2] = 1
    filled = with_choice(avail, np.array([True, False]))
    assert filled[0].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert filled[1].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert avail[1].sum() == 0


def test_a_team_refuses_another_map(tmp_path):
    make = load_team(export_csr(make_run(tmp_path)))
    with pytest.raises(ArtifactContract, match="8m"):
        make(Skirmish("8m", 1, seed=1))


def test_a_policy_that_is_not_there():
    with pytest.raises(MissingInput, match=r"must be one of random, an exported agent.*got 'nowhere'"):
        load_team("nowhere", also=("random",))
