# -*- test-case-name: tests.endtoend.test_clients -*-
"""
Backends for the end-to-end tests, made with other people's libraries.

Each is an asynchronous context manager that yields the port where it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

__all__ = ["aiohttpServer", "tcpEcho", "websocketsEcho"]

# A port that is only knocked at is no news.
_SILENT = logging.getLogger("tests.endtoend.servers")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

# Some tests connect three hundred times at once, and the server shares its process with all of
# their clients: of what does not fit into its queue, the kernel resets some.
_BACKLOG = 1024


@contextlib.asynccontextmanager
async def websocketsEcho(**options: Any) -> AsyncIterator[int]:
    """
    A C{websockets} server that echoes; the text C{close CODE REASON} has it close.

    It picks the subprotocol C{second} when that is offered.
    """

    async def echo(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                if isinstance(message, str) and message.startswith("close "):
                    _, code, reason = message.split(" ", 2)
                    await connection.close(int(code), reason)
                else:
                    await connection.send(message)

    def choose(connection: ServerConnection, offered: Any) -> Any:
        return "second" if "second" in offered else None

    options = {"max_size": None, "ping_interval": None, "select_subprotocol": choose, **options}
    async with serve(echo, "127.0.0.1", 0, logger=_SILENT, backlog=_BACKLOG, **options) as server:
        yield int(next(iter(server.sockets)).getsockname()[1])


@contextlib.asynccontextmanager
async def aiohttpServer(application: web.Application) -> AsyncIterator[int]:
    """An C{aiohttp} server."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def tcpEcho() -> AsyncIterator[int]:
    """A TCP server that echoes and passes on the end of the stream."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(256 * 1024):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=_BACKLOG)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
