"""Exported C, compiled here and called through ctypes: exactly what a device runs.

Loading compiles and runs the C of the export; load only what you trust.
"""

import ctypes
import hashlib
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mast_edge.c_contract import CContract, read_c_export
from mast_edge.c_library import FLAGS, Compiler, find_compiler, load_library
from mast_edge.dense_agent import Floats, Ints
from mast_edge.errors import ArtifactSelfTest
from mast_edge.fixed_point import HIDDEN_SHIFT, Q_SHIFT
from mast_edge.golden import STEPS
from mast_edge.runtime.backends.base import Cell, Model
from mast_edge.spec import AgentSpec

_ONE = 2**HIDDEN_SHIFT


class CModel:
    """An agent as a loaded library; it has no state of its own."""

    def __init__(self, found: CContract, sha256: str, library: ctypes.CDLL, compiler: Compiler) -> None:
        """Binds the functions of a library and runs its self test.

        Raises:
            ArtifactSelfTest: the golden steps do not come out.
        """
        self.contract = found.contract
        self.sha256 = sha256
        self.provenance = found.provenance
        self.integer = found.precision == "int8"
        kind = f"integers, fc1 Q{found.fc1_shift}" if self.integer else "float32"
        self.path_taken = f"c: {kind}, {compiler.version}, {' '.join(FLAGS)}"
        spec = found.contract.spec
        self.library = library
        self.state_type = _state_type(spec, self.integer)
        self._state_dtype = np.dtype(self.state_type)
        self._everything = np.ones(spec.n_actions, np.uint8)
        address, number = ctypes.c_void_p, ctypes.c_int
        self.act = bound(library, f"{found.prefix}_act", number, address, address, address)
        self.q = bound(library, f"{found.prefix}_q", None, address, address, address)
        self.reset = bound(library, f"{found.prefix}_reset", None, address, number)
        _run_selftest(library, found, self.path_taken)

    def cell(self, agent_id: int) -> Cell:
        """See `Model`."""
        return CCell(self, agent_id)

    def step_many(self, obs: Floats, last_actions: Ints, agent_ids: Ints, hidden: Floats, q: Floats) -> None:
        """See `Model`: one `<prefix>_act` per agent, each on a struct of its own."""
        states = np.zeros(len(obs), self._state_dtype)
        states["hidden"] = self.stored(hidden)
        states["last_action"], states["agent_id"] = last_actions, agent_ids
        act, everything = self.act, self._everything.ctypes.data
        obs_bytes, state_bytes = obs.itemsize * self.contract.spec.obs_dim, self._state_dtype.itemsize
        obs_at, state_at = obs.ctypes.data, states.ctypes.data
        for _ in range(len(obs)):
            act(obs_at, everything, state_at)
            obs_at += obs_bytes
            state_at += state_bytes
        hidden[:], q[:] = self.floats(states["hidden"], states["q"])

    def stored(self, hidden: Floats) -> NDArray[Any]:
        """Hidden states as the C keeps them; in integers the nearest multiples of 2^-15 below 1."""
        if not self.integer:
            return hidden
        steps: NDArray[Any] = np.clip(np.rint(hidden * np.float32(_ONE)), -_ONE, _ONE - 1)
        return steps.astype(np.int16)

    def floats(self, hidden: NDArray[Any], q: NDArray[Any]) -> tuple[Floats, Floats]:
        """Hidden states and Q values of the C as float32; in integers exact, Q values below 256."""
        if not self.integer:
            return hidden, q
        return (hidden * 2.0**-HIDDEN_SHIFT).astype(np.float32), (q * 2.0**-Q_SHIFT).astype(np.float32)


class CCell:
    """One agent's state in the struct of the C, which the C reads and writes in place."""

    def __init__(self, model: CModel, agent_id: int) -> None:
        """A reset agent of `model`."""
        spec = model.contract.spec
        self._model = model
        self._spec = spec
        self._state = model.state_type()
        self._hidden = np.ctypeslib.as_array(self._state.hidden)
        self._q = np.ctypeslib.as_array(self._state.q)
        self._obs = np.zeros(spec.obs_dim, np.float32)
        self._avail = np.zeros(spec.n_actions, np.uint8)
        self._peeked = np.zeros_like(self._q)
        state = ctypes.addressof(self._state)
        self._act = model.act
        self._act_arguments = (self._obs.ctypes.data, self._avail.ctypes.data, state)
        self._peek_arguments = (self._obs.ctypes.data, state, self._peeked.ctypes.data)
        self._state.agent_id = agent_id
        self.reset()

    @property
    def agent_id(self) -> int:
        """Place in the team."""
        return int(self._state.agent_id)

    @agent_id.setter
    def agent_id(self, agent_id: int) -> None:
        self._state.agent_id = agent_id

    @property
    def last_action(self) -> int:
        """-1 before the first action."""
        return int(self._state.last_action)

    @last_action.setter
    def last_action(self, action: int) -> None:
        self._state.last_action = action

    def act(self, obs: Any, avail: Any, check: bool) -> int:
        """See `Cell`."""
        mine, may = self._obs, self._avail
        if not (
            isinstance(obs, np.ndarray)
            and isinstance(avail, np.ndarray)
            and obs.shape == mine.shape
            and avail.shape == may.shape
            and obs.dtype == mine.dtype
            and (avail.dtype == may.dtype or avail.dtype == np.bool_)
        ):
            return -1
        mine[...] = obs
        may[...] = avail
        # A finite sum proves finite terms, for less than looking at each.
        if check and not math.isfinite(np.add.reduce(mine)):
            return -1
        return int(self._act(*self._act_arguments))

    def peek(self, obs: Floats, q: Floats) -> None:
        """See `Cell`."""
        self._obs[:] = obs
        self._model.q(*self._peek_arguments)
        q[:] = self._model.floats(self._hidden, self._peeked)[1]

    def read(self, hidden: Floats, q: Floats) -> None:
        """See `Cell`."""
        hidden[:], q[:] = self._model.floats(self._hidden, self._q)

    def write(self, hidden: Floats) -> None:
        """See `Cell`."""
        self._hidden[:] = self._model.stored(hidden)

    def reset(self) -> None:
        """See `Cell`."""
        self._model.reset(ctypes.addressof(self._state), self._state.agent_id)


class CBackend:
    """Runs exported C; needs a C compiler."""

    name: ClassVar[str] = "c"

    @classmethod
    def load(cls, path: Path) -> Model:
        """See `Backend.load`.

        Args:
            path: `<prefix>.c` of an export, the `contract.json` beside it, or their folder.

        Raises:
            EnvironmentUnavailable: there is no C compiler.
        """
        found, files = read_c_export(path)
        compiler = find_compiler()
        digest = hashlib.sha256(files[f"{found.prefix}.c"]).hexdigest()
        return CModel(found, digest, load_library(files, compiler), compiler)


def _state_type(spec: AgentSpec, integer: bool) -> type[Any]:
    """The C struct `<prefix>_state`."""
    hidden, q = (ctypes.c_int16, ctypes.c_int32) if integer else (ctypes.c_float, ctypes.c_float)
    fields = [
        ("hidden", hidden * spec.hidden_dim),
        ("q", q * spec.n_actions),
        ("last_action", ctypes.c_int),
        ("agent_id", ctypes.c_int),
    ]
    return type("State", (ctypes.Structure,), {"_fields_": fields})


def bound(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    """A function of a library with its C types."""
    function = library[name]
    function.argtypes, function.restype = arguments, result
    return function


def _run_selftest(library: ctypes.CDLL, found: CContract, path_taken: str) -> None:
    worst = ctypes.c_float()
    selftest = bound(library, f"{found.prefix}_selftest", ctypes.c_int, ctypes.c_void_p)
    right = selftest(ctypes.addressof(worst))
    if right != STEPS or not worst.value <= found.tolerance:
        raise ArtifactSelfTest(
            f"{found.prefix}.c ({path_taken}): self test must give {STEPS} right actions and Q within "
            f"{found.tolerance:.3g}; got {right} and {worst.value:.3g}. Export again; if it stays, this "
            "compiler computes wrongly."
        )
