"""Export to the CSR artifact (runtime.md section 3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast_edge.artifact import build_artifact
from mast_edge.artifact_read import read_artifact
from mast_edge.checkpoint_files import AgentCheckpoint
from mast_edge.contract import AgentContract
from mast_edge.export.verify import Comparison, Reference, compare

FILE_NAME = "agent.safetensors"


def export_csr(
    checkpoint: AgentCheckpoint, reference: Reference, provenance: Mapping[str, Any], path: Path
) -> Comparison:
    """Writes the artifact to `path` and reads it back through the validating reader.

    Args:
        checkpoint: verified weights and masks.
        reference: recorded episodes and the Q values to reproduce.
        provenance: goes into the metadata.
        path: a temporary file; the caller moves it into place when this returns.

    Raises:
        ArtifactRefused: what was written does not answer as the checkpoint does.
    """
    contract = AgentContract.of(checkpoint.spec, checkpoint.env)
    path.write_bytes(build_artifact(contract, checkpoint.weights, checkpoint.masks, provenance))
    artifact = read_artifact(path)
    return compare(str(path), checkpoint, reference, artifact.step_rows)
