"""What a worker answered, checked before anything is believed.

Source: smac.md 4, 5; parity_and_safety.md 6, "SC2 crash or hang".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.smac_worker import Garbage

_TYPES = {"obs": "<f4", "state": "<f4", "avail": "|u1"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What one battle shows: obs (N, O) float32, state (S,) float32, avail (N, A) uint8."""

    obs: NDArray[np.float32]
    state: NDArray[np.float32]
    avail: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stepped:
    """What one step of one battle brought; see `mast_edge.envs.base.Step`."""

    shown: Shown
    reward: float
    terminated: bool
    timed_out: bool
    battle_won: bool
    dead_allies: int
    dead_enemies: int


def read_shown(
    header: Mapping[str, Any], payload: bytes, n_agents: int, n_actions: int, lengths: tuple[int, int] | None
) -> Shown:
    """The arrays of an answer.

    Args:
        header: its `arrays` lists [name, dtype, shape].
        payload: their bytes, one after another.
        n_agents, n_actions: N, A.
        lengths: O and S; None takes what the first answer brings.

    Raises:
        Garbage: a name, dtype, shape or value is not what it must be, or bytes are missing or left over.
    """
    listed = header.get("arrays")
    if not isinstance(listed, list) or not all(isinstance(row, list) and row for row in listed):
        raise Garbage(f"arrays {listed!r:.80}")
    if [row[0] for row in listed] != [*_TYPES]:
        raise Garbage(f"arrays {listed!r:.80}")
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for row in listed:
        arrays[row[0]], at = _array(row, payload, at)
    if at != len(payload):
        raise Garbage(f"{len(payload) - at} bytes too many")
    obs, state, avail = arrays["obs"], arrays["state"], arrays["avail"]
    o, s = lengths if lengths is not None else (obs.shape[-1], state.shape[-1])
    found, wanted = (obs.shape, state.shape, avail.shape), ((n_agents, o), (s,), (n_agents, n_actions))
    if found != wanted:
        raise Garbage(f"shapes {found} instead of {wanted}")
    if not (np.isfinite(obs).all() and np.isfinite(state).all()):
        raise Garbage("a number that is not finite in obs or state")
    if avail.max(initial=0) > 1 or not avail.any(axis=1).all():
        raise Garbage("available actions that are not 0 or 1, or none for an agent")
    return Shown(obs, state, avail)


def _array(row: list[Any], payload: bytes, at: int) -> tuple[NDArray[Any], int]:
    if len(row) != 3 or row[1] != _TYPES[row[0]] or not isinstance(row[2], list) or not 1 <= len(row[2]) <= 2:
        raise Garbage(f"array {row!r:.80}")
    if not all(type(n) is int and 0 < n < 2**20 for n in row[2]):
        raise Garbage(f"array {row!r:.80}")
    count = math.prod(row[2])
    end = at + count * np.dtype(row[1]).itemsize
    if end > len(payload):
        raise Garbage(f"{end - len(payload)} bytes too few")
    return np.frombuffer(payload, row[1], count, at).reshape(row[2]), end


def read_stepped(header: Mapping[str, Any], shown: Shown) -> Stepped:
    """The numbers and flags of a step's answer.

    Raises:
        Garbage: one is missing, of another type, or not finite.
    """
    reward = header.get("reward")
    if not isinstance(reward, float) or not math.isfinite(reward):
        raise Garbage(f"reward {reward!r:.80}")
    terminated, timed_out, won = (_flag(header, name) for name in ("terminated", "timed_out", "battle_won"))
    if (timed_out or won) and not terminated:
        raise Garbage("an episode that is decided but goes on")
    return Stepped(
        shown=shown,
        reward=reward,
        terminated=terminated,
        timed_out=timed_out,
        battle_won=won,
        dead_allies=_count(header, "dead_allies"),
        dead_enemies=_count(header, "dead_enemies"),
    )


def _flag(header: Mapping[str, Any], name: str) -> bool:
    value = header.get(name)
    if not isinstance(value, bool):
        raise Garbage(f"{name} {value!r:.80}")
    return value


def _count(header: Mapping[str, Any], name: str) -> int:
    value = header.get(name)
    if type(value) is not int or not 0 <= value < 2**16:
        raise Garbage(f"{name} {value!r:.80}")
    return value
