"""Dense float32 in numpy: always there, simplest, the honest dense reference in Python."""

from pathlib import Path
from typing import ClassVar

from mast_edge.artifact_read import read_artifact
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import DenseAgent, Floats, forward
from mast_edge.runtime.backends.base import Model, RowsModel


class NumpyModel(RowsModel):
    """An agent whose weights are written out with their zeros."""

    def __init__(
        self, agent: DenseAgent, contract: AgentContract, sha256: str, provenance: dict[str, object]
    ):
        """Keeps `agent`; the rest as in `Model`."""
        super().__init__(contract, sha256, provenance, "numpy: dense")
        self._affine = agent.affine

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """See `RowsModel`."""
        return forward(self._affine, rows, hidden)


class NumpyBackend:
    """Runs an exported agent, or a checkpoint folder as the dense reference."""

    name: ClassVar[str] = "numpy"

    @classmethod
    def load(cls, path: Path) -> Model:
        """See `Backend.load`.

        Args:
            path: `agent.safetensors` of an export, or a checkpoint folder.
        """
        if path.is_dir():
            from mast_edge.checkpoint_files import read_agent

            found = read_agent(path)
            contract = AgentContract.of(found.spec, found.env)
            agent = DenseAgent(found.spec, found.weights)
            return NumpyModel(agent, contract, found.index_sha256, dict(found.index))
        artifact = read_artifact(path)
        agent = DenseAgent(artifact.contract.spec, artifact.dense_weights())
        return NumpyModel(agent, artifact.contract, artifact.sha256, artifact.metadata["provenance"])
