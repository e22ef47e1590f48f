"""The agent's side of the protocol, in a thread and as the process it is made for."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mast_edge.runtime.agent import Agent
from mast_edge.runtime.agent_process import serve
from mast_edge.runtime.connection import Connection, ConnectionClosed
from mast_edge.runtime.wire import (
    HEADER,
    Fault,
    Kind,
    Sizes,
    VersionError,
    WireError,
    action_payload,
    expected_by_agent,
    expected_by_host,
    frame,
    hello_payload,
    read_action,
    read_error,
    read_ready,
)
from tests.agents import TINY
from tests.runtime.apart import children, exported, step_frame, team_apart, wait_until

SIZES = Sizes(TINY.obs_dim, TINY.n_actions, TINY.n_agents, 1)


class Host:
    """The host's end: asks, and reads answers within 5 s."""

    def __init__(self, sock, sizes=SIZES):
        self.sock, self.sizes, self.connection = sock, sizes, Connection(sock, expected_by_host(False))

    def send(self, kind, sequence=0, payload=b""):
        self.connection.send(frame(kind, sequence, payload))

    def receive(self):
        return self.connection.receive(time.monotonic() + 5.0)

    def hello(self):
        self.send(Kind.HELLO, 0, hello_payload(self.sizes))
        ready = read_ready(self.receive().payload)
        self.connection.expect(expected_by_host(True))
        return ready

    def step(self, sequence, obs, avail):
        self.sock.sendall(step_frame(self.sizes, sequence, obs, avail))
        return self.receive()

    def act(self, sequence, obs, avail):
        message = self.step(sequence, obs, avail)
        assert (message.kind, message.sequence) == (Kind.ACTION, sequence)
        return read_action(message.payload)

    def error(self):
        message = self.receive()
        assert message.kind == Kind.ERROR
        return (*read_error(message.payload), message.sequence)


@pytest.fixture
def agent(tiny):
    return Agent.load(tiny / "exports/csr/agent.safetensors")


@contextmanager
def served(agent):
    """A host, and how the agent's side ended (filled when it has)."""
    here, there = socket.socketpair()
    ended = []

    def run():
        with there:
            try:
                ended.append(serve(Connection(there, expected_by_agent()), agent.clone(0)))
            except Exception as error:
                ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with here:
        yield Host(here), ended
    thread.join(5.0)
    assert not thread.is_alive()


def observations(n=12, seed=0):
    rng = np.random.default_rng(seed)
    obs = rng.normal(size=(n, TINY.obs_dim)).astype(np.float32)
    avail = (rng.random((n, TINY.n_actions)) < 0.6).astype(np.uint8)
    avail[:, 1] = 1
    return obs, avail


def test_it_acts_as_the_agent_does(agent):
    obs, avail = observations()
    lone = agent.clone(1)
    with served(agent) as (host, ended):
        ready = host.hello()
        assert ready.sizes == SIZES
        assert ready.sha256.hex() == agent.model.sha256
        assert ready.text == agent.model.path_taken
        assert ready.resident_bytes > 1e6
        for battle in range(2):
            host.send(Kind.START, 100 * battle)
            assert host.receive()[:2] == (Kind.STARTED, 100 * battle)
            lone.reset()
            for t in range(len(obs)):
                assert host.act(100 * battle + t + 1, obs[t], avail[t]) == lone.act(obs[t], avail[t])
        host.send(Kind.BYE)
    assert ended == [None]


def test_another_action_than_its_own_is_remembered(agent):
    """In a random agent the last action matters; the one that was done must count."""
    obs, avail = observations(40, seed=3)
    everything = np.ones_like(avail)
    lone, deaf = agent.clone(1), agent.clone(1)
    told, parted = [], False
    with served(agent) as (host, _):
        host.hello()
        for t in range(len(obs)):
            told.append(host.act(t, obs[t], everything[t]))
            assert told[-1] == lone.act(obs[t], everything[t])
            parted |= told[-1] != deaf.act(obs[t], everything[t])
            other = (told[-1] + 1) % TINY.n_actions
            host.send(Kind.REPLACED, t, action_payload(other))
            lone.observe_action(other)
    assert parted


def test_sizes_of_another_map_are_refused(agent):
    for field, got in (("obs_dim", 8), ("n_actions", 4), ("n_agents", 2)):
        with served(agent) as (host, ended):
            host.send(Kind.HELLO, 9, hello_payload(SIZES._replace(**{field: got})))
            code, text, sequence = host.error()
            assert (code, sequence) == (Fault.SIZES, 9)
            assert f"{field} must be {getattr(SIZES, field)}; got {got}" in text
        assert ended == [None]


def test_what_an_agent_refuses_changes_nothing(agent):
    obs, avail = observations(3)
    lone = agent.clone(1)
    broken = obs[1].copy()
    broken[2] = np.nan
    with served(agent) as (host, _):
        host.hello()
        assert host.act(1, obs[0], avail[0]) == lone.act(obs[0], avail[0])
        for sequence, (seen, may, text) in enumerate(
            ((broken, avail[1], "obs must be finite"), (obs[1], np.zeros_like(avail[1]), "available")), 2
        ):
            host.sock.sendall(step_frame(SIZES, sequence, seen, may))
            code, said, number = host.error()
            assert (code, number) == (Fault.INPUT, sequence)
            assert text in said
        host.send(Kind.REPLACED, 3, action_payload(TINY.n_actions))
        assert host.error()[:2] == (Fault.INPUT, "Agent: action must be an integer in 0..4; got 5.")
        assert host.act(5, obs[1], avail[1]) == lone.act(obs[1], avail[1])


def test_a_damaged_step_is_skipped(agent):
    obs, avail = observations(2)
    lone = agent.clone(1)
    with served(agent) as (host, _):
        host.hello()
        damaged = step_frame(SIZES, 1, obs[0], avail[0])
        damaged[20] ^= 4
        host.sock.sendall(damaged)
        assert host.error()[0] == Fault.CHECKSUM
        assert host.act(2, obs[1], avail[1]) == lone.act(obs[1], avail[1])


@pytest.mark.parametrize(
    ("said", "fault", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Fault.MALFORMED, "must begin with 4d 45; got 47 45"),
        (b"ME\x02\x01" + bytes(28), Fault.VERSION, "protocol version must be 1; got 2"),
        (HEADER.pack(b"ME", 1, Kind.STEP, 0, 33), Fault.MALFORMED, "must be HELLO or ERROR or BYE; got STEP"),
        (
            HEADER.pack(b"ME", 1, Kind.HELLO, 0, 2**31),
            Fault.MALFORMED,
            "HELLO must be 16 bytes; got 2147483648",
        ),
        (bytes(frame(Kind.HELLO, 0, bytes(16))), Fault.MALFORMED, "obs_dim must be in 1..65536; got 0"),
    ],
)
def test_a_host_that_speaks_something_else_is_told_and_left(agent, said, fault, text):
    with served(agent) as (host, ended):
        host.sock.sendall(said)
        code, answer, _ = host.error()
        assert code == fault
        assert text in answer
        with pytest.raises(ConnectionClosed):
            host.receive()
    assert isinstance(ended[0], VersionError if fault == Fault.VERSION else WireError)


def test_a_wrong_length_after_hello_is_refused_before_it_is_read(agent):
    with served(agent) as (host, _):
        host.hello()
        host.sock.sendall(HEADER.pack(b"ME", 1, Kind.STEP, 1, 327_680))
        code, text, _ = host.error()
        assert code == Fault.MALFORMED
        assert "STEP must be 33 bytes; got 327680" in text


def test_bytes_may_come_one_by_one_and_all_at_once(agent):
    obs, avail = observations(4)
    lone = agent.clone(1)
    with served(agent) as (host, _):
        for byte in bytes(frame(Kind.HELLO, 0, hello_payload(SIZES))):
            host.sock.sendall(bytes([byte]))
        assert read_ready(host.receive().payload).sizes == SIZES
        host.connection.expect(expected_by_host(True))
        host.sock.sendall(b"".join(step_frame(SIZES, t, obs[t], avail[t]) for t in range(4)))
        for t in range(4):
            message = host.receive()
            assert message.sequence == t
            assert read_action(message.payload) == lone.act(obs[t], avail[t])


@pytest.mark.parametrize("cut", [0, 1, 11, 30])
def test_a_host_that_goes_ends_the_agent(agent, cut):
    with served(agent) as (host, ended):
        host.hello()
        host.sock.sendall(step_frame(SIZES, 1, *(a[0] for a in observations(1)))[:cut])
    assert ended == [None]


def test_a_message_that_stops_half_way_is_given_up(agent, monkeypatch):
    monkeypatch.setattr("mast_edge.runtime.connection.FRAME_SECONDS", 0.05)
    with served(agent) as (host, ended):
        host.hello()
        time.sleep(0.2)  # between messages it waits as long as it takes
        host.sock.sendall(step_frame(SIZES, 1, *(a[0] for a in observations(1)))[:20])
        assert "rest of a message must come within" in host.error()[1]
    assert isinstance(ended[0], WireError)


# as a process


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("committed"), "csr") / "csr/agent.safetensors"


def test_a_process_is_one_thread_that_ignores_ctrl_c_and_tells_its_memory(artifact):
    with team_apart(artifact) as (team, agent):
        pid = team.places[0].running.process.pid
        os.kill(pid, signal.SIGINT)
        status = Path(f"/proc/{pid}/status").read_text()
        told = team.places[0].resident_bytes
        team.start(1)
        s = agent.spec
        obs, avail = np.zeros((1, 3, s.obs_dim), np.float32), np.ones((1, 3, s.n_actions), np.uint8)
        team.act(obs, avail, np.ones(1, bool))
        assert team.replaced == 0
    assert re.search(r"^Threads:\s+1$", status, re.MULTILINE)
    held = 1024 * int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)[1])
    assert told == pytest.approx(held, rel=0.05)


def test_memory_is_that_of_the_system():
    """In a process of its own: a long test run holds memory that it can use again."""
    code = """
from mast_edge.runtime.agent_process import resident_bytes
before = resident_bytes()
block = bytearray(32 << 20)
block[::4096] = b"x" * len(block[::4096])
print(resident_bytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 32e6 < int(done.stdout) < 40e6


def test_a_process_imports_nothing_but_what_it_needs(artifact):
    """Everything it ever imports is there when it has ended."""
    code = (
        "import sys\nfrom mast_edge.runtime.agent_process import main\ncode = main()\n"
        "print(code, *sorted({name.split('.')[0] for name in sys.modules}), 'end',"
        " *(name for name in sys.modules if name.startswith('mast_edge.')))"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20.0)
    endpoint = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--agent", str(artifact), "--connect", endpoint],
        stdout=subprocess.PIPE,
        text=True,
    )
    with listener, listener.accept()[0] as sock:
        spec = Agent.load(artifact).spec
        host = Host(sock, Sizes(spec.obs_dim, spec.n_actions, spec.n_agents, 2))
        host.connection.send(frame(Kind.HELLO, 0, hello_payload(host.sizes)))
        host.connection.receive(time.monotonic() + 20.0)
        host.connection.expect(expected_by_host(True))
        assert host.act(1, np.zeros(spec.obs_dim), np.ones(spec.n_actions)) in range(spec.n_actions)
        host.send(Kind.BYE)
        out = process.communicate(timeout=20.0)[0].split()
    foreign, own = out[1 : out.index("end")], out[out.index("end") + 1 :]
    assert out[0] == "0"
    assert "numpy" in foreign
    assert not {"rich", "click", "torch", "onnx", "onnxruntime", "scipy", "yaml", "msgspec"} & set(foreign)
    assert not [name for name in own if re.match(r"mast_edge\.(envs|train|export|experiments|cli)", name)]


def test_nobody_listening_is_one_line(artifact):
    command = [sys.executable, "-m", "mast_edge.runtime.agent_process", "--agent", str(artifact)]
    done = subprocess.run(
        [*command, "--connect", "unix:/nowhere/agent"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "host must listen at unix:/nowhere/agent; got" in done.stderr


HOST = """
import sys, time
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.agent_launch import Launcher
from mast_edge.runtime.decentralised import DecentralisedTeam
agent = Agent.load(sys.argv[1])
launcher = Launcher(sys.argv[1], "csr", agent.spec, agent.model.sha256)
team = DecentralisedTeam(launcher.start, agent.spec)
print(*(place.running.process.pid for place in team.places), flush=True)
time.sleep(60)
"""


def test_a_killed_host_leaves_no_process_behind(artifact, tmp_path):
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    host = subprocess.Popen([sys.executable, "-c", HOST, str(artifact)], stdout=subprocess.PIPE, env=environ)
    pids = [int(pid) for pid in host.stdout.readline().split()]
    assert len(pids) == 3
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    host.kill()
    host.wait()
    host.stdout.close()
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 5.0)
    assert not children()


def alive(pid: int) -> bool:
    """Running; a zombie that nobody has waited for is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
