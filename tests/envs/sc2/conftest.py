"""One served process for the tests of a file; connections for each test."""

from collections.abc import Callable, Iterator

import pytest

from tests.envs.sc2.client import Client, Relay, start_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a running stand-in."""
    process = start_server("--seed", "7")
    assert process.stdout is not None
    assert process.stderr is not None
    yield process.stdout.readline().strip()
    assert process.poll() is None, "the server has died"
    process.terminate()
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors, errors


@pytest.fixture(scope="session")
def relay() -> Iterator[Relay]:
    """The process that speaks for all clients."""
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def connect(relay: Relay, url: str) -> Iterator[Callable[[], Client]]:
    """Opens connections, and closes them after the test."""
    opened: list[Client] = []

    def connect() -> Client:
        opened.append(Client(relay, url))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    """One connection."""
    return connect()
