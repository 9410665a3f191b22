# -*- test-case-name: tests.l4.test_proxied -*-
"""
A balancer in front that says whom it speaks for.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.l4.road import Road
from tests.l4.test_sniff import clientHello
from tests.loopback import Peer, Server
from tests.wire.test_proxyproto import TCP6, version2
from wsrelay.l4.forwarders import TLSPassthroughForwarder
from wsrelay.l4.proxied import ProxiedEndpoint, endpointFrom

HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n"


class EndpointTests(SynchronousTestCase):
    """What an endpoint string means."""

    def test_prefix(self) -> None:
        """C{haproxy:} is read here; everything else is Twisted's."""
        clock = MemoryReactorClock()
        self.assertIsInstance(endpointFrom(clock, "tcp:80", 10), TCP4ServerEndpoint)
        proxied = endpointFrom(clock, "haproxy:tcp:80", 10)
        self.assertIsInstance(proxied, ProxiedEndpoint)
        self.assertTrue(verifyObject(IStreamServerEndpoint, proxied))
        self.assertRaises(ValueError, endpointFrom, clock, "haproxy:carrier:pigeon", 10)

    def test_queue(self) -> None:
        """Many may connect at once, unless the endpoint says otherwise."""
        for description, backlog in [
            ("tcp:80", 1024),
            ("tcp:80:interface=127.0.0.1", 1024),
            ("haproxy:tcp:80", 1024),
            ("tcp:80:backlog=7", 7),
        ]:
            memory = MemoryReactorClock()
            endpoint = endpointFrom(memory, description, 1)
            self.successResultOf(endpoint.listen(Factory()))
            self.assertEqual(memory.tcpServers[0][2], backlog, description)


class ProxiedTests(Road):
    """Tunnels behind a balancer."""

    timeouts = 10.0

    def _endpoint(self, tls: Any) -> Any:
        return ProxiedEndpoint(super()._endpoint(tls), reactor, self.timeouts)

    async def arrived(self, *pieces: bytes) -> Peer:
        """A client whose balancer sends these pieces."""
        client = await self.dial(self.port)
        for piece in pieces:
            client.send(piece)
            await deferLater(reactor, 0)
        return client

    async def addresses(self, *pieces: bytes) -> tuple[str, str]:
        """Whom the relay takes it for, and where it believes to be."""
        client = await self.arrived(*pieces)
        backend = await self.server.peers.get()
        await self.hangUp(client)
        await backend.over
        self.hangUp(backend)
        inbound = (await self.recorder.ended()).inbound
        return str(inbound.client), str(inbound.local)

    async def test_addresses(self) -> None:
        """The client's address is the one that was said, in both versions."""
        await self.road()
        self.assertEqual(await self.addresses(HEADER), ("192.0.2.7:5555", "192.0.2.1:443"))
        self.assertEqual(
            await self.addresses(version2(0x21, TCP6)),
            ("[2001:db8::7]:5555", "[2001:db8::1]:443"),
        )

    async def test_ownAddresses(self) -> None:
        """A balancer that speaks for itself is told as what it is."""
        await self.road()
        client, local = await self.addresses(b"PROXY UNKNOWN\r\n")
        self.assertTrue(client.startswith("127.0.0.1:"))
        self.assertEqual(local, f"127.0.0.1:{self.port}")

    async def test_pieces(self) -> None:
        """A header may come in pieces, and what comes behind it is relayed from its first byte."""
        await self.road()
        client = await self.arrived(HEADER[:3], HEADER[3:30], HEADER[30:] + b"hel", b"lo")
        backend = await self.server.peers.get()
        await backend.whenGot(b"hello")
        backend.send(b"hello yourself")
        await client.whenGot(b"hello yourself")

    async def test_serverFirst(self) -> None:
        """A server that speaks first is reached though the client says nothing."""
        await self.road()
        client = await self.arrived(HEADER)
        backend = await self.server.peers.get()
        backend.send(b"220 hello")
        await client.whenGot(b"220 hello")

    async def test_halfClose(self) -> None:
        """The end of the stream is passed on, and the answer still arrives."""
        await self.road()
        client = await self.arrived(HEADER, b"question")
        client.transport.loseWriteConnection()
        backend = await self.server.peers.get()
        await backend.finished
        backend.send(b"answer")
        backend.transport.loseConnection()
        await client.finished
        self.assertEqual(client.data, b"answer")

    async def test_passthrough(self) -> None:
        """In front of TLS that passes through, too."""
        await self.road(forwarder=TLSPassthroughForwarder())
        hello = clientHello("chat.example.org")
        await self.arrived(HEADER + hello[:50], hello[50:])
        backend = await self.server.peers.get()
        await backend.whenGot(hello)
        (opened,) = [each for each in self.recorder.heard if hasattr(each, "inbound")]
        self.assertEqual(opened.inbound.serverName, "chat.example.org")
        self.assertEqual(str(opened.inbound.client), "192.0.2.7:5555")

    async def refused(self, *pieces: bytes) -> str:
        """What is logged about a connection that is closed for want of a header."""
        await self.road()
        with capturedLogs() as logs:
            client = await self.arrived(*pieces)
            await client.over
            await self.turns()
        self.assertEqual((self.server.count, self.recorder.heard), (0, []))
        (line,) = [formatEvent(each) for each in logs if "balancer" in each]
        self.assertTrue(line.startswith(f"127.0.0.1:{client.own}: "))
        return line.partition(": ")[2]

    async def test_noHeader(self) -> None:
        """Who sends something else is closed, and the log says who that was."""
        self.assertEqual(await self.refused(b"GET / HTTP/1.1\r\n"), "no PROXY header")

    async def test_late(self) -> None:
        """The header must come in time."""
        self.timeouts = 0.1
        self.assertEqual(await self.refused(b"PROX"), "the PROXY header was not complete in time")

    async def test_otherFactory(self) -> None:
        """A forwarder whose protocols are no legs gets the address from their transport."""
        server = Server()
        endpoint = ProxiedEndpoint(Road._endpoint(self, None), reactor, 10)
        port: Any = await endpoint.listen(server)  # type: ignore[arg-type]
        self.addCleanup(port.stopListening)
        client = await self.dial(port.getHost().port)
        client.send(HEADER + b"hello")
        peer = await server.peers.get()
        await peer.whenGot(b"hello")
        self.assertEqual(peer.transport.getPeer().host, "192.0.2.7")
