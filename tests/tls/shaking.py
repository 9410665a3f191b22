# -*- test-case-name: tests.tls.test_terminator -*-
"""
Handshakes in memory: Python's own TLS as the client of a L{Terminator}.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from tests.certificates import Authority, Issued, theAuthority
from wsrelay.tls.certificates import Source
from wsrelay.tls.contexts import Terms
from wsrelay.tls.terminator import Terminator

__all__ = ["Shake", "clientContext", "folder", "terminator"]

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def folder(test: Any) -> Path:
    """A directory of the test's own."""
    path = Path(test.mktemp()).resolve()
    path.mkdir()
    return path


def terminator(
    path: Path, *certificates: Issued, name: str = "public", **terms: Any
) -> Terminator:
    """One with these certificates, in files C{0.pem} and so on."""
    sources = tuple(
        Source(each.write(path / f"{number}.pem")) for number, each in enumerate(certificates)
    )
    return Terminator(name, Terms(sources, **terms))


def clientContext(
    version: str | None = None,
    own: Issued | None = None,
    path: Path | None = None,
    trust: Authority | None = None,
) -> ssl.SSLContext:
    """
    A client that trusts an authority.

    @param own: its own certificate, by way of a file in C{path}.
    """
    authority = (trust or theAuthority()).certificate.public_bytes(Encoding.PEM).decode()
    context = ssl.create_default_context(cadata=authority)
    if version is not None:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if own is not None:
        assert path is not None
        context.load_cert_chain(own.write(path / "client.pem"))
    return context


class Shake:
    """
    A handshake of a client with a terminator, to its end.

    @ivar client: Python's side.
    @ivar server: pyOpenSSL's.
    @ivar refusal: how the client was told that it failed, or that it does not like the server.
    @ivar fault: what the server says.
    """

    def __init__(
        self,
        asked: Terminator,
        name: str | None = None,
        context: ssl.SSLContext | None = None,
        session: Any = None,
    ) -> None:
        context = context or clientContext()
        if name is None:
            context.check_hostname = False
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        self.server = asked.connection()
        self.refusal = self.fault = ""
        self._shakeHands()

    def _shakeHands(self) -> None:
        for _ in range(6):
            self._client()
            if data := self._out.read():
                self.server.bio_write(data)
            self._server()
            with suppress(SSL.WantReadError):
                self._in.write(self.server.bio_read(65536))
        # Tickets come behind the handshake.
        with suppress(ssl.SSLError, ValueError):
            self.client.read(1)

    def _client(self) -> None:
        try:
            self.client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            # "[SSL: REASON] tlsv1 alert unknown ca (_ssl.c:1006)", in the words of RFC 8446.
            text = str(error).partition("] ")[2].partition(" (")[0]
            self.refusal = self.refusal or text.rpartition("alert ")[2]

    def _server(self) -> None:
        if self.fault:
            return
        try:
            self.server.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.fault = str(error.args[0][-1][-1]) if error.args[0] else "?"

    @property
    def isDone(self) -> bool:
        """Whether both have come to the end."""
        return not self.refusal and not self.fault and self.client.version() is not None

    @property
    def names(self) -> list[str]:
        """The names of the certificate that the client has got."""
        certificate: Any = self.client.getpeercert()
        return sorted(name for _, name in certificate["subjectAltName"])
