# -*- test-case-name: tests.l7 -*-
"""
A layer 7 listener between raw peers, in trial's own reactor.

Both sides of every conversation are bytes that a test writes down: a L{Peer} sends and
expects bytes, on real loopback connections, and every wait has its deadline. The relay's
timers run on a clock of their own: none of them fires unless a test advances it, and a timer that
is left when all is over fails the test, as does a connection, or an L{Opened} without exactly
one L{Closed}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor as _reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from wsrelay.backends.backend import Backend, Destination
from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Pool
from wsrelay.interfaces import IRoutingPolicy
from wsrelay.l4.hub import Hub
from wsrelay.l4.listener import Listener, ListenerSettings
from wsrelay.l4.plans import Plans
from wsrelay.l7.forwarder import HTTPForwarder
from wsrelay.model import Closed, Direction, Event, Forward, Opened, Party, Phase, RouteSettings
from wsrelay.plane.portable import PortablePlane
from wsrelay.tls import BackendTLS
from wsrelay.wire.frames import CLOSE, TEXT, encode, encodeClose, mask

__all__ = [
    "ACCEPT",
    "FORWARDED",
    "HANDSHAKE",
    "KEY",
    "PAGE",
    "SWITCH",
    "UPGRADE",
    "Peer",
    "Policy",
    "RelayTestCase",
    "answer",
    "bytesOf",
    "settled",
    "turns",
]

reactor: Any = _reactor

#: Seconds that any one wait may take. Nothing here takes more than a few milliseconds.
PATIENCE = 3.0

DEFAULTS = RouteSettings()
LISTENER = ListenerSettings()

#: What the relay tells a backend about a client of C{Host: a}.
FORWARDED = b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n"

# The example of RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

#: A client's handshake; further fields may follow.
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
)
#: What the backend gets of it.
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\n" + FORWARDED + b"Connection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
)
#: A backend's 101, and what the client gets of it.
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
)


def answer(status: str, body: bytes = b"", *fields: bytes) -> bytes:
    """A response with a C{Content-Length}."""
    lines = [b"HTTP/1.1 " + status.encode(), *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def PAGE(status: str, *fields: bytes) -> bytes:
    """The relay's own page for an error; C{fields} are those behind the length."""
    body = status.encode() + b"\n"
    lines = [
        b"HTTP/1.1 " + status.encode(),
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(body),
        *fields,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def settled(peer: Peer) -> int:
    """
    Wait until nothing more leaves a peer.

    @return: how many bytes it could not send.
    """
    before, now = -1, 0
    while now != before:
        await turns(50)
        before, now = now, _unsent(peer)
    return now


def _unsent(peer: Peer) -> int:
    transport = peer.transport
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


async def turns(count: int = 20) -> None:
    """Let the reactor go round, so that whatever was on its way has arrived."""
    for _ in range(count):
        await task.deferLater(reactor, 0)


class Time(task.Clock):
    """The relay's time: only a test makes it pass. "As soon as possible" is no time at all."""

    def callLater(self, when: float, what: Callable[..., Any], *a: Any, **kw: Any) -> Any:
        if not when:
            return reactor.callLater(0, what, *a, **kw)
        return super().callLater(when, what, *a, **kw)


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    One end of a connection, which says and hears bytes.

    @ivar heard: what has come and was not yet expected.
    @ivar isEnded: whether the other end has sent FIN, or is gone.
    @ivar isLost: whether the connection is gone.
    @ivar isBroken: whether it ended otherwise than with FIN.
    """

    transport: Any

    def __init__(self, name: str) -> None:
        self._name = name
        self._waits: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self.heard = bytearray()
        self.isEnded = False
        self.isLost = False
        self.isBroken = False

    # -- what Twisted calls

    def connectionMade(self) -> None:
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._look()

    def readConnectionLost(self) -> None:
        self.isEnded = True
        self._look()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.isBroken = not self.isEnded and reason.check(ConnectionDone) is None
        self.isEnded = self.isLost = True
        self._look()

    def _look(self) -> None:
        for wait in list(self._waits):
            condition, deferred = wait
            if condition():
                self._waits.remove(wait)
                deferred.callback(None)

    async def when(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds about what was heard."""
        if condition():
            return
        wait: Deferred[None] = Deferred()
        self._waits.append((condition, wait))

        def late(result: Any, seconds: float) -> Any:
            raise AssertionError(f"{self._name}: waited in vain; heard {bytes(self.heard)!r:.600}")

        await wait.addTimeout(PATIENCE, reactor, late)

    # -- what tests say

    def say(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def finish(self) -> None:
        """Send FIN."""
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close."""
        self.transport.loseConnection()

    def vanish(self) -> None:
        """Break the connection (RST)."""
        self.transport.abortConnection()

    async def hear(self, wanted: bytes) -> None:
        """Exactly these bytes come next."""
        size = len(wanted)
        await self.when(
            lambda: len(self.heard) >= size or not wanted.startswith(self.heard) or self.isEnded
        )
        heard = bytes(self.heard[:size])
        if heard != wanted:
            raise AssertionError(
                f"{self._name} heard\n{bytes(self.heard)!r:.2000}\ninstead of\n{wanted!r:.2000}"
            )
        del self.heard[:size]

    async def head(self) -> bytes:
        """Everything up to the next empty line."""
        await self.when(lambda: b"\r\n\r\n" in self.heard or self.isEnded)
        end = self.heard.find(b"\r\n\r\n") + 4
        if end < 4:
            raise AssertionError(f"{self._name} heard no head: {bytes(self.heard)!r:.2000}")
        head = bytes(self.heard[:end])
        del self.heard[:end]
        return head

    async def through(self, tail: bytes) -> bytes:
        """Everything up to C{tail}, which is all that has come then."""
        await self.when(lambda: self.heard.endswith(tail) or self.isEnded)
        heard = bytes(self.heard)
        if not heard.endswith(tail):
            raise AssertionError(f"{self._name} heard {heard!r:.2000}, not ending with {tail!r}")
        self.heard.clear()
        return heard

    async def hearEnd(self, wanted: bytes = b"") -> None:
        """Exactly these bytes come, and then a clean end (FIN)."""
        await self.hear(wanted)
        await self.when(lambda: self.isEnded)
        if self.heard or self.isBroken:
            raise AssertionError(
                f"{self._name}: instead of the end {bytes(self.heard)!r:.600}, "
                f"broken: {self.isBroken}"
            )

    async def hearCut(self) -> bytes:
        """The connection breaks, whatever came before."""
        await self.when(lambda: self.isLost)
        if not self.isBroken:
            raise AssertionError(f"{self._name}: a clean end, {bytes(self.heard)!r:.600}")
        return bytes(self.heard)

    async def gone(self) -> bytes:
        """The other side is gone, one way or the other."""
        await self.when(lambda: self.isEnded)
        return bytes(self.heard)

    # -- WebSocket

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload, unmasked."""
        await self.when(lambda: self._frameEnd() > 0 or self.isEnded)
        end = self._frameEnd()
        if end <= 0:
            raise AssertionError(f"{self._name} heard no frame: {bytes(self.heard)!r:.600}")
        frame = bytes(self.heard[:end])
        del self.heard[:end]
        start = {126: 4, 127: 10}.get(frame[1] & 127, 2)
        if frame[1] & 128:
            return frame[0], mask(frame[start + 4 :], frame[start : start + 4])
        return frame[0], frame[start:]

    def _frameEnd(self) -> int:
        heard = self.heard
        if len(heard) < 10 and (len(heard) < 2 or heard[1] & 127 > 125):
            return 0
        length, start = heard[1] & 127, 2
        if length == 126:
            length, start = int.from_bytes(heard[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(heard[2:10], "big"), 10
        end = start + (4 if heard[1] & 128 else 0) + length
        return end if len(heard) >= end else 0

    async def hearClose(self, code: int | None, reason: str = "") -> None:
        """A Close frame with this code comes next."""
        first, payload = await self.frame()
        words = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        if (first, payload) != (0x80 | CLOSE, words):
            raise AssertionError(
                f"{self._name} heard {first:#x} {payload!r} instead of Close {code} {reason!r}"
            )

    async def hearText(self, text: bytes) -> None:
        """A whole text message comes next."""
        first, payload = await self.frame()
        if (first, payload) != (0x80 | TEXT, text):
            raise AssertionError(f"{self._name} heard {first:#x} {payload!r}, not {text!r}")


class Client(Peer):
    """A client: what it says in WebSocket frames is masked (with zeros, to be readable)."""

    def sayFrame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        """Send one frame."""
        self.say(encode(opcode, payload, bytes(4), **options))

    def sayClose(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close frame."""
        self.say(encodeClose(code, reason, bytes(4)))


class Server(Peer):
    """A backend's end of one connection."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(f"backend {len(servers.all) + 1}")
        self._servers = servers

    def connectionMade(self) -> None:
        super().connectionMade()
        self._servers.made(self)

    def sayFrame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        """Send one frame."""
        self.say(encode(opcode, payload, **options))

    def sayClose(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close frame."""
        self.say(encodeClose(code, reason))


class Servers(Factory):
    """Backends: each connection is taken by the test in the order in which it came."""

    noisy = False

    def __init__(self) -> None:
        self.came: list[Server] = []
        self.all: list[Server] = []
        self._waits: list[Deferred[None]] = []

    def buildProtocol(self, addr: Any) -> Server:
        return Server(self)

    def made(self, server: Server) -> None:
        """A connection is there."""
        self.came.append(server)
        self.all.append(server)
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.callback(None)

    async def next(self) -> Server:
        """The next connection."""
        while not self.came:
            wait: Deferred[None] = Deferred()
            self._waits.append(wait)
            await wait.addTimeout(PATIENCE, reactor)
        return self.came.pop(0)


@implementer(IRoutingPolicy)
class Policy:
    """Decides whatever a callable or a value says."""

    def __init__(self, decision: Any) -> None:
        self._decision = decision

    def route(self, inbound: Any) -> Any:
        """The decision, or what the callable makes of C{inbound}."""
        return self._decision(inbound) if callable(self._decision) else self._decision


class _Recording:
    """An endpoint that remembers the legs of what it accepts."""

    def __init__(self, endpoint: Any, legs: list[Any]) -> None:
        self._endpoint = endpoint
        self._legs = legs

    def listen(self, factory: Any) -> Any:
        build = factory.buildProtocol

        def remember(address: Any) -> Any:
            leg = build(address)
            self._legs.append(leg)
            return leg

        factory.buildProtocol = remember
        return self._endpoint.listen(factory)


class RelayTestCase(TestCase):
    """
    A relay with one HTTP listener and one pool of one backend.

    @ivar clock: the relay's time.
    @ivar events: all that observers heard.
    @ivar servers: the backend.
    """

    timeout = 30

    def setUp(self) -> None:
        """Nothing runs before L{start}."""
        self.clock: Any = Time()
        self.events: list[Event] = []
        self.servers = Servers()
        self._clients: list[Client] = []
        self._legs: list[Any] = []
        self._ports: list[Any] = []
        self._backends: list[Backend] = []
        self.listener: Any = None

    async def start(
        self,
        decision: Any = None,
        filters: dict[str, Any] | None = None,
        settings: RouteSettings = DEFAULTS,
        listener: ListenerSettings = LISTENER,
        policies: Sequence[Any] = (),
        tls: Any = None,
        backendTLS: Any = None,
        pool: Any = None,
        scheme: str = "http",
    ) -> None:
        """
        Run the relay.

        @param decision: of the only policy; not given: forward to the backend.
        @param filters: request and message filters of the route, in order.
        @param tls: C{CertificateOptions} of the listener.
        @param backendTLS: C{CertificateOptions} of the backend.
        @param scheme: of the backend's URL.
        @param pool: another pool than that of the one backend.
        """
        filters = filters or {}
        self.relay = Hub(self.clock, [self])
        port = await self._listen(self.servers, backendTLS)
        destination = Destination.parse(f"{scheme}://127.0.0.1:{port}")
        backend = Backend(destination, reactor, BackendTLS(verify=False))
        self._backends.append(backend)
        pool = pool or Pool("pool", [backend], RoundRobin())
        plans = Plans({"pool": pool}, filters)
        self.forward = Forward("pool", tuple(filters), "route", settings)
        chosen = self.forward if decision is None else decision
        self.listener = Listener(
            "public",
            (),
            HTTPForwarder(),
            [*policies, ("policy", Policy(chosen))],
            self.relay,
            plans,
            self.makePlane(),
            listener,
        )
        endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        if tls is not None:
            endpoint = _TLSEndpoint(endpoint, tls)
        self.listener._endpoints = (_Recording(endpoint, self._legs),)
        await self.listener.listen()
        self.port = self.listener.ports[0].getHost().port

    def makePlane(self) -> Any:
        """The engine that moves the frames."""
        return PortablePlane(self.clock)

    async def _listen(self, factory: Any, tls: Any = None) -> int:
        endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        if tls is not None:
            endpoint = _TLSEndpoint(endpoint, tls)
        port = await endpoint.listen(factory)
        self._ports.append(port)
        return int(port.getHost().port)

    def observe(self, event: Event) -> None:
        """Remember what happened."""
        self.events.append(event)

    async def client(self, tls: Any = None) -> Client:
        """A new client connection."""
        from twisted.internet.endpoints import TCP4ClientEndpoint

        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port, timeout=PATIENCE)
        if tls is not None:
            endpoint = wrapClientTLS(tls, endpoint)
        client = Client(f"client {len(self._clients) + 1}")
        self._clients.append(client)
        await connectProtocol(endpoint, client)
        return client

    async def backend(self) -> Server:
        """The next connection that the relay has made to the backend."""
        return await self.servers.next()

    async def again(self) -> None:
        """End this relay, so that another can be started."""
        await self.tearDown()
        self.setUp()

    async def stopBackend(self) -> None:
        """From now on the backend refuses connections."""
        for port in self._ports:
            await port.stopListening()
        self._ports = []

    async def session(
        self, client: Client | None = None, offer: bytes = b"", accept: bytes = b""
    ) -> tuple[Client, Server]:
        """
        Open a WebSocket.

        @param offer: further fields of the client's handshake.
        @param accept: further fields of the backend's 101.
        """
        client = client or await self.client()
        client.say(UPGRADE + offer + b"\r\n")
        backend = await self.backend()
        await backend.head()
        backend.say(SWITCH + accept + b"\r\n")
        await client.head()
        return client, backend

    # -- what came of it

    def closed(self) -> list[Closed]:
        """Everything that has ended so far."""
        return [event for event in self.events if isinstance(event, Closed)]

    async def ends(self, count: int = 1) -> list[Closed]:
        """Wait until so much has ended."""
        await self.until(lambda: len(self.closed()) >= count, f"{count} to end")
        return self.closed()

    async def assertEnd(
        self, party: Party, phase: Phase, detail: str = "", status: int | None = None
    ) -> Closed:
        """The last thing that happened ended like this."""
        (*_, end) = await self.ends()
        reason = end.reason
        self.assertEqual((reason.party, reason.phase), (party, phase), reason)
        self.assertIn(detail, reason.detail)
        if status is not None:
            self.assertEqual(end.status, status)
        return end

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that no peer can hear."""
        end = reactor.seconds() + PATIENCE
        while not condition():
            if reactor.seconds() > end:
                self.fail(f"waited in vain for {what}")
            await task.deferLater(reactor, 0.001)

    def openLegs(self) -> int:
        """How many connections the relay has, on both sides."""
        return sum(not leg.isLost for leg in self._legs) + sum(
            backend.active for backend in self._backends
        )

    async def tearDown(self) -> None:
        """Both sides leave; then nothing may be left of anything."""
        if self.listener is None:
            return
        for port in [*self._ports, *self.listener.ports]:
            await port.stopListening()
        for peer in [*self._clients, *self.servers.all]:
            if not peer.isLost:
                peer.transport.abortConnection()
        peers = [*self._clients, *self.servers.all]
        await self.until(lambda: all(peer.isLost for peer in peers), "the peers to leave")
        await self.until(lambda: not self.openLegs(), f"{self.openLegs()} legs to be lost")
        opened = [event.id for event in self.events if isinstance(event, Opened)]
        closed = [event.id for event in self.closed()]
        self.assertEqual(sorted(opened), sorted(closed), "each Opened has one Closed")
        self.assertEqual(len(opened), len(set(opened)))
        self.assertEqual(self.relay.openCount, 0)
        left = self.clock.getDelayedCalls()
        self.assertEqual(left, [], "a timer was left")


class _TLSEndpoint:
    """A server endpoint in TLS, without files."""

    def __init__(self, endpoint: Any, options: Any) -> None:
        self._endpoint = endpoint
        self._options = options

    def listen(self, factory: Any) -> Any:
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return self._endpoint.listen(TLSMemoryBIOFactory(self._options, False, factory))


def bytesOf(event: Closed) -> tuple[int, int]:
    """What went to the backend, and to the client."""
    return event.counts[Direction.TO_BACKEND].bytes, event.counts[Direction.TO_CLIENT].bytes
