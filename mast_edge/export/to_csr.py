"""Export to the artifact that the csr runtime loads (runtime.md section 3)."""

from pathlib import Path

from mast_edge.artifact import build_artifact
from mast_edge.export.job import Job

FILE_NAME = "agent.safetensors"


def export_csr(job: Job, folder: Path) -> dict[str, Path]:
    """Writes `agent.safetensors` into `folder`; see `exporter.export_run` for what happens next."""
    data = build_artifact(job.contract, job.weights, job.checkpoint.masks, job.provenance, job.precision)
    path = folder / FILE_NAME
    path.write_bytes(data)
    return {"csr": path}
