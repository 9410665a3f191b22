# -*- test-case-name: tests.tls.test_contexts -*-
"""
What a listener's TLS demands and offers (L{Terms}), and the OpenSSL context that does so.

The ciphers and groups are those of Mozilla's Server Side TLS, guideline 6.0, whose names are
taken over: C{intermediate} for everybody, C{modern} for those who need no TLS 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import X509

from wsrelay.tls.certificates import Certificate, Source, Unusable, textOf

__all__ = ["GROUPS", "PROFILES", "VERSIONS", "Terms", "makeContext"]

VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

_INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
_TLS13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

#: By name, the ciphers up to TLS 1.2 and the lowest version.
PROFILES = {
    "intermediate": (_INTERMEDIATE, "TLSv1.2"),
    "modern": (_INTERMEDIATE, "TLSv1.3"),
}

#: For the exchange of keys, the best liked first.
GROUPS = "X25519MLKEM768:X25519:prime256v1:secp384r1"
# The same, for an OpenSSL before 3.5.
_OLD_GROUPS = "X25519:prime256v1:secp384r1"

_MODES = {
    "request": SSL.VERIFY_PEER,
    "require": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@frozen
class Terms:
    """
    The terms on which a listener ends TLS.

    @ivar certificates: where they stand; the first is the default.
    @ivar strictNames: whether a client is refused that asks for no name of a certificate.
    @ivar minimumVersion: one of L{VERSIONS}; C{None} is the profile's.
    @ivar ciphers: one of L{PROFILES}, or a list as OpenSSL writes it.
    @ivar groups: for the exchange of keys, as OpenSSL writes them; C{None} is L{GROUPS}.
    @ivar alpn: the protocols that are agreed on, the best liked first; C{None} is what is
        spoken by whoever gets the connections.
    @ivar clientCertificates: C{"none"}, C{"request"} or C{"require"}.
    @ivar clientCA: a PEM file with the authorities of client certificates. Without one, a
        certificate that was requested is taken as it comes.
    @ivar clientDepth: how many certificates may stand between a client's and its authority.
    @ivar sessions: whether clients may resume a session.
    """

    certificates: tuple[Source, ...]
    strictNames: bool = False
    minimumVersion: str | None = None
    ciphers: str = "intermediate"
    groups: str | None = None
    alpn: tuple[str, ...] | None = None
    clientCertificates: str = "none"
    clientCA: Path | None = None
    clientDepth: int | None = None
    sessions: bool = True

    @property
    def identifies(self) -> bool:
        """Whether clients are asked who they are."""
        return self.clientCertificates != "none"

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        own = [path for source in self.certificates for path in source.paths]
        return (*own, self.clientCA) if self.clientCA else tuple(own)


def makeContext(
    terms: Terms,
    certificate: Certificate,
    sessionId: bytes,
    select: Callable[[Any, Sequence[bytes]], Any],
) -> SSL.Context:
    """
    A context for the server's side.

    @param sessionId: sessions are resumed only where it is the same; at most 32 bytes.
    @param select: answers what a client offers by ALPN, see C{set_alpn_select_callback}.
    @raise Unusable: OpenSSL does not take something of this.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_app_data(terms)
    # A client that renegotiates has the relay do the dear half of a handshake as often as it
    # likes; compression tells what is encrypted by its length (CRIME).
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    # Tens of kilobytes less for each connection that is idle.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_alpn_select_callback(select)
    _setCiphers(context, terms)
    _setGroups(context, terms.groups)
    _setSessions(context, terms.sessions, sessionId)
    _setCertificate(context, certificate)
    if terms.identifies:
        _setClients(context, terms)
    return context


def _setCiphers(context: SSL.Context, terms: Terms) -> None:
    profile = PROFILES.get(terms.ciphers)
    if profile is None:
        given = terms.ciphers.replace(",", ":").replace(" ", ":").split(":")
        new = ":".join(each for each in given if each.startswith("TLS_"))
        old = ":".join(each for each in given if not each.startswith("TLS_"))
        # Who writes a list has an order in mind; the profiles leave it to the client, who knows
        # what its hardware is good at.
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        minimum = "TLSv1.2" if old else "TLSv1.3"
    else:
        (old, minimum), new = profile, _TLS13
    context.set_min_proto_version(VERSIONS[terms.minimumVersion or minimum])
    try:
        if old:
            context.set_cipher_list(old.encode())
        if new:
            context.set_tls13_ciphersuites(new.encode())
    except (SSL.Error, UnicodeError):
        raise Unusable("ciphers", f'OpenSSL knows no ciphers "{terms.ciphers}"') from None


def _setGroups(context: SSL.Context, groups: str | None) -> None:
    # pyOpenSSL has a method for a single one only.
    set1 = getattr(lib, "SSL_CTX_set1_curves_list", None)
    if set1 is None:
        if groups is not None:
            raise Unusable("groups", "this build of OpenSSL lets nobody choose them")
        return
    for wanted in (groups,) if groups else (GROUPS, _OLD_GROUPS):
        if set1(context._context, wanted.encode("ascii", "replace")) == 1:
            return
        lib.ERR_clear_error()
    raise Unusable("groups", f'OpenSSL knows no groups "{groups}"')


def _setSessions(context: SSL.Context, isWanted: bool, sessionId: bytes) -> None:
    context.set_session_id(sessionId)
    if isWanted:
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)


def _setCertificate(context: SSL.Context, certificate: Certificate) -> None:
    try:
        context.use_certificate(certificate.chain[0])
        for each in certificate.chain[1:]:
            context.add_extra_chain_cert(each)
        context.use_privatekey(certificate.key)
    except (SSL.Error, TypeError) as error:
        detail = f"OpenSSL refuses a certificate or its key: {_reason(error)}"
        raise Unusable("certificates", detail) from None


def _reason(error: Exception) -> str:
    queue = error.args[0] if error.args else ""
    return str(queue[-1][-1]) if isinstance(queue, list) and queue else str(queue)


def _setClients(context: SSL.Context, terms: Terms) -> None:
    path = terms.clientCA
    if path is None:
        # Whether it is to be trusted is for others to say: anything will do here.
        context.set_verify(_MODES[terms.clientCertificates], lambda *_: True)
        return
    try:
        authorities = x509.load_pem_x509_certificates(textOf(path, "clientCA"))
    except ValueError as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable("clientCA", f"{path} holds no PEM certificate that can be read") from None
    store: Any = context.get_cert_store()
    for each in authorities:
        store.add_cert(X509.from_cryptography(each))
        # What a client chooses among its certificates by.
        context.add_client_ca(each)
    context.set_verify(_MODES[terms.clientCertificates])
    if terms.clientDepth is not None:
        context.set_verify_depth(terms.clientDepth)
