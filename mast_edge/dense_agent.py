"""The agent in plain numpy: what its numbers mean, and the reference every export is held against.

Source: algorithms.md 2.1; runtime.md section 1.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.spec import AgentSpec

if TYPE_CHECKING:
    from mast_edge.checkpoint_files import Recorded

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Affine = Callable[[str, NDArray[Any]], NDArray[Any]]
"""(layer, x (B, in)) -> W x + b (B, out), in the float type of x."""


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


def masked_argmax(q: NDArray[Any], avail: NDArray[np.uint8] | NDArray[np.bool_]) -> Ints:
    """The available action of largest Q per row; ties go to the lowest index, unavailable counts as -inf.

    Args:
        q: (..., A).
        avail: (..., A), nonzero = may be taken; every row must have one.
    """
    best: Ints = np.where(avail != 0, q, -np.inf).argmax(axis=-1).astype(np.int64)
    return best


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)) through tanh, which never overflows."""
    result: NDArray[Any] = 0.5 + 0.5 * np.tanh(0.5 * x)
    return result


def gru_cell(from_input: NDArray[Any], from_hidden: NDArray[Any], hidden: NDArray[Any]) -> NDArray[Any]:
    """The gates of a GRU cell from its two biased products; torch's order r, z, n along the last axis.

    r = s(i_r + h_r), z = s(i_z + h_z), n = tanh(i_n + r * h_n), h' = n + z * (h - n): the reset gate
    multiplies the recurrent product with its bias already added.

    Args:
        from_input: (B, 3H), W_ih x + b_ih.
        from_hidden: (B, 3H), W_hh h + b_hh.
        hidden: (B, H).
    """
    h = hidden.shape[-1]
    gates = sigmoid(from_input[:, : 2 * h] + from_hidden[:, : 2 * h])
    reset, update = gates[:, :h], gates[:, h:]
    new = np.tanh(from_input[:, 2 * h :] + reset * from_hidden[:, 2 * h :])
    result: NDArray[Any] = new + update * (hidden - new)
    return result


def forward(affine: Affine, rows: NDArray[Any], hidden: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """One step of the agent on assembled rows, whatever form the layers are stored in.

    Args:
        affine: computes one layer.
        rows: (B, F).
        hidden: (B, H).

    Returns:
        q (B, A), hidden (B, H).
    """
    x = np.maximum(affine("fc1", rows), 0)
    hidden = gru_cell(affine("gru_ih", x), affine("gru_hh", hidden), hidden)
    return affine("fc2", hidden), hidden


class DenseAgent:
    """One step of the agent for a batch of rows, weights dense with their zeros in place."""

    def __init__(self, spec: AgentSpec, weights: Mapping[str, Floats]) -> None:
        """Keeps the weights as they are.

        Args:
            spec: sizes.
            weights: `<layer>.weight` (out, in) and `<layer>.bias` (out,), float32.
        """
        self.spec = spec
        self._weights = dict(weights)

    def affine(self, layer: str, x: NDArray[Any]) -> NDArray[Any]:
        """W x + b of one layer for rows x (B, in)."""
        product: NDArray[Any] = x @ self._weights[f"{layer}.weight"].T + self._weights[f"{layer}.bias"]
        return product

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
        return forward(self.affine, assemble(self.spec, obs, last_actions, agent_ids), hidden)


def replay(affine: Affine, spec: AgentSpec, recorded: "Recorded") -> Floats:
    """Q values along recorded episodes: recurrent, with the recorded actions as last actions.

    Args:
        affine: computes one layer.
        spec: sizes.
        recorded: M joint steps.

    Returns:
        (M, N, A) float32.
    """
    return replay_steps(lambda rows, hidden: forward(affine, rows, hidden), spec, recorded)


def replay_steps(
    step: Callable[[Floats, Floats], tuple[Floats, Floats]], spec: AgentSpec, recorded: "Recorded"
) -> Floats:
    """As `replay`, for anything that maps (rows (N, F), hidden (N, H)) to (q, hidden)."""
    ids = np.arange(spec.n_agents)
    q = np.empty((*recorded.actions.shape, spec.n_actions), np.float32)
    hidden = np.zeros((spec.n_agents, spec.hidden_dim), np.float32)
    last = np.full(spec.n_agents, -1)
    for t, first in enumerate(recorded.first):
        if first:
            hidden, last = np.zeros_like(hidden), np.full(spec.n_agents, -1)
        q[t], hidden = step(assemble(spec, recorded.obs[t], last, ids), hidden)
        last = recorded.actions[t].astype(np.int64)
    return q
