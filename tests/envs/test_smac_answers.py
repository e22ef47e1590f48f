"""Bytes and numbers that no worker should send."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast_edge.envs.smac_answers import read_shown, read_stepped
from mast_edge.envs.smac_worker import Garbage, frame, read_frame

OBS = np.arange(12, dtype="<f4").reshape(2, 6)
STATE = np.ones(3, "<f4")
AVAIL = np.array([[0, 1, 1, 0], [1, 0, 0, 0]], "|u1")
PAYLOAD = OBS.tobytes() + STATE.tobytes() + AVAIL.tobytes()
LISTED = [["obs", "<f4", [2, 6]], ["state", "<f4", [3]], ["avail", "|u1", [2, 4]]]
NUMBERS = {
    **{"reward": 1.5, "terminated": True, "timed_out": False, "battle_won": True},
    **{"dead_allies": 0, "dead_enemies": 2},
}


def test_what_is_sent_arrives() -> None:
    message = read_frame(io.BytesIO(frame({"id": 3, "arrays": LISTED}, PAYLOAD)))
    assert message is not None
    header, payload = message
    shown = read_shown(header, payload, 2, 4, None)
    assert shown.obs.tolist() == OBS.tolist()
    assert shown.state.tolist() == [1.0, 1.0, 1.0]
    assert shown.avail.tolist() == AVAIL.tolist()
    stepped = read_stepped(NUMBERS, shown)
    assert (stepped.reward, stepped.terminated, stepped.battle_won) == (1.5, True, True)
    assert (stepped.timed_out, stepped.dead_allies, stepped.dead_enemies) == (False, 0, 2)
    assert read_frame(io.BytesIO(b"")) is None


@pytest.mark.parametrize("cut", range(1, len(frame({"id": 1}, b"abcd"))))
def test_a_message_cut_off_anywhere_is_garbage(cut: int) -> None:
    with pytest.raises(Garbage):
        read_frame(io.BytesIO(frame({"id": 1}, b"abcd")[:cut]))


@given(st.binary(min_size=1, max_size=200))
def test_random_bytes_are_garbage(data: bytes) -> None:
    with pytest.raises(Garbage):
        read_frame(io.BytesIO(data))


@given(st.binary(max_size=60))
def test_random_headers_are_garbage_or_objects(text: bytes) -> None:
    start = b"MSW1" + len(text).to_bytes(4, "little") + bytes(4)
    try:
        message = read_frame(io.BytesIO(start + text))
    except Garbage:
        return
    assert message is not None
    assert isinstance(message[0], dict)


def test_numbers_that_are_none_are_garbage() -> None:
    for text in (b'{"reward": NaN}', b'{"reward": Infinity}', b"[1]", b"[" * 60000):
        start = b"MSW1" + len(text).to_bytes(4, "little") + bytes(4)
        with pytest.raises(Garbage):
            read_frame(io.BytesIO(start + text))
    with pytest.raises(ValueError, match="not JSON compliant"):
        frame({"reward": float("nan")})


def without(name: str) -> list[list[object]]:
    return [row for row in LISTED if row[0] != name]


@pytest.mark.parametrize(
    ("listed", "payload"),
    [
        (None, PAYLOAD),
        ([], PAYLOAD),
        ([[]], PAYLOAD),
        ([7, 8, 9], PAYLOAD),
        (without("state"), PAYLOAD),
        ([*LISTED, ["more", "<f4", [1]]], PAYLOAD + bytes(4)),
        ([["obs", "<f8", [2, 3]], *LISTED[1:]], PAYLOAD),
        ([["obs", "O", [2, 6]], *LISTED[1:]], PAYLOAD),
        ([["obs", "<f4", [2, 2**62]], *LISTED[1:]], PAYLOAD),
        ([["obs", "<f4", [2, -6]], *LISTED[1:]], PAYLOAD),
        ([["obs", "<f4", [True, 6]], *LISTED[1:]], PAYLOAD),
        ([["obs", "<f4", [12]], *LISTED[1:]], PAYLOAD),
        ([["obs", "<f4", [6, 2]], *LISTED[1:]], PAYLOAD),
        ([LISTED[0], ["state", "<f4", [2]], LISTED[2]], PAYLOAD[:-4]),
        (LISTED, PAYLOAD[:-1]),
        (LISTED, PAYLOAD + b"x"),
        (LISTED, PAYLOAD[:-8] + bytes(8)),
        (LISTED, PAYLOAD[:-1] + b"\x02"),
        (LISTED, np.full(15, np.nan, "<f4").tobytes() + AVAIL.tobytes()),
        (LISTED, np.full(15, -np.inf, "<f4").tobytes() + AVAIL.tobytes()),
    ],
)
def test_arrays_that_cannot_be_are_garbage(listed: object, payload: bytes) -> None:
    with pytest.raises(Garbage):
        read_shown({"arrays": listed}, payload, 2, 4, (6, 3))


@pytest.mark.parametrize(
    "change",
    [
        *({"reward": value} for value in (None, True, "1", [], 10**400)),
        *({"terminated": value} for value in (None, 1, False)),
        *({"dead_allies": value} for value in (None, -1, 2**20, 1.0, True)),
        {"timed_out": 0},
    ],
)
def test_numbers_of_a_wrong_kind_are_garbage(change: dict[str, object]) -> None:
    shown = read_shown({"arrays": LISTED}, PAYLOAD, 2, 4, (6, 3))
    with pytest.raises(Garbage):
        read_stepped({**NUMBERS, **change}, shown)
