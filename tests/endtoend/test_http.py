# -*- test-case-name: tests.endtoend.test_http -*-
"""
Plain HTTP through the L7 relay: C{aiohttp} serves, C{aiohttp} and C{curl} ask.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from aiohttp import web

from tests.endtoend.servers import aiohttpServer
from tests.endtoend.support import MEBIBYTE, EndToEnd, Relay, need
from tests.ports import freePort

#: What is streamed each way, in bytes, and in pieces of which size.
_LARGE = 64 * MEBIBYTE
_PIECE = 256 * 1024

_ETAG = '"one"'

#: What must not be taken for a request.
_HIDDEN = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

#: Fields after which nobody can say where the request ends, or where HTTP does.
_UNCLEAR = {
    "both": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n",
    "no number": b"Content-Length: +3\r\n",
    "unknown coding": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "upgrade without key": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
}


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text="hello", headers={"ETag": _ETAG, "X-Dup": "1"})


async def _digest(request: web.Request) -> web.Response:
    digest, size = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        size += len(piece)
    framing = request.headers.get("Transfer-Encoding") or request.headers.get("Content-Length")
    return web.json_response({"size": size, "sha256": digest.hexdigest(), "framing": framing})


async def _nothing(request: web.Request) -> web.Response:
    return web.Response(status=204)


async def _unchanged(request: web.Request) -> web.Response:
    return web.Response(status=304, headers={"ETag": _ETAG})


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    if "length" in request.query:
        response.content_length = _LARGE
    await response.prepare(request)
    piece = bytes(range(256)) * (_PIECE // 256)
    for _ in range(_LARGE // _PIECE):
        await response.write(piece)
    await response.write_eof()
    return response


async def _refuseBody(request: web.Request) -> web.Response:
    raise web.HTTPForbidden(text="no, thank you")


async def _noBody(request: web.Request) -> None:
    """An C{Expect: 100-continue} is not answered with 100: the handler refuses at once."""


def _application() -> web.Application:
    application = web.Application(client_max_size=0)
    application.router.add_get("/hello", _hello)
    application.router.add_post("/digest", _digest)
    application.router.add_get("/nothing", _nothing)
    application.router.add_get("/unchanged", _unchanged)
    application.router.add_get("/stream", _stream)
    application.router.add_post("/refuse", _refuseBody, expect_handler=_noBody)
    return application


class HttpTests(EndToEnd):
    """One L7 relay in front of an C{aiohttp} server."""

    def _through(self, talk: Callable[[Relay, aiohttp.ClientSession], Awaitable[None]]) -> None:
        async def work() -> None:
            async with aiohttpServer(_application()) as port:
                relay = await asyncio.to_thread(self.relay, "FRAMES", port)
                async with aiohttp.ClientSession(base_url=relay.http) as client:
                    await talk(relay, client)

        self.go(work())

    async def _curl(self, *options: str) -> str:
        return await asyncio.to_thread(
            self.runCommand, need("curl"), "--silent", "--show-error", "--noproxy", "*", *options
        )

    def test_getAndHead(self) -> None:
        """GET brings head and body, HEAD the same head and no body, on one kept connection."""

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            for _ in range(3):
                async with client.get("/hello") as response:
                    self.assertEqual((response.status, await response.text()), (200, "hello"))
                    self.assertEqual(response.headers["ETag"], _ETAG)
                async with client.head("/hello") as response:
                    self.assertEqual((response.status, await response.text()), (200, ""))
                    self.assertEqual(response.headers["Content-Length"], "5")

        self._through(talk)

    def test_withoutBody(self) -> None:
        """204 and 304 have no body, and the connection goes on behind them."""

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            for path, status in (("/nothing", 204), ("/unchanged", 304), ("/missing", 404)):
                async with client.get(path) as response:
                    self.assertEqual(response.status, status)
                    body = await response.read()
                    self.assertEqual(bool(body), status == 404)
                async with client.get("/hello") as response:
                    self.assertEqual(await response.text(), "hello")

        self._through(talk)

    def test_post(self) -> None:
        """A body arrives whole with a length and in chunks, an empty one included."""

        async def chunks(data: bytes) -> AsyncIterator[bytes]:
            for start in range(0, len(data), 1000):
                yield data[start : start + 1000]

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            for size in (0, 1, 999, 200_000):
                data = os.urandom(size)
                expected = {"size": size, "sha256": hashlib.sha256(data).hexdigest()}
                async with client.post("/digest", data=data) as response:
                    answer = await response.json()
                    self.assertEqual(answer, {**expected, "framing": str(size)})
                async with client.post("/digest", data=chunks(data)) as response:
                    answer = await response.json()
                    self.assertEqual(answer, {**expected, "framing": "chunked"})

        self._through(talk)

    def test_largeUp(self) -> None:
        """A large body streams to the backend, and the relay does not collect it."""
        piece = bytes(range(256)) * (_PIECE // 256)

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(_LARGE // _PIECE):
                yield piece

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            expected = hashlib.sha256(piece * (_LARGE // _PIECE)).hexdigest()
            for headers in ({}, {"Content-Length": str(_LARGE)}):
                before = relay.memory()
                async with client.post("/digest", data=pieces(), headers=headers) as response:
                    answer = await response.json()
                self.assertEqual((answer["size"], answer["sha256"]), (_LARGE, expected))
                self.assertLess(relay.memory() - before, 16 * MEBIBYTE)

        self._through(talk)

    def test_largeDown(self) -> None:
        """A large body streams to the client, and the relay does not collect it."""
        piece = bytes(range(256)) * (_PIECE // 256)

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            expected = hashlib.sha256(piece * (_LARGE // _PIECE)).hexdigest()
            for path in ("/stream", "/stream?length"):
                before, digest = relay.memory(), hashlib.sha256()
                async with client.get(path) as response:
                    async for part in response.content.iter_any():
                        digest.update(part)
                self.assertEqual(digest.hexdigest(), expected, path)
                self.assertLess(relay.memory() - before, 16 * MEBIBYTE)

        self._through(talk)

    def test_curl(self) -> None:
        """C{curl} gets and posts, and sees the status and the header fields."""

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            head = await self._curl("--head", f"{relay.http}/hello")
            self.assertEqual(head.split()[1], "200")
            self.assertIn(_ETAG, head)
            # Two URLs are one connection with curl.
            both = await self._curl(f"{relay.http}/hello", f"{relay.http}/hello")
            self.assertEqual(both, "hellohello")
            chunked = ("--header", "Transfer-Encoding: chunked")
            for options in ((), chunked, ("--http1.0",)):
                answer = await self._curl("--data", "a=1", *options, f"{relay.http}/digest")
                self.assertIn(hashlib.sha256(b"a=1").hexdigest(), answer)

        self._through(talk)

    def test_expectContinue(self) -> None:
        """With C{Expect: 100-continue}, 100 comes before the body, or the refusal instead."""
        data = self.mktemp()
        with open(data, "wb") as stream:
            stream.write(b"x" * MEBIBYTE)
        # curl waits for the 100 much longer than this test may take: it must really come.
        expect = ("--header", "Expect: 100-continue", "--expect100-timeout", "600")
        body = ("--include", "--data-binary", f"@{os.path.abspath(data)}")

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            answer = await self._curl(*expect, *body, f"{relay.http}/digest")
            self.assertTrue(answer.startswith("HTTP/1.1 100"), answer)
            self.assertIn(hashlib.sha256(b"x" * MEBIBYTE).hexdigest(), answer)
            answer = await self._curl(*expect, *body, f"{relay.http}/refuse")
            self.assertTrue(answer.startswith("HTTP/1.1 403"), answer)

        self._through(talk)

    def test_unclearEnd(self) -> None:
        """
        A request whose end is unclear (RFC 9112 section 6.3) is refused, and nothing behind it
        is taken for a next request: the connection is over.
        """

        async def talk(relay: Relay, client: aiohttp.ClientSession) -> None:
            for name, fields in _UNCLEAR.items():
                answer = await asyncio.to_thread(self._answers, relay.port, fields)
                self.assertNotIn(b"hello", answer, name)
                self.assertEqual(answer.count(b"HTTP/1.1 "), 1, name)
                self.assertIn(answer[:12], (b"HTTP/1.1 400", b"HTTP/1.1 501"), name)

        self._through(talk)

    def test_unreadBody(self) -> None:
        """
        When the relay answers before it has read the body, here since there is no backend, the
        body is no next request: the connection ends with the answer.
        """
        relay = self.relay("FRAMES", freePort())
        length = b"Content-Length: %d\r\n" % len(_HIDDEN)
        answer = self._answers(relay.port, length)
        self.assertEqual(answer[:12], b"HTTP/1.1 502", answer)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1, answer)
        self.assertNotIn("/hello", relay.output())

    def _answers(self, port: int, fields: bytes) -> bytes:
        """
        All that comes back for a POST with these fields, and L{_HIDDEN} in the same segment.
        """
        head = b"POST /digest HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=30.0) as client:
            client.sendall(head + _HIDDEN)
            answer = b""
            while data := client.recv(4096):
                answer += data
            return answer
