# -*- test-case-name: tests.l7.test_trailers -*-
"""
Trailers: the fields behind a chunked body (RFC 9110 section 6.5).

Many recipients put them among the fields of the head, so a trailer could say whatever the head
was not allowed to. Only those pass that the head has announced in C{Trailer}, and that mean
nothing to anybody on the way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from wsrelay.model import Headers, Request
from wsrelay.rules import FRAMING, HANDSHAKE
from wsrelay.wire.heads import TOKEN

__all__ = ["Trailers", "announced", "areTaken", "passing"]

Trailers = Sequence[tuple[bytes, bytes]]

# RFC 9110 section 6.5.1: framing, routing, request modifiers, authentication, and how the
# content is to be read.
_NEVER = (
    FRAMING
    | HANDSHAKE
    | frozenset(
        b"""
        accept-encoding age allow authorization cache-control client-cert client-cert-chain
        content-encoding content-language content-location content-range content-type cookie
        cookie2 date early-data expect expires forwarded from host location max-forwards origin
        pragma proxy-authenticate proxy-authorization range referer retry-after set-cookie
        set-cookie2 user-agent vary via warning www-authenticate x-real-ip
        """.split()
    )
)
_NEVER_BEGINS = (b"if-", b"proxy-", b"sec-", b"x-forwarded", b"x-http-method", b"x-original-")


def _mayPass(name: bytes) -> bool:
    """Many backends take C{_} for C{-}, as CGI does. The name is in lower case."""
    name = name.replace(b"_", b"-")
    return name not in _NEVER and not name.startswith(_NEVER_BEGINS)


_NAME = re.compile(TOKEN)


def announced(head: Headers) -> tuple[bytes, ...]:
    """What may come behind a body with this head, in lower case, each of them once."""
    names = [token.lower().encode("latin-1") for token in head.tokens("trailer")]
    return tuple(n for n in dict.fromkeys(names) if _NAME.fullmatch(n) and _mayPass(n))


def areTaken(request: Request) -> bool:
    """Whether the client has said that it takes trailers (RFC 9110 section 10.1.4)."""
    if "te" not in request.headers or request.version < (1, 1):
        return False
    tokens = request.headers.tokens("te")
    return any(token.partition(";")[0].strip(" \t").lower() == "trailers" for token in tokens)


def passing(
    trailers: Iterable[tuple[bytes, bytes]], names: Collection[bytes]
) -> list[tuple[bytes, bytes]]:
    """Those of C{trailers} that were L{announced} by these names."""
    return [pair for pair in trailers if pair[0].lower() in names]
