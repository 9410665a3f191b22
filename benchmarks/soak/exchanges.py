# -*- test-case-name: tests.endtoend.test_soak -*-
"""
Conversations at L7 that never become a WebSocket: pages, and requests that are none.
"""

from __future__ import annotations

import asyncio
import random
import re

from benchmarks.soak.backends import PAGE
from benchmarks.soak.sessions import request
from benchmarks.soak.world import Conversation, World, Wrong, expect, leave

__all__ = ["EXCHANGES"]

_GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def pages(world: World, numbers: random.Random) -> str:
    """Some pages over one connection, which may break off in the middle of the last."""
    isSecure = numbers.random() < 0.3
    tls = world.tls(numbers) if isSecure else None
    reader, writer = await world.stream("https" if isSecure else "http", tls)
    for _ in range(numbers.randrange(1, 5)):
        writer.write(_GET % numbers.choice((b"frames", b"look")))
        head = await reader.readuntil(b"\r\n\r\n")
        expect(head[:12], b"HTTP/1.1 200", "the answer")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        expect(length and int(length[1]), len(PAGE), "the length of the page")
        if numbers.random() < 0.1:
            return leave(numbers, writer.transport)
        expect(await reader.readexactly(len(PAGE)), PAGE, "the page")
    writer.close()
    return "read"


_BAD: dict[bytes, bytes] = {
    b"hello\r\n\r\n": b"400",
    b"GET / HTTP/1.1\r\n\r\n": b"400",
    b"GET / HTTP/3.0\r\nHost: a\r\n\r\n": b"505",
    _GET % (b"a" * 20_000): b"431",
    _GET % b"nowhere": b"404",
    request("frames").replace(b"ion: 13", b"ion: 12"): b"426",
    request("frames").replace(b"ZQ==", b""): b"400",
}


async def bad(world: World, numbers: random.Random) -> str:
    """A request that means nothing gets its status, and the end."""
    said = numbers.choice(list(_BAD))
    reader, writer = await world.stream("http")
    writer.write(said)
    answer = await reader.readuntil(b"\r\n\r\n")
    expect(answer[9:12], _BAD[said], f"the status for {said!r:.60}")
    writer.close()
    return _BAD[said].decode()


async def late(world: World, numbers: random.Random) -> str:
    """A head that never becomes whole: 408, or the client leaves."""
    reader, writer = await world.stream("http")
    writer.write(request("frames")[: numbers.randrange(1, 100)])
    try:
        async with asyncio.timeout(numbers.choice((0.01, 0.1, 12))):
            answer = await reader.read()
    except TimeoutError:
        return leave(numbers, writer.transport)
    if answer[9:12] != b"408":
        raise Wrong(f"{answer!r:.60} for 408")
    writer.close()
    return "408"


EXCHANGES: dict[str, tuple[int, Conversation]] = {
    "exchange": (6, pages),
    "exchange, bad request": (3, bad),
    "exchange, late request": (1, late),
}
"""How often, and what."""
