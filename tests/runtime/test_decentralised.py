"""A team of processes plays as a team in one process does, and goes on when its agents do not."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import EnvironmentUnavailable
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.agent_launch import Running, agree
from mast_edge.runtime.connection import Connection
from mast_edge.runtime.decentralised import MOST_RESTARTS, DecentralisedTeam
from mast_edge.runtime.match import FIRST_SEED, play_rounds
from mast_edge.runtime.place import MOST_MISSES
from mast_edge.runtime.team import BatchTeam, LoneTeam
from mast_edge.runtime.wire import (
    HEADER,
    Fault,
    Kind,
    Sizes,
    action_payload,
    error_payload,
    expected_by_host,
    frame,
)
from mast_edge.spec import AgentSpec
from tests.runtime.apart import COMMITTED, Peers, children, exported, play, team_apart, wait_until
from tests.runtime.toy_battle import SPEC, CueTeam, ToyBattle

TOY = AgentSpec(SPEC.obs_dim, SPEC.n_actions, SPEC.n_agents)
PATHS = {
    "csr": "csr/agent.safetensors",
    "numpy": "csr/agent.safetensors",
    "onnx": "onnx/agent.onnx",
    "c": "c/agent.c",
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> Path:
    formats = ["csr", *(["c"] if shutil.which("gcc") or shutil.which("clang") else [])]
    return exported(tmp_path_factory.mktemp("committed"), *formats)


def battles(n, seed):
    return Skirmish("3m", n, seed=seed)


def assert_equal(one, other):
    for name in ("won", "timed_out", "length", "returns", "actions", "lost"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


# the same as in one process


def test_processes_play_as_one_process_does(exports):
    before = children()
    with team_apart(exports / PATHS["csr"]) as (team, agent):
        assert len(children() - before) == 3
        apart = play_rounds(battles, team, 12, FIRST_SEED)
        facts = team.facts()
    assert children() <= before
    assert_equal(apart, play_rounds(battles, LoneTeam(agent), 12, FIRST_SEED))
    assert_equal(apart, play_rounds(battles, BatchTeam(agent), 12, FIRST_SEED))
    assert 0 < apart.won.sum() < 12  # battles worth comparing
    assert [len(battle.steps) for battle in team.battles] == apart.length.tolist()
    assert (facts["replaced"], facts["lost"], facts["restarts"], facts["given_up"]) == (0, 0, 0, 0)
    assert facts["decisions"] == 3 * facts["steps"] == 3 * apart.length.sum()
    assert 0 < facts["round_trip_us"]["median"] <= facts["round_trip_us"]["p99"]
    assert all(10e6 < held < 1e9 for held in facts["resident_bytes"])
    assert {place["kernel"] for place in facts["places"]} == {agent.model.path_taken}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "onnx", "c", "torch"])
def test_every_runtime_plays_apart_as_together(exports, backend):
    for package in {"torch": ["torch"], "onnx": ["onnx", "onnxruntime"]}.get(backend, []):
        pytest.importorskip(package)
    if backend == "onnx":
        exported(exports, "onnx")
    path = COMMITTED if backend == "torch" else exports / PATHS[backend]
    if not path.exists():
        pytest.skip("no C compiler")
    with team_apart(path, backend) as (team, agent):
        apart = play_rounds(battles, team, 10, FIRST_SEED)
        assert team.replaced == 0
    assert_equal(apart, play_rounds(battles, LoneTeam(agent), 10, FIRST_SEED))


def test_a_device_in_c_plays_as_one_process_does(exports, tmp_path):
    """`device.c` knows the protocol from the document; it is spoken to over a pair of sockets."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    program, source = tmp_path / "device", Path(__file__).parent / "device" / "device.c"
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off"]
    command = [
        compiler,
        *flags,
        f"-I{exports / 'c'}",
        str(source),
        str(exports / "c/agent.c"),
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True, timeout=60)
    agent = Agent.load(exports / PATHS["c"])
    spec = agent.spec

    def start(ids):
        return [start_one(i) for i in ids]

    def start_one(agent_id):
        here, there = socket.socketpair()
        with there:
            process = subprocess.Popen([program], stdin=there, stdout=there)
        connection = Connection(here, expected_by_host(False))
        sizes = Sizes(spec.obs_dim, spec.n_actions, spec.n_agents, agent_id)
        return Running(connection, agree(connection, sizes, time.monotonic() + 5.0), process)

    team = DecentralisedTeam(start, spec)
    apart = play_rounds(battles, team, 8, FIRST_SEED)
    assert {place.kernel for place in team.places} == {"C99"}
    # Damaged: it says so, goes on, and its memory is that of the steps it was shown.
    hurt = team.places[0].running.connection
    hurt._sock.sendall(bytes(frame(Kind.START, 7))[:-1] + b"\0")
    message = hurt.receive(time.monotonic() + 5.0)
    assert (message.kind, int.from_bytes(message.payload[:4], "little")) == (Kind.ERROR, Fault.CHECKSUM)
    again = play_rounds(battles, team, 2, FIRST_SEED)
    processes = [place.running.process for place in team.places]
    assert team.replaced == 0
    team.close()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert_equal(apart, play_rounds(battles, LoneTeam(agent), 8, FIRST_SEED))
    assert_equal(again, play_rounds(battles, LoneTeam(agent), 2, FIRST_SEED))


# real processes that fail


class Disturbed:
    """A team to whose agents something is done at some step of some battle."""

    at_once = 1

    def __init__(self, team, deeds):
        self.team, self.deeds, self.battle, self.step = team, deeds, -1, 0

    def start(self, n_envs):
        self.battle, self.step = self.battle + 1, 0
        self.team.start(n_envs)

    def act(self, obs, avail, playing):
        deed = self.deeds.get((self.battle, self.step))
        if deed is not None:
            deed(self.team)
        self.step += 1
        return self.team.act(obs, avail, playing)


def kill(number, place):
    return lambda team: os.kill(team.places[place].running.process.pid, number)


def test_killed_agents_are_replaced_counted_and_started_anew(exports):
    deeds = {(1, 4): kill(signal.SIGKILL, 1), (1, 9): kill(signal.SIGKILL, 0)}
    with team_apart(exports / PATHS["csr"]) as (team, agent):
        apart = play_rounds(battles, Disturbed(team, deeds), 4, FIRST_SEED)
        facts = team.facts()
    lone = play_rounds(battles, LoneTeam(agent), 4, FIRST_SEED)
    steps = int(apart.length[1])
    assert [battle.replaced for battle in team.battles] == [0, (steps - 4) + (steps - 9), 0, 0]
    assert [place["replaced"] for place in facts["places"]] == [steps - 9, steps - 4, 0]
    assert [place["lost"] for place in facts["places"]] == [1, 1, 0]
    assert [place["restarts"] for place in facts["places"]] == [1, 1, 0]
    assert (facts["lost"], facts["restarts"], facts["given_up"]) == (2, 2, 0)
    assert set(apart.actions[9:steps, 1, :2].ravel()) <= {0, 1}  # no-op when dead, stop when not
    assert np.array_equal(apart.actions[:4, 1], lone.actions[:4, 1])
    for b in (0, 2, 3):  # before and after, as if nothing had happened
        assert np.array_equal(team.battles[b].actions, lone.actions[: lone.length[b], b])


def test_a_stopped_agent_costs_little_time_and_comes_back(exports):
    with team_apart(exports / PATHS["csr"], step_seconds=0.5) as (team, agent):
        deeds = {(0, 3): kill(signal.SIGSTOP, 2), (0, 7): kill(signal.SIGCONT, 2)}
        began = time.perf_counter()
        apart = play_rounds(battles, Disturbed(team, deeds), 2, FIRST_SEED)
        seconds = time.perf_counter() - began
        facts = team.facts()
    steps = int(apart.length[0])
    assert steps > 12
    # Once the whole timeout, then the short one until it goes on; then its answers count again.
    assert 4 <= team.battles[0].replaced <= 6
    assert 0.5 < seconds < 3.0
    assert (facts["lost"], facts["restarts"], facts["places"][2]["last_fault"]) == (0, 0, "no answer in time")
    lone = play_rounds(battles, LoneTeam(agent), 2, FIRST_SEED)
    assert np.array_equal(team.battles[1].actions, lone.actions[: lone.length[1], 1])


@pytest.mark.slow
def test_an_agent_that_stays_stopped_is_lost_after_a_while(exports):
    with team_apart(exports / PATHS["csr"], step_seconds=0.1) as (team, _):
        pid = team.places[0].running.process.pid
        apart = play_rounds(battles, Disturbed(team, {(0, 0): kill(signal.SIGSTOP, 0)}), 2, FIRST_SEED)
        facts = team.facts()
        assert not Path(f"/proc/{pid}").exists()
    assert apart.length[0] > MOST_MISSES + 1
    assert facts["places"][0]["replaced"] == apart.length[0]
    assert (facts["lost"], facts["restarts"], facts["given_up"]) == (1, 1, 0)
    assert team.battles[1].replaced == 0


# agents of another make


def toy(behaviours, n=3, step_seconds=0.2):
    """Plays n toy battles; returns (outcomes, team, peers, seconds)."""
    peers = Peers(TOY, behaviours)
    team = DecentralisedTeam(peers.start, TOY, step_seconds=step_seconds)
    began = time.perf_counter()
    out = play_rounds(ToyBattle, team, n, 0)
    seconds = time.perf_counter() - began
    facts = team.facts()
    team.close()
    return out, facts, peers, seconds


def at(battle, step, deed):
    """A behaviour: `play`, but `deed(peer, sequence)` in place of one answer; True when it was given."""
    count = {"battle": -1}

    def disturb(peer, now, sequence):
        count["battle"] += now == 0
        return (count["battle"], now) == (battle, step) and bool(deed(peer, sequence))

    return lambda peer: play(peer, disturb)


def test_peers_that_behave_win_every_battle():
    out, facts, peers, _ = toy({})
    assert out.won.all()
    assert facts["replaced"] == 0
    assert peers.started == [0, 1]
    assert wait_until(lambda: len(peers.heard) == 2)
    assert [kind for kind, _, _ in peers.heard[0]] == [Kind.START, *[Kind.STEP] * 5] * 3 + [Kind.BYE]
    assert [sequence for _, sequence, _ in peers.heard[0][:-1]] == list(range(1, 19))


def test_an_agent_is_sent_its_own_observation_and_nothing_else():
    _, _, peers, _ = toy({}, n=1)
    assert wait_until(lambda: len(peers.heard) == 2)
    battle = ToyBattle(1, 0)
    battle.reset()
    for t in range(5):
        for i in range(2):
            obs, avail = peers.heard[i][1 + t][2]
            assert np.array_equal(obs, battle.obs[0, i])
            assert np.array_equal(avail, battle.avail[0, i])
        battle.step(CueTeamOnce.act(battle))


class CueTeamOnce:
    @staticmethod
    def act(battle):
        return battle.obs[:, :, :3].argmax(axis=2).astype(np.int64) + 1


MISTAKES = {
    "an action that does not exist": lambda p, s: p.send(Kind.ACTION, s, action_payload(4)) or True,
    "an action far outside": lambda p, s: p.send(Kind.ACTION, s, action_payload(2**32 - 1)) or True,
    "an action that is not available": lambda p, s: p.send(Kind.ACTION, s, action_payload(0)) or True,
    "a damaged answer": lambda p, s: (
        p.raw(bytes(frame(Kind.ACTION, s, action_payload(2)))[:-1] + b"\0") or True
    ),
    "an error": lambda p, s: p.send(Kind.ERROR, s, error_payload(Fault.INPUT, "no")) or True,
    "a damaged question": lambda p, s: p.send(Kind.ERROR, 0, error_payload(Fault.CHECKSUM, "?")) or True,
    "silence": lambda p, s: True,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_decision(mistake):
    _, facts, peers, _ = toy({1: [at(1, 2, MISTAKES[mistake])]})
    assert (facts["replaced"], facts["lost"], facts["restarts"]) == (1, 0, 0)
    assert facts["places"][1]["replaced"] == 1
    assert facts["places"][1]["last_fault"]
    assert facts["places"][0]["last_fault"] is None
    assert wait_until(lambda: 1 in peers.heard)
    kinds = [kind for kind, _, _ in peers.heard[1]]
    told = kinds.index(Kind.REPLACED)
    assert kinds.count(Kind.REPLACED) == 1
    # It is told at once, with the number of the step and the lowest available action.
    assert peers.heard[1][told][1:] == (peers.heard[1][told - 1][1], action_payload(1))
    assert told == 6 + 1 + 2 + 1


FATAL = {
    "the end": lambda p, s: p.sock.shutdown(socket.SHUT_RDWR),
    "half an answer": lambda p, s: (
        p.raw(bytes(frame(Kind.ACTION, s, action_payload(1)))[:9]),
        p.sock.close(),
    ),
    "garbage": lambda p, s: p.raw(b"HTTP/1.1 200 OK\r\n"),
    "another version": lambda p, s: p.raw(b"ME\x02" + bytes(frame(Kind.ACTION, s, action_payload(1)))[3:]),
    "a length of 4 GB": lambda p, s: p.raw(HEADER.pack(b"ME", 1, Kind.ACTION, s, 2**32 - 1)),
    "a message of the host": lambda p, s: p.send(Kind.STEP, s, bytes(20)),
    "an unknown type": lambda p, s: p.raw(HEADER.pack(b"ME", 1, 77, s, 0)),
    "an answer to the future": lambda p, s: p.send(Kind.ACTION, s + 1, action_payload(1)),
    "an answer from the other end of time": lambda p, s: p.send(Kind.ACTION, s - 2**31, action_payload(1)),
    "an error that ends it": lambda p, s: p.send(Kind.ERROR, s, error_payload(Fault.INTERNAL, "oops")),
    "another answer": lambda p, s: p.send(Kind.STARTED, s),
}


@pytest.mark.parametrize("what", FATAL)
def test_an_agent_that_cannot_be_understood_is_lost_until_the_next_battle(what):
    out, facts, peers, seconds = toy({0: [at(1, 3, lambda p, s: FATAL[what](p, s) or True)]})
    assert (facts["replaced"], facts["lost"], facts["restarts"], facts["given_up"]) == (2, 1, 1, 0)
    assert facts["places"][0]["last_fault"]
    assert peers.started == [0, 1, 0]
    assert out.length.tolist() == [5, 5, 5]
    assert out.won[[0, 2]].all()
    assert seconds < 1.5


def test_late_and_repeated_answers_are_dropped():
    def late(peer, sequence):
        time.sleep(0.15)  # beyond the timeout
        peer.send(Kind.ACTION, sequence, action_payload(3))
        return True

    def twice(peer, sequence):
        peer.send(Kind.ACTION, sequence - 1, action_payload(3))
        peer.send(Kind.ACTION, sequence - 4, action_payload(3))
        return False

    _, facts, _, _ = toy({0: [at(0, 1, late)]}, step_seconds=0.1)
    assert 1 <= facts["places"][0]["replaced"] <= 4  # the late one, and those asked meanwhile
    assert facts["lost"] == 0
    out, facts, _, _ = toy({0: [at(0, 2, twice)]})
    assert facts["replaced"] == 0
    assert out.won.all()


def test_a_flood_of_old_answers_ends_with_the_step():
    def flood(peer, sequence):
        peer.sock.settimeout(0.5)
        old = bytes(frame(Kind.ACTION, sequence - 1, action_payload(1))) * 500
        for _ in range(200):
            peer.raw(old)
        return True

    out, facts, _, seconds = toy({0: [at(0, 1, flood)]})
    assert facts["places"][0]["replaced"] >= 1
    assert out.length.tolist() == [5, 5, 5]
    assert seconds < 5.0


def test_silent_agents_wait_side_by_side_and_only_once():
    """Two agents that never answer: one timeout, then short ones; lost agents are not asked."""

    def mute(peer):
        return play(peer, lambda *_: True)

    out, facts, _, seconds = toy({0: [mute] * 5, 1: [mute] * 5}, n=2, step_seconds=0.4)
    assert facts["replaced"] == facts["decisions"] == 20
    # One whole timeout in a battle, as START was answered; without sharing and patience it would be 20.
    assert seconds < 2 * (0.4 + 4 * 0.4 * 0.05) + 1.0
    assert (out.actions[:, :, 0] == 1).all()


def test_a_place_is_filled_a_few_times_only():
    def leave(peer):
        peer.receive()

    _, facts, peers, _ = toy({1: [leave] * 20}, n=6)
    assert facts["places"][1]["restarts"] == MOST_RESTARTS
    assert facts["places"][1]["lost"] == MOST_RESTARTS + 1
    assert facts["given_up"] == 1
    assert peers.started == [0, 1] + [1] * MOST_RESTARTS
    assert facts["places"][1]["replaced"] == 30
    assert facts["places"][1]["playing"] is False


def test_an_agent_that_cannot_be_started_anew_leaves_its_place_empty():
    peers = Peers(TOY, {0: [at(0, 0, lambda p, s: p.sock.shutdown(socket.SHUT_RDWR) or True)]})

    def start(ids):
        if peers.started[2:] or len(peers.started) == 2:
            raise EnvironmentUnavailable("no more processes")
        return peers.start(ids)

    team = DecentralisedTeam(start, TOY, step_seconds=0.2)
    out = play_rounds(ToyBattle, team, 3, 0)
    facts = team.facts()
    team.close()
    assert out.length.tolist() == [5, 5, 5]
    assert facts["places"][0]["last_fault"] == "no more processes"
    assert (facts["restarts"], facts["given_up"], facts["lost"]) == (MOST_RESTARTS, 1, 1)


def test_observations_larger_than_what_a_socket_holds():
    big = AgentSpec(obs_dim=60_000, n_actions=200, n_agents=2)
    team = DecentralisedTeam(Peers(big, {}).start, big, step_seconds=10.0)
    team.start(1)
    obs, avail = np.zeros((1, 2, 60_000), np.float32), np.ones((1, 2, 200), np.uint8)
    obs[0, 0, 1] = obs[0, 1, 2] = 1.0
    for _ in range(3):
        assert team.act(obs, avail, np.ones(1, bool)).tolist() == [[2, 3]]
    team.close()
    assert team.replaced == 0


def test_sequence_numbers_wrap_in_the_middle_of_a_battle():
    peers = Peers(TOY, {})
    team = DecentralisedTeam(peers.start, TOY)
    team._sequence = 2**32 - 4
    out = play_rounds(ToyBattle, team, 3, 0)
    team.close()
    assert team.replaced == 0
    assert out.won.all()


def test_one_battle_at_a_time():
    team = DecentralisedTeam(Peers(TOY, {}).start, TOY)
    with pytest.raises(ValueError, match="battles at once must be 1; got 2"):
        team.start(2)
    team.close()
    team.close()


def test_play_rounds_joins_battles_of_a_team_that_plays_one_by_one():
    class OneByOne(CueTeam):
        at_once = 1

        def start(self, n_envs):
            assert n_envs == 1
            super().start(n_envs)

    assert_equal(play_rounds(ToyBattle, OneByOne(3), 7, 5), play_rounds(ToyBattle, CueTeam(3), 7, 5))
