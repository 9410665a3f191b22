# -*- test-case-name: tests.tls.test_terminator -*-
"""
Where TLS ends: names, protocols, sessions, and files that change.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.certificates import Authority, Issued, theAuthority
from tests.tls.shaking import Shake, clientContext, folder, terminator
from wsrelay.tls.certificates import Source, Unusable
from wsrelay.tls.contexts import Terms
from wsrelay.tls.terminator import Terminator

A, B = "a.example.org", "b.example.org"


class NameTests(SynchronousTestCase):
    """The certificate that a client gets."""

    def setUp(self) -> None:
        """There are three certificates, the second of them with a wildcard."""
        self.path = folder(self)
        self.issued = [
            theAuthority().issue(*names)
            for names in (("example.org", A), ("*.example.org",), ("*.example.net", B))
        ]

    def test_interface(self) -> None:
        """Twisted's factories can have their connections from it, too."""
        asked = terminator(self.path, self.issued[0])
        self.assertTrue(verifyObject(IOpenSSLServerConnectionCreator, asked))
        self.assertIsNotNone(asked.serverConnectionForTLS(object()))

    def test_choice(self) -> None:
        """By the name it asks for, in any case; nobody's name gets the first."""
        asked = terminator(self.path, *self.issued)
        context = clientContext()
        context.check_hostname = False
        for name, number in [
            (A, 0),
            ("A.Example.ORG", 0),
            ("c.example.org", 1),
            (B, 2),
            ("b.example.net", 2),
            ("b.c.example.org", 0),
            ("elsewhere.example", 0),
            (None, 0),
        ]:
            for version in ("TLSv1.2", "TLSv1.3"):
                context.maximum_version = ssl.TLSVersion.TLSv1_3
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.maximum_version = getattr(ssl.TLSVersion, version.replace(".", "_"))
                shake = Shake(asked, name, context)
                self.assertTrue(shake.isDone, name)
                expected = asked._now.certificates[number]
                self.assertEqual({each.lower() for each in shake.names}, set(expected.names), name)
                self.assertIs(asked.certificateFor(name and name.lower()), expected)

    def test_strict(self) -> None:
        """Where names are strict, who asks for nobody's name is told so."""
        for count in (1, 3):
            asked = terminator(self.path, *self.issued[:count], strictNames=True)
            self.assertTrue(Shake(asked, A).isDone)
            for name in ("elsewhere.example", None):
                shake = Shake(asked, name)
                self.assertIn("unrecognized name", shake.refusal)
                told = shake.server.get_app_data()
                self.assertEqual(told, f"there is no certificate for {name or 'no name'}")
                self.assertIsNone(asked.certificateFor(name))

    def test_misdirected(self) -> None:
        """A request is misdirected when its host would have got another certificate."""
        asked = terminator(self.path, *self.issued)
        for serverName, host, expected in [
            (A, A, False),
            (A, "example.org", False),
            (A, "c.example.org", True),
            ("c.example.org", "d.example.org", False),
            ("c.example.org", A, True),
            (A, "elsewhere.example", False),
            ("c.example.org", "elsewhere.example", True),
            (A, "192.0.2.1", False),
            (A, f"{B}.", True),
            (None, A, False),
            (None, B, True),
            (B, "", False),
        ]:
            for _ in range(2):
                self.assertIs(asked.isMisdirected(serverName, host), expected, (serverName, host))

    def test_misdirectedOne(self) -> None:
        """With one certificate for all nothing is, unless names are strict."""
        asked = terminator(self.path, self.issued[0])
        self.assertFalse(asked.isMisdirected(A, "elsewhere.example"))
        strict = terminator(self.path, self.issued[0], strictNames=True)
        self.assertTrue(strict.isMisdirected(A, "elsewhere.example"))
        self.assertFalse(strict.isMisdirected(A, "example.org"))

    def test_manyNames(self) -> None:
        """Names that clients make up do not fill the memory."""
        asked = terminator(self.path, *self.issued)
        for number in range(2500):
            asked.isMisdirected(A, f"{number}.example.org")
        self.assertLessEqual(len(asked._pairs), 1000)


class ProtocolTests(SynchronousTestCase):
    """What is agreed on by ALPN."""

    def test_table(self) -> None:
        """The forwarder's protocols count unless the terms have others; ours in our order."""
        refused = "no application protocol"
        spoken = (b"http/1.1", b"http/1.0")
        path = folder(self)
        issued = [theAuthority().issue(A), theAuthority().issue(B)]
        for alpn, forwarders, offered, expected in [
            (None, spoken, ["http/1.1"], "http/1.1"),
            (None, spoken, ["h2", "http/1.0", "http/1.1"], "http/1.1"),
            (None, spoken, ["http/1.0"], "http/1.0"),
            (None, spoken, ["h2"], refused),
            (None, spoken, [], None),
            (None, (), ["h2"], None),
            (("mqtt",), spoken, ["mqtt"], "mqtt"),
            (("mqtt",), spoken, ["http/1.1"], refused),
            ((), spoken, ["http/1.1"], None),
        ]:
            asked = terminator(path, *issued, alpn=alpn)
            asked.speak(forwarders)
            # The second name has a context of its own.
            for name in (A, B):
                context = clientContext()
                if offered:
                    context.set_alpn_protocols(offered)
                shake = Shake(asked, name, context)
                agreed = shake.refusal or shake.client.selected_alpn_protocol()
                self.assertEqual(agreed, expected, (alpn, forwarders, offered))


class SessionTests(SynchronousTestCase):
    """Sessions are resumed by whom they were made for, and nobody else."""

    def setUp(self) -> None:
        """There are two certificates, and somebody to ask clients about."""
        self.path = folder(self)
        self.issued = [theAuthority().issue(A), theAuthority().issue(B)]
        self.clients = Authority("clients")
        self.ca = self.clients.write(self.path / "clients.pem")
        self.client = self.clients.issue(subject="ada")

    def context(self, version: str) -> ssl.SSLContext:
        """A client of this version, with a certificate of its own."""
        context = clientContext(version, self.client, self.path)
        if version == "TLSv1.2":
            # In the ticket's place a session id, where there is no ticket.
            context.options &= ~ssl.OP_NO_TICKET
        return context

    def resumed(
        self, first: Terminator, then: Terminator, version: str, names: tuple[str, str] = (A, A)
    ) -> bool:
        """Whether a session from one is resumed by the other."""
        context = self.context(version)
        one = Shake(first, names[0], context)
        self.assertTrue(one.isDone, one.refusal or one.fault)
        other = Shake(then, names[1], context, one.client.session)
        self.other = other
        return bool(other.isDone and other.client.session_reused)

    def test_table(self) -> None:
        """Resumption for every version and every way to ask for certificates."""
        asks: list[tuple[dict[str, Any], bool]] = [
            ({}, True),
            ({"sessions": False}, False),
            ({"clientCertificates": "require", "clientCA": self.ca}, True),
            ({"clientCertificates": "request"}, True),
            ({"clientCertificates": "require", "clientCA": self.ca, "sessions": False}, False),
        ]
        for version in ("TLSv1.2", "TLSv1.3"):
            for terms, expected in asks:
                asked = terminator(self.path, self.issued[0], **terms)
                self.assertIs(self.resumed(asked, asked, version), expected, (version, terms))
        asked = terminator(self.path, *self.issued)
        for version in ("TLSv1.2", "TLSv1.3"):
            self.assertTrue(self.resumed(asked, asked, version, (B, B)))

    def test_identityStays(self) -> None:
        """Who resumes is still who it was."""
        asked = terminator(
            self.path, self.issued[0], clientCertificates="require", clientCA=self.ca
        )
        for version in ("TLSv1.2", "TLSv1.3"):
            self.assertTrue(self.resumed(asked, asked, version))
            certificate: Any = self.other.server.get_peer_certificate(as_cryptography=True)
            self.assertEqual(certificate, self.client.certificate)

    def test_otherListener(self) -> None:
        """A session of one listener is nothing to another, whatever its rules are."""
        require: dict[str, Any] = {"clientCertificates": "require", "clientCA": self.ca}
        for version in ("TLSv1.2", "TLSv1.3"):
            for first, then in [({}, {}), ({}, require), (require, require), (require, {})]:
                one = terminator(self.path, self.issued[0], **first)
                other = terminator(self.path, self.issued[0], name="other", **then)
                self.assertFalse(self.resumed(one, other, version), (version, first, then))
                self.assertTrue(self.other.isDone)

    def test_otherName(self) -> None:
        """
        Who has shown a certificate to one of our names shows it again to the next
        (CVE-2025-23419): with several certificates nothing is resumed.
        """
        asked = terminator(self.path, *self.issued, clientCertificates="require", clientCA=self.ca)
        for version in ("TLSv1.2", "TLSv1.3"):
            for names in [(A, B), (B, A), (A, A), (B, B)]:
                self.assertFalse(self.resumed(asked, asked, version, names))
                self.assertTrue(self.other.isDone, (version, names))
                self.assertEqual(self.other.names, [names[1]])

    def test_rotation(self) -> None:
        """After half a day an old ticket is worth nothing, and a new one something."""
        clock = Clock()
        asked = terminator(self.path, *self.issued)
        asked.start(clock)
        for version in ("TLSv1.2", "TLSv1.3"):
            context = self.context(version)
            old = Shake(asked, A, context).client.session
            self.assertTrue(Shake(asked, A, context, old).client.session_reused)
            clock.advance(12 * 3600)
            self.assertFalse(Shake(asked, A, context, old).client.session_reused)
            self.assertTrue(self.resumed(asked, asked, version))
        asked.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class ReloadTests(SynchronousTestCase):
    """Files that change."""

    def setUp(self) -> None:
        """A certificate is in use."""
        self.path = folder(self)
        self.file = self.path / "0.pem"
        self.asked = terminator(self.path, theAuthority().issue(A))
        self.clock = Clock()
        self.asked.start(self.clock)

    def write(self, issued: Issued, path: Path | None = None) -> None:
        """A renewed certificate, as the tools for that write it."""
        issued.write(self.path / "new.pem").rename(path or self.file)

    def turn(self) -> list[str]:
        """Let the files be looked at. @return: what the log says."""
        with capturedLogs() as logs:
            self.clock.advance(3)
        return [
            f"{event['log_level'].name}: {formatEvent(event)}"
            for event in logs
            if event["log_level"] >= LogLevel.info
        ]

    def test_renewed(self) -> None:
        """The next client gets the new certificate; who is in between goes on with the old."""
        self.assertEqual(Shake(self.asked, A).names, [A])
        context = clientContext()
        context.check_hostname = False
        under = self.asked.connection()
        self.write(theAuthority().issue(A, B))
        self.assertEqual(self.turn(), ["info: listener public: new certificates"])
        self.assertEqual(Shake(self.asked, B).names, [A, B])
        old = type("Old", (), {"connection": staticmethod(lambda: under)})()
        self.assertEqual(Shake(old, None, context).names, [A])
        self.assertEqual(self.turn(), [])

    def test_broken(self) -> None:
        """What cannot be used changes nothing, and is told once for each change."""
        said = "error: listener public: the certificates stay as they were: "
        self.file.write_text("gone wrong")
        self.assertEqual(self.turn(), [f"{said}{self.file} holds no PEM certificate"])
        self.assertEqual(self.turn(), [])
        self.assertEqual(Shake(self.asked, A).names, [A])
        self.file.unlink()
        self.assertEqual(self.turn(), [f"{said}{self.file}: No such file or directory"])
        self.assertEqual(Shake(self.asked, A).names, [A])
        self.write(theAuthority().issue(A, B))
        self.assertEqual(self.turn(), ["info: listener public: new certificates"])
        self.assertEqual(Shake(self.asked, B).names, [A, B])

    def test_keyFirst(self) -> None:
        """Certificate and key in two files are changed one after the other."""
        old, new = theAuthority().issue(A), theAuthority().issue(A, B)
        certificate, key = self.path / "c.pem", self.path / "k.pem"
        old.write(certificate), old.write(key)
        self.asked = Terminator("public", Terms((Source(certificate, key),)))
        self.asked.start(self.clock)
        self.write(new, key)
        (line,) = self.turn()
        self.assertIn("the key is not that of the certificate", line)
        self.assertEqual(Shake(self.asked, A).names, [A])
        self.write(new, certificate)
        self.turn()
        self.assertEqual(Shake(self.asked, A).names, [A, B])

    def test_clientCA(self) -> None:
        """The authorities of clients are renewed, too."""
        ca, path = Authority("old"), self.path / "ca.pem"
        new = Authority("new")
        ca.write(path)
        asked = terminator(
            self.path, theAuthority().issue(A), clientCertificates="require", clientCA=path
        )
        asked.start(self.clock)
        context = clientContext("TLSv1.2", new.issue(), self.path)
        self.assertIn("unknown ca", Shake(asked, A, context).refusal)
        new.write(path)
        self.turn()
        self.assertTrue(Shake(asked, A, context).isDone)

    def test_reload(self) -> None:
        """It can be asked for, and then says what is wrong."""
        self.write(theAuthority().issue(A, B))
        self.asked.reload()
        self.assertEqual(Shake(self.asked, A).names, [A, B])
        self.file.write_text("")
        self.assertRaises(Unusable, self.asked.reload)
        self.assertEqual(Shake(self.asked, A).names, [A, B])

    def test_forgets(self) -> None:
        """Which request is misdirected is found out anew."""
        asked = terminator(self.path, theAuthority().issue(A), theAuthority().issue(B))
        self.assertTrue(asked.isMisdirected(A, B))
        self.write(theAuthority().issue(A, B))
        asked.reload()
        self.assertFalse(asked.isMisdirected(A, B))
