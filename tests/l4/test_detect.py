# -*- test-case-name: tests.l4.test_detect -*-
"""
One listener, several protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.certificates import theAuthority
from tests.l4 import road
from tests.l4.test_forwarders import SecureRoad
from tests.l4.test_sniff import clientHello
from tests.loopback import Peer, Server
from wsrelay.interfaces import IForwarder
from wsrelay.l4.detect import DetectForwarder, Tongue, tell
from wsrelay.l4.listener import ListenerSettings
from wsrelay.l4.sniff import Arrival
from wsrelay.model import Forward, Inbound
from wsrelay.tls.certificates import Source
from wsrelay.tls.contexts import Terms
from wsrelay.tls.terminator import Terminator
from wsrelay.wire.clienthello import HelloReader

TLS, HTTP, OPAQUE = Tongue.TLS, Tongue.HTTP, Tongue.OPAQUE

#: How a connection begins, what that is, and how many bytes it takes to know.
BEGINNINGS: Sequence[tuple[bytes, Tongue, int]] = [
    (clientHello("a.example"), TLS, 2),
    (b"\x16\x03\x00", TLS, 2),
    (b"\x16\x02", OPAQUE, 2),
    (b"\x16\x16", OPAQUE, 2),
    (b"\x15\x03\x01", OPAQUE, 1),
    (b"\x80\x2e\x01\x00\x02", OPAQUE, 1),
    (b"GET / HTTP/1.1\r\n", HTTP, 5),
    (b"GET * HTTP/1.1\r\n", HTTP, 5),
    (b"OPTIONS * HTTP/1.1\r\n", HTTP, 9),
    (b"GET http://a/ HTTP/1.1\r\n", HTTP, 8),
    (b"GET HTTPS://a/ HTTP/1.1\r\n", HTTP, 8),
    (b"CONNECT a:443 HTTP/1.1\r\n", HTTP, 8),
    (b"PRI * HTTP/2.0\r\n", HTTP, 5),
    (b"M-SEARCH * HTTP/1.1\r\n", HTTP, 10),
    (b"UPDATEREDIRECTREF / HTTP/1.1\r\n", HTTP, 19),
    (b"X" * 24 + b" /", HTTP, 26),
    (b"X" * 25, OPAQUE, 25),
    # What is no request line, or not one that could be answered.
    (b"get / HTTP/1.1\r\n", OPAQUE, 1),
    (b"Get / HTTP/1.1\r\n", OPAQUE, 2),
    (b"\r\nGET / HTTP/1.1\r\n", OPAQUE, 1),
    (b" GET /", OPAQUE, 1),
    (b"GET\t/", OPAQUE, 4),
    (b"GET\r\n", OPAQUE, 4),
    (b"GET  /", OPAQUE, 5),
    (b"GET index.html", OPAQUE, 5),
    (b"GET hello", OPAQUE, 6),
    (b"-GET /", OPAQUE, 1),
    # What other protocols begin with.
    (b"SSH-2.0-OpenSSH_9.6p1 Debian-5\r\n", OPAQUE, 5),
    (b"EHLO example.org\r\n", OPAQUE, 6),
    (b"EHLO host.example.org\r\n", OPAQUE, 7),
    (b"HELO http.example.org\r\n", HTTP, 9),  # as bad luck will have it
    (b"a1 LOGIN me secret\r\n", OPAQUE, 1),
    (b"INVITE sip:a@example.org SIP/2.0\r\n", OPAQUE, 8),
    (b"DESCRIBE rtsp://a/b RTSP/1.0\r\n", OPAQUE, 10),
    (b"NICK me\r\n", OPAQUE, 6),
    (b"PING\r\n", OPAQUE, 5),
    (b"*1\r\n$4\r\nPING\r\n", OPAQUE, 1),
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", OPAQUE, 1),
    (b"\x10\x0c\x00\x04MQTT", OPAQUE, 1),
    (b"AMQP\x00\x00\x09\x01", OPAQUE, 5),
    (b"\x03\x00\x00\x13\x0e\xe0", OPAQUE, 1),
]


class TellTests(SynchronousTestCase):
    """What the first bytes say."""

    def test_table(self) -> None:
        """Each is told with the byte that settles it, not before, and not otherwise after."""
        for start, expected, size in BEGINNINGS:
            for length in range(size):
                self.assertIsNone(tell(start[:length]), (start, length))
            for length in range(size, len(start) + 1):
                self.assertIs(tell(start[:length]), expected, (start, length))

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from([b"", b"\x16", b"GET", b"GET ", b"GET htt", b"CONNECT"]),
        st.binary(max_size=60) | st.text("GETX- /ht", max_size=60).map(str.encode),
    )
    def test_anything(self, start: bytes, more: bytes) -> None:
        """Invariant: once told it stays so, and with 32 bytes it is told."""
        data = start + more
        found = [tell(data[:length]) for length in range(len(data) + 1)]
        told = [each for each in found if each is not None]
        self.assertEqual(found, [None] * (len(found) - len(told)) + told)
        self.assertLessEqual(len(set(told)), 1)
        if len(data) >= 32:
            self.assertTrue(told)


class _Web:
    """In the place of layer 7: answers each with what it has said."""

    def __init__(self) -> None:
        self.seen: list[Inbound] = []

    def arrived(self, listener: Any, leg: Arrival) -> None:
        """A leg that speaks HTTP."""
        self.seen.append(listener.inbound(leg))
        self._leg = leg
        leg.resumeProducing()
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """Answer."""
        self._leg.write(b"HTTP heard " + data)

    def finished(self) -> None:
        """The client has said all."""
        self._leg.close()

    def lost(self, reason: Any) -> None:
        """The client is gone."""


class DetectTests(SecureRoad):
    """The forwarder, on sockets."""

    async def detecting(
        self, *passthrough: str, ends: bool = True, silence: float = 5, headTimeout: float = 10
    ) -> Server:
        """Listen; the server's certificate is for C{db.example.org}."""
        self.web = _Web()
        self.asked: list[Inbound] = []

        def route(inbound: Inbound) -> Forward:
            self.asked.append(inbound)
            return Forward("tls" if inbound.serverName == "db.example.org" else "p")

        tls = Server()
        options = theAuthority().issue("db.example.org").options([b"http/1.1"])
        plain = Server()
        forwarder = DetectForwarder(self.web.arrived, passthrough, silence)
        self.assertTrue(verifyObject(IForwarder, forwarder))
        ports = {"tls": [await self.listen(tls, options)], "p": [await self.listen(plain)]}
        await self.road(
            route, ports, forwarder, settings=ListenerSettings(headTimeout=headTimeout)
        )
        self.server = plain
        if ends:
            issued = theAuthority().issue("web.example.org").write(Path(self.mktemp()))
            terms = Terms((Source(issued),), alpn=("http/1.1", "mqtt"))
            self.listener.tls = Terminator("public", terms)
        return tls

    async def echoed(self, client: Peer, server: Server, said: bytes = b"") -> None:
        """They hear each other; C{said} is what the client has said already."""
        backend = await server.peers.get()
        self.addCleanup(self.hangUp, backend)
        client.send(b"hello")
        await backend.whenGot(said + b"hello")
        backend.send(b"hello yourself")
        await client.whenGot(b"hello yourself")

    async def test_http(self) -> None:
        """What looks like a request goes to layer 7, in one piece or many, from its first byte."""
        await self.detecting()
        for pieces in ([b"GET / HTTP/1.1\r\n\r\n"], [b"G", b"ET", b" ", b"/ HTTP/1.1\r\n\r\n"]):
            client = await self.dial(self.port)
            for piece in pieces:
                client.send(piece)
                await deferLater(reactor, 0)
            await client.whenGot(b"HTTP heard GET / HTTP/1.1\r\n\r\n")
        self.assertEqual([each.secure for each in self.web.seen], [False, False])
        self.assertEqual(self.server.count, 0)

    async def test_opaque(self) -> None:
        """What does not is relayed as bytes, and a policy sees no request."""
        await self.detecting()
        for start in (b"SSH-2.0-x\r\n", b"\x00", b"get / HTTP/1.1\r\n"):
            client = await self.dial(self.port)
            client.send(start)
            await self.echoed(client, self.server, start)
        self.assertEqual([each.request for each in self.asked], [None] * 3)
        self.assertEqual(self.web.seen, [])

    async def test_silence(self) -> None:
        """Who waits for the server to speak first is let through to one that does."""
        await self.detecting(silence=0.05)
        client = await self.dial(self.port)
        backend = await self.server.peers.get()
        backend.send(b"220 hello")
        await client.whenGot(b"220 hello")
        client.send(b"EHLO a\r\n")
        await backend.whenGot(b"EHLO a\r\n")

    async def test_ambiguous(self) -> None:
        """A beginning that could still become anything is nothing special when time is up."""
        await self.detecting(silence=0.05)
        for start in (b"\x16", b"GET", b"GET ht"):
            client = await self.dial(self.port)
            client.send(start)
            await self.echoed(client, self.server, start)

    async def test_briefly(self) -> None:
        """Who says a word and half-closes gets an answer."""
        await self.detecting()
        client = await self.dial(self.port)
        client.send(b"STAT")
        client.transport.loseWriteConnection()
        backend = await self.server.peers.get()
        await backend.finished
        self.assertEqual(backend.data, b"STAT")
        backend.send(b"fine")
        await client.whenGot(b"fine")
        self.hangUp(backend)

    async def test_nobody(self) -> None:
        """Who connects, says nothing and leaves disturbs no backend."""
        await self.detecting()
        for leave in ("loseConnection", "abortConnection", "loseWriteConnection"):
            self.recorder.heard.clear()
            client = await self.dial(self.port)
            getattr(client.transport, leave)()
            closed = await self.recorder.ended()
            self.assertTurnedAway(closed, "before its first byte was complete")
            await client.over
            self.hangUp(client)

    async def test_passthrough(self) -> None:
        """TLS for a name that passes through is not touched: the server shows its own."""
        server = await self.detecting("db.example.org")
        client = await self.shake("db.example.org", [b"http/1.1"])
        await self.echoed(client, server)
        (asked,) = self.asked
        self.assertEqual(
            (asked.serverName, asked.alpn, asked.secure), ("db.example.org", ("http/1.1",), False)
        )

    async def test_passthroughAll(self) -> None:
        """Where TLS cannot end here all of it passes through."""
        server = await self.detecting(ends=False)
        await self.echoed(await self.shake("db.example.org"), server)

    async def test_terminated(self) -> None:
        """Other TLS ends here, and what is inside is told apart again."""
        await self.detecting("db.example.org")
        client = await self.shake("web.example.org")
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        await client.whenGot(b"HTTP heard GET / HTTP/1.1\r\n\r\n")
        (seen,) = self.web.seen
        self.assertEqual((seen.secure, seen.serverName), (True, "web.example.org"))
        client = await self.shake("web.example.org")
        client.send(b"\x10")
        await self.echoed(client, self.server, b"\x10")
        (asked,) = self.asked
        self.assertEqual((asked.secure, asked.serverName), (True, "web.example.org"))

    async def test_agreed(self) -> None:
        """A protocol that was agreed on is not guessed at."""
        await self.detecting("db.example.org")
        client = await self.shake("web.example.org", [b"http/1.1"])
        client.send(b"anything")
        await client.whenGot(b"HTTP heard anything")
        client = await self.shake("web.example.org", [b"mqtt"])
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        await self.echoed(client, self.server, b"GET / HTTP/1.1\r\n\r\n")

    async def test_silenceInside(self) -> None:
        """A server may speak first inside TLS, too."""
        await self.detecting("db.example.org", silence=0.05)
        client = await self.shake("web.example.org")
        backend = await self.server.peers.get()
        backend.send(b"* OK hello")
        await client.whenGot(b"* OK hello")
        self.hangUp(backend)

    async def test_byteByByte(self) -> None:
        """A ClientHello that comes byte by byte is as good as any other."""
        await self.detecting("db.example.org", ends=False)
        hello = clientHello("a.example.org")
        client = await self.dial(self.port)
        for byte in hello:
            client.send(bytes([byte]))
            await deferLater(reactor, 0)
        backend = await self.server.peers.get()
        await backend.whenGot(hello)
        self.assertEqual(HelloReader().feed(backend.data).serverName, "a.example.org")
        self.hangUp(backend)

    async def test_malformed(self) -> None:
        """What begins as TLS and is none is turned away: no rule could know its name."""
        for ends in (True, False):
            await self.detecting(ends=ends)
            client = await self.dial(self.port)
            client.send(b"\x16\x03\x01\x00\x00")
            closed = await self.recorder.ended()
            await client.lost
            self.assertEqual(closed.reason.detail, "a TLS record of 0 bytes")
            self.assertEqual((self.asked, self.web.seen), ([], []))

    async def test_lateHello(self) -> None:
        """A ClientHello has as long as a request's head."""
        await self.detecting(silence=0.01, headTimeout=0.1)
        client = await self.dial(self.port)
        client.send(b"\x16\x03\x01")
        closed = await self.recorder.ended()
        await client.lost
        self.assertTurnedAway(closed, "the ClientHello was not complete in time")

    def test_bad(self) -> None:
        """What cannot pass through since it is no name is refused at once."""
        self.assertRaises(ValueError, DetectForwarder, print, ["a b"])


class NativeDetectTests(DetectTests):
    """The same, accepted and relayed by the engine in C."""

    def setUp(self) -> None:
        """Another plane for the road."""
        super().setUp()
        try:
            from wsrelay.plane.native import NativePlane
        except ImportError as error:
            raise SkipTest("the extension is not built") from error

        def made(clock: Any) -> Any:
            plane = NativePlane(clock)
            self.addCleanup(reactor.removeReader, plane)  # type: ignore[attr-defined]
            return plane

        self.patch(road, "PortablePlane", made)
