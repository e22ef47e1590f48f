"""`contract.json`, beside exported C: what the C may not say, and digests that bind the files together.

C holds sizes only; game, provenance and the meaning of its numbers stand here.

Source: runtime.md sections 3 and 5.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mast_edge.artifact_file import MAX_FILE_BYTES, read_file
from mast_edge.artifact_header import MAX_HEADER_BYTES, strict_json
from mast_edge.contract import AgentContract
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactVersion,
    MissingInput,
    shown,
)
from mast_edge.layers import PRECISIONS

FORMAT = "mast-edge/c"
FORMAT_VERSION = 1
CONTRACT_FILE = "contract.json"

_FIELDS = {
    *("format", "format_version", "prefix", "precision", "fc1_shift", "tolerance", "contract", "env"),
    *("provenance", "files"),
}
_EXPORT = "Run: mast-edge export --format c"


@dataclass(frozen=True, slots=True)
class CContract:
    """What stands in `contract.json`.

    Attributes:
        contract: sizes and game.
        prefix: what every name in the C begins with, and the files too.
        precision: f32, or int8 for the integer variant.
        fc1_shift: integer variant: fc1's output is times 2 to this; else None.
        tolerance: how far a Q value of the self test may be off.
        provenance: where the agent comes from.
    """

    contract: AgentContract
    prefix: str
    precision: str
    fc1_shift: int | None
    tolerance: float
    provenance: dict[str, Any]

    @property
    def names(self) -> tuple[str, str, str]:
        """Header, source and self test."""
        return f"{self.prefix}.h", f"{self.prefix}.c", f"{self.prefix}_selftest.c"

    def to_bytes(self, files: dict[str, bytes]) -> bytes:
        """The file, with the SHA-256 of each of `files`; ASCII, and the same for the same content."""
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "prefix": self.prefix,
            "precision": self.precision,
            "fc1_shift": self.fc1_shift,
            "tolerance": self.tolerance,
            "contract": self.contract.contract_json(),
            "env": self.contract.env_json(),
            "provenance": self.provenance,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode("ascii")


def read_c_export(path: Path) -> tuple[CContract, dict[str, bytes]]:
    """Reads and verifies exported C.

    Digests tell damage, not intent: whoever may write the folder may change both. Run C that you trust.

    Args:
        path: `<prefix>.c`, the `contract.json` beside it, or their folder.

    Returns:
        The contract, and the bytes of header, source and self test by name.

    Raises:
        MissingInput: a file is not there, or `path` is not exported C.
        ArtifactRefused: a check failed; the subclass says which.
    """
    folder = path if path.is_dir() else path.parent
    index = folder / CONTRACT_FILE
    whole = path.is_dir() or path.name == CONTRACT_FILE
    if not index.is_file() or not (whole or path.suffix == ".c"):
        raise MissingInput(
            f"{path}: the c runtime must be given exported C with its {CONTRACT_FILE}; got none. {_EXPORT}"
        )
    who = str(index)
    fields = strict_json(who, "content", read_file(index, "contract", _EXPORT, MAX_HEADER_BYTES))
    found = _checked(who, fields)
    if not whole and path.name != f"{found.prefix}.c":
        raise MissingInput(
            f"{path}: the c runtime must be given {found.prefix}.c, as {CONTRACT_FILE} says; got {path.name}."
        )
    return found, _verified(folder, found, fields["files"])


def _checked(who: str, fields: dict[str, Any]) -> CContract:
    name, version = fields.get("format"), fields.get("format_version")
    if name != FORMAT or type(version) is not int or version != FORMAT_VERSION:
        raise ArtifactVersion(
            f"{who}: format must be {FORMAT} {FORMAT_VERSION}; got {shown(name, 40)} "
            f"{shown(version, 20)}. Export again with this version."
        )
    if set(fields) != _FIELDS:
        raise ArtifactMalformed(
            f"{who}: fields must be {', '.join(sorted(_FIELDS))}; got {shown(sorted(fields), 200)}. "
            "Export again."
        )
    prefix, precision, tolerance = fields["prefix"], fields["precision"], fields["tolerance"]
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", prefix, re.ASCII):
        raise _malformed(who, "prefix", "a C identifier", prefix)
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise _malformed(who, "precision", f"one of {', '.join(PRECISIONS)}", precision)
    if type(tolerance) not in (int, float) or not 0 <= tolerance < 1e9:
        raise _malformed(who, "tolerance", "a number from 0", tolerance)
    shift = fields["fc1_shift"]
    if (type(shift) is not int) if precision == "int8" else (shift is not None):
        raise _malformed(who, "fc1_shift", "an integer for int8, null for f32", shift)
    if not isinstance(fields["provenance"], dict):
        raise _malformed(who, "provenance", "an object", fields["provenance"])
    contract = AgentContract.from_json(who, fields["contract"], fields["env"])
    return CContract(contract, prefix, precision, shift, float(tolerance), fields["provenance"])


def _verified(folder: Path, found: CContract, digests: Any) -> dict[str, bytes]:
    who = str(folder / CONTRACT_FILE)
    if not isinstance(digests, dict) or set(digests) != set(found.names):
        raise ArtifactInconsistent(
            f"{who}: files must be {', '.join(found.names)}; got {shown(digests, 120)}. Export again."
        )
    files = {}
    for name in found.names:
        path = folder / name
        files[name] = read_file(path, "exported C", _EXPORT, MAX_FILE_BYTES)
        digest = hashlib.sha256(files[name]).hexdigest()
        if digest != digests[name]:
            raise ArtifactCorrupt(
                f"{path}: file must have SHA-256 {shown(digests[name])}; got {digest}. "
                "It was damaged or altered: copy it again or export again."
            )
    return files


def _malformed(who: str, what: str, wanted: str, found: object) -> ArtifactMalformed:
    return ArtifactMalformed(f"{who}: {what} must be {wanted}; got {shown(found)}. Export again.")
