"""Starts agent processes side by side and agrees with each on version and sizes.

The sockets lie in a folder that only this user may enter; where there are none of that kind, a random token
over 127.0.0.1 says that it is our process that answers.

Source: docs/agent-protocol.md, "Agents on this machine".
"""

import contextlib
import hmac
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mast_edge import errors
from mast_edge.errors import EnvironmentUnavailable, MastEdgeError
from mast_edge.runtime.agent_process import TOKEN
from mast_edge.runtime.connection import Connection, ConnectionClosed
from mast_edge.runtime.wire import (
    Fault,
    Kind,
    Ready,
    Sizes,
    WireError,
    expected_by_host,
    frame,
    hello_payload,
    read_error,
    read_ready,
)
from mast_edge.spec import AgentSpec

MODULE = "mast_edge.runtime.agent_process"
LAUNCH_SECONDS = 60.0
"""For all processes together, imports included."""
BYE_SECONDS = 2.0
_LOOK_SECONDS = 0.05
_TOKEN_BYTES = 32


@dataclass
class Running:
    """An agent that said READY. `process`: None when it is no process of ours."""

    connection: Connection
    ready: Ready
    process: subprocess.Popen[bytes] | None = None


@dataclass
class _Starting:
    sizes: Sizes
    process: subprocess.Popen[bytes]
    listener: socket.socket
    token: bytes
    said: Path


class Launcher:
    """Makes processes of one exported agent; `close` when all of them have ended.

    Attributes:
        transport: "unix" or "tcp".
    """

    def __init__(
        self, path: str | Path, backend: str, spec: AgentSpec, sha256: str, *, transport: str | None = None
    ) -> None:
        """Starts nothing yet.

        Args:
            path: exported agent or checkpoint folder.
            backend: runtime that plays it.
            spec: sizes that every process must agree to.
            sha256: of what the host loaded from `path`; a process that loaded something else is refused.
            transport: None takes "unix" where there is such a thing.
        """
        self.transport = transport or ("unix" if hasattr(socket, "AF_UNIX") else "tcp")
        self._path, self._backend, self._spec, self._sha256 = path, backend, spec, sha256
        self._folder = tempfile.TemporaryDirectory(prefix="mast-edge-", ignore_cleanup_errors=True)
        self._count = 0

    def start(self, agent_ids: Sequence[int], seconds: float = LAUNCH_SECONDS) -> list[Running]:
        """Processes for these places in the team, ready to play, in the same order.

        Args:
            agent_ids: places.
            seconds: for all of them together.

        Raises:
            MastEdgeError: what the first process that failed said, as if the agent had been loaded here; or
                EnvironmentUnavailable, when it said nothing in time or nothing that could be understood. No
                process is left behind.
        """
        deadline = time.monotonic() + seconds
        starting: list[_Starting] = []
        running: list[Running] = []
        try:
            for agent_id in agent_ids:
                starting.append(self._spawn(agent_id))
            for each in starting:
                running.append(self._meet(each, deadline))
        except BaseException:
            for one in running:
                one.connection.close()
            end_processes([each.process for each in starting], 0.0)
            raise
        finally:
            for each in starting:
                each.listener.close()
        return running

    def close(self) -> None:
        """Removes the folder of the sockets."""
        self._folder.cleanup()

    def _spawn(self, agent_id: int) -> _Starting:
        self._count += 1
        spec, name = self._spec, f"{agent_id}-{self._count}"
        listener, endpoint = self._listen(name)
        token = secrets.token_bytes(_TOKEN_BYTES) if self.transport == "tcp" else b""
        # Where the program itself does not import from the working directory, its agents do not either.
        safe = [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
        command = [sys.executable, *safe, "-m", MODULE, "--agent", str(self._path)]
        command += ["--backend", self._backend, "--connect", endpoint]
        one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        said = Path(self._folder.name, f"{name}.log")
        try:
            with said.open("wb") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    env={**os.environ, **one_thread, TOKEN: token.hex()},
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
        except OSError as error:
            listener.close()
            raise EnvironmentUnavailable(
                f"agent {agent_id}: its process must start; got {error.strerror}. Free memory or processes."
            ) from error
        sizes = Sizes(spec.obs_dim, spec.n_actions, spec.n_agents, agent_id)
        return _Starting(sizes, process, listener, token, said)

    def _listen(self, name: str) -> tuple[socket.socket, str]:
        if self.transport == "unix":
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            path = os.path.join(self._folder.name, name)
            try:
                listener.bind(path)
                listener.listen(1)
                return listener, f"unix:{path}"
            except OSError:  # a temporary folder with too long a name, or on a file system without sockets
                listener.close()
                self.transport = "tcp"
        listener = socket.create_server(("127.0.0.1", 0))
        return listener, f"tcp:127.0.0.1:{listener.getsockname()[1]}"

    def _meet(self, each: _Starting, deadline: float) -> Running:
        connection = Connection(_accept(each, deadline), expected_by_host(agreed=False))
        try:
            ready = agree(connection, each.sizes, deadline)
            self._require_same_file(ready)
        except ConnectionClosed as error:
            connection.close()
            raise _gone(each) from error
        except (WireError, TimeoutError) as error:
            connection.close()
            raise EnvironmentUnavailable(
                f"agent {each.sizes.agent_id}: its process must say READY; got: {error}"
            ) from error
        except BaseException:
            connection.close()
            raise
        return Running(connection, ready, each.process)

    def _require_same_file(self, ready: Ready) -> None:
        if (got := ready.sha256.hex()) != self._sha256:
            raise EnvironmentUnavailable(
                f"agent {ready.sizes.agent_id}: its process must play the file with SHA-256 "
                f"{self._sha256[:12]}; got {got[:12]}. The file has changed meanwhile: start again."
            )


def agree(connection: Connection, sizes: Sizes, deadline: float) -> Ready:
    """The host's side of HELLO and READY.

    Args:
        connection: open, nothing said yet; afterwards it expects what an agent says in play.
        sizes: of the game, and the place in the team.
        deadline: of `time.monotonic`.

    Raises:
        MastEdgeError: the agent could not be loaded: the error it met, of the same class.
        WireError: another protocol, another version or other sizes.
        TimeoutError: no answer in time.
    """
    connection.send(frame(Kind.HELLO, 0, hello_payload(sizes)), deadline)
    message = connection.receive(deadline)
    if message.kind == Kind.ERROR:
        raise reported(*read_error(message.payload))
    ready = read_ready(message.payload)
    if ready.sizes != sizes:
        raise WireError(f"wire: sizes in READY must be {tuple(sizes)}; got {tuple(ready.sizes)}.")
    connection.expect(expected_by_host(agreed=True))
    return ready


def reported(code: int, text: str) -> Exception:
    """An ERROR as an exception: of the class that the agent met where it could not be loaded."""
    name, _, said = text.partition(": ")
    kind = getattr(errors, name, None) if code == Fault.START_UP else None
    if isinstance(kind, type) and issubclass(kind, MastEdgeError):
        return kind.__new__(kind, said)
    return WireError(f"ERROR {code}: {text}")


def end_processes(
    processes: Sequence["subprocess.Popen[bytes] | None"], seconds: float = BYE_SECONDS
) -> None:
    """Waits until all have ended; kills, and waits for, those that have not within `seconds`."""
    deadline = time.monotonic() + seconds
    for process in processes:
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
            process.kill()
            process.wait()


def _accept(each: _Starting, deadline: float) -> socket.socket:
    """The connection of a process that was started."""
    each.listener.settimeout(_LOOK_SECONDS)
    while True:
        try:
            sock, _ = each.listener.accept()
        except TimeoutError:
            if each.process.poll() is not None:
                raise _gone(each) from None
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(
                    f"agent {each.sizes.agent_id}: its process must connect in time; got nothing. "
                    "Is the machine busy? Try again."
                ) from None
            continue
        if not each.token or _says(sock, each.token):
            return sock
        sock.close()


def _says(sock: socket.socket, token: bytes) -> bool:
    sock.settimeout(1.0)
    said = b""
    try:
        while len(said) < len(token) and (more := sock.recv(len(token) - len(said))):
            said += more
    except OSError:
        return False
    return hmac.compare_digest(said, token)


def _gone(each: _Starting) -> EnvironmentUnavailable:
    with contextlib.suppress(subprocess.TimeoutExpired):
        each.process.wait(1.0)
    lines = each.said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = lines[-1] if lines else "it said nothing"
    return EnvironmentUnavailable(
        f"agent {each.sizes.agent_id}: its process must stay; got its end, code {each.process.returncode}: "
        f"{said:.300}"
    )
