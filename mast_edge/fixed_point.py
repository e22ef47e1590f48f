"""The integer agent: the exact meaning, to the last integer, of C exported with `--precision int8`.

Numbers in fixed point: an observation is Q14 (x 2^14), what fc1 gives Q(fc1_shift), the hidden state Q15, the
products of the GRU Q12, Q values Q16. Weights are int8, sums int32, and a row's scale is an int32 factor
applied with a 64-bit product and a rounding shift by 24.

Source: runtime.md section 5. Deviation: the tanh table covers [0, 8) by odd symmetry instead of [-4, 4], in
the same bytes; the shift of fc1's output is chosen per agent, where the source fixes Q11; one-hot columns of
fc1 are scaled on their own, because they are added after the observation's sum; sums of gates are not held
within 16, only the recurrent product that a gate multiplies is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mast_edge.checkpoint_files import Recorded
from mast_edge.dense_agent import Floats, Ints, assemble
from mast_edge.errors import ArtifactRefused
from mast_edge.golden import STEPS, golden_inputs
from mast_edge.layers import Layer
from mast_edge.spec import LAYERS, AgentSpec

OBS_SHIFT, GATE_SHIFT, HIDDEN_SHIFT, Q_SHIFT, FACTOR_SHIFT = 14, 12, 15, 16, 24
USUAL_FC1_SHIFT = 11
SMALLEST_FC1_SHIFT, LARGEST_FC1_SHIFT = 4, 14
HEADROOM = 2.0
"""fc1's output may be this many times the largest one recorded before it saturates."""
MOST_NONZEROS = 516
"""Products of 127 and 32,768 that an int32 sum holds."""
_INT16, _INT32 = 2**15 - 1, 2**31 - 1
_GATE_LOW, _GATE_HIGH = -(2**16), 2**16 - 1
"""A recurrent product in Q12 is held here, within [-16, 16), before a Q15 gate multiplies it."""
_LARGEST_OUTPUT = {"fc1": _INT32, "gru_ih": 2**29, "gru_hh": 2**29, "fc2": _INT32}
"""What a layer can give at most; two products of the GRU are added, and the sum doubled."""
_TANH_STEPS = 256

Integers = NDArray[np.int64]


def tanh_table() -> Integers:
    """(257,) tanh in Q15 at 0, 1/32, ... 8; linear between."""
    exact = np.rint(np.tanh(np.arange(_TANH_STEPS + 1) / 32.0) * 2**15)
    table: Integers = np.minimum(exact, _INT16).astype(np.int64)
    return table


_TANH = tanh_table()


def tanh_q15(x: Integers) -> Integers:
    """tanh in Q15 of x in Q13, |x| held below 8."""
    size = np.minimum(np.abs(x), _GATE_HIGH)
    at, part = size >> 8, size & 0xFF
    value = _TANH[at] + (((_TANH[at + 1] - _TANH[at]) * part + 128) >> 8)
    signed: Integers = np.where(x < 0, -value, value)
    return signed


def sigmoid_q15(x: Integers) -> Integers:
    """1/2 + tanh(x/2)/2 in Q15, at most 32,767, of x in Q12: the same bits read as Q13 are x/2."""
    half: Integers = (2**15 + tanh_q15(x)) >> 1
    return half


def q14_of(values: Floats) -> Integers:
    """Floats as Q14 integers, from their bits alone.

    Rounded to nearest, halves away from zero; held within -32767..32767; infinities saturate, NaN is 0.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.int64)
    exponent, mantissa = (bits >> 23) & 0xFF, bits & 0x7FFFFF
    shift = np.clip(136 - exponent, 9, 25)
    size = ((mantissa | 0x800000) + (1 << (shift - 1))) >> shift
    size = np.where(exponent >= 128, _INT16, np.minimum(size, _INT16))
    size = np.where((exponent == 0xFF) & (mantissa != 0), 0, size)
    return np.where(bits >> 31 != 0, -size, size)


@dataclass(frozen=True, slots=True, eq=False)
class FixedLayer:
    """One layer in integers: y = scaled(W x, factor) + bias.

    Attributes:
        weight: (rows, cols) integers within -127..127, as float64: their sums stay exact.
        factor: (rows,) the row's scale in Q24, with the change of shift from input to output.
        bias: (rows,) in the output's shift.
    """

    weight: NDArray[np.float64]
    factor: Integers
    bias: Integers

    def affine(self, x: Integers) -> Integers:
        """Rows x (B, cols) -> (B, rows)."""
        return scaled((x @ self.weight.T).astype(np.int64), self.factor) + self.bias


def scaled(sums: Integers, factor: Integers) -> Integers:
    """sums * factor / 2^24, rounded to nearest, halves up."""
    return (sums * factor + (1 << (FACTOR_SHIFT - 1))) >> FACTOR_SHIFT


def fixed_layer(name: str, layer: Layer, in_shift: int, out_shift: int) -> FixedLayer:
    """The integers of an int8 layer.

    Raises:
        ArtifactRefused: a row has more nonzeros than an int32 sum can hold for sure, or its numbers are too
            large for int32.
    """
    if layer.scale is None:
        raise ValueError(f"fixed_layer: {name} must be int8; got float32.")
    weight = np.rint(layer.dense().astype(np.float64) / layer.scale[:, None].astype(np.float64))
    nonzeros = np.count_nonzero(weight, axis=1)
    if nonzeros.max(initial=0) > MOST_NONZEROS:
        raise ArtifactRefused(
            f"export c: rows of {name} must have at most {MOST_NONZEROS} nonzero weights for int8; "
            f"got {nonzeros.max()}. Export with --precision f32, or train sparser."
        )
    factor = np.rint(np.ldexp(layer.scale.astype(np.float64), out_shift - in_shift + FACTOR_SHIFT))
    bias = np.rint(np.ldexp(layer.bias.astype(np.float64), out_shift))
    largest = np.ldexp(np.abs(weight).sum(axis=1) * factor, 15 - FACTOR_SHIFT) + np.abs(bias) + nonzeros + 1
    if factor.max() > _INT32 or largest.max() > _LARGEST_OUTPUT[name]:
        raise ArtifactRefused(
            f"export c: weights of {name} must be small enough for int32 in Q{out_shift}; got outputs up to "
            f"{np.ldexp(largest.max(), -out_shift):.3g}. Export with --precision f32."
        )
    return FixedLayer(weight, factor.astype(np.int64), bias.astype(np.int64))


class FixedPointAgent:
    """One step of the integer agent for a batch of rows, equal to the exported C in every integer."""

    def __init__(
        self, spec: AgentSpec, layers: Mapping[str, Layer], fc1_shift: int = USUAL_FC1_SHIFT
    ) -> None:
        """Turns scales and biases into integers.

        Args:
            spec: sizes.
            layers: int8 layers by name.
            fc1_shift: of fc1's output (`fc1_shift_of`).

        Raises:
            ArtifactRefused: as `fixed_layer`.
        """
        if not SMALLEST_FC1_SHIFT <= fc1_shift <= LARGEST_FC1_SHIFT:
            raise ValueError(
                f"FixedPointAgent: fc1_shift must be in {SMALLEST_FC1_SHIFT}..{LARGEST_FC1_SHIFT}; "
                f"got {fc1_shift}."
            )
        shifts = {
            "fc1": (OBS_SHIFT, fc1_shift),
            "gru_ih": (fc1_shift, GATE_SHIFT),
            "gru_hh": (HIDDEN_SHIFT, GATE_SHIFT),
            "fc2": (HIDDEN_SHIFT, Q_SHIFT),
        }
        self.spec = spec
        self.fc1_shift = fc1_shift
        self.layers = {name: fixed_layer(name, layers[name], *shifts[name]) for name in LAYERS}

    def step(self, rows: Integers, hidden: Integers) -> tuple[Integers, Integers]:
        """One step on assembled rows.

        Args:
            rows: (B, F) int16 values in Q14; a one-hot is 16,384.
            hidden: (B, H) int16 values in Q15.

        Returns:
            q (B, A) in Q16, hidden (B, H) in Q15.
        """
        x = np.clip(self._fc1(rows), 0, _INT16)
        after = _gates(self.layers["gru_ih"].affine(x), self.layers["gru_hh"].affine(hidden), hidden)
        return self.layers["fc2"].affine(after), after

    def rows_of(self, obs: Floats, last_actions: Ints, agent_ids: Ints) -> Integers:
        """Assembled rows (B, F) in Q14 of float observations (B, O); the rest as `dense_agent.assemble`."""
        return q14_of(assemble(self.spec, obs, last_actions, agent_ids))

    def _fc1(self, rows: Integers) -> Integers:
        """The observation's sum, then one column after the other, each scaled on its own."""
        layer, o = self.layers["fc1"], self.spec.obs_dim
        sums = (rows[:, :o] @ layer.weight[:, :o].T).astype(np.int64)
        hot = (rows[:, o:, None] * layer.weight[:, o:].T).astype(np.int64)
        result: Integers = scaled(sums, layer.factor) + layer.bias + scaled(hot, layer.factor).sum(axis=1)
        return result


def _gates(from_input: Integers, from_hidden: Integers, hidden: Integers) -> Integers:
    """`dense_agent.gru_cell` in integers."""
    h = hidden.shape[-1]
    gates = sigmoid_q15(from_input[:, : 2 * h] + from_hidden[:, : 2 * h])
    reset, update = gates[:, :h], gates[:, h:]
    held = np.clip(from_hidden[:, 2 * h :], _GATE_LOW, _GATE_HIGH)
    recurrent = (reset * held + (1 << 14)) >> 15
    new = tanh_q15((from_input[:, 2 * h :] + recurrent) * 2)
    return new + ((update * (hidden - new) + (1 << 14)) >> 15)


def fixed_golden(agent: FixedPointAgent) -> tuple[Integers, list[int]]:
    """Q values (8, A) in Q16 and actions of the golden steps (`mast_edge.golden`)."""
    inputs = golden_inputs(agent.spec)
    hidden = np.zeros((1, agent.spec.hidden_dim), np.int64)
    last = np.array([-1])
    q = np.empty((STEPS, agent.spec.n_actions), np.int64)
    actions = []
    for t in range(STEPS):
        rows = agent.rows_of(inputs.obs[t : t + 1], last, inputs.agent_ids[t : t + 1])
        values, hidden = agent.step(rows, hidden)
        q[t] = values[0]
        last = np.array([np.where(inputs.avail[t] != 0, q[t], -(2**62)).argmax()])
        actions.append(int(last[0]))
    return q, actions


def fc1_shift_of(largest: float) -> int:
    """The finest shift in which `HEADROOM` times the largest output of fc1 fits int16."""
    shift = LARGEST_FC1_SHIFT
    while shift > SMALLEST_FC1_SHIFT and HEADROOM * largest * 2**shift > _INT16:
        shift -= 1
    return shift


def largest_fc1(spec: AgentSpec, fc1: Layer, recorded: Recorded) -> float:
    """The largest output of fc1 along recorded episodes; 0 when the ReLU lets nothing through."""
    ids = np.arange(spec.n_agents)
    last = np.full(spec.n_agents, -1)
    largest = 0.0
    for t, first in enumerate(recorded.first):
        if first:
            last = np.full(spec.n_agents, -1)
        rows = assemble(spec, recorded.obs[t], last, ids)
        largest = max(largest, float(fc1.affine(rows).max()))
        last = recorded.actions[t].astype(np.int64)
    return largest
