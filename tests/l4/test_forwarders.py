# -*- test-case-name: tests.l4.test_forwarders -*-
"""
The forwarders of layer 4, end to end with real TLS clients and servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.certificates import theAuthority
from tests.l4.road import SETTINGS, Road
from tests.loopback import Peer, Server
from wsrelay.interfaces import IForwarder
from wsrelay.l4.forwarders import TCPForwarder, TLSPassthroughForwarder
from wsrelay.l4.listener import ListenerSettings
from wsrelay.model import Closed, Forward, Inbound, Party, Phase, Refuse
from wsrelay.routing.matchers import AlpnMatcher, ServerNameMatcher
from wsrelay.routing.table import Rule, Table


@implementer(IHandshakeListener)
class Secure(Peer):
    """
    A TLS client.

    @ivar shaken: fires after the handshake, the server's certificate verified.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shaken: Deferred[None] = Deferred()

    def handshakeCompleted(self) -> None:
        """It is who it should be."""
        self.shaken.callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        """It is gone, perhaps before the handshake."""
        super().connectionLost(reason)
        if not self.shaken.called:
            self.shaken.errback(reason)


class SecureRoad(Road):
    """Clients that speak TLS with whoever is at the other end, and verify who that is."""

    async def shake(self, name: str | None, protocols: Sequence[bytes] = ()) -> Secure:
        """A client that asks for C{name}; C{None} sends no SNI and wants 127.0.0.1."""
        pem = theAuthority().certificate.public_bytes(Encoding.PEM)
        options: Any = optionsForClientTLS(
            name or "127.0.0.1",
            trustRoot=trustRootFromCertificates([Certificate.loadPEM(pem)]),
            acceptableProtocols=protocols,
        )
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(reactor, "127.0.0.1", self.port))
        client: Secure = await endpoint.connect(Factory.forProtocol(Secure))
        self.addCleanup(self.hangUp, client)
        await client.shaken
        return client

    def assertTurnedAway(self, closed: Closed, detail: str) -> None:
        """The client did not say what it had to, so nothing was decided and nobody dialled."""
        self.assertEqual((closed.reason.party, closed.reason.phase), (Party.CLIENT, Phase.ACCEPT))
        self.assertIn(detail, closed.reason.detail)
        self.assertEqual(self.recorder.kinds, ["Opened", "Closed"])
        self.assertEqual(self.server.count, 0)


class TCPForwarderTests(SecureRoad):
    """C{forwarder = "tcp"} behind a listener that ends TLS."""

    async def terminated(self, settings: ListenerSettings = SETTINGS) -> list[Inbound]:
        """Listen with TLS. What the policy is shown is in the list."""
        shown: list[Inbound] = []

        def route(inbound: Inbound) -> Forward:
            shown.append(inbound)
            return Forward("p")

        tls = theAuthority().issue("chat.example.org").options([b"mqtt", b"amqp"])
        await self.road(route, settings=settings, tls=tls)
        return shown

    def test_interface(self) -> None:
        """Both forwarders are what a plugin's would be."""
        for forwarder in (TCPForwarder(), TLSPassthroughForwarder()):
            self.assertTrue(verifyObject(IForwarder, forwarder))

    async def test_ended(self) -> None:
        """The policy sees what the handshake settled, the backend gets plain bytes."""
        shown = await self.terminated()
        client = await self.shake("chat.example.org", [b"amqp"])
        client.send(b"hello")
        backend = await self.server.peers.get()
        await backend.whenGot(b"hello")
        backend.send(b"hello yourself")
        await client.whenGot(b"hello yourself")
        (inbound,) = shown
        self.assertTrue(inbound.secure)
        self.assertEqual((inbound.serverName, inbound.alpn), ("chat.example.org", ("amqp",)))
        backend.transport.loseConnection()
        await client.lost

    async def test_noProtocol(self) -> None:
        """
        Bytes are opaque: whatever a client offers by ALPN is passed over, where the listener's
        own TLS knows of no protocol.
        """
        shown: list[Inbound] = []

        def route(inbound: Inbound) -> Forward:
            shown.append(inbound)
            return Forward("p")

        await self.road(route, tls=theAuthority().issue("chat.example.org").options())
        client = await self.shake("chat.example.org", [b"h2", b"http/1.1"])
        self.assertIsNone(client.transport.negotiatedProtocol)
        client.send(b"hello")
        backend = await self.server.peers.get()
        await backend.whenGot(b"hello")
        self.assertEqual([inbound.alpn for inbound in shown], [()])

    async def test_nobody(self) -> None:
        """Who connects and does not shake hands is given up in time."""
        await self.terminated(ListenerSettings(headTimeout=0.1))
        client = await self.dial(self.port)
        closed = await self.recorder.ended()
        await client.over
        self.assertTurnedAway(closed, "the TLS handshake was not complete in time")

    async def test_garbage(self) -> None:
        """Who does not speak TLS is closed."""
        await self.terminated()
        client = await self.dial(self.port)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        closed = await self.recorder.ended()
        await client.over
        self.assertTurnedAway(closed, "no TLS handshake")


class TLSPassthroughTests(SecureRoad):
    """C{forwarder = "tls-passthrough"}: TLS is the business of the two ends."""

    async def passthrough(self, *rules: tuple[Any, str | None]) -> dict[str, Server]:
        """
        Listen. Each rule is a condition and the name of its server, whose certificate is for
        that name alone, or C{None} to refuse.
        """
        servers: dict[str, Server] = {}
        pools: dict[str, list[int]] = {}
        table = []
        for condition, name in rules:
            conditions = (condition,) if condition is not None else ()
            if name is None:
                table.append(Rule(conditions, Refuse("no")))
                continue
            if name not in servers:
                options = theAuthority().issue(name).options([b"h2", b"http/1.1"])
                servers[name] = Server()
                pools[name] = [await self.listen(servers[name], options)]
            table.append(Rule(conditions, Forward(name, route=name)))
        await self.road(Table(table).route, pools, TLSPassthroughForwarder())
        return servers

    async def assertReaches(self, server: Server, client: Secure) -> None:
        """What the client says arrives there, and the other way round."""
        client.send(b"hello")
        backend = await server.peers.get()
        self.addCleanup(self.hangUp, backend)
        await backend.whenGot(b"hello")
        backend.send(b"hello yourself")
        await client.whenGot(b"hello yourself")

    async def test_byName(self) -> None:
        """Two servers with a certificate each; every client verifies the one it asked for."""
        servers = await self.passthrough(
            (ServerNameMatcher(["a.example.org"]), "a.example.org"),
            (ServerNameMatcher(["b.example.org"]), "b.example.org"),
        )
        for name in ("b.example.org", "a.example.org", "B.Example.ORG"):
            await self.assertReaches(servers[name.lower()], await self.shake(name))

    async def test_wildcard(self) -> None:
        """A wildcard is for everything below a name."""
        servers = await self.passthrough(
            (ServerNameMatcher(["*.example.org"]), "chat.example.org"),
            (None, "example.org"),
        )
        for name in ("chat.example.org", "example.org"):
            await self.assertReaches(servers[name], await self.shake(name))

    async def test_byProtocol(self) -> None:
        """What a client offers by ALPN may decide; what is agreed on is up to the server."""
        servers = await self.passthrough(
            (AlpnMatcher(["h2"]), "new.example.org"),
            (None, "old.example.org"),
        )
        client = await self.shake("new.example.org", [b"h2", b"http/1.1"])
        self.assertEqual(client.transport.negotiatedProtocol, b"h2")
        await self.assertReaches(servers["new.example.org"], client)
        client = await self.shake("old.example.org", [b"http/1.1"])
        self.assertEqual(client.transport.negotiatedProtocol, b"http/1.1")
        await self.assertReaches(servers["old.example.org"], client)

    async def test_noName(self) -> None:
        """A client that names nobody gets the route without conditions."""
        servers = await self.passthrough(
            (ServerNameMatcher(["a.example.org"]), "a.example.org"), (None, "127.0.0.1")
        )
        await self.assertReaches(servers["127.0.0.1"], await self.shake(None))

    async def test_noNameRefused(self) -> None:
        """Or it is refused, before any TLS."""
        await self.passthrough(
            (ServerNameMatcher(["a.example.org"]), "a.example.org"), (None, None)
        )
        try:
            await self.shake(None)
        except Exception:
            closed = await self.recorder.ended()
        else:
            self.fail("it was let in")
        self.assertEqual(closed.reason.detail, "no")
        self.assertEqual(closed.inbound.serverName, None)

    async def test_facts(self) -> None:
        """Events and logs know the name and the protocols; TLS did not end here."""
        await self.passthrough((None, "a.example.org"))
        client = await self.shake("a.example.org", [b"h2"])
        await self.hangUp(client)
        inbound = (await self.recorder.ended()).inbound
        self.assertEqual(
            (inbound.serverName, inbound.alpn, inbound.secure),
            ("a.example.org", ("h2",), False),
        )

    async def test_byteByByte(self) -> None:
        """A ClientHello that comes byte by byte is as good as any other."""
        servers = await self.passthrough((ServerNameMatcher(["a.example.org"]), "a.example.org"))
        context = SSL.Context(SSL.TLS_METHOD)
        context.get_cert_store().add_cert(
            Certificate.loadPEM(theAuthority().certificate.public_bytes(Encoding.PEM)).original
        )
        context.set_verify(SSL.VERIFY_PEER)
        tls = SSL.Connection(context)
        tls.set_connect_state()
        tls.set_tlsext_host_name(b"a.example.org")
        client = await self.dial(self.port)
        self.assertRaises(SSL.WantReadError, tls.do_handshake)
        for byte in tls.bio_read(65536):
            client.send(bytes([byte]))
            await deferLater(reactor, 0)
        await self.finish(tls, client)
        tls.send(b"hello")
        client.send(tls.bio_read(65536))
        backend = await servers["a.example.org"].peers.get()
        await backend.whenGot(b"hello")

    async def finish(self, tls: SSL.Connection, client: Peer) -> None:
        """Go through with a handshake on a plain connection."""
        seen = 0
        while True:
            await client.when(lambda data: len(data) > seen)  # noqa: B023  # used at once
            tls.bio_write(client.data[seen:])
            seen = len(client.data)
            try:
                tls.do_handshake()
            except SSL.WantReadError:
                continue
            client.send(tls.bio_read(65536))
            return

    async def test_garbage(self) -> None:
        """Who does not speak TLS is closed, and nobody is dialled."""
        await self.road(forwarder=TLSPassthroughForwarder())
        client = await self.dial(self.port)
        client.send(b"SSH-2.0-OpenSSH_9.6\r\n")
        closed = await self.recorder.ended()
        await client.lost
        self.assertTurnedAway(closed, "")

    async def test_late(self) -> None:
        """Who does not say whom it wants is given up in time."""
        settings = ListenerSettings(headTimeout=0.1)
        await self.road(forwarder=TLSPassthroughForwarder(), settings=settings)
        client = await self.dial(self.port)
        client.send(b"\x16")
        closed = await self.recorder.ended()
        await client.lost
        self.assertTurnedAway(closed, "the ClientHello was not complete in time")

    async def test_left(self) -> None:
        """Who leaves before is told of, cleanly or not, with its address."""
        await self.road(forwarder=TLSPassthroughForwarder())
        for leave in ("loseConnection", "abortConnection"):
            self.recorder.heard.clear()
            client = await self.dial(self.port)
            client.send(b"\x16\x03\x01")
            await self.turns()
            getattr(client.transport, leave)()
            closed = await self.recorder.ended()
            self.assertTurnedAway(closed, "before its ClientHello was complete")
            self.assertEqual(closed.inbound.client.port, client.own)
