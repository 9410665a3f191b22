# -*- test-case-name: tests.l4.test_announcing -*-
"""
Balancers of named networks, and everybody else.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.l4.road import Road
from tests.loopback import Peer
from tests.wire.test_proxyproto import FIELDS, TCP4, version2
from wsrelay.l4.announcing import Balancers, announce, announcing
from wsrelay.l4.forwarders import TCPForwarder
from wsrelay.l4.reception import ArrivalFactory
from wsrelay.l4.sniff import Arrival
from wsrelay.model import Address
from wsrelay.testing import pair, settle
from wsrelay.wire.proxyproto import Proxied

HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n"

#: Networks, and who is of them.
NETWORKS = [
    (None, "192.0.2.7", True),
    (None, "unix:", True),
    ((), "192.0.2.7", False),
    (("192.0.2.0/24",), "192.0.2.7", True),
    (("192.0.2.0/24",), "192.0.3.7", False),
    (("192.0.2.0/24",), "::ffff:192.0.2.7", True),
    (("192.0.2.0/24",), "unix:", False),
    (("192.0.2.0/24",), "2001:db8::1", False),
    (("10.0.0.1", "2001:db8::/32"), "2001:db8::1", True),
    (("10.0.0.1", "2001:db8::/32"), "10.0.0.1", True),
    (("fe80::/10",), "fe80::1%eth0", True),
]


class BalancersTests(SynchronousTestCase):
    """Who is believed."""

    def test_networks(self) -> None:
        """Only who comes from a named network."""
        for networks, host, expected in NETWORKS:
            self.assertIs(Balancers(networks).include(Address(host, 1)), expected, host)

    def test_bad(self) -> None:
        """What is no network is refused."""
        self.assertRaises(ValueError, Balancers, ["10.0.0.0/33"])


class _Told:
    """Who comes next."""

    def __init__(self) -> None:
        self.data = b""
        self.legs: list[Arrival] = []

    def done(self, leg: Arrival) -> None:
        """It is our turn."""
        self.legs.append(leg)
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """Bytes."""
        self.data += data

    def finished(self) -> None:
        """The end of the stream."""

    def lost(self, reason: Any) -> None:
        """The end."""


class AnnounceTests(SynchronousTestCase):
    """The step, on a clock."""

    def arrived(self, *networks: str) -> None:
        """A connection has arrived."""
        self.clock = Clock()
        self.told = _Told()
        balancers = Balancers(networks or None)

        def made(leg: Arrival) -> None:
            announce(leg, balancers, self.clock, 10, self.told.done)

        self.leg = Arrival(made)
        _, self.peer = pair(self.clock, leg=self.leg)

    def send(self, data: bytes) -> None:
        """The client sends."""
        self.peer.say(data)
        settle(self.clock)

    def test_fields(self) -> None:
        """All that was said of the client is known, and what follows comes next."""
        for name, block, expected in FIELDS:
            self.arrived()
            self.send(version2(0x11, TCP4 + block) + b"hel")
            self.send(b"lo")
            self.assertEqual(self.told.legs, [self.leg])
            self.assertEqual(self.leg.proxied, expected, name)
            self.assertEqual(str(self.leg.peer), "192.0.2.7:5555")
            self.assertEqual(self.told.data, b"hello")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stranger(self) -> None:
        """Who is no balancer says nothing but bytes, and is not waited for."""
        self.arrived("203.0.113.0/24")
        self.assertEqual(self.told.legs, [self.leg])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.send(HEADER)
        self.assertEqual(self.told.data, HEADER)
        self.assertEqual(self.leg.proxied, Proxied())

    def test_silent(self) -> None:
        """A balancer has so much time, however it spends it, and is then cut."""
        self.arrived()
        for byte in HEADER[:9]:
            self.send(bytes([byte]))
            self.clock.advance(1)
        with capturedLogs() as logs:
            self.clock.advance(1)
            settle(self.clock)
        (line,) = [formatEvent(each) for each in logs if "balancer" in each]
        self.assertIn("the PROXY header was not complete in time", line)
        self.assertEqual(self.told.legs, [])
        self.assertTrue(self.leg.isLost)

    def test_gone(self) -> None:
        """One that leaves before it has said enough is nobody."""
        self.arrived()
        self.send(HEADER[:-1])
        self.peer.transport.loseConnection()
        settle(self.clock)
        self.assertEqual(self.told.legs, [])
        self.assertTrue(self.leg.isLost)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class _Announced(TCPForwarder):
    """What a listener does with named balancers."""

    def __init__(self, *networks: str) -> None:
        self._balancers = Balancers(networks)

    def forwardingFactory(self, listener: Any) -> ArrivalFactory:
        """The step, then the forwarder's own."""
        inner = super().forwardingFactory(listener)
        step = announcing(self._balancers, listener.relay.clock, 10)
        return ArrivalFactory(lambda leg: step(leg, inner.arrived), inner.protocols)


class RoadTests(Road):
    """On sockets."""

    async def seen(self, *networks: str) -> tuple[bytes, str]:
        """What the backend gets from a client with a header, and whom the relay takes it for."""
        await self.road(forwarder=_Announced(*networks))
        client = await self.dial(self.port)
        for piece in (HEADER[:3], HEADER[3:20], HEADER[20:] + b"hel", b"lo"):
            client.send(piece)
            await deferLater(reactor, 0)
        backend: Peer = await self.server.peers.get()
        await backend.when(lambda data: data.endswith(b"hello"))
        await self.hangUp(client)
        await backend.over
        self.hangUp(backend)
        return backend.data, (await self.recorder.ended()).inbound.client.host

    async def test_named(self) -> None:
        """From a named network the header is read, and goes no further."""
        self.assertEqual(await self.seen("127.0.0.0/8"), (b"hello", "192.0.2.7"))

    async def test_others(self) -> None:
        """From anybody else it is bytes like others."""
        self.assertEqual(await self.seen("10.0.0.0/8"), (HEADER + b"hello", "127.0.0.1"))
