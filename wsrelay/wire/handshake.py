# -*- test-case-name: tests.wire.test_handshake -*-
"""
The opening handshake of a WebSocket (RFC 6455 section 4).

The client I{offers}: L{readHandshake} checks its request before anything is forwarded, so
that no backend ever sees a handshake it would refuse and the relay take for a tunnel. The
backend I{accepts}: L{checkAccepted} decides whether its 101 really opened this WebSocket,
and nothing less does.

Not here: what permessage-deflate offers mean (L{wsrelay.wire.deflate}), and whether an
C{Origin} is welcome (a request filter's affair).
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1

from attrs import frozen

from wsrelay.errors import BadHandshake, BadRequest, BadResponse, NotImplementedByRelay
from wsrelay.model import Request, Response
from wsrelay.wire.bodies import requestFraming, responseFraming
from wsrelay.wire.heads import TOKEN

__all__ = [
    "Accepted",
    "Handshake",
    "acceptKey",
    "checkAccepted",
    "readHandshake",
    "wantsUpgrade",
]

# RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# 16 bytes in base64: 128 bits fill 21 characters and two bits, the last of which is padded
# with zero bits (RFC 4648 section 3.5).
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")

_NAME = TOKEN.decode("ascii")
_SUBPROTOCOL = re.compile(_NAME)

# RFC 6455 section 9.1: a quoted parameter value is a token once it is unquoted.
_QUOTED = rf"\"(?:\\?{_NAME.removesuffix('+')})+\""
_PARAMETER = rf"[ \t]*;[ \t]*{_NAME}(?:[ \t]*=[ \t]*(?:{_NAME}|{_QUOTED}))?"
_EXTENSION = rf"({_NAME})(?:{_PARAMETER})*"
_EACH_EXTENSION = re.compile(_EXTENSION)
_EXTENSIONS = re.compile(rf"{_EXTENSION}(?:[ \t]*,[ \t]*{_EXTENSION})*")

# Browsers offer one extension and few subprotocols. These bound what the work of a single
# handshake can be made to cost (CVE-2021-32640, CVE-2023-43669).
_MAX_SUBPROTOCOLS = 64
_MAX_EXTENSIONS = 32
_MAX_OFFER = 4096


@frozen
class Handshake:
    """
    What a client offered.

    @ivar key: the C{Sec-WebSocket-Key}.
    @ivar subprotocols: in the client's order of preference.
    @ivar extensions: the whole offer on one line; empty when there is none.
    @ivar origin: where the script comes from; browsers always say so.
    """

    key: bytes
    subprotocols: tuple[str, ...] = ()
    extensions: str = ""
    origin: str | None = None


@frozen
class Accepted:
    """
    What a backend accepted.

    @ivar subprotocol: one of those offered, or C{None}.
    @ivar extensions: the C{Sec-WebSocket-Extensions} of the answer; empty when there is none.
    """

    subprotocol: str | None = None
    extensions: str = ""


def wantsUpgrade(request: Request) -> bool:
    """
    Whether the client asks for a WebSocket, rightly or not.

    Other protocols in C{Upgrade} are nobody's business here: they are never forwarded.
    """
    return _says(request, b"upgrade", b"websocket")


def readHandshake(request: Request) -> Handshake:
    """
    Check the client's side of the handshake (RFC 6455 section 4.2.1).

    @raise BadHandshake: it is none: status 400, or 426 if only the version is wrong.
    """
    _checkMethod(request)
    _checkNoBody(request)
    handshake = Handshake(
        _readKey(request),
        _readSubprotocols(request),
        _readExtensions(request),
        _readOrigin(request),
    )
    versions = request.headers.rawAll(b"sec-websocket-version")
    if versions != [b"13"]:
        raise BadHandshake(f"Sec-WebSocket-Version: {versions!r:.80}", 426)
    return handshake


def acceptKey(key: bytes) -> bytes:
    """The C{Sec-WebSocket-Accept} for a key (RFC 6455 section 4.2.2, step 5)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def checkAccepted(handshake: Handshake, response: Response) -> Accepted:
    """
    Check that a backend's answer opened the WebSocket that was asked for (RFC 6455
    section 4.1, the client's side).

    @param handshake: what was offered to this backend.
    @raise BadResponse: it did not: bytes from it are not WebSocket frames.
    """
    if response.status != 101 or response.version != (1, 1):
        raise BadResponse(f"a {response.status} does not open a WebSocket")
    if not _says(response, b"upgrade", b"websocket", alone=True):
        raise BadResponse("101 without Upgrade: websocket")
    if not _says(response, b"connection", b"upgrade"):
        raise BadResponse("101 without Connection: upgrade")
    accepts = response.headers.rawAll(b"sec-websocket-accept")
    if accepts != [acceptKey(handshake.key)]:
        raise BadResponse(f"Sec-WebSocket-Accept: {accepts!r:.80}")
    responseFraming(response, "GET")
    return Accepted(
        _acceptedSubprotocol(handshake, response), _acceptedExtensions(handshake, response)
    )


# --------------------------------------------------------------------- the client's side


def _says(head: Request | Response, name: bytes, token: bytes, alone: bool = False) -> bool:
    """Whether a list field has this token, in any case; C{alone}: and no other."""
    values = head.headers.rawAll(name)
    if not values:
        return False
    if len(values) == 1 and values[0].lower() == token:
        return True
    tokens = [each.lower().encode("latin-1") for each in head.headers.tokens(name.decode("ascii"))]
    return tokens == [token] if alone else token in tokens


def _checkMethod(request: Request) -> None:
    """
    A GET in HTTP/1.1 that asks for this protocol only: of C{websocket, h2c}, the backend
    might choose the other.
    """
    if request.method != "GET" or request.version != (1, 1):
        raise BadHandshake(f"a handshake by {request.method} in HTTP/{request.version[1]}")
    if not _says(request, b"upgrade", b"websocket", alone=True):
        raise BadHandshake(f"Upgrade: {request.headers.getAll('upgrade')!r:.80}")
    if not _says(request, b"connection", b"upgrade"):
        raise BadHandshake("Connection does not say upgrade")


def _checkNoBody(request: Request) -> None:
    """What stands behind the head is the WebSocket's, not a body's."""
    try:
        framing = requestFraming(request)
    except (BadRequest, NotImplementedByRelay) as error:
        raise BadHandshake(error.detail) from error
    if framing.length or "transfer-encoding" in request.headers:
        raise BadHandshake("a handshake with a body")
    if "expect" in request.headers:
        raise BadHandshake("a handshake with an expectation")


def _readKey(request: Request) -> bytes:
    keys = request.headers.rawAll(b"sec-websocket-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise BadHandshake("Sec-WebSocket-Key is not 16 bytes in base64, once")
    return keys[0]


def _readSubprotocols(request: Request) -> tuple[str, ...]:
    """RFC 6455 section 4.1, item 10: tokens, each of them once."""
    if "sec-websocket-protocol" not in request.headers:
        return ()
    names = request.headers.tokens("sec-websocket-protocol")
    if not 0 < len(names) <= _MAX_SUBPROTOCOLS:
        raise BadHandshake(f"{len(names)} subprotocols")
    if len(set(names)) != len(names) or not all(map(_SUBPROTOCOL.fullmatch, names)):
        raise BadHandshake("Sec-WebSocket-Protocol is no list of different tokens")
    return tuple(names)


def _readExtensions(request: Request) -> str:
    """RFC 6455 section 9.1: several fields are one list."""
    offer = ", ".join(request.headers.getAll("sec-websocket-extensions"))
    if "sec-websocket-extensions" in request.headers and not _isOffer(offer):
        raise BadHandshake(f"Sec-WebSocket-Extensions: {offer:.80}")
    return offer


def _isOffer(offer: str) -> bool:
    return (
        len(offer) <= _MAX_OFFER
        and offer.count(",") < _MAX_EXTENSIONS
        and _EXTENSIONS.fullmatch(offer) is not None
    )


def _readOrigin(request: Request) -> str | None:
    """At most one (RFC 6454 section 7.3): which of two would a policy look at?"""
    origins = request.headers.getAll("origin")
    if len(origins) > 1:
        raise BadHandshake(f"{len(origins)} Origin fields")
    return origins[0] if origins else None


# -------------------------------------------------------------------- the backend's side


def _acceptedSubprotocol(handshake: Handshake, response: Response) -> str | None:
    """RFC 6455 section 4.1: one that was offered, or none."""
    chosen = response.headers.getAll("sec-websocket-protocol")
    if not chosen:
        return None
    if len(chosen) != 1 or chosen[0] not in handshake.subprotocols:
        raise BadResponse(f"Sec-WebSocket-Protocol: {chosen!r:.80}")
    return chosen[0]


def _acceptedExtensions(handshake: Handshake, response: Response) -> str:
    """RFC 6455 section 4.1: only such as were offered; with which parameters is theirs."""
    answer = ", ".join(response.headers.getAll("sec-websocket-extensions"))
    if "sec-websocket-extensions" not in response.headers:
        return ""
    if not _isOffer(answer):
        raise BadResponse(f"Sec-WebSocket-Extensions: {answer:.80}")
    offered = set(_EACH_EXTENSION.findall(handshake.extensions))
    if not offered.issuperset(_EACH_EXTENSION.findall(answer)):
        raise BadResponse(f"an extension nobody offered: {answer:.80}")
    return answer
