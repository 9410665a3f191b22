# -*- test-case-name: tests.tls.test_backends -*-
"""
Whom the relay trusts as a backend, and what it says about those it does not; and what it
answers clients that offer protocols.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.certificates import Authority, Issued, theAuthority
from tests.loopback import Loopback, Peer, Server
from wsrelay.tls.backends import BackendTLS, UntrustedPeer


@implementer(IHandshakeListener)
class Shaker(Peer):
    """A client that hears of its handshake."""

    def __init__(self) -> None:
        super().__init__()
        self.shaken: Deferred[bytes | None] = Deferred()

    def handshakeCompleted(self) -> None:
        """TLS holds."""
        self.shaken.callback(self.transport.getHandle().get_servername())

    def connectionLost(self, reason: Any = None) -> None:
        """It does not."""
        super().connectionLost(reason)
        if not self.shaken.called:
            self.shaken.errback(reason)


class Handshake(Loopback):
    """A server with a certificate, and a relay that looks at it."""

    def authority(self, authority: Authority | None = None) -> Path:
        """The file of an authority."""
        path = Path(self.mktemp())
        return (authority or theAuthority()).write(path)

    async def shake(self, issued: Issued, host: str, tls: BackendTLS) -> bytes | None:
        """Shake hands with a server that has this certificate, as if it were C{host}."""
        port = await self.listen(Server(), issued.options())
        creator = tls.connectionCreator(host)
        endpoint = wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
        peer = await endpoint.connect(Factory.forProtocol(Shaker))
        self.addCleanup(self.hangUp, peer)
        return await peer.shaken

    async def complaint(self, issued: Issued, host: str, tls: BackendTLS) -> str:
        """Why it is not trusted."""
        try:
            await self.shake(issued, host, tls)
        except UntrustedPeer as error:
            return str(error)
        self.fail("it was trusted")


class VerifiedTests(Handshake):
    """With verification, which is the default."""

    async def test_good(self) -> None:
        """A certificate of a trusted authority for the right name is trusted; SNI has it."""
        issued = theAuthority().issue("chat.example.org")
        name = await self.shake(issued, "chat.example.org", BackendTLS(self.authority()))
        self.assertEqual(name, b"chat.example.org")

    async def test_wildcard(self) -> None:
        """A wildcard covers one label (RFC 9525 section 6.3)."""
        tls, issued = BackendTLS(self.authority()), theAuthority().issue("*.example.org")
        await self.shake(issued, "chat.example.org", tls)
        said = await self.complaint(issued, "a.chat.example.org", tls)
        self.assertEqual(said, "its certificate is for *.example.org, not for a.chat.example.org")

    async def test_address(self) -> None:
        """An IP address is compared with addresses, and never sent as a name (RFC 6066)."""
        issued = theAuthority().issue("127.0.0.1")
        name = await self.shake(issued, "127.0.0.1", BackendTLS(self.authority()))
        self.assertIsNone(name)

    async def test_wrongName(self) -> None:
        """A certificate for others is refused, and the message says for whom it is."""
        issued = theAuthority().issue("a.example.org", "10.0.0.1")
        said = await self.complaint(issued, "b.example.org", BackendTLS(self.authority()))
        self.assertEqual(
            said, "its certificate is for a.example.org, 10.0.0.1, not for b.example.org"
        )

    async def test_noName(self) -> None:
        """A certificate whose only name is a common name is for nobody (RFC 9525)."""
        said = await self.complaint(theAuthority().issue(), "test", BackendTLS(self.authority()))
        self.assertEqual(said, "its certificate is for no name at all, not for test")

    async def test_untrusted(self) -> None:
        """A certificate of another authority is refused."""
        issued = Authority("stranger").issue("chat.example.org")
        said = await self.complaint(issued, "chat.example.org", BackendTLS(self.authority()))
        self.assertEqual(said, "its certificate is of an authority that is not known")

    async def test_untrustedBySystem(self) -> None:
        """Without an authority of its own a pool trusts those of the system only."""
        issued = theAuthority().issue("chat.example.org")
        said = await self.complaint(issued, "chat.example.org", BackendTLS())
        self.assertEqual(said, "its certificate is of an authority that is not known")

    async def test_expired(self) -> None:
        """A certificate whose time is over is refused."""
        issued = theAuthority().issue("chat.example.org", expired=True)
        said = await self.complaint(issued, "chat.example.org", BackendTLS(self.authority()))
        self.assertEqual(said, "its certificate has expired")

    async def test_severalAuthorities(self) -> None:
        """All authorities of the file are trusted, whatever stands between them."""
        other = Authority("other")
        both = Path(self.mktemp())
        text = self.authority(other).read_bytes() + b"\n# ours\n" + self.authority().read_bytes()
        both.write_bytes(text)
        for authority in (other, theAuthority()):
            await self.shake(authority.issue("a.example"), "a.example", BackendTLS(both))


class UnverifiedTests(Handshake):
    """With C{verify = false}."""

    async def test_anything(self) -> None:
        """Any certificate will do; the name is still sent, for servers with several."""
        tls = BackendTLS(verify=False)
        for issued in (
            Authority("stranger").issue("other.example.org"),
            theAuthority().issue(expired=True),
        ):
            name = await self.shake(issued, "chat.example.org", tls)
            self.assertEqual(name, b"chat.example.org")


class AuthorityFileTests(SynchronousTestCase):
    """The C{ca} of a pool."""

    def test_wrong(self) -> None:
        """A file that cannot be read, or holds no certificate, is refused when it is named."""
        path = Path(self.mktemp())
        self.assertRaises(OSError, BackendTLS, path)
        for text, message in [
            ("", "holds no PEM certificate"),
            ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----", "holds no PEM certificate"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "holds a certificate that cannot be read",
            ),
        ]:
            path.write_text(text)
            error = self.assertRaises(ValueError, BackendTLS, path)
            self.assertEqual(str(error), f"{path} {message}")

    def test_creatorsAreKept(self) -> None:
        """One host has one creator, so that a dial does not read authorities again."""
        tls = BackendTLS()
        self.assertIs(tls.connectionCreator("a.example"), tls.connectionCreator("a.example"))
        self.assertIsNot(tls.connectionCreator("a.example"), tls.connectionCreator("b.example"))
