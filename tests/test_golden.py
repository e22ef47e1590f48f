import numpy as np
import pytest

from mast_edge.dense_agent import DenseAgent
from mast_edge.errors import ArtifactSelfTest
from mast_edge.golden import check_golden, golden_answers, golden_inputs
from mast_edge.spec import AgentSpec
from tests.agents import TINY, random_agent


def test_the_generator_is_part_of_the_format():
    """By hand: x0 = 0x6D617374, x <- (1664525 x + 1013904223) mod 2^32."""
    x, draws = 0x6D617374, []
    for _ in range(3):
        x = (1664525 * x + 1013904223) % 2**32
        draws.append(x)
    spec = AgentSpec(obs_dim=2, n_actions=1, n_agents=2)
    inputs = golden_inputs(spec)
    for column, draw in enumerate(draws[:2]):
        shown = (draw >> 23) % 2 == 0
        assert inputs.obs[0, column] == ((((draw >> 24) // 2) * 2 - 128) / 128 if shown else 0.0)
    assert (inputs.avail == 1).all()
    assert inputs.agent_ids.tolist() == [0, 1] * 4


def test_inputs_exercise_both_kinds_of_values():
    inputs = golden_inputs(AgentSpec(obs_dim=30, n_actions=9, n_agents=3))
    zeros = (inputs.obs == 0).mean()
    assert 0.35 < zeros < 0.65
    assert 0.3 < inputs.avail.mean() < 0.8
    assert inputs.avail.any(axis=1).all()
    assert np.abs(inputs.obs).max() <= 1.0


def test_a_wrong_answer_is_found():
    weights, _ = random_agent(TINY, 0.5)
    agent = DenseAgent(TINY, weights)
    q, actions = golden_answers(TINY, agent.affine)
    assert check_golden("x", TINY, q, actions, agent.step) < 1e-6
    off = q.copy()
    off[3, 1] += 1e-4
    with pytest.raises(ArtifactSelfTest, match="golden step 3"):
        check_golden("x", TINY, off, actions, agent.step)
    with pytest.raises(ArtifactSelfTest, match="must choose action"):
        check_golden("x", TINY, q, [(action + 1) % 5 for action in actions], agent.step)
