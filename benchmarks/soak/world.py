# -*- test-case-name: tests.endtoend.test_soak -*-
"""
What every conversation needs: where the relay is, data that is cheap to make, ways to connect.

A conversation is given a L{World} and its own random numbers. It returns one word for its
outcome, and raises L{Wrong} if that is not what must come of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.soak.backends import SILENT, Heard, reset
from benchmarks.soak.setting import Ports

__all__ = ["Conversation", "World", "Wrong", "expect", "leave", "pieces", "size"]


class Wrong(Exception):
    """Something else came of a conversation than must."""


def expect(found: object, wanted: object, what: str) -> None:
    """
    Compare.

    @raise Wrong: they differ.
    """
    if found == wanted:
        return
    if isinstance(found, bytes) and isinstance(wanted, bytes):
        same = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), -1)
        raise Wrong(f"{what}: {len(found)} bytes for {len(wanted)}, other from {same} on")
    raise Wrong(f"{what}: {found!r:.100} for {wanted!r:.100}")


def size(numbers: random.Random, largest: int = 300_000) -> int:
    """Mostly small, sometimes large, always one of those at which the heads of frames change."""
    few = numbers.choice((0, 1, 125, 126, 127, 65535, 65536))
    return numbers.choice((few, numbers.randrange(2000), numbers.randrange(largest)))


def pieces(numbers: random.Random, data: bytes) -> list[bytes]:
    """C{data} in one to five pieces, some of which may be empty."""
    cuts = sorted(numbers.randrange(len(data) + 1) for _ in range(numbers.randrange(5)))
    return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]


def leave(numbers: random.Random, transport: Any) -> str:
    """Break off, or end the stream without a word."""
    if numbers.random() < 0.7:
        reset(transport)
        return "reset"
    transport.abort()
    return "left"


class World:
    """
    The surroundings of all conversations.

    @ivar heard: see L{Heard}.
    """

    def __init__(self, seed: int, ports: Ports, heard: Heard, trust: ssl.SSLContext) -> None:
        noise = random.Random(seed)
        half = noise.randbytes(1 << 20)
        words = "".join(noise.choice("aäß€𝄞 xyz\n") for _ in range(4096))
        self._binary = half + bytes(1 << 18) + half[:1000] * 1000
        self._text = words * 128
        self._ports = ports.listeners
        self._trust = trust
        # The relay is to carry on with sessions of both versions.
        self._old = ssl.create_default_context()
        self._old.load_verify_locations(cadata=_certificates(trust))
        self._old.maximum_version = ssl.TLSVersion.TLSv1_2
        self.heard = heard

    def data(self, numbers: random.Random, count: int) -> bytes:
        """So many bytes."""
        start = numbers.randrange(len(self._binary) - count)
        return self._binary[start : start + count]

    def text(self, numbers: random.Random, count: int) -> str:
        """So many characters."""
        start = numbers.randrange(len(self._text) - count)
        return self._text[start : start + count]

    def tls(self, numbers: random.Random) -> ssl.SSLContext:
        """TLS 1.3, or 1.2."""
        return numbers.choice((self._trust, self._old))

    def port(self, name: str) -> int:
        """Of one of the relay's listeners."""
        return self._ports[name]

    async def stream(
        self, name: str, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to one of the relay's listeners."""
        options: dict[str, Any] = {"server_hostname": "localhost"} if tls else {}
        return await asyncio.open_connection("127.0.0.1", self.port(name), ssl=tls, **options)

    @contextlib.asynccontextmanager
    async def session(
        self,
        numbers: random.Random,
        path: str,
        isSecure: bool | None = None,
        isPlain: bool = False,
        **options: Any,
    ) -> AsyncIterator[ClientConnection]:
        """
        A WebSocket through the relay.

        @param isSecure: under TLS; C{None} is sometimes.
        @param isPlain: never compressed; sometimes it is otherwise.
        """
        if isSecure is None:
            isSecure = numbers.random() < 0.3
        name = "https" if isSecure else "http"
        if isSecure:
            options |= {"ssl": self.tls(numbers), "server_hostname": "localhost"}
        if "sock" not in options:
            options["host"] = "127.0.0.1"
        async with connect(
            f"{'wss' if isSecure else 'ws'}://localhost:{self.port(name)}/{path}",
            proxy=None,
            compression="deflate" if not isPlain and numbers.random() < 0.5 else None,
            max_size=None,
            open_timeout=None,
            close_timeout=6,
            ping_interval=None,
            logger=SILENT,
            **options,
        ) as client:
            yield client


def _certificates(trust: ssl.SSLContext) -> bytes:
    return b"".join(trust.get_ca_certs(binary_form=True))


Conversation = Callable[[World, random.Random], Awaitable[str]]
"""From connecting to its end; returns its outcome."""
