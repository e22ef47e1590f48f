"""Reads an export back through the runtime that will play it, and holds it against its checkpoint.

Source: parity_and_safety.md section 2; runtime.md sections 3 to 5.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.checkpoint_files import AgentCheckpoint, Recorded
from mast_edge.dense_agent import DenseAgent, Floats, masked_argmax, replay
from mast_edge.errors import ArtifactInconsistent, ArtifactRefused
from mast_edge.registry import RUNTIME_BACKENDS, resolve

TOLERANCE = 1e-4
"""|dQ| <= TOLERANCE * max(1, |Q|) for float32 (parity_and_safety.md section 2)."""
MAX_FLIP_RATE = 0.01
"""Share of recorded decisions that int8 may change unless forced. A flip is a close call, but a policy that
changes more than one decision in a hundred is another policy: train with it or stay with f32."""
REPORT_FIRST = 5


@dataclass(frozen=True, slots=True)
class Reference:
    """The recorded episodes and the checkpoint's own masked dense Q values (M, N, A) along them."""

    recorded: Recorded
    q: Floats


@dataclass(frozen=True, slots=True)
class Comparison:
    """An export against its checkpoint, along the recorded episodes.

    Attributes:
        max_abs_q_error: largest |dQ| over all actions.
        argmax_agreement: share of equal greedy actions.
        decisions, flips: how many were compared, how many differ.
        path_taken: which runtime answered, and by which kernels.
    """

    max_abs_q_error: float
    argmax_agreement: float
    decisions: int
    flips: int
    path_taken: str = ""


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


def read_back(runtime: str, path: Path, reference: Reference) -> tuple[Floats, str]:
    """Loads a file as its users will and replays the recorded episodes with it.

    Args:
        runtime: a name in `registry.RUNTIME_BACKENDS`.
        path: the file.
        reference: what to replay; the recorded actions are fed back, the hidden state is the file's own.

    Returns:
        Q values (M, N, A) and the kernels that computed them.

    Raises:
        ArtifactRefused: the runtime refuses the file.
        MissingExtra, EnvironmentUnavailable: the runtime is not available here.
    """
    model: Any = resolve("runtime", RUNTIME_BACKENDS, runtime).load(path)
    recorded, spec = reference.recorded, model.contract.spec
    q = np.empty_like(reference.q)
    ids = np.arange(spec.n_agents)
    hidden = np.zeros((spec.n_agents, spec.hidden_dim), np.float32)
    last = np.full(spec.n_agents, -1)
    for t, first in enumerate(recorded.first):
        if first:
            hidden[:], last = 0.0, np.full(spec.n_agents, -1)
        model.step_many(np.ascontiguousarray(recorded.obs[t]), last, ids, hidden, q[t])
        last = recorded.actions[t].astype(np.int64)
    return q, str(model.path_taken)


def compare(q: Floats, reference: Reference, path_taken: str = "") -> Comparison:
    """The comparison itself, on Q values (M, N, A); judges nothing."""
    recorded, expected = reference.recorded, reference.q
    same = masked_argmax(q, recorded.avail) == masked_argmax(expected, recorded.avail)
    error = float(np.abs(q.astype(np.float64) - expected).max())
    return Comparison(error, float(same.mean()), same.size, int((~same).sum()), path_taken)


def require_equal(who: str, q: Floats, reference: Reference) -> None:
    """Refuses a float32 export that does not answer as its checkpoint does.

    Raises:
        ArtifactRefused: a Q value beyond tolerance, or another action.
    """
    expected = reference.q
    error = np.abs(q.astype(np.float64) - expected)
    if not (error <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all():
        raise ArtifactRefused(
            f"{who}: Q must be the checkpoint's within {TOLERANCE} relative; got {np.max(error):.3g} off. "
            "Nothing was exported; report this."
        )
    found = compare(q, reference)
    if found.flips:
        raise ArtifactRefused(
            f"{who}: actions must be the checkpoint's; got {found.flips} others of {found.decisions}. "
            "Nothing was exported; report this."
        )


def require_few_flips(who: str, found: Comparison) -> None:
    """Refuses an int8 export that changes more decisions than `MAX_FLIP_RATE`.

    Raises:
        ArtifactRefused: it does.
    """
    if found.flips > MAX_FLIP_RATE * found.decisions:
        raise ArtifactRefused(
            f"{who}: int8 weights must change at most {MAX_FLIP_RATE:.0%} of the recorded decisions; "
            f"got {found.flips} of {found.decisions} ({found.flips / found.decisions:.1%}). "
            "Use --precision f32, or --force to export it all the same."
        )
