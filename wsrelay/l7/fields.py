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
    Address,
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
    "saysClose",
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


def saysClose(request: Request) -> bool:
    """Whether the client wants no other request on this connection (RFC 9112 section 9.6)."""
    if not any(b"close" in value.lower() for value in request.headers.rawAll(b"connection")):
        return False
    return any(token.lower() == "close" for token in request.headers.tokens("connection"))


def endToEnd(headers: Headers, without: frozenset[bytes]) -> MutableHeaders:
    """The fields that are meant for the other side, except those in C{without}."""
    gone = _gone(headers, without)
    return MutableHeaders([pair for pair in headers.raw if pair[0].lower() not in gone])


def _gone(headers: Headers, without: frozenset[bytes]) -> frozenset[bytes]:
    """C{without}, and what Connection names."""
    values = headers.rawAll(b"connection")
    if not values or (len(values) == 1 and values[0].lower() in _HOP_BY_HOP):
        return without
    named = {token.strip(b" \t").lower() for value in values for token in value.split(b",")}
    return without | (named - _PROTECTED)


def _isForwarding(name: bytes) -> bool:
    """Many backends take C{_} for C{-}, as CGI does. The name is in lower case."""
    name = name.replace(b"_", b"-")
    return name in _FORWARDING or name.startswith(b"x-forwarded")


def outboundRequest(inbound: Inbound, isUpgrade: bool, authority: str) -> OutboundRequest:
    """
    The request as filters get it to edit.

    @param authority: for C{Host}, when an HTTP/1.0 client sent none.
    """
    request: Request = inbound.request  # type: ignore[assignment]  # there is one at L7
    gone = _gone(request.headers, _UPGRADE if isUpgrade else _FRAMING)
    fields = []
    for pair in request.headers.raw:
        name = pair[0].lower()
        # What is not believed begins with one of these letters.
        if name not in gone and not (name[0] in b"cfx" and _isForwarding(name)):
            fields.append(pair)
    hosts = request.headers.rawAll(b"host")
    if not hosts:
        hosts = [authority.encode("ascii")]
        fields.append((b"Host", hosts[0]))
    fields += (
        (b"X-Forwarded-For", _nameOf(inbound.client)),
        (b"X-Forwarded-Proto", b"https" if inbound.secure else b"http"),
        (b"X-Forwarded-Host", hosts[0]),
    )
    return OutboundRequest(request.method, request.target, MutableHeaders(fields))


def _nameOf(client: Address) -> bytes:
    """The address of a client, an IPv4 one never in IPv6; a UNIX socket has none."""
    if ":" not in client.host:
        return client.host.encode("ascii")
    return b"unknown" if client.ip is None else str(client.ip).encode("ascii")


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
