"""Paired episodes until the design is content: candidate and reference from the same seeds."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mast_edge.envs.base import BatchEnv
from mast_edge.runtime.match import BATCH, FIRST_SEED, Outcomes, Team, play_rounds, same_episodes
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
        lost: episodes that the environment broke; their pairs were left out on both sides and played again.
        worst: outcomes of all pairs, every lost episode of the candidate counted as a defeat and every lost
            one of the reference as a win.
    """

    pairs: Pairs
    wins: int
    reference_wins: int
    identical: int
    looks: tuple[tuple[int, float], ...]
    lost: int = 0
    worst: Pairs | None = None


def contest(
    make_env: MakeEnv,
    candidate: Team,
    reference: Team,
    design: Design,
    margin: float,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    batch: int = BATCH,
    order: np.random.Generator | None = None,
) -> Contest:
    """Plays pairs from evaluation seeds until a look decides or the last look is reached.

    Where the game takes no seed per episode, a pair is the k-th episode of either side. The test of pairs
    holds whether or not the two battles of a pair have anything in common, so nothing else changes.

    Args:
        make_env: creates environments; called anew for every batch of every side.
        candidate, reference: the two teams, each with its own state.
        design: looks and bound.
        margin: largest loss that counts as parity.
        on_progress: called after every batch of pairs.
        batch: pairs per batch.
        order: draws which side plays a batch first, so that a game that changes with time favours neither;
            None where battles depend on their seed alone.

    Source: parity_and_safety.md 3.
    Deviation: unpaired episodes are tested as arbitrary pairs, fixed by their order, instead of by Newcombe's
        interval; at the same size the power is the same (table "Sizes": 1,237 either way).
    """
    tally, tried = Tally(), 0
    looks: list[tuple[int, float]] = []
    for look in design.looks:
        while tally.n < look:
            size = min(batch, look - tally.n)
            seed = FIRST_SEED + tried
            if order is not None and order.random() < 0.5:
                theirs = play_rounds(make_env, reference, size, seed)
                ours = play_rounds(make_env, candidate, size, seed)
            else:
                ours = play_rounds(make_env, candidate, size, seed)
                theirs = play_rounds(make_env, reference, size, seed)
            tried += size
            tally.add(ours, theirs)
            if on_progress is not None:
                on_progress(
                    Progress("contest", tally.n, design.looks[-1], tally.wins, tally.reference_wins)
                )
        looks.append((tally.n, tango_z(tally.pairs, margin)))
        if design.decide(tally.pairs, margin) != "inconclusive":
            break
    return Contest(
        tally.pairs,
        tally.wins,
        tally.reference_wins,
        tally.identical,
        tuple(looks),
        tally.lost,
        tally.worst if tally.lost else None,
    )


@dataclass
class Tally:
    """Sums over pairs; see `Contest`. `n` counts those of which neither episode was lost."""

    n: int = 0
    defeats: int = 0
    gains: int = 0
    wins: int = 0
    reference_wins: int = 0
    identical: int = 0
    lost: int = 0
    worst: Pairs = field(default_factory=lambda: Pairs(0, 0, 0))

    @property
    def pairs(self) -> Pairs:
        """Outcomes of the pairs that count."""
        return Pairs(self.n, self.defeats, self.gains)

    def add(self, ours: Outcomes, theirs: Outcomes) -> None:
        """Counts a batch of pairs."""
        kept = ~(ours.lost | theirs.lost)
        self.n += int(kept.sum())
        self.defeats += int((kept & theirs.won & ~ours.won).sum())
        self.gains += int((kept & ours.won & ~theirs.won).sum())
        self.wins += int((kept & ours.won).sum())
        self.reference_wins += int((kept & theirs.won).sum())
        self.identical += int((kept & same_episodes(ours, theirs)).sum())
        self.lost += int(ours.lost.sum() + theirs.lost.sum())
        least, most = ours.won & ~ours.lost, theirs.won | theirs.lost
        self.worst = Pairs(
            self.worst.n + len(kept),
            self.worst.lost + int((most & ~least).sum()),
            self.worst.gained + int((least & ~most).sum()),
        )
