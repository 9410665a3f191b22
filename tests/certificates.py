# -*- test-case-name: tests.tls -*-
"""
Certificates for tests, made when they are needed and valid for nothing else.
"""

from __future__ import annotations

import functools
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import CertificateOptions, PrivateCertificate

__all__ = ["Authority", "Issued", "theAuthority"]

_NOW = datetime.now(UTC)
_DAY = timedelta(days=1)

#: What the key of an authority is for; strict verifiers insist on its being said.
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@frozen
class Issued:
    """A certificate with its key."""

    certificate: Any
    key: Any

    @property
    def pem(self) -> bytes:
        """Key and certificate."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return bytes(key) + self.certificate.public_bytes(Encoding.PEM)

    def write(self, path: Path) -> Path:
        """Into a file, as servers want it."""
        path.write_bytes(self.pem)
        return path

    def options(self, protocols: list[bytes] | None = None) -> CertificateOptions:
        """For a Twisted server that offers these protocols by ALPN."""
        own = PrivateCertificate.loadPEM(self.pem)
        return CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            acceptableProtocols=protocols,
        )


class Authority:
    """Who issues certificates, and is trusted or not."""

    def __init__(self, name: str = "test authority", by: Authority | None = None) -> None:
        """@param by: who has made it an authority; C{None} is itself."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        signer = by or self
        self.certificate = signer._sign(self._name, self._key, (), True, _NOW + _DAY)

    def write(self, path: Path) -> Path:
        """Its certificate into a file, for those who trust it."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def issue(self, *names: str, expired: bool = False, subject: str = "test") -> Issued:
        """A certificate for host names, IP addresses, mail addresses and URIs."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = _NOW - _DAY if expired else _NOW + _DAY
        return Issued(self._sign(_named(subject), key, names, False, until), key)

    def _sign(self, subject: Any, key: Any, names: Any, isAuthority: bool, until: Any) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - 3 * _DAY)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(isAuthority, None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
        )
        if isAuthority:
            builder = builder.add_extension(_SIGNS, critical=True)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_generalName(name) for name in names]), False
            )
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _generalName(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@functools.cache
def theAuthority() -> Authority:
    """One for all tests that need no second."""
    return Authority()
