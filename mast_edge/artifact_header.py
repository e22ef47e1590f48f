"""The outer shell of an artifact: the safetensors header, read without trusting it.

The safetensors library is not used here: it accepts duplicate keys and does not report where things lie,
and a reader of files from elsewhere should be short enough to be read itself.

Source: runtime.md section 3, "Validation on load", rows 1 and 2.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mast_edge.artifact import METADATA_KEY
from mast_edge.artifact_file import MAX_FILE_BYTES
from mast_edge.errors import ArtifactMalformed, ArtifactTooLarge, shown

MAX_HEADER_BYTES = 2**20
MAX_JSON_DEPTH = 32
MAX_JSON_VALUES = 2**14
"""An artifact of ours has some hundred; Python takes up to 100 bytes for a value of two."""
_MAX_TENSORS = 64
_ITEM_BYTES = {"F32": 4, "I8": 1, "U8": 1, "U16": 2, "U32": 4}
_QUOTED = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
"""A string. Possessive: a long one leaves no way back that would have to be remembered."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: dtype name, shape, and its bytes `begin:end` counted from the start of the
    file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """tensors by name; the metadata string, parsed; `size` bytes from the start of the file to the first
    tensor."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    size: int


def read_header(who: str, data: bytes) -> Header:
    """Parses the header of a whole file held in memory.

    Args:
        who: file name, for messages.
        data: the file.

    Raises:
        ArtifactTooLarge: more than 64 MB.
        ArtifactMalformed: anything but a header of at most 1 MB whose tensors fill the file without hole or
            overlap, and which holds exactly one metadata string.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ArtifactTooLarge(
            f"{who}: file must be at most {MAX_FILE_BYTES} bytes; got {len(data)}. Is it an exported agent?"
        )
    length = int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise _malformed(who, "header length", f"2..{MAX_HEADER_BYTES} and inside the file", length)
    header = strict_json(who, "header", data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {METADATA_KEY}:
        raise _malformed(who, "__metadata__", f"an object with the one key {METADATA_KEY}", metadata)
    text = metadata[METADATA_KEY]
    if not isinstance(text, str):
        raise _malformed(who, METADATA_KEY, "a string", text)
    if len(header) > _MAX_TENSORS:
        raise _malformed(who, "tensors", f"at most {_MAX_TENSORS}", len(header))
    tensors = {name: _tensor(who, name, entry, 8 + length) for name, entry in header.items()}
    _expect_no_holes(who, tensors, 8 + length, len(data))
    return Header(tensors, strict_json(who, METADATA_KEY, text.encode("utf-8", "surrogatepass")), 8 + length)


def strict_json(who: str, what: str, raw: bytes) -> dict[str, Any]:
    """A JSON object, refusing what Python's parser lets through: duplicate keys, depth, NaN, huge integers.

    Args:
        who: file name, for messages.
        what: the object is called in messages.
        raw: its text in UTF-8; commas and brackets inside strings count as values, too.

    Raises:
        ArtifactMalformed: it is not such an object.
    """
    values = sum(map(raw.count, (b",", b"[", b"{")))
    if values > MAX_JSON_VALUES:
        raise _malformed(who, what, f"JSON of at most {MAX_JSON_VALUES} values", values)
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", _QUOTED.sub(b"", raw)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_JSON_DEPTH:
        raise _malformed(who, what, f"nested at most {MAX_JSON_DEPTH} deep", deepest)
    try:
        parsed = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse("a JSON number"),
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
    except (ValueError, RecursionError) as problem:
        raise ArtifactMalformed(
            f"{who}: {what} must be strict JSON; got {problem!s:.160}. Export again."
        ) from problem
    if not isinstance(parsed, dict):
        raise _malformed(who, what, "a JSON object", type(parsed).__name__)
    return parsed


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key given twice")
    return found


def _refuse(wanted: str) -> Callable[[str], Any]:
    def refuse(text: str) -> Any:
        raise ValueError(f"{text:.20} instead of {wanted}")

    return refuse


def _bounded_int(text: str) -> int:
    if len(text) > 16:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.20}")
    return value


def _tensor(who: str, name: str, entry: Any, origin: int) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _malformed(who, shown(name), "an entry of dtype, shape and data_offsets", entry)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise _malformed(who, f"{shown(name)} dtype", f"one of {', '.join(_ITEM_BYTES)}", dtype)
    if not (_sizes(shape) and len(shape) <= 2) or not (_sizes(offsets) and len(offsets) == 2):
        raise _malformed(
            who, f"{shown(name)} shape and data_offsets", "sizes inside the file", (shape, offsets)
        )
    if math.prod(shape) * _ITEM_BYTES[dtype] != offsets[1] - offsets[0]:
        raise _malformed(who, f"{shown(name)} data_offsets", f"as long as {dtype} {shape}", offsets)
    return Tensor(dtype, tuple(shape), origin + offsets[0], origin + offsets[1])


def _sizes(found: Any) -> bool:
    return isinstance(found, list) and all(type(n) is int and 0 <= n <= MAX_FILE_BYTES for n in found)


def _expect_no_holes(who: str, tensors: dict[str, Tensor], begin: int, end: int) -> None:
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != begin:
            raise _malformed(
                who, f"{shown(name)} data_offsets", f"from byte {begin} without hole or overlap", tensor.begin
            )
        begin = tensor.end
    if begin != end:
        raise _malformed(who, "tensors", f"filling the file to byte {end}", begin)


def _malformed(who: str, what: str, wanted: str, found: object) -> ArtifactMalformed:
    return ArtifactMalformed(f"{who}: {what} must be {wanted}; got {shown(found)}. Export again.")
