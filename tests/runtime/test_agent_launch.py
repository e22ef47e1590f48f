"""Starting agent processes: side by side, in time, with failures that read as if they had happened here."""

import socket
import stat
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from mast_edge import errors
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactRefused,
    EnvironmentUnavailable,
    MastEdgeError,
    MissingExtra,
    MissingInput,
)
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.agent_launch import Launcher, end_processes, reported
from mast_edge.runtime.wire import Fault, WireError
from tests.runtime.apart import children, wait_until


@pytest.fixture
def artifact(tiny) -> Path:
    return tiny / "exports/csr/agent.safetensors"


@pytest.fixture
def agent(artifact) -> Agent:
    return Agent.load(artifact)


def launcher(path, agent, backend="csr", **options) -> Launcher:
    return Launcher(path, backend, agent.spec, agent.model.sha256, **options)


def end(running) -> None:
    for one in running:
        one.connection.close()
    end_processes([one.process for one in running])


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_agents_take_their_places(artifact, agent, transport):
    with closing(launcher(artifact, agent, transport=transport)) as starter:
        running = starter.start([2, 0])
        assert [one.ready.sizes.agent_id for one in running] == [2, 0]
        assert {one.ready.sha256.hex() for one in running} == {agent.model.sha256}
        assert starter.transport == transport
        end(running)
        assert [one.process.returncode for one in running] == [0, 0]


@pytest.mark.slow
def test_the_sockets_lie_where_only_this_user_may_go(artifact, agent):
    with closing(launcher(artifact, agent)) as starter:
        folder = Path(starter._folder.name)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        end(starter.start([0]))
        assert any(stat.S_ISSOCK(file.stat().st_mode) for file in folder.iterdir())
    assert not folder.exists()


@pytest.mark.slow
def test_a_folder_with_too_long_a_name_falls_back_to_tcp(artifact, agent, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with closing(launcher(artifact, agent)) as starter:
        end(starter.start([1]))
        assert starter.transport == "tcp"


def test_who_does_not_know_the_token_is_not_taken_for_the_agent(artifact, agent, monkeypatch):
    real, strangers = socket.create_server, []

    def server_with_stranger(address):
        listener = real(address)
        stranger = socket.create_connection(listener.getsockname())
        stranger.sendall(bytes(32) + b"ME\x01\x02")
        strangers.append(stranger)
        return listener

    monkeypatch.setattr(socket, "create_server", server_with_stranger)
    with closing(launcher(artifact, agent, transport="tcp")) as starter:
        (running,) = starter.start([0])
        assert running.ready.sha256.hex() == agent.model.sha256
        end([running])
    with pytest.raises(ConnectionResetError):
        strangers[0].recv(100)


def test_a_refused_artifact_is_refused_as_it_is_here(artifact, agent, tmp_path):
    damaged = tmp_path / "agent.safetensors"
    data = bytearray(artifact.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    for path, kind in ((damaged, ArtifactCorrupt), (tmp_path / "none.safetensors", MissingInput)):
        with pytest.raises(kind) as here:
            Agent.load(path, backend="csr")
        with closing(launcher(path, agent)) as starter, pytest.raises(kind) as apart:
            starter.start([0, 1])
        assert str(apart.value) == str(here.value)
        assert type(apart.value) is type(here.value)
        assert apart.value.exit_code == here.value.exit_code
    assert wait_until(lambda: not children())


def test_a_missing_package_is_named_as_it_is_here(tiny, agent, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('gone', name='onnxruntime')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tiny / "exports/onnx/agent.onnx"
    with (
        closing(launcher(path, agent, "onnx")) as starter,
        pytest.raises(MissingExtra, match=r"pip install 'mast-edge\[onnx\]'") as refused,
    ):
        starter.start([0])
    assert refused.value.exit_code == 3


def test_a_file_that_changed_meanwhile_is_refused(artifact, agent):
    with (
        closing(Launcher(artifact, "csr", agent.spec, "ab" * 32)) as starter,
        pytest.raises(EnvironmentUnavailable, match=r"SHA-256 abababababab; got .*start again"),
    ):
        starter.start([0])
    assert wait_until(lambda: not children())


def test_a_process_that_ends_at_once_is_quoted(artifact, agent, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, os\nprint('out of luck', file=sys.stderr)\nos._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        closing(launcher(artifact, agent)) as starter,
        pytest.raises(EnvironmentUnavailable, match=r"agent 0: .* code 3: out of luck"),
    ):
        starter.start([0, 1])
    assert wait_until(lambda: not children())


def test_processes_that_never_connect_are_given_up(artifact, agent, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    began = time.monotonic()
    with (
        closing(launcher(artifact, agent)) as starter,
        pytest.raises(EnvironmentUnavailable, match="must connect in time"),
    ):
        starter.start([0, 1, 2], seconds=0.3)
    assert time.monotonic() - began < 2.0
    assert wait_until(lambda: not children())


def test_an_interpreter_that_is_gone(artifact, agent, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        closing(launcher(artifact, agent)) as starter,
        pytest.raises(EnvironmentUnavailable, match="process must start; got No such file"),
    ):
        starter.start([0])


@pytest.mark.parametrize(
    "kind", [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, MastEdgeError)]
)
def test_every_error_comes_over_the_wire_as_itself(kind):
    error = reported(Fault.START_UP, f"{kind.__name__}: file: what must be; got this. Do that.")
    assert type(error) is kind
    assert str(error) == "file: what must be; got this. Do that."


@pytest.mark.parametrize("text", ["KeyError: 1", "annotations: x", "os: x", "MastEdgeError", ""])
def test_other_names_are_not_looked_up(text):
    error = reported(Fault.START_UP, text)
    assert type(error) in (WireError, MastEdgeError)
    assert not isinstance(reported(Fault.INTERNAL, "ArtifactRefused: x"), ArtifactRefused)
