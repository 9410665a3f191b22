# -*- test-case-name: tests.endtoend.test_soak -*-
"""
Conversations at L4: bytes through tunnels, with and without a stream filter.

The first two letters are orders to the relay's filter and to the backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket

from benchmarks.soak.backends import GREETING, reset
from benchmarks.soak.world import Conversation, World, expect, leave, pieces, size

__all__ = ["TUNNELS"]

# Seconds that a slow reader reads nothing, now and then.
_PAUSES = (0, 0.01, 0.1)


async def _send(
    numbers: random.Random, writer: asyncio.StreamWriter, data: bytes, end: bool = True
) -> None:
    for piece in pieces(numbers, data):
        writer.write(piece)
        await writer.drain()
    if end:
        writer.write_eof()


async def _compare(
    numbers: random.Random, reader: asyncio.StreamReader, wanted: bytes, isSlow: bool = False
) -> None:
    """Read to the end of the stream, comparing every byte."""
    at = 0
    while data := await reader.read(16384 if isSlow else 262144):
        expect(data, wanted[at : at + len(data)], f"bytes from {at} on")
        at += len(data)
        if isSlow:
            await asyncio.sleep(numbers.choice(_PAUSES) if numbers.random() < 0.05 else 0)
    expect(at, len(wanted), "bytes before the end")


async def echo(world: World, numbers: random.Random) -> str:
    """Everything comes back, and then the end of the stream."""
    data = world.data(numbers, size(numbers, 1_000_000))
    reader, writer = await world.stream("tunnel")
    writer.write(b"ne")
    await asyncio.gather(_send(numbers, writer, data), _compare(numbers, reader, data))
    writer.close()
    return "echoed"


async def slow(world: World, numbers: random.Random) -> str:
    """The same with a reader that takes its time."""
    data = world.data(numbers, 1_000_000 + numbers.randrange(1_000_000))
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    own.setblocking(False)
    name = numbers.choice(("tunnel", "filtered"))
    await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", world.port(name)))
    reader, writer = await asyncio.open_connection(sock=own, limit=16384)
    writer.write(b"ne")
    await asyncio.gather(_send(numbers, writer, data), _compare(numbers, reader, data, True))
    writer.close()
    return "echoed"


async def breaks(world: World, numbers: random.Random) -> str:
    """The client goes in the middle of it, with bytes on the way in both directions."""
    name = numbers.choice(("tunnel", "filtered"))
    reader, writer = await world.stream(name)
    writer.write(numbers.choice((b"ne", b"de", b"se", b"re")))
    for _ in range(numbers.randrange(20)):
        writer.write(world.data(numbers, size(numbers)))
        if numbers.random() < 0.3:
            await asyncio.sleep(0)
    if numbers.random() < 0.5:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(size(numbers))
    await asyncio.sleep(numbers.choice((0, 0, 0.003, 0.02)))
    return leave(numbers, writer.transport)


async def backendBreaks(world: World, numbers: random.Random) -> str:
    """The backend breaks off; the client hears the end, whatever it is doing."""
    reader, writer = await world.stream("tunnel")
    writer.write(b"nr")
    data = world.data(numbers, 200_000)
    ended = "ended"
    try:
        await asyncio.gather(_send(numbers, writer, data, end=False), _until(reader, data))
    except ConnectionError:
        ended = "broken"
    writer.transport.abort()
    return ended


async def _until(reader: asyncio.StreamReader, wanted: bytes) -> None:
    """Read to the end, which may come early."""
    at = 0
    while data := await reader.read(262144):
        expect(data, wanted[at : at + len(data)], f"bytes from {at} on")
        at += len(data)


async def halfClosed(world: World, numbers: random.Random) -> str:
    """The backend ends its stream first, and still hears all that the client has to say."""
    token = numbers.randbytes(8)
    world.heard[token] = asyncio.get_running_loop().create_future()
    reader, writer = await world.stream("tunnel")
    data = world.data(numbers, size(numbers, 1_000_000))
    try:
        writer.write(b"nf" + token)
        if numbers.random() < 0.5:
            expect(await reader.read(), GREETING, "the greeting")
            await _send(numbers, writer, data)
        else:
            await asyncio.gather(_send(numbers, writer, data), _compare(numbers, reader, GREETING))
        heard = await world.heard[token]
    finally:
        del world.heard[token]
    expect(heard, hashlib.sha256(data).digest(), "the digest of what the backend heard")
    writer.close()
    return "heard"


async def filtered(world: World, numbers: random.Random) -> str:
    """A stream filter changes bytes at once or later, or retires."""
    order = numbers.choice((b"n", b"s", b"d", b"r"))
    data = world.data(numbers, size(numbers, 500_000))
    reader, writer = await world.stream("filtered")
    writer.write(order + b"e")
    wanted = data.swapcase() if order in b"sd" else data
    await asyncio.gather(_send(numbers, writer, data), _compare(numbers, reader, wanted))
    writer.close()
    return "echoed, " + order.decode()


async def filterEnds(world: World, numbers: random.Random) -> str:
    """A stream filter raises, or closes: the client hears the end at once."""
    order = numbers.choice((b"x", b"c"))
    reader, writer = await world.stream("filtered")
    ended = "ended"
    try:
        writer.write(order + b"e")
        await asyncio.sleep(numbers.choice((0, 0.05)))
        await _send(numbers, writer, world.data(numbers, size(numbers)))
        await reader.read()
    except ConnectionError:
        ended = "broken"
    writer.transport.abort()
    return ended


async def broken(world: World, numbers: random.Random) -> str:
    """A backend that is not there, never accepts or breaks off at once."""
    reader, writer = await world.stream("broken")
    ended = "ended"
    try:
        writer.write(world.data(numbers, size(numbers)))
        async with asyncio.timeout(numbers.choice((0.01, 3))):
            await reader.read()
    except ConnectionError:
        ended = "broken"
    except TimeoutError:
        # One that never accepts looks like one that is silent, as long as its queue has room.
        ended = "given up"
    with contextlib.suppress(OSError):
        reset(writer.transport)
    return ended


async def asTls(world: World, numbers: random.Random) -> str:
    """A client that does not speak TLS where it must, or stops in the middle of a handshake."""
    reader, writer = await world.stream("https")
    try:
        hello = bytes.fromhex("1603010200010001fc0303") + numbers.randbytes(numbers.randrange(500))
        writer.write(numbers.choice((b"GET / HTTP/1.1\r\n\r\n", hello, b"\x16", b"")))
        if numbers.random() < 0.5:
            async with asyncio.timeout(0.02):
                await reader.read()
    except (ConnectionError, TimeoutError):
        pass
    return leave(numbers, writer.transport)


TUNNELS: dict[str, tuple[int, Conversation]] = {
    "tunnel": (10, echo),
    "tunnel, slow reader": (2, slow),
    "tunnel, client breaks off": (8, breaks),
    "tunnel, backend breaks off": (4, backendBreaks),
    "tunnel, half-closed": (4, halfClosed),
    "tunnel, filtered": (6, filtered),
    "tunnel, filter ends it": (3, filterEnds),
    "tunnel, broken backend": (2, broken),
    "TLS, broken handshake": (2, asTls),
}
"""How often, and what."""
