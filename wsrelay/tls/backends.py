# -*- test-case-name: tests.tls.test_backends -*-
"""
TLS towards backends: whom to trust and under which name, and who the relay says to be.

A certificate that is not to be trusted fails the handshake with L{UntrustedPeer}, which says
why; OpenSSL by itself would only say that it failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, ServiceID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.tls.watch import FileWatch

__all__ = ["BackendTLS", "UntrustedPeer"]

_log = Logger()


class UntrustedPeer(Exception):
    """A peer's certificate is not to be trusted; the message says why."""


class BackendTLS:
    """
    How a pool speaks TLS to its backends.

    The backend's certificate must be valid for the host of its URL (RFC 9525, by
    service-identity), unless another name is given or verification is switched off.

    The files may be renewed while the relay runs: connections that are dialled a few seconds
    later use what stands in them then. What cannot be used is logged, and the old kept.
    """

    def __init__(
        self,
        ca: Path | None = None,
        verify: bool = True,
        *,
        serverName: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        minimumVersion: str = "TLSv1.2",
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        @param ca: a PEM file with the authorities to trust; C{None} is the system's.
        @param verify: C{False} accepts any certificate.
        @param serverName: what all backends are called in SNI, and must have a certificate
            for; C{None} is the host that is dialled.
        @param certificate: a PEM file with what the relay shows who asks: its certificate and
            those between it and the authority.
        @param key: a PEM file with its key; C{None} is the same file.
        @param minimumVersion: C{"TLSv1.2"} or C{"TLSv1.3"}.
        @param seconds: the time, for looking at the files now and then.
        @raise OSError: a file cannot be read.
        @raise ValueError: a file is not what it should be.
        """
        self._verify = verify
        self._serverName = serverName
        self._least = _VERSIONS[minimumVersion]
        self._ca = ca
        self._own = None if certificate is None else (certificate, key or certificate)
        self._paths = [each for each in (ca, *(self._own or ())) if each is not None]
        self._watch = FileWatch(self._paths, self._renew)
        self._seconds = seconds
        self._looked = seconds()
        self._authorities = None if ca is None else _authorities(ca)
        if self._own is not None:
            _identify(SSL.Context(SSL.TLS_METHOD), *self._own)
        self._creators: dict[str, _Creator] = {}
        self._made: SSL.Context | None = None

    def connectionCreator(self, host: str) -> IOpenSSLClientConnectionCreator:
        """
        What makes the connections to one host, ASCII or an IP address; made once.

        No protocol is offered (ALPN): every backend would take it for granted, but those that
        know of none, such as a plain Twisted 26.10, refuse whoever offers any.
        """
        name = self._serverName or host
        creator = self._creators.get(name)
        if creator is None:
            creator = self._creators[name] = _Creator(name, self._context, self._verify)
        return creator

    def _context(self) -> SSL.Context:
        """For a connection that is made now."""
        if self._paths and self._seconds() - self._looked >= _LOOK:
            self._looked = self._seconds()
            self._watch.look()
        if self._made is None:
            # Not before it is needed: reading the system's authorities takes a while.
            self._made = self._make()
        return self._made

    def _renew(self) -> None:
        before = self._authorities, self._made
        try:
            if self._ca is not None:
                self._authorities = _authorities(self._ca)
            self._made = self._make()
        except (OSError, ValueError) as error:
            self._authorities, self._made = before
            _log.error("not renewed, the old stays in use: {problem}", problem=_said(error))
        else:
            files = ", ".join(str(each) for each in self._paths)
            _log.info("renewed for new connections to backends: {files}", files=files)

    def _make(self) -> SSL.Context:
        if self._verify:
            trust = platformTrust() if self._authorities is None else self._authorities
            options = CertificateOptions(trustRoot=trust, raiseMinimumTo=self._least)
        else:
            options = CertificateOptions(verify=False, raiseMinimumTo=self._least)
        context = options.getContext()
        # A backend could have another certificate then, which nobody would look at. (A client
        # cannot ask for it: OpenSSL refuses since 3.0 unless told otherwise.)
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        if self._own is not None:
            _identify(context, *self._own)
        return context


_VERSIONS = {"TLSv1.2": TLSVersion.TLSv1_2, "TLSv1.3": TLSVersion.TLSv1_3}

# How often it is looked whether files have been renewed, in seconds.
_LOOK = 3.0


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error)


_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def _authorities(path: Path) -> Any:
    blocks = [
        block[block.index(_BEGIN) :] + _END
        for block in path.read_text("ascii", "replace").split(_END)
        if _BEGIN in block
    ]
    if not blocks:
        raise ValueError(f"{path} holds no PEM certificate")
    try:
        return trustRootFromCertificates([Certificate.loadPEM(block.encode()) for block in blocks])
    except (crypto.Error, ValueError):
        raise ValueError(f"{path} holds a certificate that cannot be read") from None


def _identify(context: SSL.Context, certificate: Path, key: Path) -> None:
    """
    Have a context show this certificate.

    @raise OSError: a file cannot be read.
    @raise ValueError: a file is not what it should be.
    """
    for path in (certificate, key):
        # OpenSSL's own error would not say which.
        path.open("rb").close()
    # Without it OpenSSL would ask whoever sits at the terminal.
    context.set_passwd_cb(lambda *_: b"")
    try:
        context.use_certificate_chain_file(str(certificate))
    except SSL.Error:
        raise ValueError(f"{certificate} holds no certificate that can be read") from None
    try:
        context.use_privatekey_file(str(key))
    except SSL.Error as error:
        if any("values mismatch" in str(each[-1]) for each in error.args[0]):
            raise ValueError(f"{key} holds the key of another certificate") from None
        why = "no key that can be read; one with a passphrase cannot"
        raise ValueError(f"{key} holds {why}") from None


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Names the host in SNI, and judges the certificate that comes."""

    def __init__(self, host: str, context: Callable[[], SSL.Context], verify: bool) -> None:
        self._host = host
        self._context = context
        self._verify = verify
        self._serverName: bytes | None = None
        self._wanted: ServiceID
        if isIPAddress(host) or isIPv6Address(host):
            # RFC 6066 section 3: addresses are not permitted in SNI.
            self._wanted = IPAddress_ID(host.partition("%")[0])
        else:
            self._wanted = DNS_ID(host)
            self._serverName = host.encode("ascii")

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A new client-side connection."""
        connection = SSL.Connection(self._context(), None)
        # Twisted's own creators leave the protocol here too.
        connection.set_app_data(tlsProtocol)
        if self._serverName is not None:
            connection.set_tlsext_host_name(self._serverName)
        if self._verify:
            flags = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            connection.set_verify(flags, self._judge)
        return connection

    def _judge(
        self, connection: SSL.Connection, certificate: Any, error: int, depth: int, isFine: int
    ) -> bool:
        """OpenSSL asks about each certificate of the chain; the backend's own is at depth 0."""
        try:
            complaint = self._complaint(certificate, error, depth, bool(isFine))
        except Exception:
            # What is raised inside OpenSSL's call would only be printed.
            _log.failure("a certificate could not be judged", host=self._host)
            complaint = "its certificate could not be judged"
        if complaint is None:
            return True
        connection.get_app_data().failVerification(Failure(UntrustedPeer(complaint)))
        return False

    def _complaint(self, certificate: Any, error: int, depth: int, isFine: bool) -> str | None:
        if not isFine:
            whose = "its certificate" if depth == 0 else "a certificate above its own"
            return f"{whose} {_ERRORS.get(error, f'is not accepted (OpenSSL error {error})')}"
        return self._misnamed(certificate) if depth == 0 else None

    def _misnamed(self, certificate: Any) -> str | None:
        patterns: Sequence[Any] = ()
        try:
            patterns = extract_patterns(certificate)
            verify_service_identity(patterns, [self._wanted], [])
        except (CertificateError, VerificationError):
            names = ", ".join(_shown(each) for each in patterns) or "no name at all"
            return f"its certificate is for {names}, not for {self._host}"
        return None


def _shown(pattern: Any) -> str:
    """A name in a certificate. The backend wrote it, so it may be anything."""
    name = pattern.pattern
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)
    return text if text.isprintable() else ascii(text)


# What OpenSSL found wrong with a chain (x509_vfy.h).
_ERRORS = {
    7: "has a signature that is wrong",
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed and not trusted",
    19: "is of an authority that is not trusted",
    20: "is of an authority that is not known",
    21: "is of an authority that is not known",
    22: "is at the end of a chain that is too long",
    23: "is revoked",
    24: "is used as an authority but is none",
    26: "is not meant for servers",
    66: "has a key that is too weak",
    67: "is of an authority whose key is too weak",
    68: "has a signature that is too weak",
    79: "is used as an authority but is none",
}
