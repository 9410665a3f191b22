# -*- test-case-name: tests.tls.test_facts -*-
"""
What a handshake has settled, and who the client is.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, theAuthority
from tests.tls.shaking import Shake, clientContext, folder, terminator
from wsrelay.tls.facts import NO_TLS, TLSFacts, tlsFacts

NAME = "chat.example.org"


class _Transport:
    """Has a session."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def getHandle(self) -> Any:
        """It."""
        return self._session


class FactsTests(SynchronousTestCase):
    """Facts of handshakes in memory."""

    def setUp(self) -> None:
        """There is an authority for clients."""
        self.path = folder(self)
        self.clients = Authority("clients")
        self.ca = self.clients.write(self.path / "clients.pem")

    def shake(self, own: Any = None, version: str | None = None, **terms: Any) -> Shake:
        """A client with a certificate of its own, or without."""
        asked = terminator(self.path, theAuthority().issue(NAME), **terms)
        asked.speak((b"mqtt",))
        context = clientContext(version, own, self.path)
        context.set_alpn_protocols(["mqtt"])
        return Shake(asked, NAME, context)

    def facts(self, *args: Any, **terms: Any) -> TLSFacts:
        """What is known after it."""
        shake = self.shake(*args, **terms)
        self.assertTrue(shake.isDone, shake.refusal)
        return tlsFacts(_Transport(shake.server))

    def test_plain(self) -> None:
        """The name, the protocol, and nobody in particular."""
        self.assertEqual(self.facts(), TLSFacts(NAME, ("mqtt",), None))
        self.assertEqual(NO_TLS, TLSFacts(None, (), None))

    def test_certificate(self) -> None:
        """All that is known of a client that has shown who it is."""
        names = ("ada.example.org", "192.0.2.9", "2001:db8::1", "ada@example.org")
        issued = self.clients.issue(*names, "spiffe://example.org/ada", subject="ada, dear")
        own = issued.certificate
        for version in ("TLSv1.2", "TLSv1.3"):
            terms = {"clientCertificates": "require", "clientCA": self.ca}
            certificate: Any = self.facts(issued, version, **terms).certificate
            self.assertEqual(certificate.subject, r"CN=ada\, dear")
            self.assertEqual(certificate.issuer, "CN=clients")
            self.assertEqual(int(certificate.serial, 16), own.serial_number)
            self.assertEqual(certificate.fingerprint, own.fingerprint(SHA256()).hex())
            self.assertEqual(certificate.pem.encode(), own.public_bytes(Encoding.PEM))
            self.assertEqual(certificate.dns, ("ada.example.org",))
            self.assertEqual(certificate.ip, ("192.0.2.9", "2001:db8::1"))
            self.assertEqual(certificate.email, ("ada@example.org",))
            self.assertEqual(certificate.uri, ("spiffe://example.org/ada",))
            self.assertTrue(certificate.verified)

    def test_table(self) -> None:
        """Who gets in, who is known, and who is believed."""
        good = self.clients.issue("ada.example.org")
        between = Authority("between", by=self.clients)
        far = between.issue()
        clients = {
            "good": good,
            "untrusted": Authority("others").issue(),
            "expired": self.clients.issue(expired=True),
            "incomplete": far,
            "absent": None,
        }
        none: dict[str, Any] = {}
        request = {"clientCertificates": "request", "clientCA": self.ca}
        require = {"clientCertificates": "require", "clientCA": self.ca}
        anybody = {"clientCertificates": "request"}
        unknown, late, missing = (
            "unknown ca",
            "certificate expired",
            "handshake failure",
        )
        for terms, name, expected in [
            (none, "good", None),
            (none, "absent", None),
            (request, "good", True),
            (request, "untrusted", unknown),
            (request, "expired", late),
            (request, "incomplete", unknown),
            (request, "absent", None),
            (require, "good", True),
            (require, "untrusted", unknown),
            (require, "expired", late),
            (require, "incomplete", unknown),
            (require, "absent", missing),
            (anybody, "good", False),
            (anybody, "untrusted", False),
            (anybody, "expired", False),
            (anybody, "absent", None),
        ]:
            # What a server has against a client comes before its last word only in this version.
            shake = self.shake(clients[name], "TLSv1.2", **terms)
            if isinstance(expected, str):
                self.assertEqual(shake.refusal, expected, (terms, name))
                continue
            self.assertTrue(shake.isDone, (terms, name, shake.refusal))
            certificate = tlsFacts(_Transport(shake.server)).certificate
            self.assertEqual(certificate and certificate.verified, expected, (terms, name))

    def test_resumed(self) -> None:
        """A client that resumes its session is known and believed as before."""
        for ca, believed in [(self.ca, True), (None, False)]:
            for version in ("TLSv1.2", "TLSv1.3"):
                asked = terminator(
                    self.path,
                    theAuthority().issue(NAME),
                    clientCertificates="request",
                    clientCA=ca,
                )
                context = clientContext(version, self.clients.issue(), self.path)
                first = Shake(asked, NAME, context)
                again = Shake(asked, NAME, context, first.client.session)
                self.assertTrue(again.client.session_reused)
                certificate: Any = tlsFacts(_Transport(again.server)).certificate
                self.assertEqual(certificate.verified, believed)

    def test_depth(self) -> None:
        """A chain that is longer than wanted is refused."""
        issued = self.clients.issue()
        between = Authority("between", by=self.clients)
        far = between.issue()
        for depth, chained, isFine in [(1, False, True), (1, True, True), (None, True, True)]:
            asked = terminator(
                self.path,
                theAuthority().issue(NAME),
                clientCertificates="require",
                clientCA=self.ca,
                clientDepth=depth,
            )
            context = clientContext("TLSv1.2", issued, self.path)
            if chained:
                file = far.write(self.path / "far.pem")
                with file.open("ab") as end:
                    end.write(between.certificate.public_bytes(Encoding.PEM))
                context.load_cert_chain(file)
            self.assertEqual(Shake(asked, NAME, context).isDone, isFine, (depth, chained))
