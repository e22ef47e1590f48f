"""One trained agent at run time: its own observation in, its own action out, everything else inside.

Source: runtime.md section 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats, Ints, masked_argmax
from mast_edge.errors import MissingInput, UsageError
from mast_edge.registry import RUNTIME_BACKENDS, resolve
from mast_edge.runtime.backends.base import Model
from mast_edge.runtime.inputs import (
    check_batch,
    checked_action,
    checked_avail,
    checked_hidden,
    checked_id,
    checked_obs,
)
from mast_edge.spec import AgentSpec


@dataclass(frozen=True, slots=True, eq=False)
class AgentState:
    """A copy of one agent's memory: hidden (H,) float32 and the last action, -1 before the first."""

    hidden: Floats
    last_action: int


@dataclass(slots=True, eq=False)
class AgentStates:
    """Memory of B agents that the caller holds for `Agent.act_many`.

    Attributes:
        hidden: (B, H) float32.
        last_actions: (B,) int64, -1 = none yet.
        agent_ids: (B,) int64.
        q: (B, A) float32, the Q values of the latest `act_many`.
    """

    hidden: Floats
    last_actions: Ints
    agent_ids: Ints
    q: Floats

    @classmethod
    def fresh(cls, spec: AgentSpec, agent_ids: Sequence[int] | Ints) -> "AgentStates":
        """Reset memory for agents of these ids; a team plays with `range(spec.n_agents)`."""
        ids = np.array([checked_id(spec, agent_id) for agent_id in agent_ids], np.int64)
        return cls(
            np.zeros((len(ids), spec.hidden_dim), np.float32),
            np.full(len(ids), -1, np.int64),
            ids,
            np.zeros((len(ids), spec.n_actions), np.float32),
        )

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Zero hidden state and no last action, for the marked rows (B,), all when None."""
        rows = slice(None) if which is None else which
        self.hidden[rows] = 0.0
        self.last_actions[rows] = -1
        self.q[rows] = 0.0

    def copy(self) -> "AgentStates":
        """An independent copy."""
        return AgentStates(self.hidden.copy(), self.last_actions.copy(), self.agent_ids.copy(), self.q.copy())


class Agent:
    """One agent. Its tables may be shared by threads, the agent itself may not."""

    def __init__(self, model: Model, agent_id: int = 0, *, check: bool = True) -> None:
        """A reset agent on a loaded model; `Agent.load` is the usual way.

        Args:
            model: from a backend.
            agent_id: 0..N-1.
            check: look for observations that are not finite.
        """
        self._model = model
        self._check = check
        self._cell = model.cell(checked_id(model.contract.spec, agent_id))

    @classmethod
    def load(
        cls, path: str | Path, *, backend: str = "auto", agent_id: int = 0, check: bool = True
    ) -> "Agent":
        """Loads, verifies and resets an agent. Needs neither torch, onnx nor an environment.

        Args:
            path: an exported `agent.safetensors`, `agent.onnx` or `agent.c` (or the folder of one), or a
                checkpoint folder.
            backend: a name in `registry.RUNTIME_BACKENDS`; "auto" takes csr for an artifact, onnx for an ONNX
                file, c for C, numpy for a checkpoint folder.
            agent_id: 0..N-1, its place in the team.
            check: refuse observations that are not finite; False saves that look.

        Raises:
            UsageError: unknown backend.
            MissingInput: no such file, or the backend's package is not installed.
            ArtifactRefused: the file did not pass validation.
            ValueError: agent_id out of range.
        """
        return cls(load_model(path, backend), agent_id, check=check)

    @property
    def contract(self) -> AgentContract:
        """Sizes and game."""
        return self._model.contract

    @property
    def spec(self) -> AgentSpec:
        """Sizes."""
        return self._model.contract.spec

    @property
    def model(self) -> Model:
        """The shared read-only tables: `sha256`, `provenance` and `path_taken` are for reports."""
        return self._model

    @property
    def agent_id(self) -> int:
        """Its place in the team."""
        return self._cell.agent_id

    def act(self, obs: Floats, avail: NDArray[np.uint8] | NDArray[np.bool_]) -> int:
        """Advances by one step.

        Args:
            obs: (O,) float32, finite: its own observation.
            avail: (A,) bool or uint8: its own available actions, at least one. A dead agent has its no-op.

        Returns:
            The available action of largest Q, the lowest index on ties.

        Raises:
            ValueError: names what is wrong; nothing has changed then.
        """
        action = self._cell.act(obs, avail, self._check)
        if action >= 0:
            return action
        seen = checked_obs(self.spec, obs, self._check)
        return self._cell.act(seen, checked_avail(self.spec, avail), False)

    def q(self, obs: Floats) -> Floats:
        """Q values (A,) that `act` would see now, without advancing anything."""
        values = np.empty(self.spec.n_actions, np.float32)
        self._cell.peek(checked_obs(self.spec, obs, self._check), values)
        return values

    @property
    def last_q(self) -> Floats:
        """Q values (A,) of the latest `act`, a copy; zero after a reset."""
        return self._read()[1]

    def reset(self, agent_id: int | None = None) -> None:
        """Zero hidden state and no last action, for a new episode; optionally another place in the team."""
        if agent_id is not None:
            self._cell.agent_id = checked_id(self.spec, agent_id)
        self._cell.reset()

    def get_state(self) -> AgentState:
        """A copy of hidden state and last action."""
        return AgentState(self._read()[0], self._cell.last_action)

    def set_state(self, state: AgentState) -> None:
        """Copies in what `get_state` gave, here or on another host or backend.

        Raises:
            ValueError: names what is wrong; nothing has changed then.
        """
        if not isinstance(state, AgentState):
            raise ValueError(f"Agent: state must be an AgentState; got {type(state).__name__}.")
        hidden = checked_hidden(self.spec, state.hidden)
        last = -1 if state.last_action == -1 else checked_action(self.spec, state.last_action)
        self._cell.write(hidden)
        self._cell.last_action = last

    def observe_action(self, action: int) -> None:
        """Overwrites the stored last action, when the caller executed another one."""
        self._cell.last_action = checked_action(self.spec, action)

    def clone(self, agent_id: int) -> "Agent":
        """A reset team mate on the same tables."""
        return Agent(self._model, agent_id, check=self._check)

    def states(self, agent_ids: Sequence[int] | Ints) -> AgentStates:
        """Reset memory for `act_many`."""
        return AgentStates.fresh(self.spec, agent_ids)

    def act_many(
        self, obs: Floats, avail: NDArray[np.uint8] | NDArray[np.bool_], states: AgentStates
    ) -> Ints:
        """B agents in one call, for simulation: equal to B calls of `act`, to the bit in the native kernel.

        Args:
            obs: (B, O) float32.
            avail: (B, A) bool or uint8.
            states: memory of the B agents; hidden, last_actions and q are advanced in place.

        Returns:
            Actions (B,) int64.

        Raises:
            ValueError: names what is wrong; nothing has changed then.
        """
        n = check_batch(self.spec, states.hidden, states.last_actions, states.agent_ids, states.q)
        seen = checked_obs(self.spec, obs, self._check, n)
        may = checked_avail(self.spec, avail, n)
        self._model.step_many(seen, states.last_actions, states.agent_ids, states.hidden, states.q)
        actions = masked_argmax(states.q, may)
        states.last_actions[:] = actions
        return actions

    def _read(self) -> tuple[Floats, Floats]:
        hidden = np.empty(self.spec.hidden_dim, np.float32)
        q = np.empty(self.spec.n_actions, np.float32)
        self._cell.read(hidden, q)
        return hidden, q


def load_model(path: str | Path, backend: str = "auto") -> Model:
    """The shared tables of an agent; arguments and errors as in `Agent.load`."""
    path = Path(path)
    try:
        path.stat()
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else problem
        raise MissingInput(
            f"{path}: exported agent must exist; got: {why}. Run: mast-edge export"
        ) from problem
    name = backend if backend != "auto" else _usual_backend(path)
    loader: Any = resolve("runtime", RUNTIME_BACKENDS, name, error=UsageError)
    model: Model = loader.load(path)
    return model


def _usual_backend(path: Path) -> str:
    if path.is_dir():
        from mast_edge.c_contract import CONTRACT_FILE

        return "c" if (path / CONTRACT_FILE).is_file() else "numpy"
    kinds = {".safetensors": "csr", ".onnx": "onnx", ".c": "c"}
    if path.suffix not in kinds:
        raise MissingInput(
            f"{path}: exported agent must end in {' or '.join(kinds)}; got '{path.suffix}'. Name the backend."
        )
    return kinds[path.suffix]
