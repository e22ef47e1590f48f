"""One agent as a process: it is told its own observation and available actions, and answers with an action.

    python -m mast_edge.runtime.agent_process --agent agent.safetensors --backend csr --connect unix:PATH

The process that wants the agent listens; this one connects, then speaks the agent's side of
docs/agent-protocol.md until the connection ends, which is also what ends it when the host is killed.
Nothing is imported but the runtime and what the backend needs. Ctrl-C in the terminal is the host's affair.

Source: parity_and_safety.md 5 (decentralised execution); runtime.md 1.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np

from mast_edge.errors import MastEdgeError
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.connection import FRAME_SECONDS, Connection, ConnectionClosed
from mast_edge.runtime.wire import (
    CRC_BYTES,
    HEADER_BYTES,
    ChecksumError,
    Fault,
    Kind,
    Ready,
    Sizes,
    WireError,
    action_payload,
    error_payload,
    expected_by_agent,
    frame,
    read_action,
    read_hello,
    ready_payload,
    seal,
)

TOKEN = "MAST_EDGE_AGENT_TOKEN"
"""Environment variable: what to say first on a TCP connection, where any user of the machine could answer."""
CONNECT_SECONDS = 10.0


def serve(connection: Connection, agent: Agent) -> None:
    """Speaks the agent's side until BYE or the end of the connection.

    Args:
        connection: open, nothing said yet.
        agent: loaded; HELLO decides which place in the team it takes.

    Raises:
        WireError: the host broke the protocol; it was told so, as far as it could be.
    """
    try:
        sizes = _agree(connection, agent)
        if sizes is not None:
            _play(connection, agent, sizes)
    except ConnectionClosed:
        return
    except WireError as error:
        tell(connection, error.fault, str(error))
        raise


def refuse(connection: Connection, fault: Fault, text: str) -> None:
    """Answers HELLO with an ERROR. It is waited for: what is sent to who is not there yet may be lost."""
    with contextlib.suppress(WireError, TimeoutError):
        connection.receive(time.monotonic() + FRAME_SECONDS)
    tell(connection, fault, text)


def tell(connection: Connection, fault: Fault, text: str, sequence: int = 0) -> None:
    """Sends an ERROR; who has gone is not told."""
    try:
        connection.send(frame(Kind.ERROR, sequence, error_payload(fault, text)))
    except (ConnectionClosed, TimeoutError):
        return


def _agree(connection: Connection, agent: Agent) -> Sizes | None:
    """Answers HELLO; None when there will be nothing to play."""
    kind, sequence, payload = connection.receive()
    if kind != Kind.HELLO:
        return None
    theirs, spec = read_hello(payload), agent.spec
    ours = Sizes(spec.obs_dim, spec.n_actions, spec.n_agents, theirs.agent_id)
    for name, own, wanted in zip(Sizes._fields, ours, theirs, strict=True):
        if own != wanted:
            text = f"agent: {name} must be {own}; got {wanted}. Load the agent of this map."
            tell(connection, Fault.SIZES, text, sequence)
            return None
    agent.reset(ours.agent_id)
    _warm_up(agent)
    digest = bytes.fromhex(agent.model.sha256)
    ready = Ready(ours, resident_bytes(), digest, agent.model.path_taken)
    connection.expect(expected_by_agent(ours))
    connection.send(frame(Kind.READY, sequence, ready_payload(ready)))
    return ours


def _play(connection: Connection, agent: Agent, sizes: Sizes) -> None:
    started, answer = frame(Kind.STARTED, 0), frame(Kind.ACTION, 0, action_payload(0))
    # Frames begin at byte 0 of the buffer, so a STEP is read where it was received.
    sent_obs = np.frombuffer(connection.buffer, "<f4", sizes.obs_dim, HEADER_BYTES)
    avail = np.frombuffer(connection.buffer, np.uint8, sizes.n_actions, HEADER_BYTES + sent_obs.nbytes)
    while True:
        sequence = 0
        try:
            kind, sequence, payload = connection.receive()
            if kind == Kind.STEP:
                action = agent.act(np.asarray(sent_obs, np.float32), avail)
                answer[HEADER_BYTES:-CRC_BYTES] = action_payload(action)
                seal(answer, Kind.ACTION, sequence)
                connection.send(answer)
            elif kind == Kind.START:
                agent.reset()
                seal(started, Kind.STARTED, sequence)
                connection.send(started)
            elif kind == Kind.REPLACED:
                agent.observe_action(read_action(payload))
            else:
                return
        except ChecksumError as error:
            tell(connection, error.fault, str(error), sequence)
        except ValueError as error:
            tell(connection, Fault.INPUT, str(error), sequence)


def _warm_up(agent: Agent) -> None:
    """Lets the libraries allocate what a first call allocates, so that step 0 is as quick as the others."""
    spec = agent.spec
    agent.act(np.zeros(spec.obs_dim, np.float32), np.ones(spec.n_actions, np.uint8))
    agent.reset()


def resident_bytes() -> int:
    """Memory of this process that is in RAM, pages shared with others included; 0 where unknown.

    Deviation: where there is no /proc, the peak so far, which is what the system tells.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def connect(endpoint: str) -> socket.socket:
    """Connects to `unix:PATH` or `tcp:HOST:PORT`; over TCP the token of the environment is sent first.

    Raises:
        OSError: nobody listens there.
    """
    kind, _, where = endpoint.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(where)
        return sock
    host, _, port = where.rpartition(":")
    sock = socket.create_connection((host, int(port)), CONNECT_SECONDS)
    sock.sendall(bytes.fromhex(os.environ.pop(TOKEN, "")))
    return sock


def main() -> int:
    """Runs one agent; the exit code is that of a command that could not load it, or 0."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="agent_process", description="One agent, spoken to over a socket.")
    parser.add_argument("--agent", required=True, help="exported agent or checkpoint folder")
    parser.add_argument("--backend", default="auto", help="runtime that plays it")
    parser.add_argument("--connect", required=True, metavar="ENDPOINT", help="unix:PATH or tcp:HOST:PORT")
    arguments = parser.parse_args()
    try:
        connection = Connection(connect(arguments.connect), expected_by_agent())
    except OSError as error:
        print(f"agent process: host must listen at {arguments.connect}; got {error}.", file=sys.stderr)
        return 1
    with contextlib.closing(connection):
        try:
            agent = Agent.load(arguments.agent, backend=arguments.backend)
        except MastEdgeError as error:
            refuse(connection, Fault.START_UP, f"{type(error).__name__}: {error}")
            return error.exit_code
        except Exception as error:
            refuse(connection, Fault.INTERNAL, f"{type(error).__name__}: {error}")
            raise
        try:
            serve(connection, agent)
        except WireError:
            return 1
        except Exception as error:
            tell(connection, Fault.INTERNAL, f"{type(error).__name__}: {error}")
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
