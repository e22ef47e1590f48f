"""The native kernels over the tables of an exported agent; numpy where the native core was not built."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mast_edge.artifact import Artifact
from mast_edge.artifact_read import read_artifact
from mast_edge.dense_agent import Floats, Ints
from mast_edge.errors import MissingInput
from mast_edge.golden import check_golden
from mast_edge.native_agent import choose_tables, hand_over_bytes, native_model, one_hot_bytes
from mast_edge.runtime.backends.base import Cell, Model


class CsrModel:
    """An agent in native tables."""

    def __init__(self, artifact: Artifact, tables: Mapping[str, str] | None = None) -> None:
        """Copies the tables of a verified artifact into aligned native ones.

        Args:
            artifact: verified.
            tables: layer -> a name in `kernel_costs.TABLES`; None takes what `choose_tables` takes.

        Raises:
            ArtifactTooLarge: its tables would take more than it may.
            ImportError: the native core was not built.
        """
        from mast_edge.native._core import AgentCell, kernel_path

        spec = artifact.contract.spec
        needed = one_hot_bytes(spec) + hand_over_bytes(artifact.layers)
        artifact.require_room("one-hot columns of fc1", needed, "Is it an exported agent?")
        if tables is None:
            chosen = choose_tables(spec, artifact.layers)
            tables = {name: choice.table for name, choice in chosen.items()}
            needed += sum(choice.bytes for choice in chosen.values())
            artifact.require_room("native tables", needed, "Use numpy, or a smaller agent.")
        self._cell_type = AgentCell
        self._native = native_model(spec, artifact.layers, tables)
        kernels = ", ".join(f"{name} {tables[name]}" for name in artifact.layers)
        self.contract = artifact.contract
        self.sha256 = artifact.sha256
        self.provenance: dict[str, Any] = artifact.metadata["provenance"]
        self.path_taken = f"native: {kernels} ({kernel_path()})"
        check_golden(
            f"{artifact.name} (native)", spec, artifact.golden_q, artifact.golden_actions, self._golden_step
        )

    def _golden_step(
        self, obs: Floats, last_actions: Ints, agent_ids: Ints, hidden: Floats
    ) -> tuple[Floats, Floats]:
        after = hidden.copy()
        q = np.empty((len(obs), self.contract.spec.n_actions), np.float32)
        self.step_many(obs, last_actions, agent_ids, after, q)
        return q, after

    def cell(self, agent_id: int) -> Cell:
        """See `Model`."""
        return self._cell_type(self._native, agent_id)

    def step_many(self, obs: Floats, last_actions: Ints, agent_ids: Ints, hidden: Floats, q: Floats) -> None:
        """See `Model`; other Python threads run meanwhile."""
        self._native.step_many(obs, last_actions, agent_ids, hidden, q)


class CsrBackend:
    """The default: fastest on a host, and needs nothing but the base install."""

    name: ClassVar[str] = "csr"

    @classmethod
    def load(cls, path: Path) -> Model:
        """See `Backend.load`.

        Args:
            path: `agent.safetensors` of an export.

        Returns:
            The native model, or numpy's with a warning when the native core is not built; `path_taken` says
            which.
        """
        if path.is_dir():
            raise MissingInput(
                f"{path}: the csr runtime must be given an exported agent; got a checkpoint folder. "
                "Run: mast-edge export --format csr"
            )
        try:
            model = CsrModel(read_artifact(path))
        except ImportError as problem:
            warnings.warn(f"csr: native core not available ({problem}); running dense numpy", stacklevel=2)
            from mast_edge.runtime.backends.numpy_ import NumpyBackend

            return NumpyBackend.load(path)
        return model
