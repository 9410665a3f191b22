# -*- test-case-name: tests.endtoend.test_leaks -*-
"""
What is over leaves no memory behind: connections with TLS, of every kind, many times.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import connect

from tests.endtoend.edge import Edge, EdgeTestCase
from tests.endtoend.support import Program, residentMemory

_TIMES = 96
_AT_ONCE = 8

#: How much of one connection may seem to be left, in bytes: memory comes in pages, and finds its
#: size in the first hundred connections. A TLS session that nobody frees is 37,000.
_SLACK = 18_000


async def _tunnel(edge: Edge, trust: ssl.SSLContext) -> None:
    """TLS that ends at layer 4."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", edge.ports["mail"], ssl=trust, server_hostname="default.example.org"
    )
    writer.write(b"hello")
    await reader.readexactly(5)
    writer.close()


async def _session(edge: Edge, trust: ssl.SSLContext) -> None:
    """A WebSocket that ends well."""
    url = f"wss://chat.example.org:{edge.ports['public']}/ws/1"
    async with connect(url, ssl=trust, host="127.0.0.1", proxy=None) as session:
        await session.send("hello")
        await session.recv()


async def _broken(edge: Edge, trust: ssl.SSLContext) -> None:
    """A WebSocket whose client is gone."""
    url = f"wss://chat.example.org:{edge.ports['public']}/ws/1"
    async with connect(url, ssl=trust, host="127.0.0.1", proxy=None) as session:
        await session.send("hello")
        session.transport.abort()


async def _request(edge: Edge, trust: ssl.SSLContext) -> None:
    """A request on a connection of its own, whose client leaves before the answer is read."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", edge.ports["public"], ssl=trust, server_hostname="shop.example.org"
    )
    writer.write(b"GET /download HTTP/1.1\r\nHost: shop.example.org\r\n\r\n")
    await writer.drain()
    writer.transport.abort()


_KINDS: tuple[Callable[[Edge, ssl.SSLContext], Awaitable[None]], ...] = (
    _tunnel,
    _session,
    _broken,
    _request,
)


class LeakTests(EdgeTestCase):
    """On the plane that is the default."""

    async def _many(self, edge: Edge, kind: Callable[..., Awaitable[None]], times: int) -> None:
        trust = edge.trust()

        async def some() -> None:
            for _ in range(times // _AT_ONCE):
                await kind(edge, trust)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))

    def test_memory(self) -> None:
        """Memory stays what it is, however many have come and gone."""

        async def talk(edge: Edge, program: Program) -> None:
            for kind in _KINDS:
                await self._many(edge, kind, _TIMES)
                before = residentMemory(program.pid)
                await self._many(edge, kind, _TIMES)
                growth = residentMemory(program.pid) - before
                self.assertLess(growth / _TIMES, _SLACK, kind.__name__)

        self.through(talk)


class PortableLeakTests(LeakTests):
    """The same on the portable plane."""

    plane = "portable"
