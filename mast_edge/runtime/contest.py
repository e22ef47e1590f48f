"""Paired episodes until the design is content: candidate and reference from the same seeds."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.base import BatchEnv
from mast_edge.runtime.designs import Design, Look
from mast_edge.runtime.match import BATCH, FIRST_SEED, Outcomes, Team, play_rounds, same_episodes
from mast_edge.runtime.parity import Pairs
from mast_edge.runtime.unpaired import Arms

MakeEnv = Callable[[int, int], BatchEnv]
"""(n_envs, seed) -> environments with seeds seed, seed + 1, ..."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        stage: "shadow", "contest", "in process" or "latency".
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
        pairs: outcomes; `Arms` where the game takes no seed per episode.
        wins, reference_wins: episodes won by each side.
        identical: pairs with equal actions from beginning to end.
        looks: one per look taken.
        lost: episodes that the environment broke; their pairs were left out on both sides and played again.
        worst: outcomes of all pairs, every lost episode of the candidate counted as a defeat and every lost
            one of the reference as a win; None when none was lost.
    """

    pairs: Pairs
    wins: int
    reference_wins: int
    identical: int
    looks: tuple[Look, ...]
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

    Where the game takes no seed per episode, a pair is the k-th episode of either side, and the two win rates
    are tested as those of independent samples (`unpaired.Arms`).

    Args:
        make_env: creates environments; called anew for every batch of every side.
        candidate, reference: the two teams, each with its own state.
        design: looks and bounds.
        margin: largest loss that counts as parity.
        on_progress: called after every batch of pairs.
        batch: pairs per batch.
        order: given where the game takes no seed per episode: draws which side plays a batch first, so that
            a game that changes with time favours neither.

    Source: parity_and_safety.md 3.
    """
    tally, tried = Tally(paired=order is None), 0
    looks: list[Look] = []
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
                on_progress(Progress("contest", tally.n, design.looks[-1], tally.wins, tally.reference_wins))
        looks.append(design.look(tally.pairs, margin))
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

    paired: bool = True
    n: int = 0
    defeats: int = 0
    gains: int = 0
    wins: int = 0
    reference_wins: int = 0
    identical: int = 0
    lost: int = 0
    _worst: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))

    @property
    def pairs(self) -> Pairs:
        """Outcomes of the pairs that count."""
        return self._evidence(self.n, self.defeats, self.gains, self.wins)

    @property
    def worst(self) -> Pairs:
        """Outcomes of all pairs if every lost episode had gone against the candidate."""
        return self._evidence(*(int(count) for count in self._worst))

    def _evidence(self, n: int, lost: int, gained: int, wins: int) -> Pairs:
        return Pairs(n, lost, gained) if self.paired else Arms(n, lost, gained, wins)

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
        self._worst += [len(kept), (most & ~least).sum(), (least & ~most).sum(), least.sum()]
