"""One worker process: started, asked with a deadline, and ended with everything below it.

Source: parity_and_safety.md 6, "SC2 crash or hang": process group of its own, launch and step limits,
kill of the tree.
"""

import contextlib
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mast_edge.envs import smac_worker
from mast_edge.envs.smac_worker import Garbage, descendants, frame, parents, read_frame

MARK = "MAST_EDGE_SMAC_WORKER"
"""Environment variable by which a game is recognised even when its parents have gone."""
SCRIPT = Path(smac_worker.__file__)
_LAST_LINES = 40

Message = tuple[dict[str, Any], bytes]


class WorkerFault(Exception):
    """The worker crashed, did not answer in time, or answered garbage: it must be replaced."""


class WorkerRefusal(Exception):
    """The worker says what is missing; replacing it would not help. `kind` as in `smac_worker.Refusal`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class WorkerProcess:
    """A running `smac_worker.py`.

    Args:
        python: interpreter that has SMAC.
        environ: environment variables for it.

    Raises:
        WorkerFault: the interpreter does not start.
    """

    def __init__(self, python: str, environ: Mapping[str, str]) -> None:
        self._mark = secrets.token_hex(12)
        variables = {**environ, MARK: self._mark, smac_worker.PROTOBUF_SWITCH: "python"}
        try:
            self._process = subprocess.Popen(
                [python, "-u", str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=variables,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerFault(f"{python} does not start: {error.strerror}") from error
        self.pid = self._process.pid
        self._asked = 0
        self._answers: queue.Queue[Message | Garbage | None] = queue.Queue()
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        for target, stream in ((self._read, self._process.stdout), (self._drain, self._process.stderr)):
            threading.Thread(target=target, args=(stream,), daemon=True).start()

    def send(self, request: Mapping[str, Any]) -> None:
        """Sends a request; its answer is fetched by `receive`.

        Raises:
            WorkerFault: the worker is gone.
        """
        self._asked += 1
        stream = self._process.stdin
        try:
            if stream is None or stream.closed:
                raise BrokenPipeError
            stream.write(frame({**request, "id": self._asked}))
            stream.flush()
        except OSError as error:
            raise WorkerFault(f"worker is gone{self._last_words()}") from error

    def receive(self, deadline: float, stop: threading.Event | None = None) -> Message:
        """The answer to the last request.

        Args:
            deadline: `time.monotonic()` at which waiting ends.
            stop: ends the wait when set.

        Raises:
            WorkerFault: no answer in time, none at all, or not to this request; or `stop` was set.
            WorkerRefusal: the worker names something that is missing.
        """
        while True:
            left = deadline - time.monotonic()
            try:
                answer = self._answers.get(timeout=max(0.0, min(left, 0.2)))
                break
            except queue.Empty:
                if left <= 0:
                    raise WorkerFault("no answer in time") from None
                if stop is not None and stop.is_set():
                    raise WorkerFault("closed") from None
        if answer is None:
            raise WorkerFault(f"worker has crashed{self._last_words()}")
        if isinstance(answer, Garbage):
            raise WorkerFault(f"garbage: {answer}")
        header, _ = answer
        if header.get("id") != self._asked:
            raise WorkerFault(f"garbage: answer to request {header.get('id')!r:.40}")
        if "error" in header:
            kind, message = str(header["error"]), str(header.get("message", ""))
            if kind == "exception":
                raise WorkerFault(message)
            raise WorkerRefusal(kind, message)
        return answer

    def end(self) -> None:
        """Ends the worker, the game, and whatever else it has started. Harmless when called twice."""
        stream = self._process.stdin
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError):
                stream.close()  # the worker's watcher sees this and clears up by itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        _kill_tree(self._process, self._mark)

    def _read(self, stream: BinaryIO) -> None:
        with stream:
            while True:
                try:
                    message: Message | Garbage | None = read_frame(stream)
                except Garbage as garbage:
                    message = garbage
                self._answers.put(message)
                if message is None or isinstance(message, Garbage):
                    return

    def _drain(self, stream: BinaryIO) -> None:
        with stream:
            while line := stream.readline(2000):
                self._said.append(line.decode(errors="replace").strip())

    def _last_words(self) -> str:
        words = next((line for line in reversed(self._said) if line), "")
        return f"; it said: {words:.200}" if words else ""


def _kill_tree(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kills `process` and everything below it or marked as its own, until nothing of it is left."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        process.wait(10)
        return
    for _ in range(200):
        ended = process.poll() is not None
        # A process id is only ours until it is waited for; later another process may have it.
        pids = set(marked(mark)) if ended else {process.pid, *descendants(process.pid), *marked(mark)}
        if not pids and ended:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def marked(mark: str) -> list[int]:
    """Living processes that inherited this mark; none where the system does not show environments."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for pid in parents():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found
