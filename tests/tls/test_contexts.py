# -*- test-case-name: tests.tls.test_contexts -*-
"""
The terms of TLS, as clients find them.
"""

from __future__ import annotations

import ssl
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, theAuthority
from tests.tls.shaking import Shake, clientContext, folder, terminator
from wsrelay.tls.certificates import Source, Unusable
from wsrelay.tls.contexts import Terms, makeContext

NAME = "chat.example.org"
_AES128, _AES256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"


class TermsTests(SynchronousTestCase):
    """What is agreed on."""

    def setUp(self) -> None:
        """There is a certificate."""
        self.path = folder(self)
        self.issued = theAuthority().issue(NAME)

    def shake(self, context: Any = None, **terms: Any) -> Shake:
        """One handshake on these terms."""
        return Shake(terminator(self.path, self.issued, **terms), NAME, context)

    def test_versions(self) -> None:
        """The lowest version is TLS 1.2 unless something else is asked for."""
        old = "protocol version"
        for terms, version, expected in [
            ({}, None, "TLSv1.3"),
            ({}, "TLSv1.2", "TLSv1.2"),
            ({}, "TLSv1.3", "TLSv1.3"),
            ({"minimumVersion": "TLSv1.3"}, "TLSv1.3", "TLSv1.3"),
            ({"minimumVersion": "TLSv1.3"}, "TLSv1.2", old),
            ({"ciphers": "modern"}, "TLSv1.2", old),
            ({"ciphers": "modern"}, "TLSv1.3", "TLSv1.3"),
            ({"ciphers": "TLS_AES_128_GCM_SHA256"}, "TLSv1.2", old),
            ({"ciphers": _AES128}, "TLSv1.3", "TLSv1.3"),
        ]:
            shake = self.shake(clientContext(version), **terms)
            self.assertEqual(shake.refusal or shake.client.version(), expected, (terms, version))

    def test_veryOld(self) -> None:
        """Nobody gets TLS 1.1, whatever it offers."""
        context = clientContext()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertIn("protocol version", self.shake(context).refusal)

    def test_ciphers(self) -> None:
        """With a profile the client's order counts, with a list of one's own ours."""
        both = f"{_AES256}:{_AES128}"
        new = "TLS_CHACHA20_POLY1305_SHA256"
        for ciphers, offered, version, expected in [
            ("intermediate", both, "TLSv1.2", _AES256),
            ("intermediate", f"{_AES128}:{_AES256}", "TLSv1.2", _AES128),
            ("intermediate", "ECDHE-ECDSA-AES128-SHA256", "TLSv1.2", None),
            ("intermediate", "AES128-GCM-SHA256:AES128-SHA", "TLSv1.2", None),
            (f"{_AES128}:{_AES256}", both, "TLSv1.2", _AES128),
            (f"{_AES128} {_AES256}", both, "TLSv1.2", _AES128),
            (_AES256, _AES128, "TLSv1.2", None),
            (f"{new}:{_AES128}", both, "TLSv1.3", new),
        ]:
            context = clientContext(version)
            context.set_ciphers(offered)
            shake = self.shake(context, ciphers=ciphers)
            if expected is None:
                self.assertEqual(shake.fault, "no shared cipher", ciphers)
            else:
                cipher: Any = shake.client.cipher()
                self.assertEqual(cipher[0], expected, ciphers)

    def test_groups(self) -> None:
        """Keys are exchanged by a group that is among ours."""
        for groups, expected in [(None, "x25519"), ("prime256v1", "prime256v1")]:
            asked = terminator(self.path, self.issued, groups=groups)
            group = Shake(asked, NAME).server.get_group_name()
            self.assertIn(str(group).lower(), {expected, "secp256r1"})
        context = clientContext()
        context.set_ecdh_curve("secp521r1")
        self.assertIn("handshake failure", self.shake(context).refusal)

    def test_chain(self) -> None:
        """A client gets the certificates between ours and the authority that it trusts."""
        between = Authority("between", by=theAuthority())
        issued = between.issue(NAME)
        path = issued.write(self.path / "0.pem")
        with path.open("ab") as file:
            file.write(between.certificate.public_bytes(Encoding.PEM))
        context = makeContext(
            Terms((Source(path),)),
            Source(path).load(),
            b"id",
            lambda connection, offered: SSL.NO_OVERLAPPING_PROTOCOLS,
        )

        class Asked:
            """Has only this context."""

            def connection(self) -> SSL.Connection:
                """A new one."""
                connection = SSL.Connection(context, None)
                connection.set_accept_state()
                return connection

        asked: Any = Asked()
        self.assertTrue(Shake(asked, NAME).isDone)

    def test_noRenegotiation(self) -> None:
        """A client cannot make the relay shake hands again and again; nothing is compressed."""
        context = terminator(self.path, self.issued)._now.contexts[0]
        options = context.set_options(0)
        self.assertTrue(options & SSL.OP_NO_RENEGOTIATION)
        self.assertTrue(options & SSL.OP_NO_COMPRESSION)

    def test_unusable(self) -> None:
        """What OpenSSL does not take is said, and which key of the configuration it is."""
        notes = self.path / "notes.txt"
        notes.write_text("nothing")
        for terms, key, why in [
            ({"ciphers": "best"}, "ciphers", 'OpenSSL knows no ciphers "best"'),
            ({"ciphers": "TLS_BEST"}, "ciphers", 'OpenSSL knows no ciphers "TLS_BEST"'),
            ({"ciphers": "\xe9"}, "ciphers", 'OpenSSL knows no ciphers "\xe9"'),
            ({"groups": "best"}, "groups", 'OpenSSL knows no groups "best"'),
            (
                {"clientCertificates": "require", "clientCA": self.path / "no.pem"},
                "clientCA",
                f"{self.path / 'no.pem'}: No such file or directory",
            ),
            (
                {"clientCertificates": "require", "clientCA": notes},
                "clientCA",
                f"{notes} holds no PEM certificate that can be read",
            ),
        ]:
            given: dict[str, Any] = terms
            error = self.assertRaises(Unusable, terminator, self.path, self.issued, **given)
            self.assertEqual((error.key, str(error)), (key, why))

    def test_paths(self) -> None:
        """All files that something is read from."""
        one, key, ca = (self.path / name for name in ("one.pem", "one.key", "ca.pem"))
        self.assertEqual(Terms((Source(one, key),), clientCA=ca).paths, (one, key, ca))
        self.assertEqual(Terms((Source(one), Source(key))).paths, (one, key))
