"""Episodes, pairing and stopping, on a game whose outcome is known beforehand."""

import hashlib

import pytest

from mast_edge.runtime.contest import contest
from mast_edge.runtime.designs import ANYTIME, POCOCK, TAPERED, fixed_sample
from mast_edge.runtime.match import FIRST_SEED, play_batch, same_episodes, seed_list_sha256
from mast_edge.runtime.parity import Pairs
from tests.runtime.agents import make_config
from tests.runtime.toy_battle import CueTeam, ToyBattle


def test_an_episode_is_played_to_its_end_and_reported():
    seen = []
    out = play_batch(ToyBattle(3, 30), CueTeam(), lambda t, actions: seen.append((t, actions.shape)))
    assert out.won.tolist() == [True] * 3
    assert out.length.tolist() == [5] * 3
    assert out.returns.tolist() == [5.0] * 3
    assert out.actions.shape == (5, 3, 2)
    assert seen == [(t, (3, 2)) for t in range(5)]


def test_a_slipping_team_loses_what_the_rules_say():
    # Agent 0 wrong throughout: 5 of 10 cues, below 8 for every seed.
    out = play_batch(ToyBattle(4, 0), CueTeam(slip=2))
    assert out.won.tolist() == [False, True, False, True]
    assert out.timed_out.tolist() == [True, False, True, False]


def test_same_episodes_compares_every_action():
    a, b = (play_batch(ToyBattle(4, 0), CueTeam(slip)) for slip in (0, 2))
    assert same_episodes(a, b).tolist() == [False, True, False, True]
    assert same_episodes(a, a).all()


def test_equal_teams_stop_at_250_pairs():
    closed = []

    def make(n, seed):
        env = ToyBattle(n, seed)
        closed.append(env)
        return env

    done = []
    result = contest(make, CueTeam(), CueTeam(), POCOCK, 0.03, done.append)
    assert result.pairs == Pairs(250, 0, 0)
    assert (result.wins, result.reference_wins, result.identical) == (250, 250, 250)
    assert [look.pairs for look in result.looks] == [125, 250]
    assert [(p.done, p.wins) for p in done] == [(125, 125), (250, 250)]
    assert not any(env.opened for env in closed)


@pytest.mark.parametrize(("design", "pairs"), [(TAPERED, 500), (ANYTIME, 150)])
def test_equal_teams_stop_when_the_design_is_content(design, pairs):
    result = contest(ToyBattle, CueTeam(), CueTeam(), design, 0.03)
    assert result.pairs == Pairs(pairs, 0, 0)
    assert result.looks[-1].pairs == pairs
    assert [look.pairs for look in result.looks] == [n for n in design.looks if n <= pairs]


def test_a_clear_loss_ends_an_anytime_contest_early():
    result = contest(ToyBattle, CueTeam(slip=5), CueTeam(), ANYTIME, 0.03)
    assert ANYTIME.decide(result.pairs, 0.03) == "fail"
    assert result.pairs == Pairs(50, 10, 0)
    assert result.looks[-1].e_worse >= 20 > result.looks[-2].e_worse


def test_both_sides_play_the_evaluation_seeds_once_each():
    seeds = []

    def make(n, seed):
        seeds.append((seed, n))
        return ToyBattle(n, seed)

    contest(make, CueTeam(), CueTeam(), fixed_sample(300), 0.03)
    expected = [(FIRST_SEED, 125), (FIRST_SEED + 125, 125), (FIRST_SEED + 250, 50)]
    assert seeds == [pair for pair in expected for _ in range(2)]
    assert FIRST_SEED > 2**31


def test_a_clear_loss_fails_at_the_first_look():
    result = contest(ToyBattle, CueTeam(slip=5), CueTeam(), POCOCK, 0.03)
    assert result.pairs == Pairs(125, 25, 0)
    assert POCOCK.decide(result.pairs, 0.03) == "fail"


@pytest.mark.parametrize("n", [5, 32, 98])
def test_few_equal_episodes_prove_nothing(n):
    result = contest(ToyBattle, CueTeam(), CueTeam(), fixed_sample(n), 0.03)
    assert fixed_sample(n).decide(result.pairs, 0.03) == "inconclusive"


def test_seed_list_digest():
    assert seed_list_sha256(1, 2) == hashlib.sha256(b"1\n2\n").hexdigest()
    assert len({seed_list_sha256(1, 2), seed_list_sha256(1, 3), seed_list_sha256(2, 2)}) == 3


def test_seeds_of_evaluation_are_those_of_nothing_else():
    """Training begins below 2**30 whatever its seed, its evaluations end at 2**31, ours begin at 2**32."""
    from mast_edge.train.trainer import EVALUATION_SEED, training_seed

    config = make_config()
    for seed in (0, 1, 2**32 - 1, *range(2, 300)):
        assert 0 <= training_seed(seed) < EVALUATION_SEED
        assert training_seed(seed) + config.rollout.n_envs < 2**31
    # What a run evaluates with while it trains: EVALUATION_SEED + k % (EVALUATION_SEED - episodes), and on.
    episodes = config.evaluation.episodes
    assert EVALUATION_SEED + (EVALUATION_SEED - episodes - 1) + episodes < 2**31
    assert FIRST_SEED >= 2**32
