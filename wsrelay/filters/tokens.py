# -*- test-case-name: tests.filters.test_tokens -*-
"""
Where a client shows its token, and how it is taken out of what the backend gets.

C{Authorization: Bearer} is where it belongs (RFC 6750 section 2.1). A browser cannot send that
with a WebSocket: for it there are a cookie, a parameter of the query, or one of the subprotocols
it offers. A token that is shown twice, in one place or in two, is not taken at all: two readers
might take two of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_plus

from attrs import frozen

from wsrelay.model import OutboundRequest, Request

__all__ = ["Ambiguous", "Places"]

_BEARER = re.compile(r"bearer(?: +|\Z)(.*)", re.IGNORECASE | re.DOTALL)


class Ambiguous(ValueError):
    """There is more than one token."""


@frozen
class Places:
    """
    Where tokens are looked for.

    @ivar header: whether in C{Authorization}.
    @ivar cookie: in the cookie of this name.
    @ivar query: in the query's parameter of this name.
    @ivar subprotocol: behind this prefix of an offered WebSocket subprotocol.
    """

    header: bool = True
    cookie: str | None = None
    query: str | None = None
    subprotocol: str | None = None

    def shown(self, request: Request) -> str | None:
        """
        The token of a request; C{None} if there is none.

        @raise Ambiguous: there are several.
        """
        lines = request.headers.getAll("authorization") if self.header else []
        if len(lines) > 1:
            raise Ambiguous
        found = [match[1] for line in lines if (match := _BEARER.fullmatch(line))]
        if self.cookie is not None:
            found += [value for name, value in _cookies(request) if name == self.cookie]
        if self.query is not None:
            found += request.query.get(self.query, [])
        if (prefix := self.subprotocol) is not None:
            offered = request.headers.tokens("sec-websocket-protocol")
            found += [each.removeprefix(prefix) for each in offered if each.startswith(prefix)]
        if len(found) > 1:
            raise Ambiguous
        return found[0] if found else None

    def take(self, outbound: OutboundRequest) -> None:
        """Leave no token in the request to the backend, wherever one may be."""
        headers = outbound.headers
        if self.header and _BEARER.fullmatch(headers.get("authorization") or ""):
            headers.remove("Authorization")
        if self.cookie is not None:
            self._takeFrom(outbound, "Cookie", ";", self._isCookie, "; ")
        if (prefix := self.subprotocol) is not None:
            name = "Sec-WebSocket-Protocol"
            self._takeFrom(outbound, name, ",", lambda each: each.startswith(prefix), ", ")
        if self.query is not None:
            path, mark, query = outbound.target.partition("?")
            left = [each for each in query.split("&") if not self._isParameter(each)]
            if len(left) != query.count("&") + 1:
                outbound.target = path + mark + "&".join(left) if left else path

    def _isCookie(self, pair: str) -> bool:
        return pair.partition("=")[0].strip(" \t") == self.cookie

    def _isParameter(self, pair: str) -> bool:
        return unquote_plus(pair.partition("=")[0]) == self.query

    def _takeFrom(
        self,
        outbound: OutboundRequest,
        name: str,
        mark: str,
        isToken: Callable[[str], bool],
        glue: str,
    ) -> None:
        """Rewrite the lines of a list field that have a token in them, and no other."""
        lines = outbound.headers.getAll(name)
        kept = []
        for line in lines:
            elements = [each.strip(" \t") for each in line.split(mark)]
            left = [each for each in elements if not isToken(each)]
            kept.append(line if len(left) == len(elements) else glue.join(left))
        if kept != lines:
            outbound.headers.remove(name)
            for line in filter(None, kept):
                outbound.headers.add(name, line)


def _cookies(request: Request) -> list[tuple[str, str]]:
    """Every cookie, also those of one name (L{Request.cookies} has the first of them)."""
    pairs = [
        pair.partition("=")
        for line in request.headers.getAll("cookie")
        for pair in line.split(";")
    ]
    return [(name.strip(" \t"), value.strip(" \t")) for name, equals, value in pairs if equals]
