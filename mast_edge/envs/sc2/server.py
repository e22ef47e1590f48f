"""The websocket at `/sc2api` behind which each client finds a game of its own."""

import asyncio
import contextlib
import http
import importlib
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mast_edge.envs.sc2.messages import Messages, load_messages
from mast_edge.envs.sc2.session import Session
from mast_edge.envs.units import unit_types
from mast_edge.errors import EnvironmentUnavailable, MissingExtra

PATH = "/sc2api"
MAX_MESSAGE = 64 << 20
"""Bytes of the longest request: create_game carries a whole map file."""

PATIENCE = 600.0
"""Seconds that a server for one client waits for it; pysc2 gives up after 360."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        seed: of games whose creation names none; None draws one for each.
        profile: unit data, `liberty` or `void`.
        one_client: end when the first client has left, as the game's own process does in the hands of pysc2.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    seed: int | None = None
    profile: str = "liberty"
    one_client: bool = False


def serve(options: ServeOptions, announce: Callable[[str], None] = lambda url: None) -> None:
    """Serves until SIGTERM, or until the client has left when there is to be one only.

    Args:
        options: see there.
        announce: called with the address once clients can connect.

    Raises:
        MissingExtra: websockets, s2clientprotocol or protobuf is not installed.
        ConfigError: no such profile.
        EnvironmentUnavailable: the address cannot be listened on, or protobuf runs in the wrong mode.
        KeyboardInterrupt: Ctrl-C, after all connections have been closed.

    Source: smac.md 12.
    """
    unit_types(options.profile)
    messages = load_messages()
    try:
        websockets = importlib.import_module("websockets.asyncio.server")
        closed = importlib.import_module("websockets.exceptions").ConnectionClosed
    except ImportError as error:
        raise MissingExtra("serve-sc2", "websockets", "sc2") from error
    asyncio.run(_Server(options, messages, websockets, closed).run(announce))


class _Server:
    def __init__(
        self, options: ServeOptions, messages: Messages, websockets: Any, closed: type[Exception]
    ) -> None:
        self._options, self._messages = options, messages
        self._websockets, self._closed = websockets, closed
        self._done = asyncio.Event()
        self._met = False

    async def run(self, announce: Callable[[str], None]) -> None:
        options = self._options
        with contextlib.suppress(NotImplementedError):    # Windows has no signal handlers in its loop
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._done.set)
        try:
            server = await self._websockets.serve(
                self._converse,
                options.host,
                options.port,
                process_request=self._check_path,
                compression=None,
                max_size=MAX_MESSAGE,
                # pysc2 answers pings only while it waits for a response: a long update is no failure.
                ping_interval=None,
                close_timeout=1,
                logger=_logger(),
            )
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise EnvironmentUnavailable(
                f"serve-sc2: address must be free to listen on; got {options.host}:{options.port} "
                f"({reason}). "
                "Choose another with --host and --port."
            ) from error
        async with server:
            announce(_url(options.host, server.sockets[0].getsockname()[1]))
            await self._wait()

    async def _wait(self) -> None:
        if self._options.one_client:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), PATIENCE)
            if not self._met:
                return
        await self._done.wait()

    def _check_path(self, connection: Any, request: Any) -> Any:
        if request.path.split("?")[0] == PATH:
            return None
        return connection.respond(http.HTTPStatus.NOT_FOUND, f"The API is at {PATH}.\n")

    async def _converse(self, connection: Any) -> None:
        self._met = True
        session = Session(self._messages, self._options.seed, self._options.profile)
        try:
            while not session.ended:
                # pysc2 sends its bytes in text frames: they must not be decoded.
                request = await connection.recv(decode=False)
                await connection.send(session.answer(bytes(request)))
        except self._closed:
            pass
        finally:
            if self._options.one_client:
                self._done.set()


def _url(host: str, port: int) -> str:
    return f"ws://{f'[{host}]' if ':' in host else host}:{port}{PATH}"


def _logger() -> logging.Logger:
    """A log without the noise of callers that speak no websocket, such as port scanners."""
    logger = logging.getLogger("mast_edge.envs.sc2")
    logger.addFilter(lambda record: not str(record.msg).startswith("opening handshake failed"))
    return logger
