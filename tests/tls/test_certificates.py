# -*- test-case-name: tests.tls.test_certificates -*-
"""
Certificates in files, and which of them is for a name.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, theAuthority
from tests.tls.shaking import folder
from wsrelay.tls.certificates import Certificate, Choice, Source, Unusable


class SourceTests(SynchronousTestCase):
    """Reading a certificate."""

    def setUp(self) -> None:
        """There is one in a file."""
        self.path = folder(self)
        self.issued = theAuthority().issue("Chat.Example.org", "*.example.org", "192.0.2.1")
        self.file = self.issued.write(self.path / "chat.pem")

    def test_oneFile(self) -> None:
        """Certificate and key may stand in one file, in any order."""
        certificate = Source(self.file).load()
        self.assertEqual(certificate.chain, (self.issued.certificate,))
        self.assertEqual(certificate.names, {"chat.example.org", "*.example.org"})
        text = self.issued.pem
        begin = text.index(b"-----BEGIN CERTIFICATE")
        self.file.write_bytes(text[begin:] + text[:begin])
        self.assertEqual(Source(self.file).load().names, certificate.names)

    def test_twoFiles(self) -> None:
        """The key may stand in a file of its own, the chain behind the certificate."""
        between = Authority("between", by=theAuthority())
        issued = between.issue("a.example.org")
        key = issued.write(self.path / "key.pem")
        chain = self.path / "chain.pem"
        chain.write_bytes(
            b"a comment\n"
            + issued.certificate.public_bytes(Encoding.PEM)
            + between.certificate.public_bytes(Encoding.PEM)
        )
        source = Source(chain, key)
        self.assertEqual(source.load().chain, (issued.certificate, between.certificate))
        self.assertEqual(source.paths, (chain, key))

    def test_noNames(self) -> None:
        """A certificate without host names is for nobody in particular."""
        bare = theAuthority().issue().write(self.path / "bare.pem")
        self.assertEqual(Source(bare).load().names, frozenset())

    def test_wrong(self) -> None:
        """What is wrong with a file is said, and which one it is."""
        other = theAuthority().issue("b.example.org").write(self.path / "other.pem")
        lone = self.path / "lone.pem"
        lone.write_bytes(self.issued.certificate.public_bytes(Encoding.PEM))
        broken = self.path / "broken.pem"
        broken.write_text(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        )
        empty = self.path / "empty.pem"
        empty.write_text("")
        locked = self.path / "locked.pem"
        locked.write_bytes(
            self.issued.key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
            )
        )
        nowhere = self.path / "nowhere.pem"
        for source, why in [
            (Source(nowhere), f"{nowhere}: No such file or directory"),
            (Source(self.file, nowhere), f"{nowhere}: No such file or directory"),
            (Source(self.path), f"{self.path}: Is a directory"),
            (Source(empty), f"{empty} holds no PEM certificate"),
            (Source(locked), f"{locked} holds no PEM certificate"),
            (Source(lone), f"{lone} holds no PEM private key"),
            (Source(broken), f"{broken} holds a certificate that cannot be read"),
            (Source(lone, broken), f"{broken} holds a private key that cannot be read"),
            (Source(lone, locked), f"{locked}: the private key has a password"),
            (Source(lone, other), f"{other}: the key is not that of the certificate in {lone}"),
        ]:
            error = self.assertRaises(Unusable, source.load)
            self.assertEqual((error.key, str(error)), ("certificates", why))


class ChoiceTests(SynchronousTestCase):
    """Which certificate is for a name."""

    certificates = [
        Certificate((), None, frozenset(names))
        for names in (
            {"example.org", "www.example.org"},
            {"*.example.org", "*.deep.example.org"},
            {"chat.example.org", "www.example.org"},
            {"*.example.org", "xn--bcher-kva.example"},
            set(),
        )
    ]

    def test_find(self) -> None:
        """Exact beats wildcard, which is for one label; first come, first served."""
        for name, expected in [
            ("example.org", 0),
            ("www.example.org", 0),
            ("chat.example.org", 2),
            ("other.example.org", 1),
            ("a.deep.example.org", 1),
            ("deep.example.org", 1),
            ("xn--bcher-kva.example", 3),
            # nobody's
            ("a.b.example.org", None),
            (".example.org", None),
            ("*.example.net", None),
            ("org", None),
            ("example.com", None),
            ("example.org.evil", None),
            ("192.0.2.1", None),
            ("", None),
            (None, None),
        ]:
            strict = Choice(self.certificates, isStrict=True)
            self.assertEqual(strict.find(name), expected, name)
            self.assertEqual(Choice(self.certificates).find(name), expected or 0, name)
