"""Messages over a stream that cuts, joins, damages and stops."""

import random
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.runtime.connection import Connection, ConnectionClosed
from mast_edge.runtime.wire import (
    FRAME_BYTES,
    ChecksumError,
    Kind,
    Sizes,
    WireError,
    action_payload,
    expected_by_agent,
    expected_by_host,
    frame,
    hello_payload,
    read_action,
)

SIZES = Sizes(20, 5, 3, 0)
HOST = expected_by_host(True)


@pytest.fixture
def pair():
    here, there = socket.socketpair()
    with here, there:
        yield Connection(here, HOST), there


def soon() -> float:
    return time.monotonic() + 5.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_messages_survive_any_cuts(actions, rng: random.Random):
    stream = b"".join(frame(Kind.ACTION, i, action_payload(a)) for i, a in enumerate(actions))
    cuts = sorted(rng.choices(range(len(stream) + 1), k=8))
    here, there = socket.socketpair()
    with here, there:
        connection, found = Connection(here, HOST), []
        for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            there.sendall(stream[low:high])
            while True:
                try:
                    message = connection.receive(time.monotonic())
                except TimeoutError:
                    break
                found.append((message.sequence, read_action(message.payload)))
        assert found == list(enumerate(actions))


def test_what_came_of_a_message_is_kept_beyond_a_timeout(pair):
    connection, there = pair
    whole = bytes(frame(Kind.ACTION, 7, action_payload(3)))
    for piece in (whole[:5], whole[5:15]):
        there.sendall(piece)
        with pytest.raises(TimeoutError):
            connection.receive(time.monotonic() + 0.02)
    there.sendall(whole[15:])
    assert connection.receive(soon()).sequence == 7


def test_what_has_arrived_is_returned_after_the_deadline(pair):
    connection, there = pair
    there.sendall(frame(Kind.STARTED, 1))
    assert connection.receive(time.monotonic() - 1.0).sequence == 1
    with pytest.raises(TimeoutError):
        connection.receive(time.monotonic() - 1.0)


def test_waiting_ends_near_the_deadline(pair):
    connection, _ = pair
    for seconds in (0.2, 0.05, 0.19, 0.2):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.receive(began + seconds)
        assert seconds * 0.99 < time.monotonic() - began < 1.2 * seconds + 0.5


def test_a_damaged_frame_is_skipped_and_the_next_is_read(pair):
    connection, there = pair
    damaged = frame(Kind.ACTION, 1, action_payload(1))
    damaged[13] ^= 1
    there.sendall(damaged + frame(Kind.ACTION, 2, action_payload(2)))
    with pytest.raises(ChecksumError):
        connection.receive(soon())
    assert connection.receive(soon()).sequence == 2


def test_the_buffer_is_as_large_as_what_may_come():
    here, there = socket.socketpair()
    with here, there:
        connection = Connection(here, expected_by_agent())
        assert len(connection.buffer) == FRAME_BYTES + 4 + 1024
        step = frame(Kind.STEP, 5, bytes(85))
        there.sendall(frame(Kind.HELLO, 0, hello_payload(SIZES)) + frame(Kind.START, 4) + step[:30])
        assert connection.receive(soon()).kind == Kind.HELLO
        connection.expect(expected_by_agent(SIZES))  # what was read ahead stays
        assert connection.receive(soon()).kind == Kind.START
        there.sendall(step[30:])
        assert connection.receive(soon()).kind == Kind.STEP
        connection.expect(expected_by_agent(Sizes(30_000, 5, 3, 0)))
        assert len(connection.buffer) == FRAME_BYTES + 120_005


def test_the_end_is_told_from_silence(pair):
    connection, there = pair
    there.sendall(frame(Kind.STARTED, 1)[:9])
    there.close()
    with pytest.raises(ConnectionClosed, match="must be open"):
        connection.receive(soon())
    with pytest.raises(ConnectionClosed):
        connection.send(frame(Kind.BYE, 0), soon())


def test_a_reader_that_does_not_read_costs_no_more_than_the_deadline(pair):
    connection, _ = pair
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="not taken in time"):
        connection.send(bytes(100 << 20), began + 0.2)
    assert time.monotonic() - began < 2.0


def test_without_a_deadline_it_waits_for_the_first_byte_only(pair, monkeypatch):
    monkeypatch.setattr("mast_edge.runtime.connection.FRAME_SECONDS", 0.05)
    connection, there = pair
    threading.Timer(0.2, there.sendall, [bytes(frame(Kind.STARTED, 1))]).start()
    assert connection.receive().sequence == 1
    there.sendall(frame(Kind.STARTED, 2)[:-1])
    with pytest.raises(WireError, match=r"rest of a message must come within 0\.05 s; got 15 bytes"):
        connection.receive()
