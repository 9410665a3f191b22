# -*- test-case-name: tests.tls.test_certificates -*-
"""
The certificates that a listener has, and which of them is for a name.

A L{Source} says in which files one stands, a L{Certificate} is what was read from them, and
a L{Choice} finds the one for the name that a client asks for. Nothing here knows OpenSSL's
contexts or a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

__all__ = ["Certificate", "Choice", "Source", "Unusable", "textOf"]


class Unusable(ValueError):
    """
    TLS cannot be spoken on these terms; the message says why.

    @ivar key: the key of the configuration that it is about.
    """

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(detail)
        self.key = key


def textOf(path: Path, key: str) -> bytes:
    """
    What stands in a file.

    @param key: see L{Unusable}.
    @raise Unusable: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(key, f"{path}: {error.strerror}") from None


@frozen
class Source:
    """
    Where a certificate stands, in PEM.

    @ivar certificate: the file with it, and after it those between it and its authority.
    @ivar key: the file with its private key; C{None} if that stands in the same file.
    """

    certificate: Path
    key: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return (self.certificate,) if self.key is None else (self.certificate, self.key)

    def load(self) -> Certificate:
        """
        Read it.

        @raise Unusable: a file cannot be read, or is not what it should be.
        """
        chain = _chain(self.certificate)
        key = _key(self.key or self.certificate)
        if key.public_key() != chain[0].public_key():
            raise Unusable(
                "certificates",
                f"{self.key or self.certificate}: the key is not that of the certificate"
                + (f" in {self.certificate}" if self.key else ""),
            )
        return Certificate(chain, key, _names(chain[0]))


def _chain(path: Path) -> tuple[x509.Certificate, ...]:
    text = textOf(path, "certificates")
    if b"-----BEGIN CERTIFICATE-----" not in text:
        raise Unusable("certificates", f"{path} holds no PEM certificate")
    try:
        return tuple(x509.load_pem_x509_certificates(text))
    except ValueError:
        raise Unusable("certificates", f"{path} holds a certificate that cannot be read") from None


def _key(path: Path) -> Any:
    text = textOf(path, "certificates")
    if b"PRIVATE KEY-----" not in text:
        raise Unusable("certificates", f"{path} holds no PEM private key")
    try:
        return load_pem_private_key(text, None)
    except TypeError:
        raise Unusable("certificates", f"{path}: the private key has a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unusable("certificates", f"{path} holds a private key that cannot be read") from None


def _names(certificate: x509.Certificate) -> frozenset[str]:
    """Its DNS names. The common name is none (RFC 9525 section 6.2)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return frozenset(each.lower() for each in names.value.get_values_for_type(x509.DNSName))
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()


@frozen(eq=False)
class Certificate:
    """
    A certificate with its key.

    @ivar chain: the certificate itself first, then those between it and its authority.
    @ivar key: its private key.
    @ivar names: the host names it is for, lower-case; C{*.} stands for one label.
    """

    chain: tuple[x509.Certificate, ...]
    key: Any
    names: frozenset[str]


class Choice:
    """
    Which of several certificates is for a name: the one that has the name itself, else the one
    that has a wildcard for it, else the first of all. Of two for the same name it is the first.
    """

    def __init__(self, certificates: Sequence[Certificate], isStrict: bool = False) -> None:
        """@param isStrict: whether names that none of them is for are refused."""
        self._default = None if isStrict else 0
        self._known: dict[str, int] = {}
        for index, certificate in enumerate(certificates):
            for name in certificate.names:
                self._known.setdefault(name, index)

    def find(self, name: str | None) -> int | None:
        """
        The place of the certificate for C{name}.

        @param name: lower-case; C{None} if the client named nobody.
        @return: C{None} if that is refused.
        """
        if not name:
            return self._default
        found = self._known.get(name)
        if found is not None:
            return found
        label, _, rest = name.partition(".")
        return self._known.get(f"*.{rest}", self._default) if label and rest else self._default
