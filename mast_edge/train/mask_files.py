"""Masks of a moment of training, one bit per connection, for the paper's Figures 10 and 14 to 20.

`masks/step-000500000.safetensors` in the run folder: a uint8 tensor per layer (`agent.fc1`) holds the mask
row by row, eight entries to a byte, the first in the lowest bit, zeros after the last. The metadata is one
string, JSON, with the shapes and a digest.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mast_edge.atomic import write_atomically
from mast_edge.errors import ArtifactCorrupt, ArtifactMalformed, MissingInput

SCHEMA = "mast-edge/masks/1"
METADATA_KEY = "mast_edge"
MAX_SIZE = 2**31
_NAME = re.compile(r"step-(\d{9,})\.safetensors")


def write_masks(folder: Path, t_env: int, masks: Mapping[str, NDArray[np.bool_]]) -> Path:
    """Saves masks; the same ones give the same bytes, and a file of the same step is replaced.

    Args:
        folder: the run folder; `masks/` is made when missing.
        t_env: environment steps so far.
        masks: `network.layer` -> (out, in).

    Returns:
        The file, which is there whole or not at all.

    Raises:
        MastEdgeError: the file system refused.
    """
    packed = {name: np.packbits(mask.ravel(), bitorder="little") for name, mask in sorted(masks.items())}
    shapes = {name: list(masks[name].shape) for name in packed}
    facts: dict[str, Any] = {"schema": SCHEMA, "t_env": t_env, "shapes": shapes}
    facts["sha256"] = _digest(packed, facts)
    path = folder / "masks" / f"step-{t_env:09d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    # One key: safetensors writes several in an order that changes from process to process.
    write_atomically(path, save(packed, {METADATA_KEY: json.dumps(facts, sort_keys=True)}))
    return path


def read_masks(path: Path) -> dict[str, NDArray[np.bool_]]:
    """Reads and verifies what `write_masks` wrote.

    Args:
        path: the file.

    Returns:
        `network.layer` -> (out, in).

    Raises:
        MissingInput: no such file.
        ArtifactMalformed: not such a file, or a tensor is not as long as its declared shape needs.
        ArtifactCorrupt: its bits are not those that were written.
    """
    if not path.is_file():
        raise MissingInput(f"{path}: mask file must exist; got none. Look into the run's masks folder.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            packed = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, TypeError) as problem:
        raise _malformed(path, "file", "safetensors with tensors that numpy knows", problem) from problem
    facts = _facts(path, metadata.get(METADATA_KEY, ""))
    shapes = facts["shapes"]
    if set(shapes) != set(packed):
        raise _malformed(path, "shapes", f"of {', '.join(packed) or 'no layer'}", ", ".join(shapes))
    for name, bits in packed.items():
        _expect_fitting(path, name, bits, shapes[name])
    if facts["sha256"] != _digest(packed, facts):
        raise ArtifactCorrupt(f"{path}: masks must have their digest; got another. The file was damaged.")
    return {name: _unpacked(bits, shapes[name]) for name, bits in packed.items()}


def list_masks(run: Path) -> list[tuple[int, Path]]:
    """(t_env, file) of every mask file of a run folder, in order of t_env; none when it has no `masks/`."""
    found = ((_NAME.fullmatch(path.name), path) for path in (run / "masks").glob("step-*.safetensors"))
    return sorted((int(match[1]), path) for match, path in found if match)


def _facts(path: Path, text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise _malformed(path, f"metadata {METADATA_KEY}", "JSON", problem) from problem
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise _malformed(path, "schema", SCHEMA, facts.get("schema") if isinstance(facts, dict) else facts)
    if not isinstance(facts.get("shapes"), dict) or not isinstance(facts.get("sha256"), str):
        raise _malformed(path, "metadata", "an object with shapes and sha256", ", ".join(facts))
    return facts


def _expect_fitting(path: Path, name: str, bits: NDArray[Any], shape: object) -> None:
    if not isinstance(shape, list) or len(shape) != 2 or not all(map(_is_size, shape)):
        raise _malformed(path, f"{name} shape", f"two sizes of at most {MAX_SIZE}", shape)
    if bits.dtype != np.uint8 or bits.ndim != 1:
        raise _malformed(path, name, "a row of uint8", f"{bits.dtype} {bits.shape}")
    needed = -(-math.prod(shape) // 8)
    if len(bits) != needed:
        raise _malformed(path, name, f"{needed} bytes for shape {shape}", len(bits))


def _is_size(found: object) -> bool:
    return type(found) is int and 0 <= found <= MAX_SIZE


def _unpacked(bits: NDArray[np.uint8], shape: list[int]) -> NDArray[np.bool_]:
    flat = np.unpackbits(bits, count=math.prod(shape), bitorder="little")
    return flat.astype(bool).reshape(shape)


def _digest(packed: Mapping[str, NDArray[np.uint8]], facts: Mapping[str, Any]) -> str:
    """Of the bits, in order of their names, after all facts but the digest."""
    rest = {name: value for name, value in facts.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(packed):
        digest.update(packed[name].tobytes())
    return digest.hexdigest()


def _malformed(path: Path, what: str, wanted: str, found: object) -> ArtifactMalformed:
    return ArtifactMalformed(
        f"{path}: {what} must be {wanted}; got {found!s:.120}. Copy it again, or train again."
    )
