"""
Where the suites of the plane are played: in memory, on loopback sockets, under TLS.

A world makes legs with peers at their other ends and waits for things to happen. A suite is
written against L{World} and does not know which it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, TLSVersion
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest
from zope.interface import implementer

from wsrelay.errors import Violation
from wsrelay.model import Close, Direction
from wsrelay.plane.engine import ILink, IPlane, Lane
from wsrelay.plane.legs import Leg, LegFactory
from wsrelay.testing import Peer, pair, settle

__all__ = [
    "DOWN",
    "UP",
    "InMemory",
    "OnSockets",
    "OnTransports",
    "Recorder",
    "UnderTLS",
    "UnderTLS12",
    "World",
    "certificate",
]

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT


class Recorder:
    """
    An owner that writes down what it hears, and does what C{reactions} say.

    @ivar events: tuples that begin with the name of what was heard and the direction.
    @ivar reactions: by name, what to do about it, with the rest of the tuple as arguments.
    """

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.reactions: dict[str, Callable[..., None]] = {}

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        reaction = self.reactions.get(event[0])
        if reaction is not None:
            reaction(*event[1:])

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """The events of these names."""
        return [event for event in self.events if event[0] in names]

    def closeReceived(self, direction: Direction, code: int | None, reason: str) -> None:
        """A Close frame came."""
        self._note("close", direction, code, reason)

    def violated(self, direction: Direction, violation: Violation) -> None:
        """A rule was broken."""
        self._note("violated", direction, violation.code)

    def hookAsked(self, direction: Direction, close: Close) -> None:
        """A hook wants the end."""
        self._note("asked", direction, close)

    def hookFailed(self, direction: Direction, failure: Failure) -> None:
        """A hook failed."""
        self._note("failed", direction, failure.value)

    def streamEnded(self, direction: Direction) -> None:
        """A sender has finished."""
        self._note("ended", direction)

    def legLost(self, direction: Direction, failure: Failure) -> None:
        """A leg is gone."""
        self._note("lost", direction, failure.check(ConnectionDone) is not None)


class World:
    """
    The ground of every world, to be mixed with a C{TestCase}.

    @ivar isHasty: whether legs are handed out before their TLS handshake is over.
    @ivar client: the peer that is the client; C{backend} is the other.
    @ivar owner: the L{Recorder}.
    """

    timeout = 30
    clock: Any
    isTLS = False
    isMemory = False
    isHasty = False
    client: Peer
    backend: Peer
    linked: ILink

    def makePlane(self) -> IPlane:
        """The engine under test."""
        raise NotImplementedError

    async def pair(self) -> tuple[Leg, Peer]:
        """A leg holding still, and its peer."""
        raise NotImplementedError

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until C{condition} holds."""
        raise NotImplementedError

    async def turn(self) -> None:
        """Let what is going on go on."""
        raise NotImplementedError

    def needsHalfClose(self) -> None:
        """Leave the test out where there is no half-close."""
        if self.isTLS:
            raise SkipTest("TLS has no half-close")

    async def pairs(self) -> tuple[Leg, Leg]:
        """Two legs, for L{join}."""
        client, self.client = await self.pair()
        backend, self.backend = await self.pair()
        return client, backend

    async def link(self, up: Lane | None = None, down: Lane | None = None) -> ILink:
        """Make two pairs, link and start them."""
        client, backend = await self.pairs()
        link = self.join(client, backend, up, down)
        link.start()
        return link

    def join(
        self, client: Leg, backend: Leg, up: Lane | None = None, down: Lane | None = None
    ) -> ILink:
        """Link two legs, not started."""
        self.owner = Recorder()
        lanes = {UP: up or Lane(), DOWN: down or Lane()}
        self.linked = self.makePlane().link(client, backend, lanes, self.owner)
        self.addCleanup(self._over)
        return self.linked

    async def _over(self) -> None:
        """Whatever a test did: each leg is lost once, and that is the last word."""
        self.linked.abort()
        await self.until(lambda: len(self.owner.named("lost")) >= 2)
        lost = [event[1] for event in self.owner.named("lost")]
        self.assertEqual(sorted(lost, key=str), sorted(Direction, key=str))
        self.assertEqual(self.owner.events[-1][0], "lost")

    def sender(self, direction: Direction) -> Peer:
        """Who sends in this direction."""
        return self.client if direction is UP else self.backend

    def receiver(self, direction: Direction) -> Peer:
        """Who receives in this direction."""
        return self.backend if direction is UP else self.client

    async def hears(self, peer: Peer, expected: bytes) -> None:
        """Exactly this reaches C{peer} next; nothing is said about what follows."""
        await self.until(lambda: len(peer.heard) >= len(expected) or peer.isOver)
        if len(expected) < 4096:
            self.assertEqual(bytes(peer.heard[: len(expected)]), expected)
        else:
            self.assertTrue(peer.heard.startswith(expected), f"{len(peer.heard)} other bytes")
        del peer.heard[: len(expected)]

    async def heardAtEnd(self, peer: Peer) -> bytes:
        """All that reaches C{peer} until its end."""
        await self.until(lambda: peer.isOver)
        return peer.take()

    async def event(self, *event: Any) -> None:
        """Exactly this was said to the owner, once."""
        await self.until(lambda: event in self.owner.events)
        self.assertEqual(self.owner.events.count(event), 1)

    async def said(self, name: str, count: int = 1) -> list[tuple[Any, ...]]:
        """The first C{count} events of this name, once they were said."""
        await self.until(lambda: len(self.owner.named(name)) >= count)
        return self.owner.named(name)


class InMemory(World):
    """Transports in memory, on a clock that the test turns."""

    isMemory = True

    def setUp(self) -> None:
        """Begin at no particular time."""
        self.clock = Clock()

    async def pair(self) -> tuple[Leg, Peer]:
        """See L{World.pair}."""
        return pair(self.clock, self.isTLS)

    async def turn(self) -> None:
        """See L{World.turn}."""
        settle(self.clock)

    async def until(self, condition: Callable[[], bool]) -> None:
        """See L{World.until}."""
        settle(self.clock)
        if not condition():
            self.fail(f"it never happened; the owner has heard {self._heard()}")

    def _heard(self) -> object:
        return self.owner.events if hasattr(self, "owner") else "nothing"


class OnSockets(World):
    """TCP on loopback, on the real reactor."""

    def setUp(self) -> None:
        """The reactor is the clock."""
        from twisted.internet import reactor

        self.clock = reactor

    async def turn(self) -> None:
        """See L{World.turn}."""
        await deferLater(self.clock, 0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """See L{World.until}; the timeout of the test bounds it."""
        while not condition():
            await self.turn()

    async def pair(self) -> tuple[Leg, Peer]:
        """See L{World.pair}."""
        arrived: Deferred[Leg] = Deferred()
        gone: Deferred[None] = Deferred()

        factory = LegFactory(lambda: self.legs(arrived.callback, lambda: gone.callback(None)))
        port = await self._listen(factory)
        peer = self.peers()
        there = Factory.forProtocol(lambda: peer)
        there.noisy = False
        await self._client(port.getHost().port).connect(there)
        leg = await arrived
        await self.greet(leg, peer)
        leg.hold()
        await port.stopListening()
        self.addCleanup(self._leave, leg, peer, gone)
        for transport in (leg.transport, peer.transport):
            for size in (SO_RCVBUF, SO_SNDBUF):
                self._socket(transport).setsockopt(SOL_SOCKET, size, 32 * 1024)
        return leg, peer

    legs: type[Leg] = Leg
    peers: type[Peer] = Peer

    async def greet(self, leg: Any, peer: Any) -> None:
        """Do what two ends do before they say anything."""

    async def _leave(self, leg: Leg, peer: Peer, gone: Deferred[None]) -> None:
        leg.abort()
        await gone
        if peer.reason is None:
            peer.abort()
        await self.until(lambda: peer.reason is not None)

    def _listen(self, factory: Any) -> Any:
        return self._server().listen(factory)

    def _socket(self, transport: Any) -> Any:
        return transport.socket

    def _server(self) -> Any:
        from twisted.internet.endpoints import TCP4ServerEndpoint

        return TCP4ServerEndpoint(self.clock, 0, interface="127.0.0.1")

    def _client(self, port: int) -> Any:
        from twisted.internet.endpoints import TCP4ClientEndpoint

        return TCP4ClientEndpoint(self.clock, "127.0.0.1", port)


class OnTransports(OnSockets):
    """The same, with legs whose sockets are the native engine's from the beginning."""

    def setUp(self) -> None:
        """The engine that accepts, whichever is under test."""
        super().setUp()
        try:
            from wsrelay.plane.native import NativePlane
        except ImportError as error:
            raise SkipTest("the extension is not built") from error
        self.acceptor = NativePlane(self.clock)

    async def _listen(self, factory: Any) -> Any:
        return self.acceptor.accept(await self._server().listen(factory))

    def _socket(self, transport: Any) -> Any:
        return transport.socket if hasattr(transport, "socket") else transport.getHandle()


@cache
def certificate() -> Any:
    """A certificate nobody has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return PrivateCertificate.loadPEM(pem)


@implementer(IHandshakeListener)
class _Greeted:
    """A protocol that knows when its TLS handshake is over."""

    isGreeted = False

    def handshakeCompleted(self) -> None:
        """It is."""
        self.isGreeted = True


class _GreetedLeg(_Greeted, Leg):
    pass


class _GreetedPeer(_Greeted, Peer):
    pass


class UnderTLS(OnSockets):
    """
    TLS on TCP on loopback.

    @ivar version: the version of TLS, and no other.
    """

    isTLS = True
    version = TLSVersion.TLSv1_3
    legs = _GreetedLeg
    peers = _GreetedPeer

    async def greet(self, leg: Any, peer: Any) -> None:
        """See L{OnSockets.greet}."""
        if not self.isHasty:
            await self.until(lambda: leg.isGreeted and peer.isGreeted)

    def _server(self) -> Any:
        from twisted.internet.endpoints import SSL4ServerEndpoint

        own = certificate()
        options = CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            insecurelyLowerMinimumTo=self.version,
            lowerMaximumSecurityTo=self.version,
        )
        return SSL4ServerEndpoint(self.clock, 0, options, interface="127.0.0.1")

    def _client(self, port: int) -> Any:
        from twisted.internet.endpoints import SSL4ClientEndpoint

        return SSL4ClientEndpoint(self.clock, "127.0.0.1", port, CertificateOptions())


class UnderTLS12(UnderTLS):
    """TLS 1.2."""

    version = TLSVersion.TLSv1_2
