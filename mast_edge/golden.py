"""The golden steps: eight recurrent steps every copy of an agent must reproduce, on any machine.

Observations and availability are not stored but generated from integers, so that a device can repeat them.
Part of the format: a change here needs a new format version.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast_edge.dense_agent import Affine, Floats, Ints, assemble, forward
from mast_edge.errors import ArtifactSelfTest
from mast_edge.spec import AgentSpec

STEPS = 8
TOLERANCE = 1e-5
"""|dQ| <= TOLERANCE * max(1, |Q|) for float32 (runtime.md section 3)."""

_SEED = 0x6D617374
_MULTIPLIER, _INCREMENT = 1_664_525, 1_013_904_223


@dataclass(frozen=True, slots=True)
class GoldenInputs:
    """What the agent sees: obs (8, O) float32, avail (8, A) uint8, agent_ids (8,) int."""

    obs: Floats
    avail: NDArray[np.uint8]
    agent_ids: Ints


def golden_inputs(spec: AgentSpec) -> GoldenInputs:
    """Observations in multiples of 1/64 within [-1, 1), half of them zero; agent ids in turn.

    A 32-bit congruential generator gives, per step, O then A draws. A draw's bits 24-31 are a byte b: an
    observation is 0 when bit 23 is set, else (b - 128) / 128 with the last bit of b cleared; an action is
    available when bit 31 is set, and action `step mod A` always is.
    """
    o, a = spec.obs_dim, spec.n_actions
    obs = np.empty((STEPS, o), np.float32)
    avail = np.empty((STEPS, a), np.uint8)
    state = _SEED
    for t in range(STEPS):
        draws = _draws(state, o + a)
        state = int(draws[-1])
        byte = (draws[:o] >> 24) & 0xFE
        obs[t] = np.where((draws[:o] >> 23) & 1 == 0, (byte - 128) / 128.0, 0.0)
        avail[t] = draws[o:] >> 31
    steps = np.arange(STEPS)
    avail[steps, steps % a] = 1
    return GoldenInputs(obs, avail, steps % spec.n_agents)


def golden_answers(spec: AgentSpec, affine: Affine) -> tuple[Floats, list[int]]:
    """Q values (8, A), computed in float64 and rounded once, and the actions taken on them."""
    inputs = golden_inputs(spec)
    hidden = np.zeros((1, spec.hidden_dim))
    last = np.array([-1])
    q = np.empty((STEPS, spec.n_actions), np.float32)
    actions = []
    for t in range(STEPS):
        row = assemble(spec, inputs.obs[t : t + 1], last, inputs.agent_ids[t : t + 1])
        values, hidden = forward(affine, row.astype(np.float64), hidden)
        q[t] = values[0]
        last = np.array([np.where(inputs.avail[t] != 0, q[t], -np.inf).argmax()])
        actions.append(int(last[0]))
    return q, actions


def check_golden(
    who: str,
    spec: AgentSpec,
    golden_q: Floats,
    golden_actions: list[int],
    step: Callable[[Floats, Ints, Ints, Floats], tuple[Floats, Floats]],
) -> float:
    """Repeats the golden steps on an implementation and compares.

    Args:
        who: file and implementation, for the message.
        spec: sizes.
        golden_q: (8, A) float32 expected.
        golden_actions: the actions expected, each fed back as last action.
        step: (obs (1, O), last_actions (1,), agent_ids (1,), hidden (1, H)) -> (q (1, A), hidden (1, H)).

    Returns:
        Largest |dQ|.

    Raises:
        ArtifactSelfTest: a Q value is off, or an action differs although its lead exceeds twice the
        tolerance.
    """
    inputs = golden_inputs(spec)
    hidden = np.zeros((1, spec.hidden_dim), np.float32)
    last = np.array([-1])
    worst = 0.0
    for t in range(STEPS):
        q, hidden = step(inputs.obs[t : t + 1], last, inputs.agent_ids[t : t + 1], hidden)
        bound = TOLERANCE * np.maximum(1.0, np.abs(golden_q[t]))
        error = np.abs(q[0].astype(np.float64) - golden_q[t])
        if not (error <= bound).all():
            raise ArtifactSelfTest(
                f"{who}: golden step {t} must give its recorded Q within {TOLERANCE}; got {error.max():.3g} "
                "off. Export again; if it stays, this build computes wrongly."
            )
        worst = max(worst, float(error.max()))
        masked = np.where(inputs.avail[t] != 0, q[0], -np.inf)
        wanted = golden_actions[t]
        if not inputs.avail[t][wanted] or masked.max() - masked[wanted] > 2 * bound.max():
            raise ArtifactSelfTest(
                f"{who}: golden step {t} must choose action {wanted}; got {masked.argmax()}. Export again."
            )
        last = np.array([wanted])
    return worst


def _draws(state: int, count: int) -> Ints:
    """The next `count` states: x_k = m^k x_0 + i (1 + m + ... + m^(k-1)), in wrapping 64-bit arithmetic."""
    powers = np.cumprod(np.full(count, _MULTIPLIER, np.uint64), dtype=np.uint64)
    sums = np.cumsum(np.concatenate([np.ones(1, np.uint64), powers[:-1]]), dtype=np.uint64)
    draws: Ints = (
        (powers * np.uint64(state) + sums * np.uint64(_INCREMENT)).astype(np.uint32).astype(np.int64)
    )
    return draws
