# --- simulator ---

# --- agent kernels ---
import numpy as np
from numpy.typing import NDArray

class AgentModel:
    def __init__(self, obs_dim: int, n_actions: int, n_agents: int, hidden_dim: int) -> None: ...
    def add(
        self,
        name: str,
        values: NDArray[np.float32],
        indices: NDArray[np.uint32],
        indptr: NDArray[np.uint32],
        bias: NDArray[np.float32],
        sparse: bool,
    ) -> None: ...
    def step_many(
        self,
        obs: NDArray[np.float32],
        last_actions: NDArray[np.int64],
        agent_ids: NDArray[np.int64],
        hidden: NDArray[np.float32],
        q: NDArray[np.float32],
    ) -> None: ...

class AgentCell:
    last_action: int
    agent_id: int
    def __init__(self, model: AgentModel, agent_id: int) -> None: ...
    def act(self, obs: object, avail: object, check: bool) -> int: ...
    def peek(self, obs: NDArray[np.float32], q: NDArray[np.float32]) -> None: ...
    def read(self, hidden: NDArray[np.float32], q: NDArray[np.float32]) -> None: ...
    def write(self, hidden: NDArray[np.float32]) -> None: ...
    def reset(self) -> None: ...
