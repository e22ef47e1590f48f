"""Padding, the store of episodes, and the recurrence of many runs, each against the plain way."""

import numpy as np
import pytest
import torch

from mast_edge.train.recurrence import gru
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.vector.batch import bucket, gather, joined, places
from mast_edge.train.vector.cache import EpisodeCache
from mast_edge.train.vector.recurrence import PaddedRows
from tests.train.algos.toy import CPU, SPEC, packed, random_episodes


def test_buckets_are_powers_of_two_and_their_halfway_points() -> None:
    lengths = [1, 16, 17, 24, 25, 32, 33, 48, 49, 64, 65, 96, 97, 128, 129, 192, 193]
    assert [bucket(n) for n in lengths] == [
        16, 16, 24, 24, 32, 32, 48, 48, 64, 64, 96, 96, 128, 128, 192, 192, 256,
    ]  # fmt: skip


@pytest.mark.parametrize("timeout_is_terminal", [False, True])
def test_gathered_rows_are_the_packed_ones(timeout_is_terminal: bool) -> None:
    """A packed row of (time, episode) stands at time * B + episode of the padded batch."""
    rng = np.random.default_rng(0)
    drawn = [random_episodes(rng, [7, 4, 2]), random_episodes(rng, [9, 6, 1])]
    rows, starts = joined(drawn, SPEC, CPU)
    steps = 12
    found = gather(rows, places(drawn, starts, 3, [timeout_is_terminal] * 2), steps)
    for r, episodes in enumerate(drawn):
        expected = packed(episodes, timeout_is_terminal=timeout_is_terminal)
        for name in ("inputs", "state", "avail"):
            assert (found[name][r][expected.place].numpy() == getattr(expected, name)).all(), name
        transition = expected.time * 3 + expected.episode
        for name in ("actions", "reward", "terminated"):
            assert (found[name][r][transition].numpy() == getattr(expected, name)).all(), name
        valid = np.zeros(steps * 3)
        valid[transition] = 1
        assert (found["valid"][r].numpy() == valid).all()
        padding = valid == 0
        assert not found["reward"][r][padding].any()
        assert not found["terminated"][r][padding].any()


def test_a_run_that_takes_no_part_is_all_padding() -> None:
    drawn: list[list[Episode]] = [random_episodes(np.random.default_rng(0), [3, 2]), []]
    rows, starts = joined(drawn, SPEC, CPU)
    at = places(drawn, starts, 2, [True, True])
    assert at.active.tolist() == [True, False]
    found = gather(rows, at, 3)
    assert not found["valid"][1].any()
    assert not found["state"][1].any()
    assert found["avail"][1].all()  # or a maximum over no action would not be a number


def test_the_recurrence_of_many_runs_is_torchs() -> None:
    """Values and all five gradients, in float64."""
    torch.manual_seed(0)
    runs, steps, sequences, h = 3, 5, 4, 6

    def tensors() -> list[torch.Tensor]:
        torch.manual_seed(1)
        shapes = [(runs, steps * sequences, h), *[(runs, 3 * h, h), (runs, 3 * h)] * 2]
        return [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]

    ours, theirs = tensors(), tensors()
    weight = torch.randn(runs, steps * sequences, h, dtype=torch.float64)
    found = torch.func.vmap(lambda *t: gru(*t, PaddedRows(steps)))(*ours)
    (found * weight).sum().backward()
    expected = []
    for r in range(runs):
        x, w_ih, b_ih, w_hh, b_hh = (t[r] for t in theirs)
        padded = x.view(steps, sequences, h)
        start = torch.zeros(1, sequences, h, dtype=torch.float64)
        out, _ = torch.gru(padded, start, [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, False, False, False)
        expected.append(out.reshape(steps * sequences, h))
    (torch.stack(expected) * weight).sum().backward()
    assert torch.allclose(found, torch.stack(expected), rtol=1e-12, atol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-10, atol=1e-12)
    alone = gru(*(t[1].detach() for t in ours), PaddedRows(steps))
    assert torch.allclose(alone, expected[1], rtol=1e-12, atol=1e-12)


def expect_held(cache: EpisodeCache, replays: list[ReplayBuffers]) -> None:
    """Every episode of every replay lies where the cache says, in rows of its own."""
    taken: set[int] = set()
    for starts, replay in zip(cache.starts([list(r.episodes) for r in replays]), replays, strict=True):
        for start, e in zip(starts, replay.episodes, strict=True):
            place = slice(start, start + e.length + 1)
            rows = set(range(start, start + e.length + 1))
            assert 0 not in rows
            assert not rows & taken
            taken |= rows
            assert (cache.rows.obs[place].numpy() == e.obs).all()
            assert (cache.rows.state[place].numpy() == e.state).all()
            assert (cache.rows.avail[place].numpy() == e.avail).all()
            assert (cache.rows.actions[place][:-1].numpy() == e.actions).all()
            assert (cache.rows.reward[place].numpy() == np.append(e.reward, np.float32(0))).all()
    assert not cache.rows.obs[0].any()
    assert cache.rows.avail[0].all()


def test_the_cache_follows_the_replays() -> None:
    """Around its end many times, through discards, steps that bound it, and growth."""
    rng = np.random.default_rng(0)
    replays = [ReplayBuffers(150, 4, 2, 0), ReplayBuffers(60, 4, 2, 0, max_steps=300)]
    cache = EpisodeCache(replays, SPEC, CPU)
    size = cache.size
    for i in range(400):
        for r, replay in enumerate(replays):
            lengths = rng.integers(1, SPEC.episode_limit + 1, int(rng.integers(0, 3 + r))).tolist()
            for episode in random_episodes(rng, lengths):
                replay.add(episode)
        if i % 50 == 49:
            replays[0].discard(len(replays[0].episodes) // 3)
        cache.follow()
        if i % 20 == 0:
            expect_held(cache, replays)
    expect_held(cache, replays)
    assert cache.generation >= 1
    assert cache.size > size
    assert sum(len(ring.held) for ring in cache.rings) == sum(len(r.episodes) for r in replays)
    assert replays[0].stored > 2 * 150


def test_an_episode_stays_where_it_was_put() -> None:
    replay, rng = ReplayBuffers(4, 2, 2, 0), np.random.default_rng(0)
    cache = EpisodeCache([replay], SPEC, CPU)
    played = random_episodes(rng, [3] * 10)
    known: dict[int, int] = {}
    for episode in played:
        replay.add(episode)
        cache.follow()
        held = list(replay.episodes)
        for each, start in zip(held, cache.starts([held])[0], strict=True):
            assert known.setdefault(id(each), start) == start
    assert len(known) == len(played)
    assert cache.generation == 0
