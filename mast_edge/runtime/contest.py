"""Paired episodes until the design is content: candidate and reference from the same seeds."""

from collections.abc import Callable
from dataclasses import dataclass

from mast_edge.envs.base import BatchEnv
from mast_edge.runtime.match import BATCH, FIRST_SEED, Outcomes, Team, play_batch, same_episodes
from mast_edge.runtime.parity import Design, Pairs, tango_z

MakeEnv = Callable[[int, int], BatchEnv]
"""(n_envs, seed) -> environments with seeds seed, seed + 1, ..."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        stage: "shadow", "contest" or "latency".
        done, total: pairs; `total` is the most the design may play.
        wins, reference_wins: so far.
    """

    stage: str
    done: int
    total: int
    wins: int = 0
    reference_wins: int = 0


@dataclass(frozen=True, slots=True)
class Contest:
    """What the pairs showed, up to the look that ended them.

    Attributes:
        pairs: outcomes.
        wins, reference_wins: episodes won by each side.
        identical: pairs with equal actions from beginning to end.
        looks: (pairs, z) per look taken.
    """

    pairs: Pairs
    wins: int
    reference_wins: int
    identical: int
    looks: tuple[tuple[int, float], ...]


def contest(
    make_env: MakeEnv,
    candidate: Team,
    reference: Team,
    design: Design,
    margin: float,
    on_progress: Callable[[Progress], None] | None = None,
) -> Contest:
    """Plays pairs from evaluation seeds until a look decides or the last look is reached.

    Args:
        make_env: creates environments; called anew for every batch of every side.
        candidate, reference: the two teams, each with its own state.
        design: looks and bound.
        margin: largest loss that counts as parity.
        on_progress: called after every batch of pairs.
    """
    n = lost = gained = wins = reference_wins = identical = 0
    looks: list[tuple[int, float]] = []
    for look in design.looks:
        while n < look:
            size = min(BATCH, look - n)
            ours, theirs = (_play(make_env, team, size, FIRST_SEED + n) for team in (candidate, reference))
            n += size
            lost += int((theirs.won & ~ours.won).sum())
            gained += int((ours.won & ~theirs.won).sum())
            wins, reference_wins = wins + int(ours.won.sum()), reference_wins + int(theirs.won.sum())
            identical += int(same_episodes(ours, theirs).sum())
            if on_progress is not None:
                on_progress(Progress("contest", n, design.looks[-1], wins, reference_wins))
        pairs = Pairs(n, lost, gained)
        looks.append((n, tango_z(pairs, margin)))
        if design.decide(pairs, margin) != "inconclusive":
            break
    return Contest(pairs, wins, reference_wins, identical, tuple(looks))


def _play(make_env: MakeEnv, team: Team, size: int, seed: int) -> Outcomes:
    env = make_env(size, seed)
    try:
        return play_batch(env, team)
    finally:
        env.close()
