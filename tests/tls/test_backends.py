# -*- test-case-name: tests.tls.test_backends -*-
"""
Whom the relay trusts as a backend, what it says about those it does not, and what it shows
of itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from cryptography.x509 import DNSName, SubjectAlternativeName
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
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


class NameTests(Handshake):
    """With a name of its own."""

    async def test_serverName(self) -> None:
        """SNI says the name that is given, and the certificate must be for that."""
        tls = BackendTLS(self.authority(), serverName="chat.example.org")
        for host in ("10.0.0.1", "other.example.org"):
            name = await self.shake(theAuthority().issue("chat.example.org"), host, tls)
            self.assertEqual(name, b"chat.example.org")
        said = await self.complaint(theAuthority().issue("10.0.0.1"), "10.0.0.1", tls)
        self.assertEqual(said, "its certificate is for 10.0.0.1, not for chat.example.org")

    async def test_address(self) -> None:
        """The name may be an address; then there is none to be sent."""
        tls = BackendTLS(self.authority(), serverName="10.0.0.1")
        issued = theAuthority().issue("10.0.0.1")
        self.assertIsNone(await self.shake(issued, "chat.example.org", tls))

    async def test_notVerified(self) -> None:
        """It is sent without verification, too."""
        tls = BackendTLS(verify=False, serverName="chat.example.org")
        name = await self.shake(theAuthority().issue("else.example"), "10.0.0.1", tls)
        self.assertEqual(name, b"chat.example.org")


class IdentityTests(Handshake):
    """With a certificate of the relay's own."""

    def files(self, issued: Issued, apart: bool = False) -> tuple[Path, Path | None]:
        """Its certificate and key, in one file or two."""
        path, other = Path(self.mktemp()), Path(self.mktemp())
        if not apart:
            return issued.write(path), None
        key, begin, certificate = issued.pem.partition(b"-----BEGIN CERTIFICATE-----")
        path.write_bytes(begin + certificate)
        other.write_bytes(key)
        return path, other

    async def shown(self, tls: BackendTLS) -> str | None:
        """For whom the certificate is that a server is shown, if it asks for one."""
        own = theAuthority().issue("chat.example.org")
        options = own.options()
        context = options.getContext()
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        server = Server()
        port = await self.listen(server, options)
        creator = tls.connectionCreator("chat.example.org")
        endpoint = wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
        client = await endpoint.connect(Factory.forProtocol(Shaker))
        client.send(b"hello")
        peer = await server.peers.get()
        await peer.whenGot(b"hello")
        certificate = peer.transport.getPeerCertificate()
        await self.hangUp(client)
        if certificate is None:
            return None
        names = certificate.to_cryptography().extensions.get_extension_for_class(
            SubjectAlternativeName
        )
        return str(names.value.get_values_for_type(DNSName)[0])

    async def test_shown(self) -> None:
        """A server that asks is shown it, verified or not; from one file or two."""
        self.assertIsNone(await self.shown(BackendTLS(self.authority())))
        for apart in (False, True):
            certificate, key = self.files(theAuthority().issue("relay.example.org"), apart)
            for tls in (
                BackendTLS(self.authority(), certificate=certificate, key=key),
                BackendTLS(verify=False, certificate=certificate, key=key),
            ):
                self.assertEqual(await self.shown(tls), "relay.example.org")

    def test_wrong(self) -> None:
        """What is no certificate, no key, or not its key, is refused when it is named."""
        one, key = self.files(theAuthority().issue("relay.example.org"), True)
        assert key is not None
        _, other = self.files(theAuthority().issue("relay.example.org"), True)
        locked = Path(self.mktemp())
        locked.write_bytes(
            theAuthority()
            .issue("a")
            .key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
            )
        )
        gone = Path(self.mktemp())
        unreadable = "holds no key that can be read; one with a passphrase cannot"
        for certificate, its, message in [
            (key, key, f"{key} holds no certificate that can be read"),
            (one, None, f"{one} {unreadable}"),
            (one, locked, f"{locked} {unreadable}"),
            (one, other, f"{other} holds the key of another certificate"),
        ]:
            error = self.assertRaises(ValueError, BackendTLS, certificate=certificate, key=its)
            self.assertEqual(str(error), message)
        self.assertRaises(OSError, BackendTLS, certificate=gone)
        self.assertRaises(OSError, BackendTLS, certificate=one, key=gone)


class VersionTests(Handshake):
    """The oldest version that is spoken."""

    async def test_oldest(self) -> None:
        """A server that only speaks an older one fails the handshake."""
        old = theAuthority().issue("chat.example.org").options()
        old.getContext().set_max_proto_version(SSL.TLS1_2_VERSION)
        for least, isSpoken in (("TLSv1.2", True), ("TLSv1.3", False)):
            tls = BackendTLS(self.authority(), minimumVersion=least)
            port = await self.listen(Server(), old)
            creator = tls.connectionCreator("chat.example.org")
            endpoint = wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
            peer = await endpoint.connect(Factory.forProtocol(Shaker))
            self.addCleanup(self.hangUp, peer)
            if isSpoken:
                await peer.shaken
            else:
                with self.assertRaises(SSL.Error):
                    await peer.shaken


class RenewalTests(Handshake):
    """Files that are renewed while the relay runs."""

    async def test_renewed(self) -> None:
        """New authorities hold for new connections, a few seconds later, without a restart."""
        clock, other = Clock(), Authority("other")
        path = self.authority()
        tls = BackendTLS(path, seconds=clock.seconds)
        issued = other.issue("chat.example.org")
        await self.complaint(issued, "chat.example.org", tls)
        other.write(path)
        # Not at every connection it is looked.
        await self.complaint(issued, "chat.example.org", tls)
        clock.advance(3)
        with capturedLogs() as logs:
            await self.shake(issued, "chat.example.org", tls)
        self.assertEqual(
            [formatEvent(each) for each in logs if "files" in each],
            [f"renewed for new connections to backends: {path}"],
        )
        await self.complaint(theAuthority().issue("chat.example.org"), "chat.example.org", tls)

    async def test_broken(self) -> None:
        """A file that cannot be used is told once, and what was read before stays in use."""
        clock = Clock()
        path = self.authority()
        tls = BackendTLS(path, seconds=clock.seconds)
        issued = theAuthority().issue("chat.example.org")
        for broken, why in (
            (lambda: path.write_text("nothing"), f"{path} holds no PEM certificate"),
            (path.unlink, f"{path}: No such file or directory"),
        ):
            broken()
            with capturedLogs() as logs:
                for _ in range(3):
                    clock.advance(3)
                    await self.shake(issued, "chat.example.org", tls)
            self.assertEqual([each["problem"] for each in logs if "problem" in each], [why])
        Authority("other").write(path)
        clock.advance(3)
        await self.complaint(issued, "chat.example.org", tls)


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
