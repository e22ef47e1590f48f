"""What a caller may hand to an agent, and the one place that says no."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.dense_agent import Floats
from mast_edge.spec import AgentSpec

Bytes = NDArray[np.uint8]


def checked_obs(spec: AgentSpec, obs: Any, check: bool, n: int | None = None) -> Floats:
    """`obs` as a contiguous float32 array (O,), or (n, O).

    Args:
        spec: sizes.
        obs: what the caller gave.
        check: whether to look for values that are not finite.
        n: number of agents; None for a single one.

    Raises:
        ValueError: wrong type, dtype, shape, or a value that is not finite.
    """
    shape = (spec.obs_dim,) if n is None else (n, spec.obs_dim)
    _expect(obs, "obs", (np.float32,), shape)
    # A finite sum proves finite terms, for less than looking at each.
    if check and not math.isfinite(np.add.reduce(obs, axis=None)) and not np.isfinite(obs).all():
        bad = np.argwhere(~np.isfinite(obs))[0].tolist()
        raise ValueError(f"Agent: obs must be finite; got {obs[tuple(bad)]} at {bad}. Check the sensor.")
    return _plain(obs)


def checked_avail(spec: AgentSpec, avail: Any, n: int | None = None) -> Bytes:
    """`avail` as a contiguous uint8 array (A,), or (n, A), with an available action in every row.

    Raises:
        ValueError: wrong type, dtype, shape, or a row without an available action.
    """
    shape = (spec.n_actions,) if n is None else (n, spec.n_actions)
    _expect(avail, "avail", (np.bool_, np.uint8), shape)
    if not (avail.any() if n is None else avail.any(axis=1).all()):
        rows = "" if n is None else f" in row {int(np.flatnonzero(~(avail != 0).any(axis=-1))[0])}"
        raise ValueError(
            f"Agent: avail must hold at least one available action; got none{rows}. "
            "A dead agent has its no-op available."
        )
    may: Bytes = _plain(avail).view(np.uint8)
    return may


def checked_id(spec: AgentSpec, agent_id: int) -> int:
    """`agent_id`, in 0..N-1; ValueError otherwise."""
    return _checked_int("agent_id", agent_id, 0, spec.n_agents)


def checked_action(spec: AgentSpec, action: int) -> int:
    """`action`, in 0..A-1; ValueError otherwise."""
    return _checked_int("action", action, 0, spec.n_actions)


def checked_hidden(spec: AgentSpec, hidden: Any, n: int | None = None) -> Floats:
    """`hidden` as a contiguous float32 array (H,), or (n, H), all finite; ValueError otherwise."""
    _expect(hidden, "hidden", (np.float32,), (spec.hidden_dim,) if n is None else (n, spec.hidden_dim))
    if not np.isfinite(hidden).all():
        raise ValueError("Agent: hidden must be finite; got values that are not. Reset the agent.")
    return _plain(hidden)


def check_batch(spec: AgentSpec, hidden: Any, last_actions: Any, agent_ids: Any, q: Any) -> int:
    """The number of agents whose memory these arrays are; they are written in place.

    Args:
        spec: sizes.
        hidden, last_actions, agent_ids, q: as in `AgentStates`.

    Raises:
        ValueError: wrong type, dtype, shape or layout, or an action or agent that there is not.
    """
    n = len(agent_ids) if isinstance(agent_ids, np.ndarray) and agent_ids.ndim == 1 else 0
    wanted = (
        ("agent_ids", agent_ids, np.int64, (n,)),
        ("last_actions", last_actions, np.int64, (n,)),
        ("hidden", hidden, np.float32, (n, spec.hidden_dim)),
        ("q", q, np.float32, (n, spec.n_actions)),
    )
    for name, array, dtype, shape in wanted:
        _expect(array, f"states.{name}", (dtype,), shape)
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise ValueError(f"Agent: states.{name} must be contiguous and writeable; got another layout.")
    _expect_range("states.agent_ids", agent_ids, 0, spec.n_agents)
    _expect_range("states.last_actions", last_actions, -1, spec.n_actions)
    return n


def _expect_range(name: str, values: NDArray[np.int64], low: int, end: int) -> None:
    if len(values) and not (low <= values.min() and values.max() < end):
        bad = int(np.flatnonzero((values < low) | (values >= end))[0])
        raise ValueError(f"Agent: {name} must be in {low}..{end - 1}; got {values[bad]} at {bad}.")


def _checked_int(name: str, value: int, low: int, end: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < end:
        raise ValueError(f"Agent: {name} must be an integer in {low}..{end - 1}; got {value!r}.")
    return int(value)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, None, ["C", "A"])


def _expect(array: Any, name: str, dtypes: tuple[type, ...], shape: tuple[int, ...]) -> None:
    if isinstance(array, np.ndarray) and array.dtype in dtypes and array.shape == shape:
        return
    wanted = f"{' or '.join(np.dtype(dtype).name for dtype in dtypes)} {shape}"
    if not isinstance(array, np.ndarray):
        raise ValueError(f"Agent: {name} must be a numpy array of {wanted}; got {type(array).__name__}.")
    got = array.dtype.name if array.dtype.isnative else array.dtype.str
    raise ValueError(f"Agent: {name} must be {wanted}; got {got} {array.shape}.")
