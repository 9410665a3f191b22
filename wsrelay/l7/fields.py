# -*- test-case-name: tests.l7.test_fields -*-
"""
Header fields between the two sides of an exchange.

What is meant for one connection only is taken away (RFC 9110 section 7.6.1), what tells the
backend about the client is added, and framing and handshake fields are written by the relay
alone, whatever a filter did.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from wsrelay.headers import ByName
from wsrelay.l7.forwarded import Saying, sayXForwarded
from wsrelay.model import (
    Headers,
    Inbound,
    MutableHeaders,
    OutboundRequest,
    OutboundResponse,
    Request,
    Response,
)
from wsrelay.rules import FRAMING, HANDSHAKE, HOP_BY_HOP
from wsrelay.wire.bodies import BodyKind, Framing

__all__ = [
    "frame",
    "framed",
    "isPlain",
    "mayHaveBody",
    "outboundRequest",
    "outboundResponse",
    "requestFields",
    "responseFields",
    "saysClose",
    "shaken",
    "unframed",
]

_UPGRADE = FRAMING | HANDSHAKE

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


# What makes a request anything but a question that the next one may follow.
_UNUSUAL = frozenset(
    {b"connection", b"content-length", b"expect", b"te", b"trailer"}
    | {b"transfer-encoding", b"upgrade"}
)


def isPlain(request: Request) -> bool:
    """
    Whether it has none of the fields that say something about body, connection or protocol: most
    requests have none, and nothing needs to be asked about them.
    """
    return request.version == (1, 1) and not request.headers.hasAny(_UNUSUAL)


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


def _stays(names: frozenset[bytes], withForwarding: bool, name: bytes) -> bool:
    # Many backends take "_" for "-", as CGI does.
    dashed = name.lower().replace(b"_", b"-")
    return dashed in names or (withForwarding and _isForwarding(dashed))


def _known(names: frozenset[bytes], withForwarding: bool = False) -> ByName[bool]:
    """By a field's name, whether it stays behind."""
    return ByName(partial(_stays, names, withForwarding))


def _isForwarding(name: bytes) -> bool:
    """Whether a field, by its name in lower case, says something about the client."""
    return name in _FORWARDING or name.startswith(b"x-forwarded")


_NOT_REQUESTED = _known(FRAMING, withForwarding=True)
_NOT_ASKED = _known(_UPGRADE, withForwarding=True)
_NOT_FRAMED = _known(FRAMING)
# RFC 9110 section 10.1.1: nobody expects 100 without content to send, or in HTTP/1.0.
_NOT_OLD = _known(FRAMING | {b"expect"}, withForwarding=True)
_NOT_EMPTY = _known(FRAMING | {b"expect"})
_NOT_SHAKEN = _known(_UPGRADE)


def _endToEnd(headers: Headers, known: ByName[bool]) -> list[tuple[bytes, bytes]]:
    """The fields that are meant for the other side."""
    fields = [pair for pair in headers.raw if not known[pair[0]]]
    values = headers.rawAll(b"connection")
    if values and (len(values) > 1 or values[0].lower() not in HOP_BY_HOP):
        named = {token.strip(b" \t").lower() for value in values for token in value.split(b",")}
        if gone := named - _PROTECTED:
            fields = [pair for pair in fields if pair[0].lower() not in gone]
    return fields


def outboundRequest(
    inbound: Inbound, isUpgrade: bool, authority: str, says: Saying = sayXForwarded
) -> OutboundRequest:
    """
    The request as filters get it to edit.

    @param authority: for C{Host}, when an HTTP/1.0 client sent none.
    @param says: what the backend is told about the client.
    """
    request: Request = inbound.request  # type: ignore[assignment]  # there is one at L7
    fields = requestFields(inbound, isUpgrade, True, authority, says)
    return OutboundRequest(request.method, request.target, MutableHeaders(fields))


def requestFields(
    inbound: Inbound,
    isUpgrade: bool,
    hasContent: bool,
    authority: str,
    says: Saying = sayXForwarded,
) -> list[tuple[bytes, bytes]]:
    """The same fields where nobody edits them; none of them is about framing."""
    request: Request = inbound.request  # type: ignore[assignment]  # there is one at L7
    known = _NOT_REQUESTED if hasContent and request.version >= (1, 1) else _NOT_OLD
    fields = _endToEnd(request.headers, _NOT_ASKED if isUpgrade else known)
    hosts = request.headers.rawAll(b"host")
    if not hosts:
        hosts = [authority.encode("ascii")]
        fields.append((b"Host", hosts[0]))
    fields += says(inbound, hosts[0])
    return fields


def framed(
    headers: Headers, framing: Framing, extra: Iterable[tuple[bytes, bytes]] = ()
) -> list[tuple[bytes, bytes]]:
    """
    The fields as they are written: C{headers} with nothing but this C{framing}, and
    C{extra}.
    """
    known = _NOT_EMPTY if framing.kind is BodyKind.NONE else _NOT_FRAMED
    fields = [pair for pair in headers.raw if not known[pair[0]]]
    return frame(fields, framing, extra)


def frame(
    fields: list[tuple[bytes, bytes]],
    framing: Framing,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> list[tuple[bytes, bytes]]:
    """C{fields}, of which none is about framing, and behind them C{framing} and C{extra}."""
    if framing.kind is BodyKind.LENGTH:
        fields.append((b"Content-Length", b"%d" % framing.length))
    elif framing.kind is BodyKind.CHUNKED:
        fields.append((b"Transfer-Encoding", b"chunked"))
        if framing.trailer:
            fields.append((b"Trailer", b", ".join(framing.trailer)))
    fields += extra
    return fields


def shaken(
    headers: Headers, handshake: Iterable[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """
    The fields of a WebSocket handshake, or of its 101, as they are written: C{headers}
    without any field of the handshake itself, and C{handshake}.
    """
    return [pair for pair in headers.raw if not _NOT_SHAKEN[pair[0]]] + [*handshake]


def outboundResponse(response: Response, isUpgrade: bool) -> OutboundResponse:
    """A response as filters get it to edit."""
    fields = _endToEnd(response.headers, _NOT_SHAKEN if isUpgrade else _NOT_FRAMED)
    return OutboundResponse(response.status, response.reason, MutableHeaders(fields))


def responseFields(response: Response) -> list[tuple[bytes, bytes]]:
    """Its fields where nobody edits them; none of them is about framing."""
    return _endToEnd(response.headers, _NOT_FRAMED)


def unframed(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The fields that are not about framing, after somebody may have added such."""
    return [pair for pair in headers.raw if not _NOT_FRAMED[pair[0]]]
