# -*- test-case-name: tests.tls.test_alpn -*-
"""
The protocol (ALPN) at listeners whose TLS comes from the endpoint string (C{ssl:}, C{tls:}).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet import _sslverify

__all__ = ["mendALPN"]


def mendALPN() -> None:
    """
    Have listeners answer what a client offers by ALPN as RFC 7301 section 3.2 demands.

    Twisted 26.10 answers in every context that it makes, also where nobody knows of a
    protocol, and answers an empty name when there is none in common. OpenSSL takes that for
    a fault of the server (alert 80). A context belongs to an endpoint, which we have as a
    string, and pyOpenSSL refuses to change one that was used: so it is what sets contexts up
    that is replaced, in the whole process. Done twice is done once.

    A factory with protocols of its own (C{IProtocolNegotiationFactory}) refuses who speaks
    none of them (alert 120), as nginx does: this is what keeps what was meant for a server
    of another protocol away. Without any, the handshake goes on as if ALPN had not been used.
    """
    if hasattr(_sslverify, "setupForALPN"):
        _sslverify.setupForALPN = _setupForALPN


def _setupForALPN(context: SSL.Context, acceptableProtocols: Sequence[bytes]) -> None:
    def select(connection: SSL.Connection, offered: Sequence[bytes]) -> Any:
        known = _sslverify.protosFromProtocol(connection.get_app_data(), acceptableProtocols)
        for protocol in known:
            if protocol in offered:
                return protocol
        if known:
            # Whatever is raised becomes the alert; Twisted then fails with it.
            raise SSL.Error([("SSL routines", "", "no application protocol")])
        return SSL.NO_OVERLAPPING_PROTOCOLS

    context.set_alpn_select_callback(select)
