"""Proof that two runtimes of the same weights take the same actions, decision by decision.

Both runtimes get the same observation, the reference's hidden state and its last action (shadow mode).
epsilon is the largest |dQ| of the whole run over available actions; where the reference's best Q leads its
second best by more than 2 epsilon, the argmax cannot flip. Source: parity_and_safety.md section 2.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mast_edge.runtime.parity import clustered_interval

F32_TARGET = 1e-4
"""Largest |dQ| / max(1, |Q|) between float32 runtimes of the same weights (parity_and_safety.md 2)."""
CERTIFIED_TARGET = 0.999
"""Share of choices that should be certified between float32 runtimes (parity_and_safety.md 2)."""
LISTED_FLIPS = 20
QUANTILES = (0.0, 0.01, 0.1, 0.5)


class Flip(NamedTuple):
    """A decision on which the two runtimes differ.

    Attributes:
        episode, step, agent: where.
        gap: best minus second-best Q of the reference; infinite where only one action is available.
        error: largest |dQ| of this decision over available actions.
    """

    episode: int
    step: int
    agent: int
    gap: float
    error: float


@dataclass(slots=True)
class ShadowRecord:
    """Collects the decisions of a shadow pass; one `add` per step of a batch."""

    epsilon: float = 0.0
    relative: float = 0.0
    _gaps: list[NDArray[np.float64]] = field(default_factory=list)
    _flips: list[Flip] = field(default_factory=list)
    trivial: int = 0
    _agreed: dict[int, int] = field(default_factory=dict)
    _decisions: dict[int, int] = field(default_factory=dict)

    def add(
        self,
        episode: NDArray[np.int64],
        step: NDArray[np.int64],
        reference_q: NDArray[np.float32],
        candidate_q: NDArray[np.float32],
        avail: NDArray[np.uint8],
        reference_action: NDArray[np.int64],
        candidate_action: NDArray[np.int64],
    ) -> None:
        """Adds the decisions of E environments of N agents.

        Args:
            episode, step: (E,) which episode each environment plays, and its step.
            reference_q, candidate_q: (E, N, A).
            avail: (E, N, A), 1 = may be taken.
            reference_action, candidate_action: (E, N), what each runtime's own act returned.
        """
        may = avail.astype(bool)
        delta = np.where(may, np.abs(candidate_q.astype(np.float64) - reference_q), 0.0)
        self.epsilon = max(self.epsilon, float(delta.max(initial=0.0)))
        relative = delta / np.maximum(1.0, np.abs(reference_q))
        self.relative = max(self.relative, float(relative.max(initial=0.0)))
        gap = action_gap(reference_q, may)
        choice = may.sum(axis=2) > 1
        self.trivial += int((~choice).sum())
        self._gaps.append(gap[choice])
        agree = reference_action == candidate_action
        for e, i in np.argwhere(~agree):
            place = (int(episode[e]), int(step[e]), int(i))
            self._flips.append(Flip(*place, float(gap[e, i]), float(delta[e, i].max())))
        for e, number in enumerate(episode.tolist()):
            self._agreed[number] = self._agreed.get(number, 0) + int(agree[e].sum())
            self._decisions[number] = self._decisions.get(number, 0) + agree.shape[1]

    def close(self) -> "Certificate":
        """Judges every decision by the epsilon of the whole run."""
        gaps = np.concatenate(self._gaps) if self._gaps else np.zeros(0)
        certified = int((gaps > 2 * self.epsilon).sum())
        quantiles = np.quantile(gaps, QUANTILES) if gaps.size else np.zeros(len(QUANTILES))
        order = sorted(self._decisions)
        agreed, decisions = [self._agreed[k] for k in order], [self._decisions[k] for k in order]
        return Certificate(
            epsilon=self.epsilon,
            relative=self.relative,
            episodes=len(order),
            decisions=sum(decisions),
            trivial=self.trivial,
            choices=int(gaps.size),
            certified=certified,
            certified_flips=sum(flip.gap > 2 * self.epsilon for flip in self._flips),
            flips=tuple(self._flips),
            agreed=sum(agreed),
            agreement_ci95=clustered_interval(agreed, decisions),
            gap_quantiles=tuple(float(gap) for gap in quantiles),
        )


def action_gap(q: NDArray[np.float32], may: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Best minus second-best available Q, (..., A) -> (...); infinite where only one action is available.

    In float64, where the difference of two float32 numbers is not rounded up beyond 2 epsilon.
    """
    ranked = np.sort(np.where(may, q.astype(np.float64), -np.inf), axis=-1)
    best, second = ranked[..., -1], ranked[..., -2]
    gap: NDArray[np.float64] = best - second
    return gap


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a shadow pass showed.

    Attributes:
        epsilon: largest |dQ| over available actions of the run.
        relative: largest |dQ| / max(1, |Q|).
        episodes, decisions: how much was compared; one decision = one agent at one step.
        trivial: decisions with a single available action.
        choices: the other decisions.
        certified: choices whose gap exceeds 2 epsilon.
        certified_flips: certified decisions (trivial ones included) on which the actions differed: must be 0.
        flips: every differing decision.
        agreed: decisions with equal actions.
        agreement_ci95: clustered by episode.
        gap_quantiles: of the gaps of `choices`, at `QUANTILES`.
    """

    epsilon: float
    relative: float
    episodes: int
    decisions: int
    trivial: int
    choices: int
    certified: int
    certified_flips: int
    flips: tuple[Flip, ...]
    agreed: int
    agreement_ci95: tuple[float, float]
    gap_quantiles: tuple[float, ...]

    @property
    def agreement(self) -> float:
        """Share of decisions with equal actions."""
        return self.agreed / self.decisions if self.decisions else 0.0

    @property
    def certified_fraction(self) -> float:
        """Share of decisions with a choice that are certified."""
        return self.certified / self.choices if self.choices else 1.0

    @property
    def same_weights(self) -> bool:
        """Whether the Q values are as close as two float32 runtimes of the same weights must be."""
        return self.relative <= F32_TARGET

    def to_json(self) -> dict[str, Any]:
        """The `fidelity` object of the verdict."""
        return {
            "epsilon": self.epsilon,
            "relative_error": self.relative,
            "relative_error_target": F32_TARGET,
            "within_target": self.same_weights,
            "episodes": self.episodes,
            "decisions": self.decisions,
            "action_agreement": self.agreement,
            "action_agreement_ci95": list(self.agreement_ci95),
            "trivially_certified": self.trivial,
            "choices": self.choices,
            "certified_fraction": self.certified_fraction,
            "certified_fraction_target": CERTIFIED_TARGET,
            "certified_flips": self.certified_flips,
            "flips": len(self.flips),
            "first_flips": [
                {**flip._asdict(), "gap": flip.gap if np.isfinite(flip.gap) else None}
                for flip in self.flips[:LISTED_FLIPS]
            ],
            "gap_quantiles": {
                f"p{100 * q:02.0f}": gap for q, gap in zip(QUANTILES, self.gap_quantiles, strict=True)
            },
        }
