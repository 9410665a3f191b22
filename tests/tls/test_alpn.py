# -*- test-case-name: tests.tls.test_alpn -*-
"""
Whom the relay trusts as a backend, and what it says about those it does not; and what it
answers clients that offer protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS
from zope.interface import implementer

from tests.certificates import theAuthority
from tests.loopback import Loopback
from tests.tls.test_backends import Shaker
from wsrelay.l4.forwarders import ArrivalFactory
from wsrelay.plane.legs import Leg


@implementer(IHandshakeListener)
class ALPNTests(Loopback):
    """What a listener answers to the protocols that a client offers (RFC 7301)."""

    name = "a.example"

    async def listens(self, protocols: Sequence[bytes], kind: str = "ssl") -> None:
        """Listen on an endpoint of a configuration; C{protocols} are spoken behind it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        pem = theAuthority().issue(self.name, "b.example").write(folder / "server.pem")
        description = {
            "ssl": f"ssl:0:privateKey={pem}:interface=127.0.0.1",
            "tls": f"tls:{folder}:0:interface=\\:\\:ffff\\:127.0.0.1",
        }[kind]
        self.legs: list[Leg] = []
        factory = ArrivalFactory(self.legs.append, protocols)
        port: Any = await serverFromString(reactor, description).listen(factory)
        self.addCleanup(port.stopListening)
        self.addCleanup(self._leave)
        self.port = port.getHost().port

    def _leave(self) -> None:
        for leg in self.legs:
            leg.abort()

    async def offer(self, *protocols: bytes) -> bytes | None:
        """What a client gets for what it offers."""
        authority = theAuthority().certificate
        options: Any = optionsForClientTLS(
            self.name,
            trustRoot=Certificate.loadPEM(authority.public_bytes(Encoding.PEM)),
            acceptableProtocols=list(protocols) or None,
        )
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(reactor, "127.0.0.1", self.port))
        peer = await endpoint.connect(Factory.forProtocol(Shaker))
        self.addCleanup(self.hangUp, peer)
        await peer.shaken
        agreed: bytes | None = peer.transport.negotiatedProtocol
        return agreed

    async def refusal(self, *protocols: bytes) -> str:
        """The alert that a client gets for what it offers."""
        try:
            agreed = await self.offer(*protocols)
        except SSL.Error as error:
            return str(error.args[0][-1][-1])
        self.fail(f"agreed on {agreed!r}")

    async def test_agreed(self) -> None:
        """What both speak is agreed on, and what the server likes best of it."""
        for kind in ("ssl", "tls"):
            await self.listens((b"http/1.1", b"http/1.0"), kind)
            self.assertEqual(await self.offer(b"http/1.1"), b"http/1.1")
            self.assertEqual(await self.offer(b"h2", b"http/1.0", b"http/1.1"), b"http/1.1")
            self.assertEqual(await self.offer(b"http/1.0"), b"http/1.0")

    async def test_notOffered(self) -> None:
        """Who does not use ALPN is served all the same."""
        await self.listens((b"http/1.1",))
        self.assertIsNone(await self.offer())

    async def test_nothingInCommon(self) -> None:
        """Who speaks nothing that is spoken here is told so: no_application_protocol."""
        for kind in ("ssl", "tls"):
            await self.listens((b"http/1.1",), kind)
            for _ in range(2):
                self.assertIn("no application protocol", await self.refusal(b"h2", b"imap"))
            self.assertEqual(await self.offer(b"http/1.1"), b"http/1.1")

    async def test_opaque(self) -> None:
        """Where bytes are opaque, the handshake goes on as if ALPN had not been used."""
        for kind in ("ssl", "tls"):
            await self.listens((), kind)
            self.assertIsNone(await self.offer(b"h2", b"http/1.1"))
            self.assertIsNone(await self.offer())

    async def test_ownProtocols(self) -> None:
        """Protocols of the context count beside those of the factory, after them."""
        await self.listens((b"http/1.1",))
        options = theAuthority().issue(self.name).options([b"h2"])
        self.assertIsInstance(options, CertificateOptions)
        self.port = await self.listen(ArrivalFactory(self.legs.append, (b"http/1.1",)), options)
        self.assertEqual(await self.offer(b"h2"), b"h2")
        self.assertEqual(await self.offer(b"h2", b"http/1.1"), b"http/1.1")
