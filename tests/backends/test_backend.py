# -*- test-case-name: tests.backends.test_backend -*-
"""
What a backend's URL means, and what dialling it comes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given, settings, strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, TimeoutError
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.certificates import Issued, theAuthority
from tests.loopback import Loopback, Peer, Server
from wsrelay.backends.backend import Backend, Destination
from wsrelay.interfaces import IBackend
from wsrelay.model import Address, Inbound
from wsrelay.plane.legs import Leg
from wsrelay.tls.backends import BackendTLS, UntrustedPeer
from wsrelay.wire.proxyproto import Proxied, proxiedOf, writeProxy1, writeProxy2

#: What servers speak.
HTTP = [b"http/1.1"]

#: A URL; scheme, host, port, whether TLS is spoken, and what Host would say.
GOOD: Sequence[tuple[str, str, str, int, bool, str]] = [
    ("ws://10.0.0.1:9000", "ws", "10.0.0.1", 9000, False, "10.0.0.1:9000"),
    ("ws://chat.example.org", "ws", "chat.example.org", 80, False, "chat.example.org"),
    ("http://chat.example.org/", "http", "chat.example.org", 80, False, "chat.example.org"),
    ("wss://Chat.Example.org:443", "wss", "chat.example.org", 443, True, "chat.example.org"),
    ("HTTPS://[::1]:9443", "https", "::1", 9443, True, "[::1]:9443"),
    ("tcp:127.0.0.1:22", "tcp", "127.0.0.1", 22, False, "127.0.0.1:22"),
    ("tcp://[2001:db8::1]:22", "tcp", "2001:db8::1", 22, False, "[2001:db8::1]:22"),
    ("tcp:[fe80::1%eth0]:22", "tcp", "fe80::1%eth0", 22, False, "[fe80::1%eth0]:22"),
    ("tls:db_1.internal:5432", "tls", "db_1.internal", 5432, True, "db_1.internal:5432"),
    ("ws://bücher.example:1", "ws", "xn--bcher-kva.example", 1, False, "xn--bcher-kva.example:1"),
    ("unix:/run/chat.sock", "unix", "/run/chat.sock", 0, False, "localhost"),
    ("unix:///run/chat.sock", "unix", "/run/chat.sock", 0, False, "localhost"),
]

#: What is no backend, and a word of what is said about it.
BAD: Sequence[tuple[str, str]] = [
    ("", "expected ws://"),
    ("10.0.0.1:9000", "expected ws://"),
    ("ftp://a:1", "expected ws://"),
    ("ws:", "expected a host and a port, as in ws://HOST:PORT"),
    ("ws://:9000", "expected a host and a port"),
    ("tcp:a", "expected a host and a port, as in tcp:HOST:PORT"),
    ("tcp:a:0", "1 to 65535"),
    ("ws://a:0", "1 to 65535"),
    ("ws://a:65536", "1 to 65535"),
    ("ws://a:x", "1 to 65535"),
    ("ws://a:1/path", "the path comes from the client"),
    ("ws://a:1?query", "the path comes from the client"),
    ("ws://a:1#fragment", "the path comes from the client"),
    ("ws://user:secret@a:1", "user names and passwords"),
    ("ws://a b:1", "white space"),
    ("ws://a\nb:1", "white space"),
    ("ws://a\x00:1", "white space"),
    ("ws://[::1:80", "neither a name nor an IP address"),
    ("ws://-a:80", "neither a name nor an IP address"),
    ("ws://a..b:80", "neither a name nor an IP address"),
    ("ws://*.example.org:80", "neither a name nor an IP address"),
    ("ws://1.2.3:80", "neither a name nor an IP address"),
    ("ws://999.1.1.1:80", "neither a name nor an IP address"),
    ("unix:relative", "absolute path"),
    ("unix:", "absolute path"),
]


class DestinationTests(SynchronousTestCase):
    """What a URL says."""

    def test_good(self) -> None:
        """Every form of the documentation is understood."""
        for url, scheme, host, port, isSecure, authority in GOOD:
            found = Destination.parse(url)
            self.assertEqual(found, Destination(url, scheme, host, port, isSecure), url)
            self.assertEqual(found.authority, authority, url)

    def test_bad(self) -> None:
        """What is wrong is refused, and the message says what would be right."""
        for url, message in BAD:
            error = self.assertRaises(ValueError, Destination.parse, url)
            self.assertIn(message, str(error), url)

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(["ws://", "wss://", "tcp:", "unix:", ""]), st.text(max_size=30))
    def test_anything(self, scheme: str, rest: str) -> None:
        """Whatever is written, it is a destination that can be named in ASCII or a ValueError."""
        try:
            found = Destination.parse(scheme + rest)
        except ValueError:
            return
        found.authority.encode("ascii")
        self.assertTrue(found.scheme == "unix" or 0 < found.port < 65536)


class Dial(Loopback):
    """Dials backends."""

    def backend(self, url: str, clock: Any = reactor, tls: BackendTLS | None = None) -> Backend:
        """A backend of this URL."""
        return Backend(Destination.parse(url), clock, tls or BackendTLS())

    async def failure(self, backend: Backend, timeout: float = 5) -> Exception:
        """Why it cannot be dialled; after which it is not counted any more."""
        try:
            leg = await backend.connect(timeout)
        except Exception as error:
            # An aborted connection is gone in the next turn of the reactor.
            await deferLater(reactor, 0)
            self.assertEqual(backend.active, 0)
            return error
        leg.abort()
        self.fail("it was dialled")


class DialTests(Dial):
    """Plain connections."""

    def test_interface(self) -> None:
        """Balancers are given what L{IBackend} promises."""
        backend = Backend(Destination.parse("ws://a"), Clock(), BackendTLS(), 3)
        self.assertTrue(verifyObject(IBackend, backend))
        self.assertEqual((backend.name, backend.weight, backend.active), ("ws://a", 3, 0))
        self.assertEqual(repr(backend), "<Backend ws://a active=0>")

    async def test_counts(self) -> None:
        """A connection counts from the dial until it is gone."""
        server = Server()
        backend = self.backend(f"tcp:127.0.0.1:{await self.listen(server)}")
        dial = backend.connect(5)
        self.assertEqual(backend.active, 1)
        leg = await dial
        peer = await server.peers.get()
        self.assertEqual(backend.active, 1)
        leg.close()
        leg.resumeProducing()
        await peer.finished
        peer.transport.loseConnection()
        await peer.lost
        self.assertEqual(backend.active, 0)

    async def test_holdsStill(self) -> None:
        """What a backend says at once waits in the leg for whoever takes charge."""
        server = Server()
        backend = self.backend(f"tcp:127.0.0.1:{await self.listen(server)}")
        leg = await backend.connect(5)
        peer = await server.peers.get()
        peer.send(b"hello")
        receiver = _Receiver()
        leg.hand(receiver)
        self.assertEqual(receiver.data, b"")
        leg.resumeProducing()
        await receiver.came
        self.assertEqual(receiver.data, b"hello")
        leg.abort()
        await receiver.gone

    async def test_names(self) -> None:
        """A host name is looked up."""
        server = Server()
        leg = await self.backend(f"ws://localhost:{await self.listen(server)}").connect(5)
        peer = await server.peers.get()
        leg.abort()
        await peer.lost

    async def test_unix(self) -> None:
        """A UNIX socket is dialled like any other."""
        path = f"/tmp/wsrelay-test-{id(self)}.sock"
        server = Server()
        port = await UNIXServerEndpoint(reactor, path).listen(server)
        self.addCleanup(port.stopListening)
        leg = await self.backend(f"unix:{path}").connect(5)
        peer = await server.peers.get()
        self.assertEqual(str(leg.peer), f"unix:{path}")
        leg.abort()
        await peer.finished
        self.hangUp(peer)

    async def test_refused(self) -> None:
        """A backend that refuses fails at once and is not counted."""
        error = await self.failure(self.backend(f"ws://127.0.0.1:{self.refusing()}"))
        self.assertIsInstance(error, ConnectionRefusedError)

    async def test_timeout(self) -> None:
        """A backend that does not answer the dial fails when the time is over."""
        clock = MemoryReactorClock()
        for url in ("tcp:10.0.0.1:9", "wss://10.0.0.1:9", "tcp:[2001:db8::1]:9"):
            backend = self.backend(url, clock)
            dial = backend.connect(3)
            clock.advance(2.9)
            self.assertNoResult(dial)
            self.assertEqual(backend.active, 1)
            clock.advance(0.2)
            self.failureResultOf(dial, TimeoutError)
            self.assertEqual(backend.active, 0)
            self.assertEqual(clock.getDelayedCalls(), [])

    async def test_cancelled(self) -> None:
        """A dial that nobody waits for any more ends, and leaves nothing behind."""
        clock = MemoryReactorClock()
        backend = self.backend("tcp:10.0.0.1:9", clock)
        dial = backend.connect(3)
        dial.cancel()
        self.failureResultOf(dial, CancelledError)
        self.assertEqual(backend.active, 0)
        self.assertEqual(clock.getDelayedCalls(), [])


class SecureDialTests(Dial):
    """Connections with TLS: made only when the handshake is complete and verified."""

    def trusting(self, port: int, host: str = "127.0.0.1") -> Backend:
        """A backend that is trusted if the tests' authority says so."""
        ca = theAuthority().write(Path(self.mktemp()))
        return self.backend(f"wss://{host}:{port}", tls=BackendTLS(ca))

    async def secure(self, issued: Issued) -> tuple[Server, Backend]:
        """A server with this certificate, and the backend for it."""
        server = Server()
        return server, self.trusting(await self.listen(server, issued.options(HTTP)))

    async def test_good(self) -> None:
        """The leg is there after the handshake, holds still, and speaks TLS."""
        server, backend = await self.secure(theAuthority().issue("127.0.0.1"))
        leg = await backend.connect(5)
        peer = await server.peers.get()
        self.assertTrue(leg.isTLS)
        self.assertEqual(backend.active, 1)
        leg.write(b"through TLS")
        await peer.whenGot(b"through TLS")
        leg.abort()
        await peer.lost
        self.assertEqual(backend.active, 0)

    async def test_distrusted(self) -> None:
        """With the wrong name the dial fails, and not one byte is sent to whoever that was."""
        server, backend = await self.secure(theAuthority().issue("other.example.org"))
        error = await self.failure(backend)
        self.assertIsInstance(error, UntrustedPeer)
        peer = await server.peers.get()
        await peer.lost
        self.assertEqual(peer.data, b"")

    async def test_noTLS(self) -> None:
        """A server that does not speak TLS fails the dial."""

        class Plain(Peer):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        error = await self.failure(self.trusting(await self.listen(Server(Plain))))
        self.assertIn("wrong version number", str(error))

    async def test_closes(self) -> None:
        """A server that closes during the handshake fails the dial."""

        class Closing(Peer):
            def dataReceived(self, data: bytes) -> None:
                self.transport.loseConnection()

        error = await self.failure(self.trusting(await self.listen(Server(Closing))))
        self.assertIsInstance(error, ConnectionLost)

    async def test_silent(self) -> None:
        """A server that accepts and never shakes hands fails the dial within its time."""
        server = Server()
        error = await self.failure(self.trusting(await self.listen(server)), 0.2)
        self.assertIsInstance(error, TimeoutError)
        peer = await server.peers.get()
        await peer.lost

    async def test_cancelledInHandshake(self) -> None:
        """A dial can be given up while the handshake goes on."""
        server = Server()
        backend = self.trusting(await self.listen(server))
        dial = backend.connect(5)
        peer = await server.peers.get()
        await peer.when(bool)
        dial.cancel()
        self.failureResultOf(dial, CancelledError)
        await peer.lost
        self.assertEqual(backend.active, 0)

    async def test_saidWithHandshake(self) -> None:
        """What a backend says right behind its handshake is kept for whoever takes charge."""

        class Greeting(Peer):
            def connectionMade(self) -> None:
                self.transport.write(b"220 hello")

        port = await self.listen(Server(Greeting), theAuthority().issue("127.0.0.1").options(HTTP))
        leg = await self.trusting(port).connect(5)
        receiver = _Receiver()
        leg.hand(receiver)
        leg.resumeProducing()
        await receiver.came
        self.assertEqual(receiver.data, b"220 hello")
        leg.abort()
        await receiver.gone


CLIENT, LOCAL = Address("192.0.2.7", 5555), Address("192.0.2.1", 443)
INBOUND = Inbound("1", "public", CLIENT, LOCAL, True, "chat.example.org", ("http/1.1",))
LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n"


class AnnouncedDialTests(Dial):
    """Backends that want to hear for whom the relay speaks."""

    async def dialled(
        self, url: str, announce: Any, inbound: Inbound | None = INBOUND, plane: Any = None
    ) -> Leg:
        """A leg, once it is there; it is cut at the end."""
        ca = theAuthority().write(Path(self.mktemp()))
        backend = Backend(
            Destination.parse(url), reactor, BackendTLS(ca), plane=plane, announce=announce
        )
        self.assertTrue(backend.isPersonal)
        leg = await backend.connect(5, inbound)
        self.addCleanup(leg.abort)
        return leg

    async def heard(self, announce: Any, inbound: Inbound | None = INBOUND) -> bytes:
        """What a plain backend hears first, dialled by address, by name and in C."""
        said = set()
        native = nativePlane()
        self.addCleanup(reactor.removeReader, native)  # type: ignore[attr-defined]
        for host, plane in (("127.0.0.1", None), ("localhost", None), ("127.0.0.1", native)):
            server = Server()
            port = await self.listen(server)
            leg = await self.dialled(f"tcp:{host}:{port}", announce, inbound, plane)
            leg.write(b"|hello")
            peer = await server.peers.get()
            await peer.when(lambda data: data.endswith(b"|hello"))
            said.add(peer.data.removesuffix(b"|hello"))
            self.hangUp(peer)
        (only,) = said
        return bytes(only)

    async def test_plain(self) -> None:
        """The header is the first that a backend hears, however it is dialled."""
        self.assertEqual(await self.heard(writeProxy1), LINE)
        self.assertEqual(await self.heard(writeProxy2), writeProxy2(proxiedOf(INBOUND)))

    async def test_noClient(self) -> None:
        """A connection of the relay's own says so."""
        self.assertEqual(await self.heard(writeProxy1, None), b"PROXY UNKNOWN\r\n")
        self.assertEqual(await self.heard(writeProxy2, None), writeProxy2(Proxied()))

    async def test_secure(self) -> None:
        """Where TLS is spoken, the header stands before it, and TLS is verified as ever."""
        for header, announce in ((LINE, writeProxy1), (writeProxy2(proxiedOf(INBOUND)), None)):
            issued = theAuthority().issue("127.0.0.1")
            server = Server(partial(Behind, header, issued.options(HTTP)))
            url = f"wss://127.0.0.1:{await self.listen(server)}"
            leg = await self.dialled(url, announce or writeProxy2)
            self.assertTrue(leg.isTLS)
            leg.write(b"hello")
            peer = await server.peers.get()
            await peer.whenGot(b"hello")
            self.assertEqual(peer.header, header)
            await self.hangUp(peer)

    async def test_distrusted(self) -> None:
        """Who is not trusted has heard the header, and nothing of what follows."""
        options = theAuthority().issue("other.example.org").options(HTTP)
        server = Server(partial(Behind, LINE, options))
        url = f"wss://127.0.0.1:{await self.listen(server)}"
        with self.assertRaises(UntrustedPeer):
            await self.dialled(url, writeProxy1)
        peer = await server.peers.get()
        await peer.lost
        self.assertEqual((peer.header, peer.data), (LINE, b""))

    def test_impersonal(self) -> None:
        """Without a header, a connection is anybody's."""
        self.assertFalse(self.backend("tcp:127.0.0.1:1").isPersonal)


class Behind(Peer):
    """Reads a header, then speaks TLS."""

    def __init__(self, header: bytes, options: Any) -> None:
        super().__init__()
        self.header = b""
        self._size = len(header)
        self._options = options

    def dataReceived(self, data: bytes) -> None:
        """The header, and what comes behind it."""
        if len(self.header) == self._size:
            super().dataReceived(data)
            return
        missing = self._size - len(self.header)
        self.header += data[:missing]
        if len(self.header) == self._size:
            self.transport.startTLS(self._options)
            if data[missing:]:
                self.transport.protocol.dataReceived(data[missing:])


class OfferTests(Dial):
    """What is offered to backends by ALPN."""

    async def test_offer(self) -> None:
        """Nothing, so that backends that know of no protocols can be had, too."""
        server = Server()
        options = theAuthority().issue("127.0.0.1").options([b"h2", *HTTP])
        port = await self.listen(server, options)
        ca = theAuthority().write(Path(self.mktemp()))
        backend = self.backend(f"wss://127.0.0.1:{port}", tls=BackendTLS(ca))
        leg = await backend.connect(5)
        self.assertIsNone(leg.transport.negotiatedProtocol)
        leg.abort()
        await (await server.peers.get()).lost


def nativePlane() -> Any:
    """The engine in C."""
    try:
        from wsrelay.plane.native import NativePlane
    except ImportError as error:
        raise SkipTest("the extension is not built") from error
    return NativePlane(reactor)


class _Receiver:
    """Takes charge of a leg."""

    def __init__(self) -> None:
        self.data = b""
        self.came: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def received(self, data: bytes) -> None:
        self.data += data
        if not self.came.called:
            self.came.callback(None)

    def finished(self) -> None:
        pass

    def lost(self, reason: Any) -> None:
        self.gone.callback(None)
