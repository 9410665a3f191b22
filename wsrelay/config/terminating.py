# -*- test-case-name: tests.config.test_terminating -*-
"""
What may stand in a C{[listener.NAME.tls]} table, and the L{Terminator} it describes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from wsrelay.config.values import Count, Expected, Listed, Table, Text, YesOrNo
from wsrelay.errors import ConfigurationError
from wsrelay.tls.certificates import Source, Unusable
from wsrelay.tls.contexts import GROUPS, Terms
from wsrelay.tls.terminator import Terminator

__all__ = ["CertificateFiles", "Termination", "makeTerminator"]

_Version = Annotated[Literal["TLSv1.2", "TLSv1.3"], Expected('"TLSv1.2" or "TLSv1.3"')]
_Asking = Annotated[
    Literal["none", "request", "require"], Expected('"none", "request" or "require"')
]
_ProtocolsOrNone = Annotated[
    tuple[Annotated[str, Field(min_length=1), Expected("an ALPN protocol name")], ...],
    Listed(least=0),
]


class CertificateFiles(Table):
    """One certificate. A string stands for a table with nothing but C{certificate}."""

    model_config = ConfigDict(title="a PEM file, or a table of certificate and key")

    certificate: Text = Field(
        description="A PEM file with the certificate, and after it those between it and its "
        "authority, relative to the configuration file. Without `key` its private key stands "
        "there, too.",
        examples=["chat.pem", "/etc/letsencrypt/live/chat.example.org/fullchain.pem"],
    )
    key: Text | None = Field(
        default=None,
        description="A PEM file with its private key, without a password.",
        examples=["/etc/letsencrypt/live/chat.example.org/privkey.pem"],
    )

    @model_validator(mode="before")
    @classmethod
    def _fromString(cls, value: Any) -> Any:
        return {"certificate": value} if isinstance(value, str) else value


class Termination(Table):
    """
    TLS that ends at a listener, on all its endpoints. Files that change are read again within
    seconds: new connections get the new certificate, those that are open go on.
    """

    certificates: Annotated[tuple[CertificateFiles, ...], Listed()] = Field(
        description="The certificates: PEM files, or tables like "
        '{certificate = "...", key = "..."}. A client gets the one that has the name it asks '
        "for, else the one that has a wildcard for it (one label), else the first.",
        examples=["chat.pem", [{"certificate": "fullchain.pem", "key": "privkey.pem"}]],
    )
    strictNames: YesOrNo = Field(
        default=False,
        description="Whether clients are refused that ask for no name, or for one that none of "
        "the certificates is for. Without it they get the first.",
        examples=[True],
    )
    minimumVersion: _Version | None = Field(
        default=None,
        description='The lowest version of TLS. Not given: "TLSv1.2", or "TLSv1.3" where the '
        "ciphers are of that version only.",
        examples=["TLSv1.3"],
    )
    ciphers: Text = Field(
        default="intermediate",
        description='"intermediate" and "modern" are those of Mozilla\'s Server Side TLS 6.0; '
        '"modern" is TLS 1.3 only. Else a list as OpenSSL writes it, TLS 1.3 and older in one, '
        "whose order counts; with the other two the client's does.",
        examples=["modern", "ECDHE+AESGCM:TLS_AES_128_GCM_SHA256"],
    )
    groups: Text | None = Field(
        default=None,
        description="The groups for the exchange of keys, as OpenSSL writes them. Not given: "
        f"{GROUPS}.",
        examples=["X25519:prime256v1"],
    )
    alpn: _ProtocolsOrNone | None = Field(
        default=None,
        description="The protocols that are agreed on (ALPN), the best liked first; a client "
        "that offers others only is refused. [] passes over whatever is offered. Not given: "
        "what the forwarder speaks.",
        examples=["mqtt", []],
    )
    clientCertificates: _Asking = Field(
        default="none",
        description='"request" asks clients for a certificate, "require" refuses those that '
        "have none. One that is not of `clientCA` is refused either way; a request without "
        "`clientCA` takes any, and what is known of it says that it was not verified.",
        examples=["require"],
    )
    clientCA: Text | None = Field(
        default=None,
        description="A PEM file with the certificates of the authorities that client "
        "certificates are trusted by, relative to the configuration file.",
        examples=["clients-ca.pem"],
    )
    clientDepth: Count | None = Field(
        default=None,
        description="How many certificates may stand between a client's and its authority. "
        "Not given: as many as OpenSSL takes.",
        examples=[1],
    )
    sessions: YesOrNo = Field(
        default=True,
        description="Whether clients may resume a session, which saves both sides the dear part "
        "of a handshake. The keys of tickets change every twelve hours. With client certificates "
        "and several `certificates` nothing is resumed.",
        examples=[False],
    )

    def located(self, directory: Path) -> Termination:
        """The same, its files found from a directory."""
        files = [
            each.model_copy(
                update={
                    "certificate": str(directory / each.certificate),
                    "key": each.key and str(directory / each.key),
                }
            )
            for each in self.certificates
        ]
        authority = self.clientCA and str(directory / self.clientCA)
        return self.model_copy(update={"certificates": tuple(files), "clientCA": authority})

    def terms(self) -> Terms:
        """What it says, for TLS."""
        sources = [
            Source(Path(each.certificate), Path(each.key) if each.key else None)
            for each in self.certificates
        ]
        return Terms(
            tuple(sources),
            self.strictNames,
            self.minimumVersion,
            self.ciphers,
            self.groups,
            self.alpn,
            self.clientCertificates,
            Path(self.clientCA) if self.clientCA else None,
            self.clientDepth,
            self.sessions,
        )


def makeTerminator(name: str, table: Termination) -> Terminator:
    """
    What ends the TLS of a listener.

    @param name: the listener's.
    @raise ConfigurationError: a file cannot be read, or something is not what it should be.
    """
    try:
        return Terminator(name, table.terms())
    except Unusable as error:
        raise ConfigurationError([f"listener.{name}.tls.{error.key}: {error}"]) from None
