import numpy as np

from mast_edge.checkpoint_files import Recorded
from mast_edge.dense_agent import DenseAgent, assemble, gru_cell, masked_argmax, replay, sigmoid
from mast_edge.spec import AgentSpec
from tests.agents import TINY, greedy_rows, random_agent


def test_gru_cell_by_hand():
    """algorithms.md, numerical check 10."""
    x, h = np.array([[0.5]]), np.array([[-0.2]])
    from_input = x @ np.array([[0.3, -0.6, 0.9]]) + [0.1, 0.2, -0.1]
    from_hidden = h @ np.array([[-0.4, 0.7, 0.5]]) + [0.05, -0.15, 0.25]
    reset, update = sigmoid(from_input[0, :2] + from_hidden[0, :2])
    assert abs(reset - 0.5938731029341427) < 1e-15
    assert abs(update - 0.40371730070321216) < 1e-15
    assert abs(gru_cell(from_input, from_hidden, h)[0, 0] - 0.1654511518684013) < 1e-15


def test_input_rows_are_obs_then_last_action_then_id():
    spec = AgentSpec(obs_dim=2, n_actions=3, n_agents=2)
    rows = assemble(spec, np.array([[5, 6], [7, 8]], np.float32), np.array([-1, 2]), np.array([1, 0]))
    assert rows.tolist() == [[5, 6, 0, 0, 0, 0, 1], [7, 8, 0, 0, 1, 1, 0]]
    assert rows.dtype == np.float32


def test_argmax_takes_the_lowest_of_equals_among_the_available():
    q = np.array([[9.0, 2.0, 2.0, 1.0], [-5.0, -7.0, -6.0, 0.0]])
    avail = np.array([[0, 1, 1, 1], [0, 1, 1, 0]], np.uint8)
    assert masked_argmax(q, avail).tolist() == [1, 2]


def test_q_by_hand_for_a_one_unit_agent():
    """fc1 gives relu(2*1 + 1 [action 0] - 0.5 [id] + 0.1) = 2.6; gates at rest by the biases alone."""
    spec = AgentSpec(obs_dim=1, n_actions=2, n_agents=1, hidden_dim=1)
    weights = {
        "fc1.weight": np.array([[2.0, 1.0, -9.0, -0.5]], np.float32),
        "fc1.bias": np.array([0.1], np.float32),
        "gru_ih.weight": np.array([[0.0], [0.0], [1.0]], np.float32),
        "gru_ih.bias": np.zeros(3, np.float32),
        "gru_hh.weight": np.zeros((3, 1), np.float32),
        "gru_hh.bias": np.array([0, 0, 0.4], np.float32),
        "fc2.weight": np.array([[1.0], [-2.0]], np.float32),
        "fc2.bias": np.array([0.0, 0.5], np.float32),
    }
    q, hidden = DenseAgent(spec, weights).step(
        np.ones((1, 1), np.float32), np.array([0]), np.array([0]), np.array([[0.6]], np.float32)
    )
    new = np.tanh(2.6 + 0.5 * 0.4)
    expected = new + 0.5 * (0.6 - new)
    np.testing.assert_allclose(hidden, [[expected]], rtol=1e-6)
    np.testing.assert_allclose(q, [[expected, 0.5 - 2 * expected]], rtol=1e-6)


def test_replay_starts_each_episode_afresh():
    weights, _ = random_agent(TINY, 0.5)
    agent = DenseAgent(TINY, weights)
    rows = greedy_rows(TINY, weights, rows=16, length=8)
    whole = replay(agent.affine, TINY, rows)
    second = replay(
        agent.affine, TINY, Recorded(rows.obs[8:], rows.avail[8:], rows.actions[8:], rows.first[8:])
    )
    np.testing.assert_array_equal(whole[8:], second)
    assert (masked_argmax(whole, rows.avail) == rows.actions).all()
