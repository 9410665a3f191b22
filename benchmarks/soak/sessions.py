# -*- test-case-name: tests.endtoend.test_soak -*-
"""
Conversations at L7 that are WebSockets: echo on every route, verdicts, breaks, violations.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from benchmarks.soak.backends import HOSTILE, frame
from benchmarks.soak.plugins import FAULT, mirrored
from benchmarks.soak.world import Conversation, World, Wrong, expect, leave, pieces, size

__all__ = ["SESSIONS", "ended", "request"]

_ECHOING = ("frames", "look", "mirror", "fail", "later", "two", "plain", "secure", "secure-look")

# Routes on which a message gets to the backend as it is.
_STRAIGHT = ("frames", "look", "fail", "plain", "secure", "secure-look")


def request(path: str) -> bytes:
    """The head of a handshake."""
    return (
        b"GET /" + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )


def _expected(route: str, message: str | bytes) -> str | bytes:
    """What comes back for a message."""
    isText = isinstance(message, str)
    data = message.encode() if isinstance(message, str) else message
    if route == "mirror" or (route in ("later", "two") and len(data) % 2):
        data = mirrored(data, isText)
    return data.decode() if isText else data


async def ended(client: ClientConnection) -> int:
    """Wait for the end; the close code, or 1006 for none."""
    try:
        while True:
            await client.recv()
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else 1006


def _message(world: World, numbers: random.Random) -> str | bytes:
    if numbers.random() < 0.3:
        return world.text(numbers, size(numbers, 30_000))
    return world.data(numbers, size(numbers))


async def _send(numbers: random.Random, client: ClientConnection, messages: list[Any]) -> None:
    for message in messages:
        if isinstance(message, bytes) and numbers.random() < 0.3:
            await client.send(pieces(numbers, message))
        else:
            await client.send(message)
        if numbers.random() < 0.05:
            await (await client.ping())


async def _echo(
    world: World, numbers: random.Random, client: ClientConnection, route: str
) -> None:
    """Send many while what comes back is compared."""
    messages = [_message(world, numbers) for _ in range(numbers.randrange(12))]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_send(numbers, client, messages))
        for number, message in enumerate(messages):
            expect(await client.recv(), _expected(route, message), f"{route}, message {number}")


async def echo(world: World, numbers: random.Random) -> str:
    """Everything comes back; then one of the ends that a session can have."""
    route = numbers.choice(_ECHOING)
    async with world.session(numbers, route) as client:
        await _echo(world, numbers, client, route)
        ends = ["close"] * 6
        if route in _STRAIGHT:
            ends += ["!reset", "!vanish", "!close"]
        if route in ("fail", "later", "two"):
            ends += [FAULT.decode()] * 3
        end = numbers.choice(ends)
        if end == "close":
            await client.close(4000, "bye")
            expect(client.close_code, 4000, f"{route}, close code")
        else:
            await client.send(end.encode())
            wanted = {"!close": 4002}.get(end, 1011)
            expect(await ended(client), wanted, f"{route}, close code after {end}")
    return f"echoed, {end}"


async def obeyed(world: World, numbers: random.Random) -> str:
    """A filter drops, answers, multiplies and closes as it is told."""
    async with world.session(numbers, "obey") as client:
        for _ in range(numbers.randrange(10)):
            data = world.data(numbers, size(numbers, 100_000))
            order = numbers.choice((b"D", b"R", b"M", b"N"))
            sent = order + data
            await client.send(sent)
            for wanted in {b"D": [], b"M": [sent, sent + sent]}.get(order, [sent]):
                expect(await client.recv(), wanted, f"after {order!r}")
        if numbers.random() < 0.5:
            await client.send(b"C")
            expect(await ended(client), 4001, "close code")
            return "closed by the filter"
    expect(client.close_code, 1000, "close code")
    return "closed"


async def slow(world: World, numbers: random.Random) -> str:
    """A client that takes its time to read, while its own messages wait."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    own.setblocking(False)
    isSecure = numbers.random() < 0.3
    address = "127.0.0.1", world.port("https" if isSecure else "http")
    await asyncio.get_running_loop().sock_connect(own, address)
    route = numbers.choice(_ECHOING)
    messages = [world.data(random.Random(n), 65_000 + n) for n in range(20)]
    async with world.session(numbers, route, isSecure, sock=own, max_queue=1) as client:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_send(numbers, client, messages))
            for message in messages:
                await asyncio.sleep(numbers.choice((0, 0, 0.02, 0.1)))
                expect(await client.recv(), _expected(route, message), route)
        await client.close()
    expect(client.close_code, 1000, "close code")
    return "echoed"


async def breaksEarly(world: World, numbers: random.Random) -> str:
    """The client goes while the relay reads its head, asks, dials or answers."""
    isSecure = numbers.random() < 0.3
    tls = world.tls(numbers) if isSecure else None
    _, writer = await world.stream("https" if isSecure else "http", tls)
    route = numbers.choice((*_ECHOING, "hostile/silent", "hostile/reset", "broken"))
    said = request(route) + b"".join(
        frame(world.data(numbers, size(numbers)), isMasked=True)
        for _ in range(numbers.randrange(4))
    )
    if numbers.random() < 0.3:
        said = said[: numbers.randrange(len(said))]
    writer.write(said)
    await asyncio.sleep(numbers.choice((0, 0, 0.001, 0.003, 0.01, 0.03)))
    return leave(numbers, writer.transport)


async def breaks(world: World, numbers: random.Random) -> str:
    """The client goes in the middle: of a frame, of a closing handshake, of unread messages."""
    route = numbers.choice(_ECHOING)
    async with world.session(numbers, route) as client:
        transport: Any = client.transport
        way = numbers.choice(("in a frame", "unread", "closing", "asking"))
        if way == "in a frame":
            said = frame(world.data(numbers, size(numbers)), isMasked=True)
            transport.write(said[: numbers.randrange(len(said))])
        elif way == "unread":
            for _ in range(numbers.randrange(40)):
                transport.write(frame(world.data(numbers, 65_000), isMasked=True))
        elif way == "closing":
            transport.write(frame(struct.pack("!H", 1000), 0x88, isMasked=True))
        else:
            # Verdicts of several hooks are still to come, or one has just raised.
            transport.write(frame(b"abcde", isMasked=True) * 3 + frame(FAULT, isMasked=True))
        await asyncio.sleep(numbers.choice((0, 0, 0.003, 0.01, 0.1)))
        leave(numbers, transport)
    return way


_RULES: dict[str, tuple[bytes, int]] = {
    "reserved bit": (frame(b"abc", 0xA2, True), 1002),
    "reserved opcode": (frame(b"abc", 0x83, True), 1002),
    "no mask": (frame(b"abc"), 1002),
    "long ping": (frame(bytes(126), 0x89, True), 1002),
    "ping in pieces": (frame(b"", 0x09, True), 1002),
    "continuation of nothing": (frame(b"abc", 0x80, True), 1002),
    "message in a message": (frame(b"abc", 0x02, True) * 2, 1002),
    "negative length": (b"\x82\xff" + b"\xff" * 12, 1002),
    "short close": (frame(b"x", 0x88, True), 1002),
    "forbidden close": (frame(struct.pack("!H", 1005), 0x88, True), 1002),
    "no text": (frame(b"ab\xff", 0x81, True), 1007),
    "no text yet": (frame(b"ab\xff" + bytes(90_000), 0x81, True)[:80], 1007),
    "too large": (frame(bytes(1001), 0x82, True), 1009),
    "too many pieces": (frame(bytes(600), 0x02, True) + frame(bytes(600), 0x80, True), 1009),
}


async def violates(world: World, numbers: random.Random) -> str:
    """The client breaks a rule, and is told which."""
    rule = numbers.choice(list(_RULES))
    said, wanted = _RULES[rule]
    route = {1007: "look", 1009: "small"}.get(wanted, numbers.choice(_ECHOING))
    async with world.session(numbers, route, isPlain=True) as client:
        if numbers.random() < 0.5 and route != "small":
            await _echo(world, numbers, client, route)
        client.transport.write(said)
        expect(await ended(client), wanted, f"{route}, close code for {rule}")
    return str(wanted)


async def hostile(world: World, numbers: random.Random) -> str:
    """The backend does wrong, and the client comes to no harm."""
    name = numbers.choice(list(HOSTILE))
    route = numbers.choice(("hostile", "hostile-look"))
    wanted = HOSTILE[name][1]
    try:
        async with world.session(numbers, f"{route}/{name}", isPlain=True) as client:
            if name in ("deaf", "flood"):
                code = await _bear(client, numbers)
            else:
                code = await ended(client)
    except InvalidStatus as error:
        code = error.response.status_code
    except (InvalidHandshake, ConnectionError, EOFError):
        code = 1006
    if code not in wanted:
        raise Wrong(f"{route}/{name}: {code} for one of {wanted}")
    return f"{name}: {code}"


async def _bear(client: ClientConnection, numbers: random.Random) -> int:
    """Send into a void, or be flooded, for a moment; then go in peace or not."""
    with contextlib.suppress(TimeoutError, ConnectionClosed):
        async with asyncio.timeout(0.3):
            while True:
                await client.send(bytes(100_000))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await client.recv()
    if numbers.random() < 0.5:
        # With both ways full neither side can get a Close through.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await client.close()
    leave(numbers, client.transport)
    return client.close_code or 1006


async def brokenBackend(world: World, numbers: random.Random) -> str:
    """Nobody is there, or somebody who never accepts or breaks off at once."""
    try:
        async with world.session(numbers, "broken") as client:
            raise Wrong(f"a session with nobody: {client}")
    except InvalidStatus as error:
        code = error.response.status_code
    if code not in (502, 503, 504):
        raise Wrong(f"{code} for a broken backend")
    return str(code)


async def early(world: World, numbers: random.Random) -> str:
    """Messages right behind the head, before there is a 101, arrive in order and once."""
    isSecure = numbers.random() < 0.3
    tls = world.tls(numbers) if isSecure else None
    reader, writer = await world.stream("https" if isSecure else "http", tls)
    messages = [world.data(numbers, size(numbers)) for _ in range(numbers.randrange(1, 5))]
    said = b"".join(frame(message, isMasked=True) for message in messages)
    wanted = b"".join(map(frame, messages))
    writer.write(request(numbers.choice(_STRAIGHT)) + said)
    head = await reader.readuntil(b"\r\n\r\n")
    expect(head[:12], b"HTTP/1.1 101", "the answer")
    expect(await reader.readexactly(len(wanted)), wanted, "the frames")
    writer.write(frame(struct.pack("!H", 1000), 0x88, True))
    expect(await reader.read(), frame(struct.pack("!H", 1000), 0x88), "the Close")
    writer.close()
    return "echoed"


async def idle(world: World, numbers: random.Random) -> str:
    """Who says nothing for too long is told to go."""
    async with world.session(numbers, "idle") as client:
        expect(await ended(client), 1001, "close code")
    return "1001"


SESSIONS: dict[str, tuple[int, Conversation]] = {
    "session": (24, echo),
    "session, verdicts": (6, obeyed),
    "session, slow reader": (2, slow),
    "session, client leaves early": (10, breaksEarly),
    "session, client breaks off": (10, breaks),
    "session, rules broken": (6, violates),
    "session, hostile backend": (8, hostile),
    "session, broken backend": (2, brokenBackend),
    "session, early messages": (5, early),
    "session, idle": (1, idle),
}
"""How often, and what."""
