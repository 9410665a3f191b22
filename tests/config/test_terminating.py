# -*- test-case-name: tests.config.test_terminating -*-
"""
The C{[listener.NAME.tls]} table, and what is made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, theAuthority
from wsrelay.config.problems import problemsOf
from wsrelay.config.terminating import Termination, makeTerminator
from wsrelay.errors import ConfigurationError
from wsrelay.tls.certificates import Source
from wsrelay.tls.contexts import Terms


def problem(raw: dict[str, Any]) -> str:
    """The one thing that is wrong with a table."""
    try:
        Termination.model_validate(raw)
    except ValidationError as error:
        (found,) = problemsOf(error, "tls", raw, Termination)
        return found
    raise AssertionError("it is fine")


class TerminationTests(SynchronousTestCase):
    """The table."""

    def test_certificates(self) -> None:
        """A certificate is a file, or two; one may stand where a list may."""
        pair = {"certificate": "b.pem", "key": "b.key"}
        for raw, expected in [
            ("a.pem", [Source(Path("a.pem"))]),
            (pair, [Source(Path("b.pem"), Path("b.key"))]),
            (["a.pem", pair], [Source(Path("a.pem")), Source(Path("b.pem"), Path("b.key"))]),
        ]:
            table = Termination.model_validate({"certificates": raw})
            self.assertEqual(table.terms(), Terms(tuple(expected)))

    def test_all(self) -> None:
        """Every key has its say."""
        table = Termination.model_validate(
            {
                "certificates": "a.pem",
                "strictNames": True,
                "minimumVersion": "TLSv1.3",
                "ciphers": "modern",
                "groups": "X25519",
                "alpn": "mqtt",
                "clientCertificates": "require",
                "clientCA": "ca.pem",
                "clientDepth": 2,
                "sessions": False,
            }
        )
        self.assertEqual(
            table.terms(),
            Terms(
                (Source(Path("a.pem")),),
                True,
                "TLSv1.3",
                "modern",
                "X25519",
                ("mqtt",),
                "require",
                Path("ca.pem"),
                2,
                False,
            ),
        )

    def test_located(self) -> None:
        """Files are found from a directory, unless they say where they are."""
        table = Termination.model_validate(
            {
                "certificates": ["a.pem", {"certificate": "b.pem", "key": "/keys/b.pem"}],
                "clientCA": "ca.pem",
            }
        )
        terms = table.located(Path("/etc/wsrelay")).terms()
        self.assertEqual(
            [str(path) for path in terms.paths],
            ["/etc/wsrelay/a.pem", "/etc/wsrelay/b.pem", "/keys/b.pem", "/etc/wsrelay/ca.pem"],
        )
        bare = Termination.model_validate({"certificates": "a.pem"}).located(Path("/etc"))
        self.assertEqual([str(path) for path in bare.terms().paths], ["/etc/a.pem"])

    def test_wrong(self) -> None:
        """What is wrong is said where it is, and what would be right."""
        for raw, expected in [
            ({"certificates": []}, "tls.certificates: expected at least one"),
            (
                {"certificates": {"key": "a.pem"}},
                "tls.certificates: this key is required",
            ),
            (
                {"certificates": "a.pem", "minimumVersion": "TLSv1.1"},
                'tls.minimumVersion: expected "TLSv1.2" or "TLSv1.3", found "TLSv1.1"',
            ),
            (
                {"certificates": "a.pem", "clientCertificates": "optional"},
                'tls.clientCertificates: expected "none", "request" or "require", '
                'found "optional"',
            ),
            (
                {"certificates": "a.pem", "cipher": "modern"},
                'tls.cipher: unknown key; did you mean "ciphers"?',
            ),
            ({"certificates": "a.pem", "alpn": [""]}, "tls.alpn[1]: expected an ALPN protocol"),
            ({"certificates": "a.pem", "clientDepth": 0}, "tls.clientDepth: expected a whole"),
        ]:
            self.assertIn(expected, problem(raw))


class MakeTests(SynchronousTestCase):
    """The L{Terminator<wsrelay.tls.terminator.Terminator>} of a table."""

    def test_made(self) -> None:
        """It has the certificates of the table."""
        path = Path(self.mktemp())
        theAuthority().issue("a.example").write(path)
        table = Termination.model_validate({"certificates": str(path), "alpn": ["mqtt"]})
        made = makeTerminator("public", table)
        certificate: Any = made.certificateFor("a.example")
        self.assertEqual(certificate.names, {"a.example"})
        self.assertEqual(made.protocols, (b"mqtt",))

    def test_unusable(self) -> None:
        """What cannot be used is told by its key."""
        path = Path(self.mktemp())
        theAuthority().issue("a.example").write(path)
        ca = Authority().write(Path(self.mktemp()))
        good = {"certificates": str(path)}
        for raw, expected in [
            (
                {"certificates": "/nowhere.pem"},
                "listener.public.tls.certificates: /nowhere.pem: No such file or directory",
            ),
            (
                {**good, "ciphers": "best"},
                'listener.public.tls.ciphers: OpenSSL knows no ciphers "best"',
            ),
            (
                {**good, "clientCertificates": "require", "clientCA": "/nowhere.pem"},
                "listener.public.tls.clientCA: /nowhere.pem: No such file or directory",
            ),
            (
                {"certificates": str(ca)},
                f"listener.public.tls.certificates: {ca} holds no PEM private key",
            ),
        ]:
            table = Termination.model_validate(raw)
            error = self.assertRaises(ConfigurationError, makeTerminator, "public", table)
            self.assertEqual(error.problems, (expected,))
