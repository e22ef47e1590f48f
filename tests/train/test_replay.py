"""Packing ragged episodes, and drawing from the two buffers."""

import numpy as np

from mast_edge.spec import EnvSpec
from mast_edge.train.replay import Episode, ReplayBuffers, pack

SPEC = EnvSpec("toy", "test", n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=9)


def episode(length: int, tag: float, *, timed_out: bool = False) -> Episode:
    """Every number says which episode and step it belongs to."""
    steps = np.arange(length + 1, dtype=np.float32)
    obs = np.broadcast_to((tag + steps / 100)[:, None, None], (length + 1, 2, 4)).copy()
    return Episode(
        obs=obs,
        state=np.broadcast_to((tag + steps / 100)[:, None], (length + 1, 5)).copy(),
        avail=np.ones((length + 1, 2, 3), np.uint8),
        actions=np.stack([np.arange(length) % 3, (np.arange(length) + 1) % 3], 1).astype(np.uint8),
        reward=(tag + steps[:-1] / 10).astype(np.float32),
        terminated=not timed_out,
        timed_out=timed_out,
    )


def test_rows_are_ordered_by_time_then_longest_first() -> None:
    batch = pack([episode(1, 1.0), episode(3, 3.0), episode(2, 2.0)], SPEC, timeout_is_terminal=True)
    # Times 0..3 with 3, 3, 2, 1 episodes that still have an observation.
    expected = [3.0, 2.0, 1.0, 3.01, 2.01, 1.01, 3.02, 2.02, 3.03]
    assert np.allclose(batch.state[:, 0], expected)
    assert np.allclose(batch.inputs[:, 1, 0], expected)
    assert batch.alive.tolist() == [3, 3, 2, 1]
    assert batch.place.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert batch.now.tolist() == [0, 1, 2, 3, 4, 6]
    assert batch.following.tolist() == [3, 4, 5, 6, 7, 8]
    assert batch.episode.tolist() == [0, 1, 2, 0, 1, 0]
    assert batch.time.tolist() == [0, 0, 0, 1, 1, 2]
    assert np.allclose(batch.reward, [3.0, 2.0, 1.0, 3.1, 2.1, 3.2])
    assert batch.terminated.tolist() == [0, 0, 1, 0, 1, 1]


def test_inputs_carry_last_action_and_identity() -> None:
    batch = pack([episode(2, 1.0)], SPEC, timeout_is_terminal=True)
    assert batch.inputs.shape == (3, 2, 4 + 3 + 2)
    assert batch.inputs[0, :, 4:7].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert batch.inputs[1, :, 4:7].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert batch.inputs[2, :, 4:7].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert batch.inputs[1, :, 7:].tolist() == [[1, 0], [0, 1]]


def test_a_timeout_bootstraps_only_when_asked() -> None:
    cut = [episode(2, 1.0, timed_out=True)]
    assert pack(cut, SPEC, timeout_is_terminal=True).terminated.tolist() == [0, 1]
    assert pack(cut, SPEC, timeout_is_terminal=False).terminated.tolist() == [0, 0]


def test_shares_come_from_the_right_buffers() -> None:
    buffers = ReplayBuffers(capacity=50, online_capacity=8, batch_size=10, online_share=4)
    for i in range(60):
        buffers.add(episode(1, float(i)))
    assert len(buffers.episodes) == 50
    assert buffers.stored == 60
    rng = np.random.default_rng(0)
    for _ in range(50):
        tags = [float(e.reward[0]) for e in buffers.draw(rng)]
        assert len(set(tags[:6])) == 6
        assert len(set(tags[6:])) == 4
        assert min(tags) >= 10
        assert min(tags[6:]) >= 52


def test_a_single_buffer_has_no_online_share() -> None:
    buffers = ReplayBuffers(capacity=50, online_capacity=8, batch_size=5, online_share=0)
    for i in range(4):
        buffers.add(episode(1, float(i)))
    assert not buffers.ready
    buffers.add(episode(1, 4.0))
    assert buffers.ready
    assert sorted(float(e.reward[0]) for e in buffers.draw(np.random.default_rng(0))) == [0, 1, 2, 3, 4]
