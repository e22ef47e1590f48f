"""What a runtime backend is: a class that loads a file into a model, and a model that makes agents.

A model is immutable and may be shared by threads; a cell, one agent's private state, may not.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats, Ints, assemble
from mast_edge.runtime.inputs import checked_avail, checked_obs
from mast_edge.spec import AgentSpec

_UNAVAILABLE = np.float32(-np.inf)


class Cell(Protocol):
    """One agent's private state on a shared model."""

    agent_id: int
    last_action: int
    """-1 before the first action."""

    def act(self, obs: Any, avail: Any, check: bool) -> int:
        """Advances and returns the action; -1, with nothing changed, when the inputs need a closer look."""
        ...

    def peek(self, obs: Floats, q: Floats) -> None:
        """Writes into `q` (A,) what `act` would see now; nothing advances."""
        ...

    def read(self, hidden: Floats, q: Floats) -> None:
        """Copies out the hidden state (H,) and the Q values (A,) of the latest act."""
        ...

    def write(self, hidden: Floats) -> None:
        """Copies in the hidden state (H,)."""
        ...

    def reset(self) -> None:
        """Zero hidden state and Q, no last action."""
        ...


class Model(Protocol):
    """An agent's read-only tables in one runtime.

    Attributes:
        contract: sizes and game.
        sha256: of what was loaded; the checkpoint's `checkpoint.json` for a checkpoint.
        provenance: where the agent comes from, for reports.
        path_taken: which kernels run, for reports ("native: fc1 csr, ...").
    """

    contract: AgentContract
    sha256: str
    provenance: dict[str, Any]
    path_taken: str

    def cell(self, agent_id: int) -> Cell:
        """A reset agent."""
        ...

    def step_many(self, obs: Floats, last_actions: Ints, agent_ids: Ints, hidden: Floats, q: Floats) -> None:
        """One step of B agents: hidden (B, H) advances in place, q (B, A) is written.

        Args:
            obs: (B, O) float32, contiguous as all the others.
            last_actions: (B,) int64, -1 = none.
            agent_ids: (B,) int64.
            hidden, q: float32 buffers.
        """
        ...


class Backend(Protocol):
    """An entry of `registry.RUNTIME_BACKENDS`."""

    name: ClassVar[str]

    @classmethod
    def load(cls, path: Path) -> Model:
        """Loads and verifies `path`.

        Raises:
            MissingInput: not there, or not the kind of file that this backend runs.
            MissingExtra: its optional package is not installed.
            ArtifactRefused: validation failed.
        """
        ...


class RowsCell:
    """A cell on anything that steps assembled rows: (rows (B, F), hidden (B, H)) -> (q, hidden)."""

    def __init__(self, model: "RowsModel", agent_id: int) -> None:
        """A reset agent of `model`."""
        self._model = model
        self._spec: AgentSpec = model.contract.spec
        self.agent_id = agent_id
        self.reset()

    def reset(self) -> None:
        """See `Cell`."""
        self.last_action = -1
        self._hidden = np.zeros((1, self._spec.hidden_dim), np.float32)
        self._q = np.zeros(self._spec.n_actions, np.float32)
        self._row = np.zeros((1, self._spec.input_dim), np.float32)

    def act(self, obs: Any, avail: Any, check: bool) -> int:
        """See `Cell`; checks completely, so it never returns -1."""
        seen = checked_obs(self._spec, obs, check)
        may = checked_avail(self._spec, avail)
        q, hidden = self._step(self._assembled(seen), self._hidden)
        self._q, self._hidden = q[0], hidden
        self.last_action = int(np.where(may, self._q, _UNAVAILABLE).argmax())
        return self.last_action

    def peek(self, obs: Floats, q: Floats) -> None:
        """See `Cell`."""
        q[:] = self._step(self._assembled(obs), self._hidden)[0][0]

    def read(self, hidden: Floats, q: Floats) -> None:
        """See `Cell`."""
        hidden[:], q[:] = self._hidden[0], self._q

    def write(self, hidden: Floats) -> None:
        """See `Cell`."""
        self._hidden = hidden[None].copy()

    def _step(self, row: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        return self._model.step_rows(row, hidden)

    def _assembled(self, obs: Floats) -> Floats:
        o, a = self._spec.obs_dim, self._spec.n_actions
        row = self._row[0]
        row[:o] = obs
        row[o:] = 0.0
        if self.last_action >= 0:
            row[o + self.last_action] = 1.0
        row[o + a + self.agent_id] = 1.0
        return self._row


class RowsModel(ABC):
    """Base of the models written in terms of assembled rows."""

    def __init__(
        self, contract: AgentContract, sha256: str, provenance: dict[str, Any], path_taken: str
    ) -> None:
        """See the attributes of `Model`."""
        self.contract = contract
        self.sha256 = sha256
        self.provenance = provenance
        self.path_taken = path_taken

    @abstractmethod
    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """One step on assembled rows (B, F) and hidden (B, H) -> q (B, A), next hidden; both new arrays."""

    def cell(self, agent_id: int) -> Cell:
        """See `Model`."""
        return RowsCell(self, agent_id)

    def step_many(self, obs: Floats, last_actions: Ints, agent_ids: Ints, hidden: Floats, q: Floats) -> None:
        """See `Model`."""
        rows = assemble(self.contract.spec, obs, last_actions, agent_ids)
        q[:], hidden[:] = self.step_rows(rows, hidden)
