"""From a run to verified files: every export is read back and held against the checkpoint before it exists.

Source: cli.md (`export`), runtime.md sections 3 and 4, parity_and_safety.md section 6.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.atomic import sync_folder, write_atomically
from mast_edge.checkpoint_files import INDEX_FILE, AgentCheckpoint, read_agent, read_recorded
from mast_edge.errors import MastEdgeError, MissingInput, UsageError
from mast_edge.export.size_report import flops, layer_table, size_ledger
from mast_edge.export.verify import Comparison, Reference, reference_of
from mast_edge.registry import EXPORT_FORMATS, resolve

SCHEMA = "mast-edge/export/1"
REPORT_FILE = "report.json"
_FILE_NAMES = {"csr": "agent.safetensors", "onnx": "agent.onnx"}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported; `to_json` gives the object of cli.md.

    Attributes:
        run: run folder, or checkpoint folder when there is no run around it.
        files: one entry per format: format, precision, path, bytes, sha256, max_abs_q_error,
        argmax_agreement.
        size: ledger of the CSR artifact.
        flops: per forward pass of one agent: dense, sparse, ratio.
        layers: one entry per layer.
        checkpoint_sha256: which checkpoint it was.
    """

    run: str
    files: list[dict[str, Any]]
    size: dict[str, int]
    flops: dict[str, float]
    layers: list[dict[str, Any]]
    checkpoint_sha256: str

    def to_json(self) -> dict[str, Any]:
        """The `mast-edge/export/1` object."""
        return {
            "schema": SCHEMA,
            "run": self.run,
            "checkpoint_sha256": self.checkpoint_sha256,
            "files": self.files,
            "size": self.size,
            "flops": self.flops,
            "layers": self.layers,
        }


def export_run(source: Path, formats: Sequence[str], out_dir: Path | None = None) -> ExportReport:
    """Exports the agents of a run, or of one checkpoint.

    Args:
        source: run folder (its manifest names the checkpoint) or checkpoint folder.
        formats: names in `registry.EXPORT_FORMATS`.
        out_dir: where `<format>/` folders go; None takes `<run>/exports`.

    Returns:
        The report; each format's `report.json` holds its part.

    Raises:
        UsageError: unknown format.
        MissingInput: no complete checkpoint, or an optional package is missing.
        ArtifactRefused: the checkpoint is damaged, or an export does not answer as it does. No file is left.
        MastEdgeError: the file system refused; no file is left.
    """
    run, checkpoint_folder = _find_checkpoint(source)
    checkpoint = read_agent(checkpoint_folder)
    reference = reference_of(checkpoint, read_recorded(checkpoint_folder))
    exporters = {
        name: resolve("export format", EXPORT_FORMATS, name, error=UsageError)
        for name in dict.fromkeys(formats)
    }
    provenance = _provenance(run, checkpoint)
    target = out_dir if out_dir is not None else (run or checkpoint_folder) / "exports"
    files = [
        _export_one(name, exporter, checkpoint, reference, provenance, target / name)
        for name, exporter in exporters.items()
    ]
    report = ExportReport(
        str(run or checkpoint_folder),
        files,
        size_ledger(checkpoint, provenance),
        flops(checkpoint),
        layer_table(checkpoint),
        checkpoint.index_sha256,
    )
    for entry in files:
        part = {**report.to_json(), "files": [entry]}
        write_atomically(
            Path(entry["path"]).with_name(REPORT_FILE), (json.dumps(part, indent=1) + "\n").encode()
        )
    return report


def _export_one(
    name: str,
    exporter: Any,
    checkpoint: AgentCheckpoint,
    reference: Reference,
    provenance: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    path = folder / _FILE_NAMES[name]
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=folder)
        os.close(handle)
        temporary = Path(made)
        found: Comparison = exporter(checkpoint, reference, provenance, temporary)
        data = temporary.read_bytes()
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(folder)
    except OSError as problem:
        raise MastEdgeError(
            f"{path}: export must be writable; got {problem.strerror or problem}. "
            "Free space or choose another folder with --out."
        ) from problem
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return {
        "format": name,
        "precision": "f32",
        "path": str(path),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "max_abs_q_error": found.max_abs_q_error,
        "argmax_agreement": found.argmax_agreement,
    }


def _find_checkpoint(source: Path) -> tuple[Path | None, Path]:
    """(run folder or None, checkpoint folder)."""
    if (source / INDEX_FILE).is_file():
        run = source.parent.parent
        return (run if (run / "manifest.json").is_file() else None), source
    manifest = _manifest(source)
    name = manifest.get("checkpoint")
    if not isinstance(name, str) or Path(name).name != name:
        raise MissingInput(
            f"{source}: run or checkpoint folder must hold a complete checkpoint; got none. "
            "Run: mast-edge train CONFIG"
        )
    return source, source / "checkpoints" / name


def _manifest(run: Path) -> dict[str, Any]:
    path = run / "manifest.json"
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as problem:
        raise MissingInput(
            f"{path}: manifest must be JSON; got {problem}. Run: mast-edge train CONFIG"
        ) from problem
    return manifest if isinstance(manifest, dict) else {}


def _provenance(run: Path | None, checkpoint: AgentCheckpoint) -> dict[str, Any]:
    """Where the agent comes from, without clock or path (runtime.md section 3)."""
    manifest = _manifest(run) if run is not None else {}
    index = checkpoint.index
    versions = manifest.get("versions")
    known = versions if isinstance(versions, dict) else {}
    return {
        "algorithm": index.get("algorithm"),
        "method": index.get("method"),
        "sparsity": index.get("sparsity"),
        "seed": index.get("seed"),
        "t_env": index.get("t_env"),
        "config_sha256": manifest.get("config_sha256"),
        "checkpoint_sha256": checkpoint.index_sha256,
        "git_commit": manifest.get("git_commit"),
        "mast_edge": version("mast-edge"),
        "torch": known.get("torch"),
        "numpy": known.get("numpy", np.__version__),
    }
