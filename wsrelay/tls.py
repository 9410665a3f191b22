# -*- test-case-name: tests.test_tls -*-
"""
TLS towards backends: whom to trust, and under which name.

Listeners get their TLS from the endpoint string (C{ssl:}, C{tls:}).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

__all__ = ["BackendTLS"]


class BackendTLS:
    """
    How a pool speaks TLS to its backends.

    The backend's certificate must be valid for the host of its URL (RFC 9525, by
    service-identity), unless verification is switched off.
    """

    def __init__(self, ca: Path | None = None, verify: bool = True) -> None:
        """
        @param ca: a PEM file with the authorities to trust; C{None} is the system's.
        @param verify: C{False} accepts any certificate.
        @raise OSError: C{ca} cannot be read.
        @raise ValueError: C{ca} holds no certificate.
        """
        self._verify = verify
        self._trust: Any = platformTrust() if ca is None else _authorities(ca)
        self._creators: dict[str, Any] = {}

    def connectionCreator(self, host: str) -> Any:
        """The L{IOpenSSLClientConnectionCreator} for one host, made once."""
        creator = self._creators.get(host)
        if creator is None:
            creator = self._creators[host] = self._create(host)
        return creator

    def _create(self, host: str) -> Any:
        if self._verify:
            return optionsForClientTLS(host, trustRoot=self._trust)
        return _Unverified(host, CertificateOptions(verify=False).getContext())


def _authorities(path: Path) -> Any:
    text = path.read_text("ascii", "replace")
    end = "-----END CERTIFICATE-----"
    blocks: Sequence[str] = [
        block[block.index("-----BEGIN CERTIFICATE-----") :] + end
        for block in text.split(end)
        if "-----BEGIN CERTIFICATE-----" in block
    ]
    if not blocks:
        raise ValueError(f"{path} holds no PEM certificate")
    return trustRootFromCertificates([Certificate.loadPEM(block) for block in blocks])


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Names the host in SNI and accepts whatever certificate comes."""

    def __init__(self, host: str, context: SSL.Context) -> None:
        self._host = host
        self._context = context

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A new client-side connection."""
        connection = SSL.Connection(self._context, None)
        if not self._host.replace(".", "").isdigit() and ":" not in self._host:
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection
