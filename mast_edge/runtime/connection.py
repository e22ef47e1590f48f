"""Framed messages over a stream socket: partial reads, deadlines, no allocation per message.

Source: docs/agent-protocol.md.
"""

import socket
import time

from mast_edge.runtime.wire import FRAME_BYTES, Buffer, ChecksumError, Expected, Message, WireError, parse

FRAME_SECONDS = 10.0
"""Longest silence inside a message, and longest wait to send one."""


class ConnectionClosed(WireError):
    """The other side has gone."""


class Connection:
    """One end of a stream.

    Attributes:
        buffer: where received frames lie; the current one begins at byte 0 until `receive` is called again.
    """

    def __init__(self, sock: socket.socket, expected: Expected) -> None:
        """Takes over `sock`.

        Args:
            sock: connected.
            expected: what may come first; see `wire.parse`.
        """
        self._sock = sock
        self.buffer = bytearray()
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._have, self._taken = 0, 0
        self._timeout = -1.0
        self.expect(expected)

    def expect(self, expected: Expected) -> None:
        """Changes what may come. The buffer is as large as the longest of it; what was read ahead stays."""
        self._expected = expected
        longest = max(max(high for _, high in expected.values()), self._have - FRAME_BYTES)
        kept = self.buffer[self._taken : self._have]
        self.buffer = bytearray(FRAME_BYTES + longest)
        self._view = memoryview(self.buffer)
        self._have, self._taken = len(kept), 0
        self.buffer[: self._have] = kept

    def fileno(self) -> int:
        """Of the socket."""
        return self._sock.fileno()

    def send(self, whole: Buffer, deadline: float | None = None) -> None:
        """Sends a frame.

        Args:
            whole: from `wire.frame`.
            deadline: of `time.monotonic`; None allows `FRAME_SECONDS`.

        Raises:
            ConnectionClosed: nobody is there.
            TimeoutError: it was not taken in time. What was sent of it cannot be taken back: close.
        """
        self._wait_at_most(FRAME_SECONDS if deadline is None else deadline - time.monotonic())
        try:
            self._sock.sendall(whole)
        except (BlockingIOError, TimeoutError):
            raise TimeoutError("connection: message not taken in time") from None
        except OSError as error:
            raise ConnectionClosed(f"connection: must be open; got {error.strerror or error}.") from error

    def receive(self, deadline: float | None = None) -> Message:
        """The next message. Its payload lies in `buffer` until the next call.

        Args:
            deadline: of `time.monotonic`; what has arrived by then is still returned. None waits for the
                beginning of a message for ever, and for the rest of it `FRAME_SECONDS`.

        Raises:
            TimeoutError: no whole message in time; what came of it is kept.
            ChecksumError: a damaged frame, which is skipped: the next call goes on behind it.
            ConnectionClosed: the other side has gone.
            WireError: not this protocol; the stream cannot be used any more.
        """
        if self._taken:
            if rest := self._have - self._taken:
                self._view[:rest] = self._view[self._taken : self._have]
            self._have, self._taken = rest, 0
        if not self._have:
            self._fill(deadline)
        while (message := self._parsed()) is None:
            self._fill(deadline)
        self._taken = FRAME_BYTES + len(message.payload)
        return message

    def close(self) -> None:
        """Closes the socket; harmless when called twice."""
        self._sock.close()

    def _parsed(self) -> Message | None:
        try:
            return parse(self._view[: self._have], self._expected)
        except ChecksumError:
            self._taken = FRAME_BYTES + int.from_bytes(self._view[8:12], "little")
            raise

    def _fill(self, deadline: float | None) -> None:
        self._wait_at_most(FRAME_SECONDS if deadline is None else deadline - time.monotonic())
        try:
            count = self._sock.recv_into(self._view[self._have :] if self._have else self._view)
        except (BlockingIOError, TimeoutError):
            if deadline is not None:
                raise TimeoutError("connection: no message in time") from None
            if self._have:
                raise WireError(
                    f"connection: rest of a message must come within {FRAME_SECONDS:g} s; "
                    f"got {self._have} bytes."
                ) from None
            return
        except OSError as error:
            raise ConnectionClosed(f"connection: must be open; got {error.strerror or error}.") from error
        if not count:
            raise ConnectionClosed("connection: must be open; got its end.")
        self._have += count

    def _wait_at_most(self, seconds: float) -> None:
        """Waiting up to a tenth longer than asked saves a call of the system per message."""
        if not 0.9 * self._timeout <= seconds <= self._timeout:
            self._timeout = max(seconds, 0.0)
            self._sock.settimeout(self._timeout)
