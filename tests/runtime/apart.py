"""For tests of agents in processes: real agents, agents of a test's making, and what is left of them."""

import os
import socket
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from mast_edge.envs.smac_worker import descendants
from mast_edge.export import export_run
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.agent_launch import Launcher, Running, agree
from mast_edge.runtime.connection import Connection, ConnectionClosed
from mast_edge.runtime.decentralised import DecentralisedTeam
from mast_edge.runtime.wire import (
    Kind,
    Ready,
    Sizes,
    action_payload,
    expected_by_agent,
    expected_by_host,
    frame,
    read_hello,
    ready_payload,
)

COMMITTED = Path(__file__).resolve().parents[1] / "data" / "agents" / "3m-s90-8x1"
"""A trained agent of 3m, as a checkpoint."""


def exported(folder: Path, *formats: str) -> Path:
    """`COMMITTED`, exported below `folder`."""
    export_run(COMMITTED, list(formats), folder, measure=False)
    return folder


@contextmanager
def team_apart(path, backend="auto", step_seconds=20.0):
    """(team, agent): one real process per agent of `path`, and the same agent here."""
    agent = Agent.load(path, backend=backend)
    with closing(Launcher(path, backend, agent.spec, agent.model.sha256)) as launcher:
        team = DecentralisedTeam(launcher.start, agent.spec, step_seconds=step_seconds)
        with closing(team):
            yield team, agent


already: set[int] = set()
"""Processes below this one before the present test began, whoever left them there (conftest.py)."""


def children() -> set[int]:
    """Processes below this one that the present test has started."""
    return set(descendants(os.getpid())) - already


def wait_until(holds, seconds=10.0) -> bool:
    """Whether `holds()` comes true in time."""
    until = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < until:
        time.sleep(0.01)
    return held


class Peer:
    """The agent's end of a connection, in a thread: says READY, then does what the test says."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.connection = Connection(sock, expected_by_agent())

    def ready(self) -> None:
        self.sizes = read_hello(self.connection.receive().payload)
        self.connection.expect(expected_by_agent(self.sizes))
        self.connection.send(frame(Kind.READY, 0, ready_payload(Ready(self.sizes, 0, bytes(32)))))

    def receive(self):
        """The next message, and its payload as (obs, avail) when it is a STEP."""
        kind, sequence, payload = self.connection.receive()
        if kind != Kind.STEP:
            return kind, sequence, bytes(payload)
        obs = np.frombuffer(payload, "<f4", self.sizes.obs_dim)
        avail = np.frombuffer(payload, np.uint8, self.sizes.n_actions, obs.nbytes)
        return kind, sequence, (obs.copy(), avail.copy())

    def send(self, kind: Kind, sequence: int, payload: bytes = b"") -> None:
        self.connection.send(frame(kind, sequence, payload))

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)


def play(peer: Peer, disturb=lambda peer, step, sequence: False) -> list:
    """Follows the cues of `ToyBattle`; `disturb` may answer a step itself (True). Returns what was heard."""
    heard, step = [], 0
    while True:
        kind, sequence, payload = peer.receive()
        heard.append((kind, sequence, payload))
        if kind == Kind.START:
            step = 0
            peer.send(Kind.STARTED, sequence)
        elif kind == Kind.STEP:
            if not disturb(peer, step, sequence):
                peer.send(Kind.ACTION, sequence, action_payload(int(payload[0][:3].argmax()) + 1))
            step += 1
        elif kind == Kind.BYE:
            return heard


class Peers:
    """Starts agents that are threads of the test, as `Launcher.start` starts processes.

    Attributes:
        started: places, in the order in which they were started.
    """

    def __init__(self, spec, behaviours) -> None:
        """behaviours: place -> what its agents do, one after the other; afterwards, and elsewhere, `play`."""
        self.spec, self.behaviours, self.started, self.heard = spec, behaviours, [], {}

    def start(self, agent_ids):
        return [self._start(agent_id) for agent_id in agent_ids]

    def _start(self, agent_id: int) -> Running:
        self.started.append(agent_id)
        queued = self.behaviours.get(agent_id, [])
        behaviour = queued.pop(0) if queued else play
        here, there = socket.socketpair()
        threading.Thread(target=self._run, args=(agent_id, there, behaviour), daemon=True).start()
        connection = Connection(here, expected_by_host(False))
        s = self.spec
        sizes = Sizes(s.obs_dim, s.n_actions, s.n_agents, agent_id)
        return Running(connection, agree(connection, sizes, time.monotonic() + 5.0))

    def _run(self, agent_id, sock, behaviour) -> None:
        with sock:
            peer = Peer(sock)
            try:
                peer.ready()
                self.heard[agent_id] = behaviour(peer)
            except (ConnectionClosed, TimeoutError, OSError):
                return


def step_frame(sizes: Sizes, sequence: int, obs, avail) -> bytearray:
    """A STEP."""
    payload = np.asarray(obs, "<f4").tobytes() + np.asarray(avail, np.uint8).tobytes()
    assert len(payload) == 4 * sizes.obs_dim + sizes.n_actions
    return frame(Kind.STEP, sequence, payload)
