# -*- test-case-name: tests.l7.test_fetch,tests.l7.test_forwarder -*-
"""
A certificate that is made when the tests run, and what servers and clients need of it.
"""

from __future__ import annotations

import datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
)

__all__ = ["clientOptions", "pem", "serverOptions"]

NAME = "a.example"


@cache
def pem() -> bytes:
    """A private key and its self-signed certificate for L{NAME}."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)


def serverOptions() -> CertificateOptions:
    """What a server needs."""
    return PrivateCertificate.loadPEM(pem()).options()


def clientOptions(*protocols: bytes) -> Any:
    """What a client needs that trusts it, and offers these protocols by ALPN."""
    trust = Certificate.loadPEM(pem())
    return optionsForClientTLS(NAME, trustRoot=trust, acceptableProtocols=protocols or None)
