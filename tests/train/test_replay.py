"""Packing ragged episodes, and drawing from the two buffers."""

import numpy as np
import pytest

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


def filled(lengths: list[int], **values: int) -> ReplayBuffers:
    """Buffers after episodes of these lengths, tagged 0, 1, ..."""
    defaults = {"capacity": 50, "online_capacity": 8, "batch_size": 10, "online_share": 4}
    buffers = ReplayBuffers(**{**defaults, **values})
    for i, length in enumerate(lengths):
        buffers.add(episode(length, float(i)))
    return buffers


def tags(episodes: list[Episode]) -> list[int]:
    return [round(float(e.reward[0])) for e in episodes]


def test_shares_come_from_the_right_buffers() -> None:
    buffers = filled([1] * 60)
    assert len(buffers.episodes) == 50
    assert buffers.stored == 60
    rng, seen, seen_online = np.random.default_rng(0), set(), set()
    for _ in range(200):
        drawn = tags(buffers.draw(rng))
        assert len(set(drawn[:6])) == 6
        assert len(set(drawn[6:])) == 4
        seen |= set(drawn[:6])
        seen_online |= set(drawn[6:])
    assert seen == set(range(10, 60))
    assert seen_online == set(range(52, 60))


def test_capacity_drops_the_oldest_and_counts_steps() -> None:
    buffers = filled([5, 1, 2, 3, 4], capacity=3)
    assert tags(list(buffers.episodes)) == [2, 3, 4]
    assert buffers.stored == 5
    assert buffers.steps == 2 + 3 + 4


def test_max_steps_drops_the_oldest_but_never_below_a_batch() -> None:
    buffers = filled([4, 4, 4], batch_size=2, max_steps=8)
    assert tags(list(buffers.episodes)) == [1, 2]
    assert buffers.steps == 8  # at the bound is within it
    buffers.add(episode(9, 3.0))
    assert tags(list(buffers.episodes)) == [2, 3]  # 13 steps, but a batch
    assert buffers.steps == 13
    buffers.add(episode(1, 4.0))
    assert tags(list(buffers.episodes)) == [3, 4]
    buffers.add(episode(1, 5.0))
    assert tags(list(buffers.episodes)) == [4, 5]
    for tag in range(6, 12):
        buffers.add(episode(1, float(tag)))
    assert tags(list(buffers.episodes)) == list(range(4, 12))  # eight short ones fit


def test_without_max_steps_only_episodes_are_counted() -> None:
    assert len(filled([9] * 50, batch_size=1, max_steps=0).episodes) == 50


def test_discard_forgets_the_oldest() -> None:
    buffers = filled([5, 1, 2])
    buffers.discard(2)
    assert tags(list(buffers.episodes)) == [2]
    assert (buffers.steps, buffers.stored) == (2, 3)


def test_the_online_buffer_is_a_window_on_the_newest() -> None:
    """Before it is full it is all that is stored; later the newest 8, whatever was discarded."""
    buffers = filled([1] * 6, batch_size=6, online_share=6)
    assert sorted(tags(buffers.draw(np.random.default_rng(0)))) == [0, 1, 2, 3, 4, 5]
    for i in range(6, 30):
        buffers.add(episode(1, float(i)))
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert min(tags(buffers.draw(rng))) >= 22
    buffers.discard(24)
    assert sorted(tags(buffers.draw(rng))) == [24, 25, 26, 27, 28, 29]


@pytest.mark.parametrize(("share", "oldest"), [(0, 10), (10, 48)])
def test_a_share_of_nothing_turns_a_buffer_off(share, oldest) -> None:
    """Table 3's 32:0 and 0:32, here with batches of ten and 12 episodes in the online buffer."""
    buffers = filled([1] * 60, online_capacity=12, online_share=share)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(100):
        drawn = tags(buffers.draw(rng))
        assert len(drawn) == len(set(drawn)) == 10
        seen |= set(drawn)
    assert seen == set(range(oldest, 60))


def chi_square(counts: np.ndarray, share: float, draws: int) -> float:
    """Pearson's statistic of how often each episode was drawn; `share` of them are, without replacement."""
    c = len(counts)
    return float(((counts - draws * share) ** 2).sum() / (draws * share * (1.0 - share)) * (c - 1) / c)


def test_every_episode_is_drawn_alike() -> None:
    """Over 4000 seeds. 49 degrees of freedom: 85.4 is p 0.001; 7: 24.3; the batch's places are alike too."""
    buffers, draws = filled([1] * 60), 4000
    offline, online, first = np.zeros(60), np.zeros(60), np.zeros(60)
    for seed in range(draws):
        drawn = tags(buffers.draw(np.random.default_rng(seed)))
        offline[drawn[:6]] += 1
        online[drawn[6:]] += 1
        first[drawn[0]] += 1
    assert offline.sum() == 6 * draws
    assert online.sum() == 4 * draws
    assert chi_square(offline[10:], 6 / 50, draws) < 85.4
    assert chi_square(first[10:], 1 / 50, draws) < 85.4
    assert chi_square(online[52:], 4 / 8, draws) < 24.3


def test_sample_takes_what_there_is() -> None:
    buffers = filled([1] * 12)
    rng = np.random.default_rng(0)
    assert sorted(tags(buffers.sample(40, rng))) == list(range(12))
    some = tags(buffers.sample(5, rng))
    assert len(some) == len(set(some)) == 5


def test_restored_buffers_go_on_alike() -> None:
    one = filled([1, 2, 3] * 20)
    other = ReplayBuffers(capacity=50, online_capacity=8, batch_size=10, online_share=4)
    other.restore(list(one.episodes), one.stored)
    assert (other.stored, other.steps) == (one.stored, one.steps) == (60, sum([2, 3, *[1, 2, 3] * 16]))
    for buffers in (one, other):
        buffers.add(episode(7, 60.0))
    assert tags(list(one.episodes)) == tags(list(other.episodes))
    drawn = [tags(buffers.draw(np.random.default_rng(4))) for buffers in (one, other)]
    assert drawn[0] == drawn[1]


def test_a_single_buffer_has_no_online_share() -> None:
    buffers = ReplayBuffers(capacity=50, online_capacity=8, batch_size=5, online_share=0)
    for i in range(4):
        buffers.add(episode(1, float(i)))
    assert not buffers.ready
    buffers.add(episode(1, 4.0))
    assert buffers.ready
    assert sorted(float(e.reward[0]) for e in buffers.draw(np.random.default_rng(0))) == [0, 1, 2, 3, 4]
