# -*- test-case-name: tests.l7.test_forwarder -*-
"""
The listener's side: plain connections and connections with TLS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from zope.interface.verify import verifyObject

from tests.l7.harness import (
    FORWARDED,
    HANDSHAKE,
    PAGE,
    SWITCH,
    UPGRADE,
    OnNativePlane,
    RelayTestCase,
    answer,
    reactor,
    turns,
)
from tests.l7.tls import clientOptions, pem, serverOptions
from wsrelay.interfaces import IForwarder
from wsrelay.l7.forwarder import HTTPForwarder
from wsrelay.model import Opened, Party, Phase, RouteSettings
from wsrelay.wire.frames import BINARY, TEXT, encode

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class HTTPForwarderTests(RelayTestCase):
    """Without TLS."""

    async def test_forwards(self) -> None:
        """Each accepted connection is one of HTTP."""
        verifyObject(IForwarder, HTTPForwarder())
        await self.start()
        client = await self.client()
        client.say(GET)
        backend = await self.backend()
        await backend.hear(b"GET / HTTP/1.1\r\nHost: a\r\n" + FORWARDED)
        backend.say(answer("200 OK"))
        await client.hear(answer("200 OK"))
        (opened,) = [event for event in self.events if isinstance(event, Opened)]
        own = client.transport.getHost()
        inbound = opened.inbound
        self.assertEqual((inbound.client.host, inbound.client.port), (own.host, own.port))
        self.assertEqual(inbound.local.port, self.port)
        self.assertEqual((inbound.secure, inbound.serverName, inbound.alpn), (False, None, ()))


class TLSTests(RelayTestCase):
    """With TLS, which has no half-close."""

    SECURE = FORWARDED.replace(b"Proto: http", b"Proto: https")

    async def secure(self, **options: Any) -> Any:
        """A client that speaks TLS to the relay."""
        await self.start(tls=serverOptions(), **options)
        return await self.client(tls=clientOptions())

    async def open(self, **options: Any) -> tuple[Any, Any]:
        """A WebSocket over TLS."""
        return await self.session(await self.secure(**options))

    async def test_request(self) -> None:
        """The backend learns that the client came with TLS, and everybody under which name."""
        client = await self.secure()
        for _ in range(2):
            client.say(GET)
            backend = await self.backend()
            await backend.hear(b"GET / HTTP/1.1\r\nHost: a\r\n" + self.SECURE)
            backend.say(answer("200 OK", b"x" * 200_000))
            await client.hear(answer("200 OK", b"x" * 200_000))
        opened = next(event for event in self.events if isinstance(event, Opened))
        self.assertTrue(opened.inbound.secure)
        self.assertEqual(opened.inbound.serverName, "a.example")

    async def test_endpoint(self) -> None:
        """An C{ssl:} endpoint of a configuration is such a listener."""
        path = Path(self.mktemp())
        path.write_bytes(pem())
        await self.start()
        description = f"ssl:0:privateKey={path}:interface=127.0.0.1"
        endpoint = serverFromString(reactor, description)
        port = await endpoint.listen(self.listener._factory)
        self._ports.append(port)
        self.port = port.getHost().port
        client = await self.client(tls=clientOptions())
        client.say(GET)
        backend = await self.backend()
        await backend.head()
        backend.say(answer("200 OK"))
        await client.hear(answer("200 OK"))

    async def test_alpn(self) -> None:
        """Who offers C{http/1.1} gets it, and policies know; who speaks h2 only is refused."""
        await self.start(tls=serverOptions())
        client = await self.client(tls=clientOptions(b"h2", b"http/1.1"))
        client.say(GET)
        backend = await self.backend()
        await backend.head()
        backend.say(answer("200 OK"))
        await client.hear(answer("200 OK"))
        (opened,) = [event for event in self.events if isinstance(event, Opened)]
        self.assertEqual(opened.inbound.alpn, ("http/1.1",))
        other = await self.client(tls=clientOptions(b"h2"))
        await other.gone()
        self.assertEqual(len([event for event in self.events if isinstance(event, Opened)]), 1)

    async def test_pipelined(self) -> None:
        """Several records that come at once stay in order."""
        client = await self.secure()
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        client.say(post + b"a" * 100_000 + post + b"b" * 100_000)
        for letter in (b"a", b"b"):
            backend = await self.backend()
            await backend.head()
            await backend.hear(letter * 100_000)
            backend.say(answer("200 OK", letter))
            await client.hear(answer("200 OK", letter))

    async def test_close(self) -> None:
        """A connection that is to be closed ends with the session's own end."""
        client = await self.secure()
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        backend = await self.backend()
        await backend.head()
        backend.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 500_000)
        backend.close()
        await client.through(b"0\r\n\r\n")
        await client.gone()
        self.assertFalse(client.isBroken)
        await self.until(lambda: not self.openLegs(), "the connection to end")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_closeWithMore(self) -> None:
        """Also when the client had sent more, which nobody reads."""
        client = await self.secure()
        client.say(b"GET / HTTP/1.0\r\n\r\n" + GET * 10)
        backend = await self.backend()
        backend.say(answer("200 OK"))
        backend.close()
        await client.through(b"Connection: close\r\n\r\n")
        await self.until(lambda: not self.openLegs(), "the connection to end")

    async def test_cut(self) -> None:
        """A response that cannot be completed does not end cleanly."""
        client = await self.secure()
        client.say(GET)
        backend = await self.backend()
        await backend.head()
        backend.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await client.through(b"hello")
        backend.vanish()
        await client.hearCut()

    async def test_noHandshake(self) -> None:
        """Who connects and does not speak TLS is closed, at once or at the deadline."""
        await self.start(tls=serverOptions())
        silent = await self.client()
        wrong = await self.client()
        wrong.say(GET)
        await wrong.gone()
        self.clock.advance(10)
        await silent.gone()
        self.assertEqual(self.events, [])

    async def test_slowHead(self) -> None:
        """The deadline of a head holds, and its answer arrives."""
        client = await self.secure()
        client.say(b"GET")
        await turns(100)
        self.clock.advance(10)
        await client.through(PAGE("408 Request Timeout", b"Connection: close"))
        await self.assertEnd(Party.CLIENT, Phase.ACCEPT, status=408)

    async def test_webSocket(self) -> None:
        """A WebSocket opens, relays and closes from end to end."""
        client = await self.secure()
        client.say(UPGRADE + b"\r\n" + encode(TEXT, b"early", bytes(4)))
        backend = await self.backend()
        await backend.hear(HANDSHAKE.replace(b"Proto: http", b"Proto: https") + b"\r\n")
        backend.say(SWITCH + b"\r\n" + encode(TEXT, b"pushed"))
        await client.head()
        await client.hearText(b"pushed")
        await backend.hearText(b"early")
        client.sayFrame(BINARY, b"x" * 1_000_000)
        self.assertEqual(await backend.frame(), (0x80 | BINARY, b"x" * 1_000_000))
        backend.sayFrame(BINARY, b"y" * 1_000_000)
        self.assertEqual(await client.frame(), (0x80 | BINARY, b"y" * 1_000_000))
        client.sayClose(4000, "bye")
        await backend.hearClose(4000, "bye")
        backend.sayClose(4000, "bye")
        await client.hearClose(4000, "bye")
        backend.close()
        await client.gone()
        await self.assertEnd(Party.CLIENT, Phase.RELAY, "closed: 4000 bye", 101)

    async def test_vanishes(self) -> None:
        """Sides that leave without a Close frame: the other side is told."""
        for leave in ("close", "vanish"):
            client, backend = await self.open()
            getattr(client, leave)()
            await backend.hearClose(1001)
            backend.close()
            await self.assertEnd(Party.CLIENT, Phase.RELAY, status=101)
            await self.again()
            client, backend = await self.open()
            getattr(backend, leave)()
            await client.hearClose(1011)
            client.sayClose(1011)
            await client.gone()
            await self.assertEnd(Party.BACKEND, Phase.RELAY, status=101)
            await self.again()

    async def test_inAFrame(self) -> None:
        """In the middle of a frame: what came of it arrives, and then the end."""
        client, backend = await self.open()
        backend.say(encode(BINARY, bytes(100_000))[:50_000])
        await client.when(lambda: len(client.heard) == 50_000)
        backend.close()
        await client.gone()
        self.assertEqual(len(client.heard), 50_000)
        await self.assertEnd(Party.BACKEND, Phase.RELAY, status=101)

    async def test_violation(self) -> None:
        """The side at fault is told over TLS, too."""
        client, backend = await self.open(settings=RouteSettings(maxMessage=10))
        client.sayFrame(BINARY, bytes(11))
        await backend.hearClose(1001)
        backend.sayClose(1001)
        await client.hearClose(1009)
        await backend.gone()
        backend.close()
        await self.assertEnd(Party.CLIENT, Phase.RELAY, "(1009)", 101)

    async def test_both(self) -> None:
        """TLS on both sides."""
        client = await self.secure(backendTLS=serverOptions(), scheme="https")
        client, backend = await self.session(client)
        client.sayFrame(TEXT, b"ping")
        await backend.hearText(b"ping")
        backend.sayFrame(TEXT, b"pong")
        await client.hearText(b"pong")
        client.sayClose(1000)
        await backend.hearClose(1000)
        backend.sayClose(1000)
        await client.hearClose(1000)
        backend.close()
        await client.gone()
        await self.assertEnd(Party.CLIENT, Phase.RELAY, "closed: 1000", 101)


class NativeTLSTests(OnNativePlane, TLSTests):
    """The same on the native engine."""
