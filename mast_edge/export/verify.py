"""Holds an export, read back from its file, against the checkpoint it was made of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mast_edge.checkpoint_files import AgentCheckpoint, Recorded
from mast_edge.dense_agent import DenseAgent, Floats, masked_argmax, replay, replay_steps
from mast_edge.errors import ArtifactInconsistent, ArtifactRefused

TOLERANCE = 1e-4
"""|dQ| <= TOLERANCE * max(1, |Q|) for float32 (parity_and_safety.md section 2)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The recorded episodes and the checkpoint's own masked dense Q values (M, N, A) along them."""

    recorded: Recorded
    q: Floats


@dataclass(frozen=True, slots=True)
class Comparison:
    """Largest |dQ| over all actions, and the share of equal greedy actions."""

    max_abs_q_error: float
    argmax_agreement: float


def reference_of(checkpoint: AgentCheckpoint, recorded: Recorded) -> Reference:
    """Replays the recorded episodes on the checkpoint's weights.

    Raises:
        ArtifactInconsistent: a recorded action is not greedy under these weights: recording and weights do
            not belong together, or training assembles its inputs differently.
    """
    q = replay(DenseAgent(checkpoint.spec, checkpoint.weights).affine, checkpoint.spec, recorded)
    chosen = np.take_along_axis(q, recorded.actions[..., None].astype(np.int64), axis=2)[..., 0]
    best = np.where(recorded.avail != 0, q, -np.inf).max(axis=2)
    short = best - chosen - TOLERANCE * np.maximum(1.0, np.abs(best))
    if (short > 0).any():
        step, agent = np.argwhere(short > 0)[0]
        raise ArtifactInconsistent(
            f"{checkpoint.folder}: recorded actions must be greedy under the stored weights; got one "
            f"{best[step, agent] - chosen[step, agent]:.3g} below the best at step {step}, agent {agent} "
            f"({int((short > 0).sum())} of {short.size}). Train again with this version."
        )
    return Reference(recorded, q)


def compare(
    who: str,
    checkpoint: AgentCheckpoint,
    reference: Reference,
    step: Callable[[Floats, Floats], tuple[Floats, Floats]],
) -> Comparison:
    """Replays the recorded episodes on an export and refuses it when its answers are not the checkpoint's.

    Args:
        who: file, for the message.
        checkpoint: for its sizes.
        reference: what to expect.
        step: the export: (rows (N, F), hidden (N, H)) -> (q (N, A), hidden).

    Raises:
        ArtifactRefused: a Q value beyond tolerance, or another action.
    """
    q = replay_steps(step, checkpoint.spec, reference.recorded)
    return judge(who, q, reference.q, reference.recorded)


def judge(who: str, q: Floats, expected: Floats, recorded: Recorded) -> Comparison:
    """The comparison itself, on Q values (M, N, A)."""
    error = np.abs(q.astype(np.float64) - expected)
    if not (error <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all():
        raise ArtifactRefused(
            f"{who}: Q must be the checkpoint's within {TOLERANCE} relative; got {np.max(error):.3g} off. "
            "Nothing was exported; report this."
        )
    same = masked_argmax(q, recorded.avail) == masked_argmax(expected, recorded.avail)
    if not same.all():
        raise ArtifactRefused(
            f"{who}: actions must be the checkpoint's; got {int((~same).sum())} others of {same.size}. "
            "Nothing was exported; report this."
        )
    return Comparison(float(error.max()), float(same.mean()))
