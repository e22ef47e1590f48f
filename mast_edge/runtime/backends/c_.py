"""Exported C, compiled here and called through ctypes: exactly what a device runs.

Loading compiles and runs the C of the export; load only what you trust.
"""

import ctypes
import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mast_edge.c_contract import CContract, read_c_export
from mast_edge.c_library import FLAGS, Compiler, find_compiler, load_library
from mast_edge.dense_agent import Floats, Ints, assemble
from mast_edge.errors import ArtifactSelfTest
from mast_edge.fixed_point import HIDDEN_SHIFT, Q_SHIFT, q14_of
from mast_edge.golden import STEPS
from mast_edge.runtime.backends.base import Cell, Model
from mast_edge.runtime.inputs import checked_avail, checked_obs
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
        self.state_type = _state_type(found.contract.spec, self.integer)
        address, number = ctypes.c_void_p, ctypes.c_int
        self.act = _function(library, f"{found.prefix}_act", number, address, address, address)
        self.q = _function(library, f"{found.prefix}_q", None, address, address, address)
        self.reset = _function(library, f"{found.prefix}_reset", None, address, number)
        self._step = _function(library, f"{found.prefix}_step", None, address, address, address)
        _run_selftest(library, found, self.path_taken)

    def cell(self, agent_id: int) -> Cell:
        """See `Model`."""
        return CCell(self, agent_id)

    def step_many(self, obs: Floats, last_actions: Ints, agent_ids: Ints, hidden: Floats, q: Floats) -> None:
        """See `Model`; in integers, `hidden` is read to the nearest multiple of 2^-15."""
        rows: NDArray[Any] = assemble(self.contract.spec, obs, last_actions, agent_ids)
        if not self.integer:
            self.step_rows(rows, hidden, q)
            return
        exact = np.empty(q.shape, np.int32)
        state = q15_of(hidden)
        self.step_rows(q14_of(rows).astype(np.int16), state, exact)
        hidden[:] = state / np.float32(_ONE)
        q[:] = q_of(exact)

    def step_rows(self, rows: NDArray[Any], hidden: NDArray[Any], q: NDArray[Any]) -> None:
        """`<prefix>_step` on each of B contiguous rows (B, F), in the C's own types.

        Args:
            rows: float32, or int16 in Q14.
            hidden: (B, H) float32, or int16 in Q15; advances in place.
            q: (B, A) float32, or int32 in Q16; written.
        """
        step = self._step
        arrays = (rows, hidden, q)
        for at in zip(*(_row_addresses(array) for array in arrays), strict=True):
            step(*at)


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
        """See `Cell`; checks completely, so it never returns -1."""
        self._obs[:] = checked_obs(self._spec, obs, check)
        self._avail[:] = checked_avail(self._spec, avail)
        return int(self._act(*self._act_arguments))

    def peek(self, obs: Floats, q: Floats) -> None:
        """See `Cell`."""
        self._obs[:] = obs
        self._model.q(*self._peek_arguments)
        q[:] = q_of(self._peeked) if self._model.integer else self._peeked

    def read(self, hidden: Floats, q: Floats) -> None:
        """See `Cell`; the hidden state of the integer variant is exact in float32."""
        if self._model.integer:
            hidden[:], q[:] = self._hidden / np.float32(_ONE), q_of(self._q)
        else:
            hidden[:], q[:] = self._hidden, self._q

    def write(self, hidden: Floats) -> None:
        """See `Cell`; the integer variant takes the nearest multiples of 2^-15."""
        self._hidden[:] = q15_of(hidden) if self._model.integer else hidden

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
            path: `<prefix>.c` of an export, or its folder.

        Raises:
            EnvironmentUnavailable: there is no C compiler.
        """
        found, files = read_c_export(path)
        compiler = find_compiler()
        digest = hashlib.sha256(files[f"{found.prefix}.c"]).hexdigest()
        return CModel(found, digest, load_library(files, compiler), compiler)


def q15_of(hidden: Floats) -> NDArray[np.int16]:
    """Hidden states as the integer variant keeps them: the nearest multiple of 2^-15 below 1."""
    steps: NDArray[np.int16] = np.clip(np.rint(hidden * np.float32(_ONE)), -_ONE, _ONE - 1).astype(np.int16)
    return steps


def q_of(q: NDArray[np.int32]) -> Floats:
    """Q values of the integer variant as float32, exact below 256."""
    return (q * 2.0**-Q_SHIFT).astype(np.float32)


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


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = library[name]
    function.argtypes, function.restype = arguments, result
    return function


def _row_addresses(array: NDArray[Any]) -> range:
    start, stride = array.ctypes.data, array.itemsize * array.shape[1]
    return range(start, start + stride * len(array), stride)


def _run_selftest(library: ctypes.CDLL, found: CContract, path_taken: str) -> None:
    worst = ctypes.c_float()
    selftest = _function(library, f"{found.prefix}_selftest", ctypes.c_int, ctypes.c_void_p)
    right = selftest(ctypes.addressof(worst))
    if right != STEPS or not worst.value <= found.tolerance:
        raise ArtifactSelfTest(
            f"{found.prefix}.c ({path_taken}): self test must give {STEPS} right actions and Q within "
            f"{found.tolerance:.3g}; got {right} and {worst.value:.3g}. Export again; if it stays, this "
            "compiler computes wrongly."
        )
