# -*- test-case-name: tests.conformance.test_probe -*-
"""
The two ends of the relay probe, both made with the C{websockets} library.

L{ProbeBackend} is a WebSocket server whose behaviour a client picks by path; it keeps every
connection as the backend saw it, so that the probe can ask for what really arrived there.
L{connect} is the client. Both ends note each frame that reaches them, which tells a ping
that travelled from end to end from one that something in between answered by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from websockets.asyncio.client import ClientConnection, connect as websocketsConnect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Event

__all__ = [
    "FLOOD_LIMIT",
    "FLOOD_SIZE",
    "REFUSAL",
    "BackendConnection",
    "ProbeBackend",
    "ProbeConnection",
    "connect",
    "sendEmptyClose",
]

#: One message of the flood, in bytes, and how many of them end it: 375 MiB.
FLOOD_SIZE = 64 * 1024
FLOOD_LIMIT = 6000

#: The body of the backend's 403.
REFUSAL = b"not for you, and here is why\n"

# Handshakes that are refused or cut short belong to the probe; they are no news.
_SILENT = logging.getLogger("tests.conformance.backend")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class _Noting:
    """
    Keeps what frames arrived.

    @ivar pings: the payload of each ping.
    @ivar pongs: the payload of each pong.
    @ivar dataFrames: how many data frames arrived, continuations included.
    """

    pings: list[bytes]
    pongs: list[bytes]
    dataFrames: int

    def _note(self, event: Event) -> None:
        if not isinstance(event, Frame):
            return
        if event.opcode is Opcode.PING:
            self.pings.append(bytes(event.data))
        elif event.opcode is Opcode.PONG:
            self.pongs.append(bytes(event.data))
        elif event.opcode is not Opcode.CLOSE:
            self.dataFrames += 1


class ProbeConnection(_Noting, ClientConnection):
    """The client's end of one WebSocket."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.pings, self.pongs, self.dataFrames = [], [], 0
        super().__init__(*arguments, **keywords)

    def process_event(self, event: Event) -> None:
        """Note the frame, then go on as usual."""
        self._note(event)
        super().process_event(event)


class BackendConnection(_Noting, ServerConnection):
    """
    The backend's end of one WebSocket.

    @ivar flooded: how many messages of the flood it could hand on so far.
    """

    flooded = 0

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.pings, self.pongs, self.dataFrames = [], [], 0
        super().__init__(*arguments, **keywords)

    def process_event(self, event: Event) -> None:
        """Note the frame, then go on as usual."""
        self._note(event)
        super().process_event(event)


@contextlib.asynccontextmanager
async def connect(url: str, **options: Any) -> AsyncIterator[ProbeConnection]:
    """A client without size limit and automatic pings, which waits 8 s for the handshake."""
    options = {"max_size": None, "ping_interval": None, "open_timeout": 8, **options}
    asked = websocketsConnect(url, proxy=None, create_connection=ProbeConnection, **options)
    async with asked as connection:
        assert isinstance(connection, ProbeConnection)
        yield connection


async def sendEmptyClose(connection: ProbeConnection) -> None:
    """Send a Close frame without a code, which the library's C{close} never does."""
    async with connection.send_context():
        connection.protocol.send_close()


class ProbeBackend:
    """
    A WebSocket server that does what the path asks for.

    C{/echo}: sends back each message. C{/digest}: answers each with its SHA-256.
    C{/close}: closes with 4404. C{/abort}: drops the TCP connection. C{/refuse}: answers the
    handshake with 403. C{/seen}: tells the request head it got, as JSON. C{/ping}: pings.
    C{/flood} and C{/flood-later}: sends and sends, at once or after a first message.

    @ivar port: where it listens.
    @ivar sessions: each connection, as its handshake was done.
    @ivar floodMayStop: set it to have a flood end, with a normal close.
    """

    def __init__(self, server: Server, sessions: asyncio.Queue[BackendConnection]) -> None:
        self._server = server
        self.port = int(next(iter(server.sockets)).getsockname()[1])
        self.sessions = sessions
        self.floodMayStop = asyncio.Event()

    @classmethod
    async def start(cls, port: int = 0) -> ProbeBackend:
        """Listen on C{port} of 127.0.0.1, or on any."""
        sessions: asyncio.Queue[BackendConnection] = asyncio.Queue()
        backend: ProbeBackend

        async def serveOne(connection: ServerConnection) -> None:
            assert isinstance(connection, BackendConnection)
            sessions.put_nowait(connection)
            await backend._serve(connection)

        server = await serve(
            serveOne,
            "127.0.0.1",
            port,
            max_size=None,
            ping_interval=None,
            process_request=_refuse,
            select_subprotocol=_choose,
            create_connection=BackendConnection,
            logger=_SILENT,
        )
        backend = cls(server, sessions)
        return backend

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        await self._server.wait_closed()

    async def session(self) -> BackendConnection:
        """The next connection as the backend sees it."""
        return await self.sessions.get()

    async def _serve(self, connection: BackendConnection) -> None:
        request = connection.request
        assert request is not None
        path = request.path.partition("?")[0]
        with contextlib.suppress(ConnectionClosed):
            await self._ways().get(path, _echo)(connection)

    def _ways(self) -> Mapping[str, Callable[[BackendConnection], Awaitable[None]]]:
        return {
            "/close": _close,
            "/abort": _abort,
            "/seen": _tellSeen,
            "/digest": _digest,
            "/ping": _ping,
            "/flood": self._flood,
            "/flood-later": self._floodLater,
        }

    async def _flood(self, connection: BackendConnection) -> None:
        # A relay that compresses one leg must not be able to make the flood small.
        payload = os.urandom(FLOOD_SIZE)
        while connection.flooded < FLOOD_LIMIT and not self.floodMayStop.is_set():
            await connection.send(payload)
            connection.flooded += 1

    async def _floodLater(self, connection: BackendConnection) -> None:
        await connection.recv()
        await self._flood(connection)


def _refuse(connection: ServerConnection, request: Request) -> Response | None:
    if request.path != "/refuse":
        return None
    fields = {"X-Why": "because", "Content-Length": str(len(REFUSAL)), "Connection": "close"}
    headers = Headers({"Content-Type": "text/plain", **fields})
    return Response(HTTPStatus.FORBIDDEN, "Forbidden", headers, REFUSAL)


def _choose(connection: ServerConnection, offered: Any) -> Any:
    return "b" if "b" in offered else None


async def _echo(connection: BackendConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _digest(connection: BackendConnection) -> None:
    async for message in connection:
        data = message.encode() if isinstance(message, str) else message
        await connection.send(f"{len(data)} {hashlib.sha256(data).hexdigest()}")


async def _close(connection: BackendConnection) -> None:
    await connection.close(4404, "Document deleted")


async def _abort(connection: BackendConnection) -> None:
    connection.transport.abort()


async def _tellSeen(connection: BackendConnection) -> None:
    request = connection.request
    assert request is not None
    seen = {
        "path": request.path,
        "headers": list(request.headers.raw_items()),
        "extensions": [extension.name for extension in connection.protocol.extensions],
    }
    await connection.send(json.dumps(seen))
    await connection.wait_closed()


async def _ping(connection: BackendConnection) -> None:
    await (await connection.ping(b"from the backend"))
    await _echo(connection)
