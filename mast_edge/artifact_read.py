"""Reading an exported agent: cheap checks first, nothing allocated from a number that was not checked.

Every check holds for files made to harm, with all digests recomputed, as well as for damaged ones.

Source: runtime.md section 3, "Validation on load", in the order of that table.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.artifact import (
    FORMAT,
    FORMAT_VERSION,
    MAX_FILE_BYTES,
    NO_DIGEST,
    Artifact,
    CsrLayer,
    DenseLayer,
    Layer,
    index_dtype,
    pointer_dtype,
    sparsity_json,
)
from mast_edge.artifact_header import Header, Tensor, read_header
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import assemble
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactTooLarge,
    ArtifactValue,
    ArtifactVersion,
    MissingInput,
)
from mast_edge.golden import STEPS, check_golden
from mast_edge.spec import LAYERS, AgentSpec

READABLE_VERSIONS = (FORMAT_VERSION,)
_SECTIONS = {"csr": ("values", "indices", "indptr", "bias"), "dense": ("dense", "bias")}
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
}
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
        MissingInput: no such file.
        ArtifactRefused: a check failed; the subclass and the message say which.
    """
    if not path.is_file():
        raise MissingInput(
            f"{path}: exported agent must exist; got no file. Run: mast-edge export --format csr"
        )
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise ArtifactTooLarge(
                f"{path}: file must be at most {MAX_FILE_BYTES} bytes; got {size}. Is it an exported agent?"
            )
        data = file.read(MAX_FILE_BYTES + 1)
    return parse_artifact(str(path), data)


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
    if set(metadata) != _METADATA:
        raise ArtifactMalformed(
            f"{who}: metadata must hold {', '.join(sorted(_METADATA))}; "
            f"got {', '.join(sorted(metadata)):.200}. Export again."
        )
    kinds = _kinds(who, metadata["sparsity"])
    _check_names(who, header.tensors, kinds)
    contract = AgentContract.from_json(who, metadata["contract"], metadata["env"])
    _check_shapes(who, header.tensors, kinds, contract.spec)
    layers = {name: _layer(who, data, header.tensors, name, kinds[name], contract.spec) for name in LAYERS}
    golden_q = _array(data, header.tensors["golden.q"])
    _check_finite(who, "golden.q", golden_q)
    _check_claims(who, metadata, header.tensors, layers)
    actions = _golden_actions(who, metadata["golden"], contract.spec)
    artifact = Artifact(
        who, contract, layers, metadata, golden_q, actions, hashlib.sha256(data).hexdigest(), header.size
    )
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
    for name, tensor in header.tensors.items():
        found = hashlib.sha256(view[tensor.begin : tensor.end]).hexdigest()
        if sections[name] != [tensor.dtype, list(tensor.shape), found]:
            raise ArtifactCorrupt(
                f"{who}: {name:.80} must be {sections[name]!s:.160}; got {tensor.dtype} {list(tensor.shape)} "
                f"{found}. It was damaged or altered: copy it again or export again."
            )


def _check_version(who: str, metadata: Mapping[str, Any]) -> None:
    name, version = metadata.get("format"), metadata.get("format_version")
    if name != FORMAT or type(version) is not int or version not in READABLE_VERSIONS:
        provenance = metadata.get("provenance")
        writer = provenance.get("mast_edge") if isinstance(provenance, dict) else None
        raise ArtifactVersion(
            f"{who}: format must be {FORMAT} {' or '.join(map(str, READABLE_VERSIONS))}; "
            f"got {name!s:.40} {version!s:.20}, written by mast-edge {writer!s:.20}. "
            "Export again with this version, or install that one."
        )


def _kinds(who: str, sparsity: Any) -> dict[str, str]:
    rows = sparsity.get("layers") if isinstance(sparsity, dict) else None
    if not isinstance(rows, dict) or set(rows) != set(LAYERS):
        raise ArtifactMalformed(
            f"{who}: sparsity must list the layers {', '.join(LAYERS)}; got others. Export again."
        )
    kinds: dict[str, str] = {}
    for name, row in rows.items():
        kind = row.get("kind") if isinstance(row, dict) else None
        if not isinstance(kind, str) or kind not in _SECTIONS:
            raise ArtifactMalformed(
                f"{who}: {name} kind must be one of {', '.join(_SECTIONS)}; got {kind!s:.40}. Export again."
            )
        kinds[name] = kind
    return kinds


def _check_names(who: str, tensors: Mapping[str, Tensor], kinds: Mapping[str, str]) -> None:
    expected = {"golden.q"} | {f"{name}.{part}" for name, kind in kinds.items() for part in _SECTIONS[kind]}
    if set(tensors) != expected:
        odd = ", ".join(sorted(set(tensors) ^ expected))
        raise ArtifactMalformed(
            f"{who}: tensors must be those of its layers; got a difference in {odd:.200}. Export again."
        )
    for name, tensor in tensors.items():
        integers = name.endswith((".indices", ".indptr"))
        if (tensor.dtype == "F32") == integers:
            wanted = "unsigned integers" if integers else "F32"
            raise ArtifactMalformed(f"{who}: {name} must be {wanted}; got {tensor.dtype}. Export again.")


def _check_shapes(who: str, tensors: Mapping[str, Tensor], kinds: Mapping[str, str], spec: AgentSpec) -> None:
    expected: dict[str, tuple[tuple[int, ...], str]] = {"golden.q": ((STEPS, spec.n_actions), "F32")}
    for name, (rows, cols) in spec.layer_shapes().items():
        expected[f"{name}.bias"] = ((rows,), "F32")
        if kinds[name] == "dense":
            expected[f"{name}.dense"] = ((rows, cols), "F32")
            continue
        shape = tensors[f"{name}.values"].shape
        nnz = shape[0] if len(shape) == 1 else -1
        if not 0 <= nnz <= rows * cols:
            raise ArtifactInconsistent(
                f"{who}: {name}.values must be one row of at most {rows} x {cols} weights; "
                f"got {shape}. Export again."
            )
        expected[f"{name}.values"] = ((nnz,), "F32")
        expected[f"{name}.indices"] = ((nnz,), _code(index_dtype(cols - 1)))
        expected[f"{name}.indptr"] = ((rows + 1,), _code(pointer_dtype(nnz)))
    for name, (shape, dtype) in expected.items():
        if tensors[name].shape != shape or tensors[name].dtype != dtype:
            raise ArtifactInconsistent(
                f"{who}: {name} must be {dtype} {shape}; "
                f"got {tensors[name].dtype} {tensors[name].shape}. Export again."
            )


def _layer(
    who: str, data: bytes, tensors: Mapping[str, Tensor], name: str, kind: str, spec: AgentSpec
) -> Layer:
    cols = spec.layer_shapes()[name][1]
    part = {section: _array(data, tensors[f"{name}.{section}"]) for section in _SECTIONS[kind]}
    if kind == "csr":
        _check_pointers(who, name, part["indptr"], tensors[f"{name}.values"].shape[0])
        _check_indices(who, name, part["indices"], part["indptr"], cols)
    for section, table in part.items():
        if table.dtype == np.float32:
            _check_finite(who, f"{name}.{section}", table)
    if kind == "dense":
        return DenseLayer(part["dense"], part["bias"])
    return CsrLayer(cols, part["values"], part["indices"], part["indptr"], part["bias"])


def _check_pointers(who: str, name: str, indptr: NDArray[Any], nnz: int) -> None:
    if indptr[0] != 0 or indptr[-1] != nnz or (indptr[1:] < indptr[:-1]).any():
        raise ArtifactInconsistent(
            f"{who}: {name}.indptr must rise from 0 to {nnz}; got {indptr[0]} to {indptr[-1]}"
            f"{', falling between' if (indptr[1:] < indptr[:-1]).any() else ''}. Export again."
        )


def _check_indices(who: str, name: str, indices: NDArray[Any], indptr: NDArray[Any], cols: int) -> None:
    if len(indices) and indices.max() >= cols:
        raise ArtifactInconsistent(
            f"{who}: {name}.indices must be below {cols}; got {indices.max()}. Export again."
        )
    rising = indices[1:] > indices[:-1]
    begins = indptr[1:-1].astype(np.int64)
    begins = begins[(begins > 0) & (begins < len(indices))]
    rising[begins - 1] = True
    if not rising.all():
        at = int(np.flatnonzero(~rising)[0]) + 1
        raise ArtifactInconsistent(
            f"{who}: {name}.indices must rise inside a row; got {indices[at - 1]} then {indices[at]} "
            f"at entry {at}. Export again."
        )


def _check_finite(who: str, section: str, table: NDArray[Any]) -> None:
    finite = np.isfinite(table)
    if not finite.all():
        raise ArtifactValue(
            f"{who}: {section} must be finite; got {int((~finite).sum())} values that are not. Export again."
        )


def _check_claims(
    who: str, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], layers: Mapping[str, Layer]
) -> None:
    if metadata["sparsity"] != sparsity_json(layers):
        raise ArtifactInconsistent(
            f"{who}: sparsity must be what its tables hold, {sparsity_json(layers)['total']} in all; "
            f"got {metadata['sparsity']!s:.120}. Export again."
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
            f"{who}: golden must hold {STEPS} actions below {spec.n_actions}; got {golden!s:.120}. "
            "Export again."
        )
    return actions


def _array(data: bytes, tensor: Tensor) -> NDArray[Any]:
    dtype = _DTYPES[tensor.dtype]
    count = (tensor.end - tensor.begin) // dtype.itemsize
    table = np.frombuffer(data, dtype, count, tensor.begin).reshape(tensor.shape)
    native: NDArray[Any] = table.astype(dtype.newbyteorder("="), copy=True)
    return native


def _code(dtype: np.dtype[Any]) -> str:
    return {1: "U8", 2: "U16", 4: "U32"}[dtype.itemsize]
