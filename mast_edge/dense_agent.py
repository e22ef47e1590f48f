"""The agent in plain numpy: what its numbers mean, and the dense reference every export is held against.

Source: algorithms.md 2.1; runtime.md section 1.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mast_edge.spec import AgentSpec

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def assemble(spec: AgentSpec, obs: Floats, last_actions: Ints, agent_ids: Ints) -> Floats:
    """Input rows: obs, last-action one-hot (all zero before the first action), agent-id one-hot.

    Args:
        spec: sizes.
        obs: (B, O) float32.
        last_actions: (B,) int in -1..A-1, -1 = none yet.
        agent_ids: (B,) int in 0..N-1.

    Returns:
        (B, O + A + N) float32.
    """
    rows = np.zeros((len(obs), spec.input_dim), np.float32)
    rows[:, : spec.obs_dim] = obs
    acted = np.flatnonzero(last_actions >= 0)
    rows[acted, spec.obs_dim + last_actions[acted]] = 1.0
    rows[np.arange(len(obs)), spec.obs_dim + spec.n_actions + agent_ids] = 1.0
    return rows


def masked_argmax(q: Floats, avail: NDArray[np.uint8] | NDArray[np.bool_]) -> Ints:
    """The available action of largest Q per row; ties go to the lowest index, unavailable counts as -inf.

    Args:
        q: (..., A).
        avail: (..., A), nonzero = may be taken; every row must have one.
    """
    return np.where(avail != 0, q, -np.inf).argmax(axis=-1).astype(np.int64)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) through tanh, which never overflows."""
    return np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * x)


def gru_cell(from_input: Floats, from_hidden: Floats, hidden: Floats) -> Floats:
    """The gates of a GRU cell from its two biased products; torch's order r, z, n along the last axis.

    r = s(i_r + h_r), z = s(i_z + h_z), n = tanh(i_n + r * h_n), h' = n + z * (h - n): the reset gate multiplies
    the already biased recurrent product.

    Args:
        from_input: (B, 3H), W_ih x + b_ih.
        from_hidden: (B, 3H), W_hh h + b_hh.
        hidden: (B, H).
    """
    h = hidden.shape[-1]
    gates = sigmoid(from_input[:, : 2 * h] + from_hidden[:, : 2 * h])
    reset, update = gates[:, :h], gates[:, h:]
    new = np.tanh(from_input[:, 2 * h :] + reset * from_hidden[:, 2 * h :])
    return new + update * (hidden - new)


class DenseAgent:
    """One step of the agent for a batch of rows, weights dense with their zeros in place."""

    def __init__(self, spec: AgentSpec, weights: Mapping[str, Floats]) -> None:
        """Args:
        spec: sizes.
        weights: `<layer>.weight` (out, in) and `<layer>.bias` (out,), float32.
        """
        self.spec = spec
        self._weights = dict(weights)

    def step(self, obs: Floats, last_actions: Ints, agent_ids: Ints, hidden: Floats) -> tuple[Floats, Floats]:
        """Q values and next hidden state.

        Args:
            obs: (B, O) float32.
            last_actions: (B,) int, -1 = none.
            agent_ids: (B,) int.
            hidden: (B, H) float32.

        Returns:
            q (B, A), hidden (B, H).
        """
        return self.step_rows(assemble(self.spec, obs, last_actions, agent_ids), hidden)

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """As `step`, from input rows (B, F) that are already assembled."""
        x = np.maximum(self._affine("fc1", rows), np.float32(0))
        hidden = gru_cell(self._affine("gru_ih", x), self._affine("gru_hh", hidden), hidden)
        return self._affine("fc2", hidden), hidden

    def _affine(self, layer: str, x: Floats) -> Floats:
        product: Floats = x @ self._weights[f"{layer}.weight"].T + self._weights[f"{layer}.bias"]
        return product
