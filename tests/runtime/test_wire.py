"""The codec of the agent protocol: what is written is read, and nothing else is."""

import re
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast_edge import contract
from mast_edge.runtime import wire
from mast_edge.runtime.wire import (
    FRAME_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD,
    MAX_SIZE,
    MAX_TEXT,
    ChecksumError,
    Fault,
    Kind,
    Message,
    Ready,
    Sizes,
    VersionError,
    WireError,
    expected_by_agent,
    expected_by_host,
    frame,
    parse,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "agent-protocol.md"
SIZES = Sizes(2, 3, 2, 1)
EVERYTHING = {
    **expected_by_agent(),
    **expected_by_agent(SIZES),
    **expected_by_host(False),
    **expected_by_host(True),
}
SEQUENCES = st.integers(0, 2**32 - 1)


def read(data: bytes, expected=EVERYTHING) -> Message | None:
    return parse(memoryview(data), expected)


def outcome(data: bytes, expected=EVERYTHING) -> Message | WireError | None:
    try:
        return read(data, expected)
    except WireError as error:
        return error


@st.composite
def messages(draw) -> tuple[Kind, int, bytes]:
    kind = draw(st.sampled_from(list(Kind)))
    low, high = EVERYTHING[kind]
    return kind, draw(SEQUENCES), draw(st.binary(min_size=low, max_size=min(high, low + 64)))


@given(messages())
def test_what_is_written_is_read(message):
    kind, sequence, payload = message
    found = read(bytes(frame(*message)))
    assert (found.kind, found.sequence, bytes(found.payload)) == (kind, sequence, payload)
    assert isinstance(found.kind, Kind)


@given(messages(), messages(), st.data())
def test_a_stream_may_be_cut_anywhere(first, second, data):
    stream = bytes(frame(*first) + frame(*second))
    end = len(frame(*first))
    cut = data.draw(st.integers(0, len(stream)))
    found = read(stream[:cut])
    assert (found is None) == (cut < end)
    if found is not None:
        assert found.sequence == first[1]
        assert FRAME_BYTES + len(found.payload) == end
        assert (read(stream[end:cut]) is None) == (cut < len(stream))


@given(messages(), st.data())
def test_a_flipped_bit_never_passes(message, data):
    damaged = bytearray(frame(*message))
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    found, where = outcome(bytes(damaged)), bit // 8
    # A longer length that is allowed, of an ERROR or READY, asks for more; nothing else may pass.
    assert found is None or isinstance(found, WireError)
    if where == 2:
        assert isinstance(found, VersionError)
    elif 4 <= where < 8 or where >= HEADER_BYTES:
        assert isinstance(found, ChecksumError)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_or_wait(data):
    found = outcome(data)
    if found is None:
        assert data[:2] == b"ME"[: len(data[:2])]
    else:
        assert isinstance(found, WireError)


@given(st.integers(0, 255), SEQUENCES, st.integers(0, 2**32 - 1), st.booleans())
def test_a_header_promises_no_more_than_is_expected(kind, sequence, length, host):
    """Whatever a header says, a receiver waits for the lengths it knows, and for no others."""
    expected = expected_by_host(True) if host else expected_by_agent(SIZES)
    header = wire.HEADER.pack(wire.MAGIC, wire.VERSION, kind, sequence, length)
    found = outcome(header, expected)
    if kind in expected and expected[kind][0] <= length <= expected[kind][1]:
        assert found is None
        assert length <= MAX_PAYLOAD
    else:
        assert re.search(r"must be .*; got ", str(found))


def test_refusals_name_expected_and_got():
    good = bytes(frame(Kind.START, 1))
    for data, expected, error, text in (
        (b"X", EVERYTHING, WireError, "must begin with 4d 45; got 58"),
        (b"MX", EVERYTHING, WireError, "must begin with 4d 45; got 4d 58"),
        (b"ME\x02", EVERYTHING, VersionError, "protocol version must be 1; got 2"),
        (good[:2] + b"\x07" + good[3:], EVERYTHING, VersionError, "protocol version must be 1; got 7"),
        (good, expected_by_agent(), WireError, "message type must be HELLO or ERROR or BYE; got START"),
        (good[:3] + b"\x63" + good[4:], EVERYTHING, WireError, "got 99"),
        (bytes(frame(Kind.ACTION, 1, b"12345")), EVERYTHING, WireError, "ACTION must be 4 bytes; got 5"),
        (good[:8] + b"\xff\xff\xff\xff", EVERYTHING, WireError, "START must be 0 bytes; got 4294967295"),
        (bytes(frame(Kind.ERROR, 1, b"abc")), EVERYTHING, WireError, "ERROR must be 4..1028 bytes; got 3"),
        (
            good[:-4] + b"\0\0\0\0",
            EVERYTHING,
            ChecksumError,
            "checksum of START must be 68e392b9; got 00000000",
        ),
    ):
        with pytest.raises(error, match=re.escape(text)):
            read(data, expected)


def test_each_error_says_what_to_tell_the_other_side():
    assert (WireError.fault, VersionError.fault, ChecksumError.fault) == (
        Fault.MALFORMED,
        Fault.VERSION,
        Fault.CHECKSUM,
    )


@given(st.tuples(*[st.integers(0, 2**32 - 1) | st.integers(0, 3)] * 4))
def test_sizes_are_checked_before_anything_is_made_of_them(numbers):
    sizes = Sizes(*numbers)
    valid = all(1 <= n <= MAX_SIZE for n in numbers[:3]) and numbers[3] < numbers[2]
    if valid:
        assert wire.read_hello(wire.hello_payload(sizes)) == sizes
        step = expected_by_agent(sizes)[Kind.STEP]
        assert step == (4 * sizes.obs_dim + sizes.n_actions,) * 2
        assert step[1] <= MAX_PAYLOAD
    else:
        with pytest.raises(WireError, match=r"must be (in 1\.\.65536|below \d+); got \d+"):
            wire.read_hello(wire.hello_payload(sizes))
        with pytest.raises(WireError):
            wire.read_ready(wire.ready_payload(Ready(sizes, 0, bytes(32))))


def test_an_agent_may_be_as_large_as_an_artifact():
    assert MAX_SIZE == contract.MAX_DIM


@given(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32), st.text(max_size=2000))
def test_ready_is_read_as_written(resident, sha256, text):
    found = wire.read_ready(wire.ready_payload(Ready(SIZES, resident, sha256, text)))
    assert found[:3] == (SIZES, resident, sha256)
    assert found.text.isprintable() or not found.text
    assert len(found.text.encode()) <= MAX_TEXT


@given(st.sampled_from(list(Fault)), st.text(max_size=1500))
def test_texts_are_cut_between_characters_and_safe_to_print(fault, text):
    payload = wire.error_payload(fault, text)
    assert EVERYTHING[Kind.ERROR][0] <= len(payload) <= EVERYTHING[Kind.ERROR][1]
    code, found = wire.read_error(payload)
    assert code == fault
    assert all(letter.isprintable() for letter in found)
    if len(text.encode(errors="replace")) <= MAX_TEXT and text.isprintable() and text.isascii():
        assert found == text


def test_codes_of_later_versions_can_be_read():
    assert wire.read_error(struct.pack("<I", 4_000_000_000) + b"later \xff\x1b[2J") == (
        4_000_000_000,
        "later \N{REPLACEMENT CHARACTER} [2J",
    )


def test_sequence_numbers_wrap():
    assert frame(Kind.START, 2**32 + 5) == frame(Kind.START, 5)


# the document


def test_the_documents_example_is_what_the_codec_writes():
    text = DOCUMENT.read_text(encoding="utf-8")
    example = text[text.index("## Example") :].split("```")[1]
    lines = re.findall(r"^[<>] (\w+) +((?:[0-9a-f]{2}\s+)+)", example, re.MULTILINE)
    found = {name: bytes.fromhex(digits) for name, digits in lines}
    ready = Ready(SIZES, 40_960, bytes(range(32)), "C")
    assert found == {
        "HELLO": frame(Kind.HELLO, 0, wire.hello_payload(SIZES)),
        "READY": frame(Kind.READY, 0, wire.ready_payload(ready)),
        "START": frame(Kind.START, 1),
        "STARTED": frame(Kind.STARTED, 1),
        "STEP": frame(Kind.STEP, 2, struct.pack("<2f", 0.5, -1.0) + bytes([0, 1, 1])),
        "ACTION": frame(Kind.ACTION, 2, wire.action_payload(2)),
        "REPLACED": frame(Kind.REPLACED, 2, wire.action_payload(1)),
        "ERROR": frame(Kind.ERROR, 3, wire.error_payload(Fault.INPUT, "no")),
        "BYE": frame(Kind.BYE, 0),
    }


def test_the_documents_tables_are_those_of_the_codec():
    text = DOCUMENT.read_text(encoding="utf-8")
    types = re.findall(
        r"^\| (\d+) \| ([A-Z]+) \| (?:host|agent|both) \|.*?\| ([^|]*) \| [^|]*\|$", text, re.MULTILINE
    )
    assert {int(number): name for number, name, _ in types} == {int(kind): kind.name for kind in Kind}
    for _, name, length in types:
        low, high = EVERYTHING[Kind[name]]
        shown = {"STEP": "4 O + A"}.get(name, str(low) if low == high else f"{low} .. {high}")
        assert length.strip() == shown, name
    codes = re.findall(r"^\| (\d) ([a-z-]+) \|", text, re.MULTILINE)
    assert {int(code): name.upper().replace("-", "_") for code, name in codes} == {
        int(f): f.name for f in Fault
    }
    assert f"{MAX_PAYLOAD:,}" in text
    assert zlib.crc32(b"123456789") == 0xCBF43926
