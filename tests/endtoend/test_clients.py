# -*- test-case-name: tests.endtoend.test_clients -*-
"""
WebSocket clients that nobody here wrote, through the relay at every level.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import HostnameEndpoint
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.conformance.echo import EchoFactory
from tests.endtoend.servers import aiohttpServer, websocketsEcho
from tests.endtoend.support import LEVELS, MEBIBYTE, AsynchronousEndToEnd, EndToEnd, Relay

_LARGE = 3 * MEBIBYTE
_SHOUT = "tests.conformance.filters:shout"


class WebsocketsTests(EndToEnd):
    """The C{websockets} library on both ends."""

    def _everyLevel(self, talk: Callable[[str], Awaitable[None]], **options: Any) -> None:
        async def through(level: str) -> None:
            async with websocketsEcho(**options) as port:
                relay = await asyncio.to_thread(self.relay, level, port)
                await talk(relay.url)

        for level in LEVELS:
            self.go(through(level))

    def test_messages(self) -> None:
        """Text, binary, fragmented, empty and large messages come back as they were sent."""
        messages: list[Any] = ["text", b"\x00\xff", "", b"", os.urandom(_LARGE), "x" * _LARGE]

        async def talk(url: str) -> None:
            for compression in ("deflate", None):
                async with connect(
                    url, proxy=None, max_size=None, compression=compression
                ) as client:
                    self.assertEqual(bool(client.protocol.extensions), compression == "deflate")
                    for message in messages:
                        await client.send(message)
                        self.assertTrue(await client.recv() == message)
                    await client.send([b"a" * 70000, b"", b"b" * 7])
                    self.assertTrue(await client.recv() == b"a" * 70000 + b"b" * 7)

        self._everyLevel(talk)

    def test_subprotocol(self) -> None:
        """The client gets the subprotocol that the backend chose, or none if it chose none."""

        async def talk(url: str) -> None:
            async with connect(url, proxy=None, subprotocols=["first", "second"]) as client:
                self.assertEqual(client.subprotocol, "second")
            async with connect(url, proxy=None, subprotocols=["first"]) as client:
                self.assertIsNone(client.subprotocol)

        self._everyLevel(talk)

    def test_closeCodes(self) -> None:
        """The close code and reason that the backend gave reach the client."""

        async def talk(url: str) -> None:
            for code, reason in ((1000, ""), (1001, "going"), (1013, "later"), (4999, "ü" * 60)):
                async with connect(url, proxy=None) as client:
                    await client.send(f"close {code} {reason}")
                    with self.assertRaises(ConnectionClosed) as caught:
                        await client.recv()
                    received = caught.exception.rcvd
                    assert received is not None
                    self.assertEqual((received.code, received.reason), (code, reason))

        self._everyLevel(talk)

    def test_filterIsAsked(self) -> None:
        """A filter named on the command line changes text, compressed or not, and nothing else."""

        async def through() -> None:
            async with websocketsEcho() as port:
                options = ("--to", f"ws://127.0.0.1:{port}", "--filter", _SHOUT)
                relay = await asyncio.to_thread(self.relayWith, *options)
                for compression in ("deflate", None):
                    async with connect(relay.url, proxy=None, compression=compression) as client:
                        self.assertEqual(
                            bool(client.protocol.extensions), compression == "deflate"
                        )
                        for sent, expected in (
                            ("hello", "HELLO"),
                            (b"hello", b"hello"),
                            ("x" * 100_000, "X" * 100_000),
                            ("", ""),
                        ):
                            await client.send(sent)
                            self.assertEqual(await client.recv(), expected)

        self.go(through())

    def test_manyAtOnce(self) -> None:
        """Messages that were not waited for come back complete and in order."""

        async def talk(url: str) -> None:
            async with connect(url, proxy=None) as client:

                async def send() -> None:
                    for number in range(3000):
                        await client.send(str(number))

                sending = asyncio.ensure_future(send())
                back = [await client.recv() for _ in range(3000)]
                await sending
                self.assertEqual(back, [str(number) for number in range(3000)])

        self._everyLevel(talk)


class AiohttpTests(EndToEnd):
    """C{aiohttp} on both ends."""

    def test_session(self) -> None:
        """Messages of both types, a ping, compression, subprotocol and close code."""

        async def backend(request: web.Request) -> web.WebSocketResponse:
            session = web.WebSocketResponse(protocols=["chat"], max_msg_size=0)
            await session.prepare(request)
            async for message in session:
                if message.data == "bye":
                    await session.close(code=4321, message=b"as you wish")
                elif message.type is aiohttp.WSMsgType.TEXT:
                    await session.send_str(message.data)
                else:
                    await session.send_bytes(message.data)
            return session

        async def through(level: str, compress: int) -> None:
            application = web.Application()
            application.router.add_get("/ws", backend)
            async with aiohttpServer(application) as port, aiohttp.ClientSession() as http:
                relay = await asyncio.to_thread(self.relay, level, port)
                options = {"max_msg_size": 0, "compress": compress, "protocols": ["chat"]}
                async with http.ws_connect(f"{relay.http}/ws", **options) as client:
                    self.assertEqual(client.protocol, "chat")
                    self.assertEqual(bool(client.compress), bool(compress))
                    for text in ("hello", "", "ü" * 100000):
                        await client.send_str(text)
                        self.assertEqual(await client.receive_str(), text)
                    await client.ping(b"there?")
                    data = os.urandom(_LARGE)
                    await client.send_bytes(data)
                    self.assertTrue(await client.receive_bytes() == data)
                    await client.send_str("bye")
                    message = await client.receive()
                    self.assertEqual(message.type, aiohttp.WSMsgType.CLOSE)
                    self.assertEqual((message.data, message.extra), (4321, "as you wish"))

        for level in LEVELS:
            for compress in (0, 15):
                self.go(through(level, compress))


class _Conversation(WebSocketClientProtocol):
    """Sends its factory's messages one after the other, each when the last came back."""

    def onOpen(self) -> None:
        self.pending = list(self.factory.messages)
        self.returned: list[tuple[bytes, bool]] = []
        self._next()

    def _next(self) -> None:
        if not self.pending:
            self.sendClose(3456, "done")
            return
        payload, isBinary = self.pending.pop(0)
        self.sendMessage(payload, isBinary, fragmentSize=self.factory.fragmentSize)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.returned.append((payload, isBinary))
        self._next()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        done, self.factory.done = self.factory.done, None
        if done is not None:
            done.callback((getattr(self, "returned", None), wasClean, code))


class AutobahnTests(AsynchronousEndToEnd):
    """Autobahn on Twisted on both ends."""

    messages = [
        (b"text", False),
        (b"\x00\xff", True),
        (b"", False),
        (b"", True),
        (bytes(range(256)) * 4000, True),
    ]

    def _talk(self, relay: Relay, fragmentSize: int | None, compress: bool) -> Deferred[Any]:
        from twisted.internet import reactor

        factory = WebSocketClientFactory(f"{relay.url}/chat")
        factory.protocol = _Conversation
        factory.messages, factory.fragmentSize = self.messages, fragmentSize
        factory.done = done = Deferred()
        # Its own patience of a second is too short for a machine that does other things, too.
        factory.setProtocolOptions(openHandshakeTimeout=30, closeHandshakeTimeout=30)
        if compress:
            factory.setProtocolOptions(
                perMessageCompressionOffers=[PerMessageDeflateOffer()],
                perMessageCompressionAccept=lambda response: (
                    PerMessageDeflateResponseAccept(response)
                    if isinstance(response, PerMessageDeflateResponse)
                    else None
                ),
            )
        HostnameEndpoint(reactor, "127.0.0.1", relay.port).connect(factory).addErrback(
            done.errback
        )
        return done

    @inlineCallbacks
    def _everyWay(self, level: str) -> Any:
        from twisted.internet import reactor

        backend = EchoFactory()
        backend.setProtocolOptions(
            echoCloseCodeReason=True, openHandshakeTimeout=30, closeHandshakeTimeout=30
        )
        port = reactor.listenTCP(0, backend, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        relay = self.relay(level, port.getHost().port)
        for fragmentSize in (None, 1000):
            for compress in (False, True):
                returned, wasClean, code = yield self._talk(relay, fragmentSize, compress)
                self.assertEqual(returned, self.messages)
                self.assertEqual((wasClean, code), (True, 3456))

    def test_l4(self) -> Any:
        """Whole, fragmented, compressed: all comes back through opaque bytes."""
        return self._everyWay("L4")

    def test_frames(self) -> Any:
        """The same through a relay that reads frame heads."""
        return self._everyWay("FRAMES")

    def test_messages(self) -> Any:
        """The same through a relay whose filter sees every message."""
        return self._everyWay("MESSAGES")
