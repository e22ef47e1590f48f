"""The process: bad callers, ends, and the folder that makes pysc2 start it."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mast_edge.envs.sc2.layout import install
from mast_edge.envs.sc2.server import MAX_MESSAGE
from mast_edge.errors import ConfigError, EnvironmentUnavailable, UsageError
from tests.envs.sc2.client import ROOT, Client, Relay, start_server

ENDS_WITHIN = 10.0


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/")[0])


def command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mast_edge", "serve-sc2", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# callers that misbehave


def test_frames_that_are_no_message_are_answered(connect: Callable[[], Client]) -> None:
    client, rng = connect(), np.random.default_rng(0)
    for length in [1, 2, 3, 5, 8, 13, 40, 200] * 10:
        answer = client.exchange(hex=rng.bytes(length).hex(), text=bool(rng.integers(2)))
        assert answer["status"] == "launched"
        assert answer["error"]
    assert client.exchange(hex="", text=False)["error"]
    client.begin("3m")
    assert client.exchange(hex="ff" * 20, text=True)["status"] == "in_game"
    assert len(client.units()) == 6


def test_a_message_that_is_too_long_ends_one_connection_only(connect: Callable[[], Client]) -> None:
    greedy, modest = connect(), connect()
    modest.begin("3m")
    assert greedy.exchange(hex="00" * 1024, times=MAX_MESSAGE // 1024 + 1, text=False) == {"closed": 1009}
    assert len(modest.units()) == 6


def test_connections_that_break_leave_the_server_up(connect: Callable[[], Client], url: str) -> None:
    client = connect()
    client.begin("3m")
    client.exchange(vanish=True)
    with socket.create_connection(("127.0.0.1", port_of(url))) as half:
        half.sendall(b"GET /sc2api HTTP/1.1\r\nHost: x\r\nUpgr")
    with socket.create_connection(("127.0.0.1", port_of(url))) as elsewhere:
        elsewhere.sendall(
            b"GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert elsewhere.recv(100).startswith(b"HTTP/1.1 404")
    after = connect()
    after.begin("3m")
    assert len(after.units()) == 6


def test_a_client_that_quits_ends_its_own_game_only(connect: Callable[[], Client]) -> None:
    for _ in range(3):
        client = connect()
        client.begin("3m")
        assert client.ask(quit={})["status"] == "quit"


# the command


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_cleanly_with_a_client_connected(relay: Relay, sign: int, code: int) -> None:
    process = start_server()
    assert process.stdout is not None
    client = Client(relay, process.stdout.readline().strip())
    client.begin("3m")
    process.send_signal(sign)
    _, errors = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert client.ask(ping={}) == {"closed": 1001}
    client.close()


def test_an_address_that_is_taken_or_none_is_one_line_and_exit_8(url: str) -> None:
    taken = str(port_of(url))
    for arguments in (("--port", taken), ("--host", "999.1.2.3", "--port", "0")):
        answer = command(*arguments)
        assert answer.returncode == 8
        assert answer.stdout == ""
        assert len(answer.stderr.splitlines()) == 1
        assert answer.stderr.startswith("mast-edge: serve-sc2: address must be free to listen on; got ")


def test_wrong_values_are_refused_before_anything_starts() -> None:
    assert command("--port", "70000").returncode == 2
    answer = command("--map-profile", "voit")
    assert answer.returncode == 4
    assert "Did you mean 'void'?" in answer.stderr


def test_protobuf_in_the_wrong_mode_is_explained() -> None:
    answer = command("--port", "0", PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="upb")
    assert answer.returncode == 8
    assert len(answer.stderr.splitlines()) == 1
    assert "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python" in answer.stderr


def test_packages_that_are_missing_are_named_with_their_extra() -> None:
    for package in ("websockets", "s2clientprotocol"):
        block = f"import sys; sys.modules['{package}'] = None; from mast_edge.cli import main; main()"
        answer = subprocess.run(
            [sys.executable, "-c", block, "serve-sc2", "--port", "0"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 3
        assert f"package {package} must be installed" in answer.stderr
        assert "pip install 'mast-edge[sc2]'" in answer.stderr


# the folder


def launch(folder: Path, port: int, **env: str) -> subprocess.Popen[str]:
    """Starts the program as pysc2 does, in a folder whose modules must not matter."""
    program = folder / "Versions" / "Base75689" / "SC2_x64"
    flags = f"-listen 127.0.0.1 -port {port} -dataDir {folder}/ -tempDir /tmp/x/ -eglpath libEGL.so -verbose"
    return subprocess.Popen(
        [str(program), *flags.split()],
        cwd=folder,
        env={**os.environ, **env},
        stderr=subprocess.PIPE,
        text=True,
    )


def connected(relay: Relay, port: int) -> Client:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return Client(relay, f"ws://127.0.0.1:{port}/sc2api")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


@pytest.mark.parametrize("goodbye", ["quit", "vanish"])
def test_the_program_of_the_folder_serves_one_client_and_ends_with_it(
    relay: Relay, tmp_path: Path, goodbye: str
) -> None:
    folder = tmp_path / "a game's folder"
    assert install(folder, sys.executable, seed=5) == 23
    # What lies in the client's path or working folder is none of the program's business.
    (tmp_path / "websockets.py").write_text("raise SystemExit('not mine')")
    (folder / "click.py").write_text("raise SystemExit('not mine')")
    port = free_port()
    process = launch(folder, port, PYTHONPATH=str(tmp_path))
    client = connected(relay, port)
    client.begin("3m")
    process.send_signal(signal.SIGINT)    # the terminal sends it to the client as well, who may want to go on
    client.do(step={"count": 8})
    assert len(client.units()) == 6
    if goodbye == "quit":
        client.ask(quit={})
    else:
        client.exchange(vanish=True)
    _, errors = process.communicate(timeout=ENDS_WITHIN)
    assert (process.returncode, errors) == (0, "")


def test_a_server_for_one_client_does_not_wait_for_ever() -> None:
    code = (
        "from mast_edge.envs.sc2 import server; server.PATIENCE = 0.1; "
        "server.serve(server.ServeOptions(port=0, one_client=True))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=ENDS_WITHIN, check=False)
    assert answer.returncode == 0


def test_the_folder_holds_what_pysc2_looks_for(tmp_path: Path) -> None:
    answer = command("--install", str(tmp_path / "sc 2"), "--json")
    assert answer.returncode == 0
    facts = json.loads(answer.stdout)
    assert facts["export"] == f"export SC2PATH={shlex.quote(str(tmp_path / 'sc 2'))}"
    program = tmp_path / "sc 2" / "Versions" / "Base75689" / "SC2_x64"
    assert os.access(program, os.X_OK)
    maps = sorted(path.name for path in (tmp_path / "sc 2" / "Maps" / "SMAC_Maps").iterdir())
    assert len(maps) == 23
    assert "2c_vs_64zg.SC2Map" in maps
    again = command("--install", str(tmp_path / "sc 2"), "--map-profile", "void", "--quiet")
    assert again.stdout == facts["export"] + "\n"
    assert again.stderr == ""
    assert "--profile void" in program.read_text()


def test_a_real_game_is_left_alone(tmp_path: Path) -> None:
    program = tmp_path / "Versions" / "Base75689" / "SC2_x64"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF, the game itself")
    with pytest.raises(UsageError, match="must not hold a game of its own"):
        install(tmp_path, sys.executable)
    assert program.read_bytes() == b"\x7fELF, the game itself"
    assert not (tmp_path / "Maps").exists()
    other = tmp_path / "other"
    (other / "Versions" / "Base69232").mkdir(parents=True)
    with pytest.raises(UsageError, match="Base69232"):
        install(other, sys.executable)


def test_real_map_files_are_kept(tmp_path: Path) -> None:
    real = tmp_path / "Maps" / "SMAC_Maps" / "3m.SC2Map"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"MPQ")
    install(tmp_path, sys.executable)
    assert real.read_bytes() == b"MPQ"


def test_an_interpreter_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnavailable, match="must run the stand-in"):
        install(tmp_path, str(tmp_path / "no-python"))
    with pytest.raises(ConfigError, match="profile"):
        install(tmp_path, sys.executable, profile="nova")
    assert list(tmp_path.iterdir()) == []
