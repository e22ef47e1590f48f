"""The agent protocol, version 1: messages to bytes and bytes to messages. No sockets, no numpy.

A frame is a header of 12 bytes, a payload, and a checksum. All is little-endian, floats are IEEE 754 single:

    0  u8[2]  magic "ME"           4  u32  sequence number
    2  u8     protocol version     8  u32  payload length L
    3  u8     message type        12  u8[L]  payload       12 + L  u32  CRC-32 of all before it

Lengths are checked against what the receiver expects at that point, before anything of their size is
allocated or waited for.

Source: docs/agent-protocol.md, which holds the whole contract, for the side of a device too.
"""

import struct
import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

MAGIC = b"ME"
VERSION = 1
HEADER = struct.Struct("<2sBBII")
HEADER_BYTES = HEADER.size
CRC_BYTES = 4
FRAME_BYTES = HEADER_BYTES + CRC_BYTES
"""Of a frame without payload."""
MAX_SIZE = 65_536
"""Of obs_dim, n_actions and n_agents: what an exported agent may have (`contract.MAX_DIM`)."""
MAX_PAYLOAD = 4 * MAX_SIZE + MAX_SIZE
"""No payload is longer: a STEP of the largest agent."""
MAX_TEXT = 1024
"""Bytes of the text of a READY or an ERROR."""
MAX_SEQUENCE = 2**32 - 1

_U32 = struct.Struct("<I")
_SIZES = struct.Struct("<IIII")
_READY = struct.Struct("<IIIIQ32s")

_ERROR_BYTES = (_U32.size, _U32.size + MAX_TEXT)

Buffer = bytes | bytearray | memoryview
Expected = Mapping[int, tuple[int, int]]
"""Message type -> (shortest, longest) payload a receiver accepts at this point."""


class Kind(IntEnum):
    """Message types. The host is the side that has the game, or the machine around the agent."""

    HELLO = 1
    READY = 2
    START = 3
    STARTED = 4
    STEP = 5
    ACTION = 6
    REPLACED = 7
    ERROR = 8
    BYE = 9


_KINDS = {int(kind): kind for kind in Kind}


class Fault(IntEnum):
    """Codes of ERROR."""

    MALFORMED = 1
    VERSION = 2
    CHECKSUM = 3
    SIZES = 4
    INPUT = 5
    START_UP = 6
    INTERNAL = 7


class WireError(Exception):
    """Bytes that are no message of this protocol. `fault`: what an ERROR about them would say."""

    fault = Fault.MALFORMED


class VersionError(WireError):
    """The other side speaks another version."""

    fault = Fault.VERSION


class ChecksumError(WireError):
    """A frame of the right type and length whose bits are not those that were sent: only it is lost."""

    fault = Fault.CHECKSUM


class Sizes(NamedTuple):
    """Payload of HELLO and the beginning of READY: what host and agent must agree on."""

    obs_dim: int
    n_actions: int
    n_agents: int
    agent_id: int


class Ready(NamedTuple):
    """Payload of READY.

    Attributes:
        sizes: the agent's own.
        resident_bytes: memory it holds; 0 where it cannot tell.
        sha256: digest of the file it plays, 32 bytes; zeros where it does not know.
        text: what computes, for reports.
    """

    sizes: Sizes
    resident_bytes: int
    sha256: bytes
    text: str = ""


class Message(NamedTuple):
    """A frame that passed every check. `payload` may lie in the receiver's buffer: use it before the next."""

    kind: Kind
    sequence: int
    payload: Buffer


def step_bytes(obs_dim: int, n_actions: int) -> int:
    """Payload length of a STEP: obs_dim float32, then n_actions bytes."""
    return 4 * obs_dim + n_actions


def expected_by_agent(sizes: Sizes | None = None) -> dict[int, tuple[int, int]]:
    """What an agent accepts: HELLO before sizes are agreed, then the rest."""
    accepted: dict[int, tuple[int, int]] = {Kind.ERROR: _ERROR_BYTES, Kind.BYE: (0, 0)}
    if sizes is None:
        return accepted | {Kind.HELLO: (_SIZES.size, _SIZES.size)}
    step = step_bytes(sizes.obs_dim, sizes.n_actions)
    return accepted | {Kind.START: (0, 0), Kind.STEP: (step, step), Kind.REPLACED: (4, 4)}


def expected_by_host(agreed: bool) -> dict[int, tuple[int, int]]:
    """What a host accepts: READY before sizes are agreed, then the rest."""
    accepted: dict[int, tuple[int, int]] = {Kind.ERROR: _ERROR_BYTES}
    if not agreed:
        return accepted | {Kind.READY: (_READY.size, _READY.size + MAX_TEXT)}
    return accepted | {Kind.STARTED: (0, 0), Kind.ACTION: (4, 4)}


def frame(kind: Kind, sequence: int, payload: Buffer = b"") -> bytearray:
    """A whole message; `sequence` is taken modulo 2**32."""
    whole = bytearray(HEADER_BYTES) + payload + bytes(CRC_BYTES)
    seal(whole, kind, sequence)
    return whole


def seal(whole: bytearray | memoryview, kind: Kind, sequence: int) -> None:
    """Writes header and checksum around a payload that already stands in its frame."""
    end = len(whole) - CRC_BYTES
    HEADER.pack_into(whole, 0, MAGIC, VERSION, kind, sequence & MAX_SEQUENCE, end - HEADER_BYTES)
    _U32.pack_into(whole, end, zlib.crc32(memoryview(whole)[:end]))


def parse(buffer: memoryview, expected: Expected) -> Message | None:
    """The message at the beginning of `buffer`; its frame is `FRAME_BYTES + len(payload)` bytes long.

    Args:
        buffer: received bytes, may end anywhere.
        expected: types and lengths that make sense now.

    Returns:
        None while bytes are missing. Bytes that cannot become a message are refused as early as they show.

    Raises:
        VersionError, ChecksumError, WireError: says what was expected and what came.
    """
    have = len(buffer)
    if have < HEADER_BYTES:
        _check_beginning(buffer)
        return None
    magic, version, kind, sequence, length = HEADER.unpack_from(buffer)
    if magic != MAGIC or version != VERSION:
        _check_beginning(buffer)
    if kind not in expected:
        raise WireError(f"wire: message type must be {_names(expected)}; got {_name(kind)}.")
    shortest, longest = expected[kind]
    if not shortest <= length <= longest:
        wanted = str(longest) if shortest == longest else f"{shortest}..{longest}"
        raise WireError(f"wire: payload of {_name(kind)} must be {wanted} bytes; got {length}.")
    end = HEADER_BYTES + length
    if have < end + CRC_BYTES:
        return None
    (sent,) = _U32.unpack_from(buffer, end)
    if (computed := zlib.crc32(buffer[:end])) != sent:
        raise ChecksumError(f"wire: checksum of {_name(kind)} must be {computed:08x}; got {sent:08x}.")
    return Message(_KINDS[kind], sequence, buffer[HEADER_BYTES:end])


def hello_payload(sizes: Sizes) -> bytes:
    """Payload of HELLO."""
    return _SIZES.pack(*sizes)


def read_hello(payload: Buffer) -> Sizes:
    """The sizes in a HELLO, each in range.

    Raises:
        WireError: a size is 0 or above `MAX_SIZE`, or the agent has no place in the team.
    """
    return _checked(Sizes(*_SIZES.unpack(payload)))


def ready_payload(ready: Ready) -> bytes:
    """Payload of READY."""
    return _READY.pack(*ready.sizes, ready.resident_bytes, ready.sha256) + _cut(ready.text)


def read_ready(payload: Buffer) -> Ready:
    """The READY in a payload; errors as in `read_hello`."""
    *sizes, resident_bytes, sha256 = _READY.unpack_from(payload)
    return Ready(_checked(Sizes(*sizes)), resident_bytes, sha256, _text(payload[_READY.size :]))


def action_payload(action: int) -> bytes:
    """Payload of ACTION and REPLACED."""
    return _U32.pack(action)


def read_action(payload: Buffer) -> int:
    """The action in an ACTION or REPLACED; whether it exists is for the caller to check."""
    action: int = _U32.unpack(payload)[0]
    return action


def error_payload(fault: Fault, text: str) -> bytes:
    """Payload of ERROR."""
    return _U32.pack(fault) + _cut(text)


def read_error(payload: Buffer) -> tuple[int, str]:
    """Code and text of an ERROR. Codes that are not in `Fault` may come from later versions."""
    code: int = _U32.unpack_from(payload)[0]
    return code, _text(payload[_U32.size :])


def _cut(text: str) -> bytes:
    """At most `MAX_TEXT` bytes of UTF-8, cut between two characters."""
    return text.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore").encode()


def _text(payload: Buffer) -> str:
    """Text of the other side, fit for one line of a terminal."""
    said = bytes(payload).decode(errors="replace")
    return "".join(letter if letter.isprintable() else " " for letter in said)


def _check_beginning(buffer: memoryview) -> None:
    start = bytes(buffer[:3])
    if start[:2] != MAGIC[: len(start)]:
        raise WireError(f"wire: a message must begin with {MAGIC.hex(' ')}; got {start[:2].hex(' ')}.")
    if len(start) > 2 and start[2] != VERSION:
        raise VersionError(f"wire: protocol version must be {VERSION}; got {start[2]}.")


def _checked(sizes: Sizes) -> Sizes:
    for name, size in zip(Sizes._fields[:3], sizes, strict=False):
        if not 1 <= size <= MAX_SIZE:
            raise WireError(f"wire: {name} must be in 1..{MAX_SIZE}; got {size}.")
    if sizes.agent_id >= sizes.n_agents:
        raise WireError(f"wire: agent_id must be below {sizes.n_agents}; got {sizes.agent_id}.")
    return sizes


def _names(expected: Expected) -> str:
    return " or ".join(_name(kind) for kind in sorted(expected))


def _name(kind: int) -> str:
    return _KINDS[kind].name if kind in _KINDS else str(kind)
