# -*- test-case-name: tests.l7.test_fields -*-
"""
Header fields between the two sides of an exchange.

What is meant for one connection only is taken away (RFC 9110 section 7.6.1), what tells the
backend about the client is added, and framing and handshake fields are written by the relay
alone, whatever a filter did.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsrelay.model import (
    Headers,
    Inbound,
    MutableHeaders,
    OutboundRequest,
    OutboundResponse,
    Request,
    Response,
)
from wsrelay.wire.bodies import BodyKind, Framing

__all__ = [
    "endToEnd",
    "framed",
    "mayHaveBody",
    "outboundRequest",
    "outboundResponse",
    "shaken",
]

# RFC 9110 section 7.6.1, and what the HTTP/1 of the field's past left behind.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# Written by the relay at the end, so that no filter and no peer can contradict its framing.
_FRAMING = frozenset({b"content-length"}) | _HOP_BY_HOP
_HANDSHAKE = frozenset(
    {b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key"}
    | {b"sec-websocket-version"}
)
_UPGRADE = _FRAMING | _HANDSHAKE

# What a client says about itself here is not believed: the relay says it, or nobody does.
# Besides these, everything that begins with X-Forwarded (RFC 7239, RFC 9440 section 4).
_FORWARDING = frozenset({b"forwarded", b"x-real-ip", b"client-cert", b"client-cert-chain"})

# Naming one of these in Connection does not take it away: that has been used to strip what
# authenticates a request (CVE-2022-1388, CVE-2022-31813).
_PROTECTED = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"cookie",
        b"host",
        b"origin",
        b"sec-websocket-protocol",
    }
)


def mayHaveBody(request: Request) -> bool:
    """
    Whether something may follow the head that is no next request, right or wrong: a body,
    or the frames of a WebSocket that was not opened.
    """
    headers = request.headers
    if "transfer-encoding" in headers or "upgrade" in headers:
        return True
    return headers.rawAll(b"content-length") not in ([], [b"0"])


def endToEnd(headers: Headers, without: frozenset[bytes]) -> MutableHeaders:
    """The fields that are meant for the other side, except those in C{without}."""
    named = {
        token.strip(b" \t").lower()
        for value in headers.rawAll(b"connection")
        for token in value.split(b",")
    }
    gone = (named - _PROTECTED) | without if named else without
    return MutableHeaders([pair for pair in headers.raw if pair[0].lower() not in gone])


def _isForwarding(name: bytes) -> bool:
    """Many backends take C{_} for C{-}, as CGI does."""
    name = name.lower().replace(b"_", b"-")
    return name in _FORWARDING or name.startswith(b"x-forwarded")


def outboundRequest(inbound: Inbound, isUpgrade: bool, authority: str) -> OutboundRequest:
    """
    The request as filters get it to edit.

    @param authority: for C{Host}, when an HTTP/1.0 client sent none.
    """
    request: Request = inbound.request  # type: ignore[assignment]  # there is one at L7
    believed = Headers([pair for pair in request.headers.raw if not _isForwarding(pair[0])])
    headers = endToEnd(believed, _UPGRADE if isUpgrade else _FRAMING)
    host = request.headers.get("host")
    if host is None:
        host = authority
        headers.set("Host", host)
    client = str(inbound.client.ip) if inbound.client.ip is not None else "unknown"
    headers.add("X-Forwarded-For", client)
    headers.add("X-Forwarded-Proto", "https" if inbound.secure else "http")
    headers.add("X-Forwarded-Host", host)
    return OutboundRequest(request.method, request.target, headers)


def framed(
    headers: Headers, framing: Framing, extra: Iterable[tuple[bytes, bytes]] = ()
) -> list[tuple[bytes, bytes]]:
    """
    The fields as they are written: C{headers} with nothing but this C{framing}, and
    C{extra}.
    """
    fields = [pair for pair in headers.raw if pair[0].lower() not in _FRAMING]
    if framing.kind is BodyKind.LENGTH:
        fields.append((b"Content-Length", b"%d" % framing.length))
    elif framing.kind is BodyKind.CHUNKED:
        fields.append((b"Transfer-Encoding", b"chunked"))
    fields += extra
    return fields


def shaken(
    headers: Headers, handshake: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """
    The fields of a WebSocket handshake, or of its 101, as they are written: C{headers}
    without any field of the handshake itself, and C{handshake}.
    """
    return [pair for pair in headers.raw if pair[0].lower() not in _UPGRADE] + [*handshake]


def outboundResponse(response: Response, isUpgrade: bool) -> OutboundResponse:
    """A response as filters get it to edit."""
    headers = endToEnd(response.headers, _UPGRADE if isUpgrade else _FRAMING)
    return OutboundResponse(response.status, response.reason, headers)
