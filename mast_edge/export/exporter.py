"""From a run to verified files: every export is read back and held against the checkpoint before it exists.

A format writes its files into a folder aside; they are loaded by the runtime that will play them, replayed
along the recorded episodes, described, and only then moved into place, the report last.

Source: cli.md (`export`), runtime.md sections 3 to 5, parity_and_safety.md section 6.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.atomic import sync_folder
from mast_edge.checkpoint_files import INDEX_FILE, AgentCheckpoint, read_agent, read_recorded
from mast_edge.disk import sync_file
from mast_edge.errors import MastEdgeError, MissingInput, UsageError
from mast_edge.export.card import CARD_FILE, agent_card
from mast_edge.export.job import Job
from mast_edge.export.size_report import describe
from mast_edge.export.verify import (
    Comparison,
    compare,
    read_back,
    reference_of,
    require_equal,
    require_few_flips,
)
from mast_edge.layers import PRECISIONS
from mast_edge.registry import EXPORT_FORMATS, nearest, resolve

SCHEMA = "mast-edge/export/1"
REPORT_FILE = "report.json"
RUNTIME_OF = {"csr": "csr", "onnx": "onnx", "onnx_sparse": "onnx", "c": "c"}
"""Which runtime reads an entry back: the one that its users will run."""
INT8_FORMATS = ("csr", "c")
"""Formats that offer int8; onnxruntime's dynamic int8 is slower and off by up to 0.37 (runtime.md 4)."""

_ASIDE = ".export-"
_HOUR = 3600.0

Exporter = Callable[[Job, Path], dict[str, Path]]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported; `to_json` gives the object of cli.md.

    Attributes:
        run: run folder, or checkpoint folder when there is no run around it.
        files: one entry per model file: format, precision, path, bytes, sha256, max_abs_q_error,
            argmax_agreement, decisions, flips, verified_with, others (files beside it).
        size: ledger of the csr artifact.
        flops: per forward pass of one agent, by Rule R: dense, sparse, ratio.
        layers: one entry per layer.
        real: bytes, multiply-adds, latency and break-even as measured (`agent_costs`).
        contract, env, provenance: what the agent takes, where it plays, where it comes from.
        checkpoint_sha256: which checkpoint it was.
    """

    run: str
    files: list[dict[str, Any]]
    size: dict[str, int]
    flops: dict[str, float]
    layers: list[dict[str, Any]]
    real: dict[str, Any]
    contract: dict[str, Any]
    env: dict[str, Any]
    provenance: dict[str, Any]
    checkpoint_sha256: str

    def to_json(self) -> dict[str, Any]:
        """The `mast-edge/export/1` object."""
        names = ("run", "checkpoint_sha256", "files", "size", "flops", "layers", "real")
        facts = {name: getattr(self, name) for name in (*names, "contract", "env", "provenance")}
        return {"schema": SCHEMA, **facts}


def export_run(
    source: Path,
    formats: Sequence[str],
    out_dir: Path | None = None,
    *,
    precision: str = "f32",
    with_avail: bool = False,
    prefix: str = "agent",
    force: bool = False,
    measure: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Exports the agents of a run, or of one checkpoint.

    Args:
        source: run folder (its manifest names the checkpoint) or checkpoint folder.
        formats: names in `registry.EXPORT_FORMATS`.
        out_dir: where `<format>/` folders go (`<format>-int8/` for int8); None takes `<run>/exports`.
        precision: a name in `layers.PRECISIONS`.
        with_avail: onnx: also take the available actions and give the action.
        prefix: c: what every name begins with.
        force: export a run that has not ended, and int8 weights that change too many decisions.
        measure: also take times, about a second (`costs`); without, the report is the same every time.
        on_progress: told what is being done, one line each.

    Returns:
        The report; each format's `report.json` and `card.md` hold its part.

    Raises:
        UsageError: unknown format or precision, or a format that does not offer it.
        MissingInput: no complete checkpoint, a run that has not ended, or an optional package is missing.
        ArtifactRefused: the checkpoint is damaged, or an export does not answer as it does. No file is left.
        EnvironmentUnavailable: no C compiler to verify the C export with.
        MastEdgeError: the file system refused; no file is left.
    """
    exporters = _exporters(formats, precision)
    run, checkpoint_folder = find_checkpoint(source)
    if run is not None and not force:
        _require_complete(run)
    checkpoint = read_agent(checkpoint_folder)
    job = Job(
        checkpoint,
        reference_of(checkpoint, read_recorded(checkpoint_folder)),
        _provenance(run, checkpoint),
        precision,
        with_avail,
        prefix,
    )
    tell = on_progress or (lambda _: None)
    tell("measuring sizes and times" if measure else "counting")
    facts = describe(job, measure)
    report = ExportReport(
        run=str(run or checkpoint_folder),
        files=[],
        contract=job.contract.contract_json(),
        env=job.contract.env_json(),
        provenance=dict(job.provenance),
        checkpoint_sha256=checkpoint.index_sha256,
        **facts,
    )
    target = out_dir if out_dir is not None else (run or checkpoint_folder) / "exports"
    for name, exporter in exporters.items():
        tell(f"writing and verifying {name}")
        folder = target / (name if precision == "f32" else f"{name}-{precision}")
        report.files.extend(_export_one(job, exporter, folder, report, force))
    return report


def _exporters(formats: Sequence[str], precision: str) -> dict[str, Exporter]:
    if precision not in PRECISIONS:
        raise UsageError(
            f"export: precision must be one of {', '.join(PRECISIONS)}; got '{precision}'."
            f"{nearest(precision, list(PRECISIONS))}"
        )
    exporters = {
        name: resolve("export format", EXPORT_FORMATS, name, error=UsageError)
        for name in dict.fromkeys(formats)
    }
    wrong = [name for name in exporters if precision == "int8" and name not in INT8_FORMATS]
    if wrong:
        raise UsageError(
            f"export: int8 must be one of the formats {', '.join(INT8_FORMATS)}; got {', '.join(wrong)}. "
            "Use --precision f32 for it."
        )
    return exporters


def _export_one(
    job: Job, exporter: Exporter, folder: Path, report: ExportReport, force: bool
) -> list[dict[str, Any]]:
    """One format: written aside, verified, moved into place. Nothing stays aside, whatever happens."""
    aside: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_left_over(folder)
        aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=folder))
        models = exporter(job, aside)
        entries = [_entry(job, name, path, folder, force) for name, path in models.items()]
        part = {**report.to_json(), "files": entries}
        (aside / CARD_FILE).write_text(agent_card(part), encoding="utf-8", newline="\n")
        (aside / REPORT_FILE).write_text(json.dumps(part, indent=1) + "\n", encoding="utf-8", newline="\n")
        _move(aside, folder)
    except OSError as problem:
        raise MastEdgeError(
            f"{folder}: export must be writable; got {problem.strerror or problem}. "
            "Free space or choose another folder with --out."
        ) from problem
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # succeeds only where nothing was ever exported
    return entries


def _remove_left_over(folder: Path) -> None:
    """Removes what an export that was killed left aside; one that may still be at work is left alone."""
    for path in folder.glob(f"{_ASIDE}*"):
        if time.time() - path.stat().st_mtime > _HOUR:
            shutil.rmtree(path, ignore_errors=True)


def _entry(job: Job, name: str, path: Path, folder: Path, force: bool) -> dict[str, Any]:
    """Verifies one model file and describes it as it will be called."""
    q, path_taken = read_back(RUNTIME_OF[name], path, job.reference)
    found: Comparison = compare(q, job.reference, path_taken)
    if job.precision == "f32":
        require_equal(str(folder / path.name), q, job.reference)
    elif not force:
        require_few_flips(str(folder / path.name), found)
    data = path.read_bytes()
    beside = sorted(other.name for other in path.parent.iterdir() if other != path)
    return {
        "format": name,
        "precision": job.precision,
        "path": str(folder / path.name),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "max_abs_q_error": found.max_abs_q_error,
        "argmax_agreement": found.argmax_agreement,
        "decisions": found.decisions,
        "flips": found.flips,
        "verified_with": found.path_taken,
        "others": beside,
    }


def _move(aside: Path, folder: Path) -> None:
    """Puts finished files in place. A report is only ever there while the others belong to it."""
    finished = sorted(aside.iterdir(), key=lambda path: path.name == REPORT_FILE)
    for path in finished:
        sync_file(path)
    former = _named_in(folder / REPORT_FILE)
    (folder / REPORT_FILE).unlink(missing_ok=True)
    for path in finished:
        os.replace(path, folder / path.name)
    for name in former - {path.name for path in finished}:
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)


def _named_in(report: Path) -> set[str]:
    """The files that a report of ours says lie beside it; empty where it is not there or not readable."""
    try:
        entries = json.loads(report.read_bytes())["files"]
        names = {Path(entry["path"]).name for entry in entries}
        names |= {name for entry in entries for name in entry["others"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if name == Path(name).name and name.isprintable()}


def find_checkpoint(source: Path) -> tuple[Path | None, Path]:
    """(run folder or None, checkpoint folder).

    Raises:
        MissingInput: there is no complete checkpoint.
    """
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


def _require_complete(run: Path) -> None:
    """Refuses agents that are still being trained."""
    manifest = _manifest(run)
    status = manifest.get("status", "complete")
    if status != "complete":
        raise MissingInput(
            f"{run}: run must be complete to be exported; got {status!s:.20} after {manifest.get('t_env')} "
            f"environment steps. Run: mast-edge train {run / 'config.resolved.yaml'} to finish it, "
            "or export it as it is with --force"
        )


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
        "run": manifest.get("name"),
        "win_rate": manifest.get("win_rate"),
        "config_sha256": manifest.get("config_sha256"),
        "checkpoint_sha256": checkpoint.index_sha256,
        "git_commit": manifest.get("git_commit"),
        "mast_edge": version("mast-edge"),
        "torch": known.get("torch"),
        "numpy": known.get("numpy", np.__version__),
    }
