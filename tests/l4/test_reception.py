# -*- test-case-name: tests.l4.test_reception -*-
"""
The steps of a connection between its accept and its forwarder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.certificates import theAuthority
from tests.l4.test_forwarders import SecureRoad
from tests.tls.shaking import folder, terminator
from wsrelay.interfaces import IForwarder
from wsrelay.l4.limits import Admission, Limits
from wsrelay.l4.listener import Listener
from wsrelay.l4.plans import Plans
from wsrelay.l4.reception import ArrivalFactory, Next, received
from wsrelay.l4.sniff import Arrival
from wsrelay.model import Address
from wsrelay.plane.portable import PortablePlane
from wsrelay.testing.transports import pair
from wsrelay.wire.proxyproto import Proxied

NAME = "chat.example.org"
BALANCED = Proxied(Address("192.0.2.7", 5555), Address("192.0.2.1", 443))


class ReceivedTests(SynchronousTestCase):
    """The steps, without TLS."""

    def setUp(self) -> None:
        """Nothing has happened."""
        self.legs: list[Arrival] = []
        self.factory = ArrivalFactory(self.legs.append, (b"mqtt",))
        self.listener: Any = None

    def arrive(self, factory: Any) -> Arrival:
        """A connection."""
        leg: Any = factory.buildProtocol(None)
        pair(Clock(), leg=leg)
        return leg  # type: ignore[no-any-return]  # a leg of the factory's

    def test_none(self) -> None:
        """Without a step the forwarder's own factory is used, whatever it makes."""
        stranger = Factory.forProtocol(Echo)
        for factory in (self.factory, stranger):
            self.assertIs(received(self.listener, factory), factory)

    def admission(self, **limits: Any) -> Admission:
        """What keeps these limits."""
        return Admission("public", Limits(**limits), Clock())

    def announced(self, leg: Arrival, then: Next) -> None:
        """A balancer speaks for somebody."""
        leg.proxied = BALANCED
        then(leg)

    def test_order(self) -> None:
        """First the balancer's word, since it is its client that is admitted or not."""
        admission = self.admission(connectionsPerClient=1)
        factory = received(self.listener, self.factory, None, admission, self.announced)
        leg = self.arrive(factory)
        self.assertEqual(self.legs, [leg])
        self.assertEqual(leg.peer, BALANCED.source)
        self.assertEqual(admission.open, 1)
        self.arrive(factory)
        self.assertEqual((self.legs, admission.open), ([leg], 1))
        leg.connectionLost()
        self.assertEqual(admission.open, 0)
        # TLS of an endpoint's own still asks what is spoken.
        negotiating: Any = factory
        self.assertTrue(IProtocolNegotiationFactory.providedBy(factory))
        self.assertEqual(negotiating.acceptableProtocols(), [b"mqtt"])

    def test_notAdmitted(self) -> None:
        """Who is not admitted is nobody's business any more."""
        factory = received(self.listener, self.factory, None, self.admission(connections=1))
        first = self.arrive(factory)
        second = self.arrive(factory)
        self.assertEqual(self.legs, [first])
        self.assertTrue(second.transport.disconnecting or second.isLost)

    def test_whenGone(self) -> None:
        """Several may want to know when a connection has ended, in order."""
        leg = self.arrive(self.factory)
        said: list[str] = []
        leg.whenGone(lambda: said.append("one"))
        leg.whenGone(lambda: said.append("two"))
        leg.connectionLost()
        self.assertEqual(said, ["one", "two"])


@implementer(IForwarder)
class _Forwarder:
    """Has a factory."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def forwardingFactory(self, listener: Any) -> Any:
        """It."""
        return self._factory


@implementer(IProtocolNegotiationFactory)
class _Negotiating(Factory):
    """A stranger's, that speaks a protocol with a name."""

    noisy = False
    protocol = Echo

    def acceptableProtocols(self) -> list[bytes]:
        """It."""
        return [b"echo"]


class _Echo:
    """In charge of a leg."""

    def __init__(self, leg: Arrival) -> None:
        self._leg = leg
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """Send it back."""
        self._leg.write(data)

    def finished(self) -> None:
        """Nothing more comes."""

    def lost(self, reason: Any) -> None:
        """It is gone."""


class TLSTests(SecureRoad):
    """The steps with TLS, on real sockets."""

    async def listenFor(self, factory: Any) -> None:
        """Listen with TLS on behalf of a factory."""
        self.tls = terminator(folder(self), theAuthority().issue(NAME))
        self.listener = Listener(
            "public",
            [TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")],
            _Forwarder(factory),
            [],
            self.hub,
            Plans({}, {}),
            PortablePlane(reactor),
            tls=self.tls,
        )
        await self.listener.listen()
        self.addCleanup(self._stop, self.listener)
        host: Any = self.listener.ports[0].getHost()
        self.port = host.port

    async def echoes(self, protocols: Sequence[bytes]) -> bytes | None:
        """A client is served. @return: what was agreed on."""
        client = await self.shake(NAME, protocols)
        client.send(b"hello")
        await client.whenGot(b"hello")
        agreed: bytes | None = client.transport.negotiatedProtocol
        return agreed

    async def test_afterTheHandshake(self) -> None:
        """A forwarder hears of a client when all is known of it, what a balancer said, too."""
        seen: list[tuple[Any, ...]] = []

        def arrived(leg: Arrival) -> None:
            inbound = self.listener.inbound(leg)
            seen.append((leg.isTLS, leg.hasShaken, inbound.serverName, inbound.alpn))
            self.assertEqual(inbound.client, leg.proxied.source or inbound.client)
            _Echo(leg)

        await self.listenFor(ArrivalFactory(arrived, (b"echo",)))
        self.assertEqual(await self.echoes([b"h2", b"echo"]), b"echo")
        self.assertEqual(seen, [(True, True, NAME, ("echo",))])

    async def test_byItself(self) -> None:
        """A forwarder that ends TLS by itself hears of a client before."""
        seen: list[tuple[Any, ...]] = []

        def arrived(leg: Arrival) -> None:
            seen.append((leg.isTLS, leg.hasShaken))
            leg.abort()

        await self.listenFor(ArrivalFactory(arrived, (b"echo",), endsTLS=True))
        client = await self.dial(self.port)
        await client.lost
        self.assertEqual(seen, [(False, False)])
        self.assertEqual(self.tls.protocols, (b"echo",))

    async def test_stranger(self) -> None:
        """A stranger's factory gets Twisted's TLS, with our certificates."""
        await self.listenFor(_Negotiating())
        self.assertIsInstance(self.listener._factory, TLSMemoryBIOFactory)
        self.assertEqual(await self.echoes([b"h2", b"echo"]), b"echo")
        await self.listenFor(Factory.forProtocol(Echo))
        self.assertIsNone(await self.echoes([b"h2"]))
