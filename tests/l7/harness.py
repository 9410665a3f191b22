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

from twisted.internet import task
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from tests.l7.peers import PATIENCE, Client, Peer, Server, Servers, reactor, settled, turns
from wsrelay.backends.backend import Backend, Destination
from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import KeepAlive, Pool
from wsrelay.interfaces import IRoutingPolicy
from wsrelay.l4.hub import Hub
from wsrelay.l4.listener import Listener, ListenerSettings
from wsrelay.l4.plans import Plans
from wsrelay.l7.forwarder import HTTPForwarder
from wsrelay.model import Closed, Direction, Event, Forward, Opened, Party, Phase, RouteSettings
from wsrelay.plane.portable import PortablePlane
from wsrelay.tls.backends import BackendTLS

__all__ = [
    "ACCEPT",
    "FORWARDED",
    "HANDSHAKE",
    "KEY",
    "PAGE",
    "SWITCH",
    "UPGRADE",
    "OnNativePlane",
    "Peer",
    "Policy",
    "RelayTestCase",
    "answer",
    "bytesOf",
    "settled",
    "turns",
]

DEFAULTS = RouteSettings()
LISTENER = ListenerSettings()
NEVER = KeepAlive()

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


class Time(task.Clock):
    """The relay's time: only a test makes it pass. "As soon as possible" is no time at all."""

    def callLater(self, when: float, what: Callable[..., Any], *a: Any, **kw: Any) -> Any:
        if not when:
            return reactor.callLater(0, what, *a, **kw)
        return super().callLater(when, what, *a, **kw)


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
        keepAlive: KeepAlive = NEVER,
        caches: dict[str, Any] | None = None,
    ) -> None:
        """
        Run the relay.

        @param decision: of the only policy; not given: forward to the backend.
        @param filters: request and message filters of the route, in order.
        @param tls: C{CertificateOptions} of the listener.
        @param backendTLS: C{CertificateOptions} of the backend.
        @param scheme: of the backend's URL.
        @param pool: another pool than that of the one backend.
        @param keepAlive: how connections to the backend wait.
        @param caches: by name.
        """
        filters = filters or {}
        self.relay = Hub(self.clock, [self])
        port = await self._listen(self.servers, backendTLS)
        destination = Destination.parse(f"{scheme}://127.0.0.1:{port}")
        backend = Backend(destination, reactor, BackendTLS(verify=False))
        self._backends.append(backend)
        pool = pool or Pool("pool", [backend], RoundRobin(), keepAlive, self.clock)
        self.pool = pool
        plans = Plans({"pool": pool}, filters, caches or {})
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
        for port in [*self._ports, *(self.listener.ports if self.listener else ())]:
            await port.stopListening()
        if self.listener is None:
            return
        if isinstance(self.pool, Pool):
            self.pool.close()
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


class OnNativePlane:
    """
    Runs the tests of the class behind it on the native engine. Its clock is the system's, so
    idle times cannot be tested with it.
    """

    def makePlane(self: Any) -> Any:
        """The engine in C."""
        try:
            from wsrelay.plane.native import NativePlane
        except ImportError as error:
            raise SkipTest("the extension is not built") from error
        self.native = NativePlane(reactor)
        return self.native

    async def tearDown(self: Any) -> None:
        """The reactor watches the engine no longer."""
        await super().tearDown()
        native, self.native = self.__dict__.get("native"), None
        if native is not None:
            reactor.removeReader(native)


class _TLSEndpoint:
    """A server endpoint in TLS, without files."""

    def __init__(self, endpoint: Any, options: Any) -> None:
        self._endpoint = endpoint
        self._options = options

    def listen(self, factory: Any) -> Any:
        return self._endpoint.listen(TLSMemoryBIOFactory(self._options, False, factory))


def bytesOf(event: Closed) -> tuple[int, int]:
    """What went to the backend, and to the client."""
    return event.counts[Direction.TO_BACKEND].bytes, event.counts[Direction.TO_CLIENT].bytes
