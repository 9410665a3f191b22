# -*- test-case-name: tests.endtoend.test_soak -*-
"""
The backends: those that echo, and those that do nothing right.

A tunnel's client says in two letters what the relay's filter and the backend are to do; a
session's says it in its path (C{/hostile/reset}) or in a message that begins with C{!}.
Nobody here shares code with the relay.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.certificates import theAuthority

__all__ = ["GREETING", "HOSTILE", "PAGE", "SILENT", "Heard", "backends", "frame", "reset"]

#: What the backend says that ends its stream first.
GREETING = b"goodbye"

#: What a plain GET is answered.
PAGE = b"a page of no interest\n" * 500

#: A logger for those who expect trouble.
SILENT = logging.getLogger("benchmarks.soak")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False

Heard = dict[bytes, asyncio.Future[bytes]]
"""What tunnels were to deliver after the backend had ended its stream: digests by token."""


def reset(transport: Any) -> None:
    """Break a connection off with a RST."""
    own = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):  # it may be gone already
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def frame(payload: bytes, first: int = 0x82, isMasked: bool = False) -> bytes:
    """One frame (RFC 6455 section 5.2), masked with zeros if at all."""
    bit, n = 0x80 if isMasked else 0, len(payload)
    if n < 126:
        head = struct.pack("!BB", first, bit | n)
    elif n < 65536:
        head = struct.pack("!BBH", first, bit | 126, n)
    else:
        head = struct.pack("!BBQ", first, bit | 127, n)
    return head + (bytes(4) if isMasked else b"") + payload


# ------------------------------------------------------------------------------- L4


def _echo(heard: Heard) -> Any:
    async def serveOne(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            order = (await reader.readexactly(2))[1:].lower()
            if order == b"f":
                await _endFirst(reader, writer, heard)
            else:
                await _echoBytes(reader, writer, 50_000 if order == b"r" else None)
        writer.close()

    return serveOne


async def _echoBytes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
) -> None:
    """Echo until the end, or break off after C{limit} bytes."""
    count = 0
    while data := await reader.read(256 * 1024):
        writer.write(data)
        await writer.drain()
        count += len(data)
        if limit is not None and count >= limit:
            reset(writer.transport)
            return


async def _endFirst(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard
) -> None:
    """Say goodbye at once, and hear what the client has still to say."""
    token = await reader.readexactly(8)
    writer.write(GREETING)
    writer.write_eof()
    digest = hashlib.sha256()
    while data := await reader.read(256 * 1024):
        digest.update(data)
    if token in heard and not heard[token].done():
        heard[token].set_result(digest.digest())


async def _resetAtOnce(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer.transport)


# ------------------------------------------------------------------------------- L7


async def _echoMessages(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            if message == b"!reset":
                reset(connection.transport)
            elif message == b"!vanish":
                connection.transport.abort()
            elif message == b"!close":
                await connection.close(4002, "as you like")
            else:
                await connection.send(message)


def _plain(connection: ServerConnection, request: Any) -> Any:
    """A page for who wants no WebSocket."""
    if "Upgrade" in request.headers:
        return None
    return connection.respond(HTTPStatus.OK, PAGE.decode())


Hostile = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


def _says(answer: bytes, then: Callable[[Any], None]) -> Hostile:
    """Say C{answer}, in which C{{101}} is a true 101, and end so."""

    async def serveOne(reader: Any, writer: asyncio.StreamWriter, accepted: bytes) -> None:
        writer.write(answer.replace(b"{101}", accepted))
        await writer.drain()
        await asyncio.sleep(random.choice((0, 0.005)))
        then(writer.transport)

    return serveOne


def _stays(transport: Any) -> None:
    """Leave it to the relay."""


def _leaves(transport: Any) -> None:
    transport.close()


async def _silent(reader: asyncio.StreamReader, writer: Any, accepted: bytes) -> None:
    """Read, and say nothing."""
    while await reader.read(65536):
        pass


async def _deaf(reader: Any, writer: asyncio.StreamWriter, accepted: bytes) -> None:
    """Accept, and read nothing until long after the client has had enough."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's can
    writer.write(accepted)
    await asyncio.sleep(3)
    writer.transport.abort()


async def _flood(reader: Any, writer: asyncio.StreamWriter, accepted: bytes) -> None:
    """Send for as long as anything is taken."""
    writer.write(accepted)
    message = frame(bytes(64 * 1024))
    while not writer.is_closing():
        writer.write(message)
        await writer.drain()


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: "

#: What a hostile backend does, and what its client may come to see: an HTTP status, or a
#: close code, where 1006 is none at all.
HOSTILE: dict[str, tuple[Hostile, tuple[int, ...]]] = {
    "resets": (_says(b"", reset), (502,)),
    "leaves": (_says(b"", _leaves), (502,)),
    "garbage": (_says(b"\x00\xff 220 welcome\r\n\r\n", _stays), (502,)),
    "head": (_says(b"HTTP/1.1 101 Swit", reset), (502,)),
    "head-end": (_says(b"HTTP/1.1 101 Switching Protocols\r\nConn", _leaves), (502,)),
    "long-head": (_says(b"HTTP/1.1 101 A\r\n" + b"A: b\r\n" * 50_000, _stays), (502,)),
    "accept": (_says(b"HTTP/1.1 101 A\r\nUpgrade: websocket\r\n\r\n", _stays), (502,)),
    "refuses": (_says(_OK.replace(b"200 OK", b"403 No") + b"2\r\n\r\nno", _leaves), (403,)),
    "page": (_says(_OK + b"2\r\n\r\nno", _leaves), (502, 200)),
    "half": (_says(_OK.replace(b"200", b"403") + b"9\r\n\r\nno", reset), (403, 502, 1006)),
    "silent": (_silent, (504,)),
    "reset": (_says(b"{101}", reset), (1011, 502)),
    "vanish": (_says(b"{101}", _leaves), (1011,)),
    "in-frame": (_says(b"{101}\x82\x7d123", reset), (1006, 1011, 502)),
    "in-frame-end": (_says(b"{101}\x82\x7d123", _leaves), (1006, 1011)),
    "in-head": (_says(b"{101}\x82", _leaves), (1011,)),
    "masked": (_says(b"{101}" + frame(b"abc", isMasked=True), _stays), (1011,)),
    "opcode": (_says(b"{101}" + frame(b"abc", 0x83), _stays), (1011,)),
    "close": (_says(b"{101}" + frame(b"\x0f\xa2", 0x88), _stays), (4002,)),
    "no-code": (_says(b"{101}" + frame(b"", 0x88), _leaves), (1005,)),
    "behind-close": (_says(b"{101}" + frame(b"\x0f\xa2", 0x88) + b"x" * 99, reset), (4002, 502)),
    "deaf": (_deaf, (1006, 1011, 1000)),
    "flood": (_flood, (1006, 1011, 1000)),
}


def _hostile() -> Any:
    async def serveOne(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split(b" ")[1].rpartition(b"/")[2].decode()
            await HOSTILE[name][0](reader, writer, _accepted(head))
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    return serveOne


def _accepted(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            digest = hashlib.sha1(value.strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            return (
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Accept: "
                + base64.b64encode(digest)
                + b"\r\n\r\n"
            )
    return b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"


# ----------------------------------------------------------------------------- all


@contextlib.asynccontextmanager
async def backends(heard: Heard, folder: Path) -> AsyncIterator[dict[str, int]]:
    """All of them; their ports by the names that the configuration uses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theAuthority().issue("127.0.0.1").write(folder / "backend.pem"))
    options: Any = {
        "max_size": None,
        "ping_interval": None,
        "close_timeout": 3,
        "logger": SILENT,
        "backlog": 1024,
    }
    async with contextlib.AsyncExitStack() as stack:
        ports: dict[str, int] = {}
        for name, serveOne in (
            ("echo", _echo(heard)),
            ("resets", _resetAtOnce),
            ("hostile", _hostile()),
        ):
            server: Any = await asyncio.start_server(serveOne, "127.0.0.1", 0, backlog=1024)
            stack.callback(server.close)
            ports[name] = server.sockets[0].getsockname()[1]
        for name, tls in (("websocket", None), ("secure", context)):
            server = await stack.enter_async_context(
                serve(_echoMessages, "127.0.0.1", 0, ssl=tls, process_request=_plain, **options)
            )
            ports[name] = next(iter(server.sockets)).getsockname()[1]
        # Nobody listens at one, and nobody accepts at the other: its queue is full soon.
        for name, backlog in (("nobody", None), ("never", 0)):
            place = stack.enter_context(socket.socket())
            place.bind(("127.0.0.1", 0))
            if backlog is not None:
                place.listen(backlog)
            ports[name] = place.getsockname()[1]
        yield ports
