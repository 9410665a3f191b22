# -*- test-case-name: tests.tls.test_facts -*-
"""
What a TLS handshake at a listener has settled: the name, the protocol, who the client is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL._util import lib

from wsrelay.errors import BadRequest
from wsrelay.model import ClientCertificate
from wsrelay.tls.contexts import Terms

__all__ = ["NO_TLS", "TLSFacts", "tlsFacts"]

# Clients come back, and reading a certificate costs as much as a good part of a handshake.
_MOST_KNOWN = 1000
_TRUSTED = 0  # X509_V_OK


@frozen
class TLSFacts:
    """
    What L{Inbound<wsrelay.model.Inbound>} has of it, under the same names.
    """

    serverName: str | None = None
    alpn: tuple[str, ...] = ()
    certificate: ClientCertificate | None = None


#: Where TLS did not end here.
NO_TLS = TLSFacts()


def tlsFacts(transport: Any) -> TLSFacts:
    """
    The facts of a transport; there are none before its handshake is complete.

    @raise BadRequest: the client's certificate is none that can be read.
    """
    session = transport.getHandle()
    name = session.get_servername()
    protocol = session.get_alpn_proto_negotiated()
    return TLSFacts(
        name.decode("ascii", "replace").lower().removesuffix(".") if name else None,
        (protocol.decode("latin-1"),) if protocol else (),
        _certificateOf(session),
    )


def _certificateOf(session: Any) -> ClientCertificate | None:
    if not session.get_verify_mode():
        return None
    certificate = session.get_peer_certificate(as_cryptography=True)
    if certificate is None:
        return None
    terms = session.get_context().get_app_data()
    isAnybody = isinstance(terms, Terms) and terms.clientCA is None
    verified = not isAnybody and lib.SSL_get_verify_result(session._ssl) == _TRUSTED
    try:
        return _read(certificate.public_bytes(Encoding.DER), verified)
    except ValueError as error:
        raise BadRequest(f"a client certificate that cannot be read: {error}") from None


@lru_cache(_MOST_KNOWN)
def _read(der: bytes, verified: bool) -> ClientCertificate:
    certificate = x509.load_der_x509_certificate(der)
    try:
        names: Any = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    of = names.get_values_for_type
    return ClientCertificate(
        certificate.subject.rfc4514_string(),
        certificate.issuer.rfc4514_string(),
        f"{certificate.serial_number:x}",
        certificate.fingerprint(SHA256()).hex(),
        verified,
        tuple(of(x509.DNSName)),
        tuple(of(x509.RFC822Name)),
        tuple(of(x509.UniformResourceIdentifier)),
        tuple(str(each) for each in of(x509.IPAddress)),
        der,
    )
