"""Reading an exported agent: cheap checks first, nothing allocated from a number that was not checked.

Every check holds for files made to harm, with all digests recomputed, as well as for damaged ones.

Source: runtime.md section 3, "Validation on load", in the order of that table.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast_edge.artifact import (
    FORMAT,
    FORMAT_VERSION,
    NO_DIGEST,
    Artifact,
    sparsity_json,
)
from mast_edge.artifact_file import read_file
from mast_edge.artifact_header import Header, Tensor, read_header
from mast_edge.artifact_tables import (
    array_of,
    expect_finite,
    expect_number_of_weights,
    expect_table,
    layer_of,
    table_class,
    table_names,
)
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import assemble
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactVersion,
    shown,
)
from mast_edge.golden import STEPS, check_golden
from mast_edge.layers import PRECISIONS, Layer
from mast_edge.spec import LAYERS, AgentSpec
from mast_edge.topology import PATTERNS

READABLE_VERSIONS = (FORMAT_VERSION - 1, FORMAT_VERSION)
_METADATA = {
    "format",
    "format_version",
    "contract",
    "env",
    "sparsity",
    "provenance",
    "golden",
    "sections",
    "file_sha256",
}
_SLOT = re.compile(rb'\\"file_sha256\\":\\"([0-9a-f]{64})\\"')


def read_artifact(path: Path) -> Artifact:
    """Reads and verifies an exported agent.

    Args:
        path: `agent.safetensors`.

    Raises:
        MissingInput: no such file, or one that cannot be read.
        ArtifactRefused: a check failed; the subclass and the message say which.
    """
    return parse_artifact(str(path), read_file(path, "exported agent", "Run: mast-edge export --format csr"))


def parse_artifact(who: str, data: bytes) -> Artifact:
    """Verifies an artifact held in memory; raises as `read_artifact`.

    Args:
        who: file name, for messages.
        data: the whole file.
    """
    header = read_header(who, data)
    metadata = header.metadata
    _check_file_digest(who, data, header)
    _check_section_digests(who, data, header)
    _check_version(who, metadata)
    precision = _precision(who, metadata)
    patterns = _patterns(who, metadata["sparsity"], metadata["format_version"])
    _check_names(who, header.tensors, patterns, precision)
    expect_number_of_weights(who, header.tensors)
    contract = AgentContract.from_json(who, metadata["contract"], metadata["env"])
    layers = {
        name: layer_of(who, data, header.tensors, name, patterns[name], precision, contract.spec)
        for name in LAYERS
    }
    expect_table(who, header.tensors, "golden.q", (STEPS, contract.spec.n_actions), "F32")
    golden_q = array_of(data, header.tensors["golden.q"])
    expect_finite(who, "golden.q", golden_q)
    _check_claims(who, metadata, header.tensors, layers)
    actions = _golden_actions(who, metadata["golden"], contract.spec)
    digest = hashlib.sha256(data).hexdigest()
    artifact = Artifact(who, contract, layers, metadata, golden_q, actions, digest, header.size, len(data))
    check_golden(
        who,
        contract.spec,
        golden_q,
        actions,
        lambda obs, last, ids, hidden: artifact.step_rows(assemble(contract.spec, obs, last, ids), hidden),
    )
    return artifact


def _check_file_digest(who: str, data: bytes, header: Header) -> None:
    slots = list(_SLOT.finditer(data, 0, header.size))
    if len(slots) != 1 or header.metadata.get("file_sha256") != slots[0][1].decode():
        raise ArtifactMalformed(
            f"{who}: metadata must hold one file_sha256 of 64 lower-case hex digits; "
            f"got {len(slots)}. Export again."
        )
    begin, end = slots[0].span(1)
    view = memoryview(data)
    digest = hashlib.sha256(view[:begin])
    digest.update(NO_DIGEST.encode())
    digest.update(view[end:])
    if digest.hexdigest() != slots[0][1].decode():
        raise ArtifactCorrupt(
            f"{who}: file must have SHA-256 {slots[0][1].decode()}; got {digest.hexdigest()}. "
            "It was damaged or altered: copy it again or export again."
        )


def _check_section_digests(who: str, data: bytes, header: Header) -> None:
    sections = header.metadata.get("sections")
    if not isinstance(sections, dict) or set(sections) != set(header.tensors):
        raise ArtifactMalformed(f"{who}: sections must list every tensor; got other names. Export again.")
    view = memoryview(data)
    version = header.metadata.get("format_version")
    first_version = type(version) is int and version == 1
    for name, tensor in header.tensors.items():
        digest = hashlib.sha256(view[tensor.begin : tensor.end]).hexdigest()
        found = [tensor.dtype, list(tensor.shape), digest] if first_version else digest
        if sections[name] != found:
            raise ArtifactCorrupt(
                f"{who}: {name} must be {shown(sections[name], 160)}; got {found}. "
                "It was damaged or altered: copy it again or export again."
            )


def _check_version(who: str, metadata: Mapping[str, Any]) -> None:
    name, version = metadata.get("format"), metadata.get("format_version")
    if name != FORMAT or type(version) is not int or version not in READABLE_VERSIONS:
        provenance = metadata.get("provenance")
        writer = provenance.get("mast_edge") if isinstance(provenance, dict) else None
        raise ArtifactVersion(
            f"{who}: format must be {FORMAT} {' or '.join(map(str, READABLE_VERSIONS))}; "
            f"got {shown(name, 40)} {shown(version, 20)}, written by mast-edge {shown(writer, 20)}. "
            "Export again with this version, or install that one."
        )


def _precision(who: str, metadata: Mapping[str, Any]) -> str:
    wanted = _METADATA if metadata["format_version"] == 1 else _METADATA | {"precision"}
    if set(metadata) != wanted:
        raise ArtifactMalformed(
            f"{who}: metadata must hold {', '.join(sorted(wanted))}; "
            f"got {shown(sorted(metadata), 200)}. Export again."
        )
    precision = metadata.get("precision", "f32")
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ArtifactMalformed(
            f"{who}: precision must be one of {', '.join(PRECISIONS)}; got {shown(precision)}. Export again."
        )
    return precision


def _patterns(who: str, sparsity: Any, format_version: int) -> dict[str, str]:
    """Layer -> pattern of its tables, `dense` for a dense one."""
    rows = sparsity.get("layers") if isinstance(sparsity, dict) else None
    if not isinstance(rows, dict) or set(rows) != set(LAYERS):
        raise ArtifactMalformed(
            f"{who}: sparsity must list the layers {', '.join(LAYERS)}; got others. Export again."
        )
    known = {
        "csr": ("element",),
        "dense": ("dense",),
        "block": tuple(name for name in PATTERNS if name != "element"),
    }
    if format_version == 1:
        known = {"csr": ("element",), "dense": ("element",)}
    patterns: dict[str, str] = {}
    for name, row in rows.items():
        kind, pattern = (row.get("kind"), row.get("pattern")) if isinstance(row, dict) else (None, None)
        if not isinstance(kind, str) or kind not in known:
            raise ArtifactMalformed(
                f"{who}: {name} kind must be one of {', '.join(known)}; got {shown(kind)}. Export again."
            )
        if not isinstance(pattern, str) or pattern not in known[kind]:
            raise ArtifactMalformed(
                f"{who}: {name} pattern must be {' or '.join(known[kind])}; got {shown(pattern)}. "
                "Export again."
            )
        patterns[name] = "dense" if kind == "dense" else pattern
    return patterns


def _check_names(
    who: str, tensors: Mapping[str, Tensor], patterns: Mapping[str, str], precision: str
) -> None:
    expected = {"golden.q"} | {
        f"{name}.{part}" for name, pattern in patterns.items() for part in table_names(pattern, precision)
    }
    if set(tensors) != expected:
        odd = sorted(set(tensors) ^ expected)
        raise ArtifactMalformed(
            f"{who}: tensors must be those of its layers; got a difference in {shown(odd, 200)}. "
            "Export again."
        )
    for name, tensor in tensors.items():
        wanted = table_class(name, precision)
        if tensor.dtype != wanted and (wanted != "unsigned integers" or tensor.dtype in ("F32", "I8")):
            raise ArtifactMalformed(f"{who}: {name} must be {wanted}; got {tensor.dtype}. Export again.")


def _check_claims(
    who: str, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], layers: Mapping[str, Layer]
) -> None:
    held = sparsity_json(layers, metadata["format_version"])
    # As text, in which 1, 1.0 and true differ.
    if json.dumps(metadata["sparsity"], sort_keys=True) != json.dumps(held, sort_keys=True):
        raise ArtifactInconsistent(
            f"{who}: sparsity must be what its tables hold, {held['total']} in all; "
            f"got {shown(metadata['sparsity'], 120)}. Export again."
        )
    if not isinstance(metadata["provenance"], dict):
        raise ArtifactMalformed(f"{who}: provenance must be an object; got another type. Export again.")
    total = sum(tensor.end - tensor.begin for tensor in tensors.values())
    stated = sum(row["bytes"] for row in metadata["sparsity"]["layers"].values())
    if stated + tensors["golden.q"].end - tensors["golden.q"].begin != total:
        raise ArtifactInconsistent(f"{who}: layer bytes must add up to {total}; got {stated}. Export again.")


def _golden_actions(who: str, golden: Any, spec: AgentSpec) -> list[int]:
    actions = golden.get("actions") if isinstance(golden, dict) and len(golden) == 1 else None
    if (
        not isinstance(actions, list)
        or len(actions) != STEPS
        or not all(type(action) is int and 0 <= action < spec.n_actions for action in actions)
    ):
        raise ArtifactInconsistent(
            f"{who}: golden must hold {STEPS} actions below {spec.n_actions}; got {shown(golden, 120)}. "
            "Export again."
        )
    return actions
