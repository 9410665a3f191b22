# -*- test-case-name: tests.filters.test_origin -*-
"""
Lets a WebSocket be opened only by the pages that may open it.

A browser sends a user's cookies with every WebSocket, whatever page opens it, and there is no
CORS to stop it: without this any page can talk in the user's name (cross-site WebSocket
hijacking). What the browser adds, and the page cannot change, is C{Origin} (RFC 6454).

Programs send none, and no page can make a browser leave it out of a WebSocket; so a missing one
says "no browser", and passes unless the configuration says otherwise. C{null} is what any
sandboxed frame has, and never passes.

It tells pages apart, not people: a program may send any C{Origin}.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated, Literal

import idna
from attrs import frozen
from pydantic import AfterValidator, Field
from zope.interface import implementer

from wsrelay.filters.refusals import refusal
from wsrelay.interfaces import IExchange, IRequestFilter, Options
from wsrelay.model import Inbound, Request, Respond

__all__ = ["Origin", "OriginFilter", "OriginOptions"]

_PORTS = {"http": 80, "https": 443}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

# serialized-origin of RFC 6454 section 7, with names as browsers write them: ASCII.
_SERIALIZED = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
)


@frozen
class Origin:
    """
    A page's origin: two are the same if all three are (RFC 6454 section 5).

    @ivar scheme: in lower case.
    @ivar host: in lower case, in ASCII (IDNA); an IPv6 address in brackets, shortened.
    @ivar port: the scheme's own where none was written; 0 for a scheme that has none.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """
        Read one as a browser writes it.

        @raise ValueError: it is none: a list, C{null}, a path behind it, a port out of range.
        """
        match = _SERIALIZED.fullmatch(text)
        if match is None:
            raise ValueError("not an origin")
        scheme, host = match[1].lower(), match[2].lower()
        port = int(match[3]) if match[3] else _PORTS.get(scheme, 0)
        if match[3] and not 0 < port < 65536:
            raise ValueError("not a port")
        return cls(scheme, _address(host) if host.startswith("[") else host, port)


def _address(host: str) -> str:
    try:
        return f"[{IPv6Address(host[1:-1]).compressed}]"
    except AddressValueError:
        raise ValueError("not an IPv6 address") from None


@frozen
class _Pattern:
    """An origin as the configuration writes it: maybe with C{*.} for any name below."""

    origin: Origin
    isWild: bool

    @classmethod
    def parse(cls, text: str) -> _Pattern:
        scheme, separator, rest = text.partition("://")
        isWild = rest.startswith("*.")
        rest = rest.removeprefix("*.")
        if not rest.isascii():
            host, colon, port = rest.partition(":")
            rest = idna.encode(host, uts46=True).decode("ascii") + colon + port
        return cls(Origin.parse(scheme + separator + rest), isWild)

    def matches(self, origin: Origin) -> bool:
        mine = self.origin
        if (origin.scheme, origin.port) != (mine.scheme, mine.port):
            return False
        if self.isWild:
            return origin.host.endswith("." + mine.host)
        return origin.host == mine.host


def _checked(text: str) -> str:
    try:
        _Pattern.parse(text)
    except ValueError:
        raise ValueError(
            'expected an origin, such as "https://example.org" or "https://*.example.org:8443"'
        ) from None
    return text


class OriginOptions(Options):
    """What may stand in the plugin's table."""

    sameOrigin: bool = Field(
        default=True,
        description="whether a page may open WebSockets to the host and port it came from, "
        "under its own scheme",
        examples=[False],
    )
    allow: list[Annotated[str, AfterValidator(_checked)]] = Field(
        default=[],
        description="other origins that may; *. stands for all names below one",
        examples=[["https://app.example.org", "https://*.example.net"]],
    )
    missing: Literal["allow", "refuse"] = Field(
        default="allow",
        description="what becomes of a client that sends no Origin, as programs do and browsers "
        "never",
        examples=["refuse"],
    )
    unsafeRequests: bool = Field(
        default=False,
        description="whether other requests than GET, HEAD, OPTIONS and TRACE are looked at, too",
        examples=[True],
    )


@implementer(IRequestFilter)
class OriginFilter:
    """Looks at C{Origin}."""

    _forbidden = refusal(403)

    def __init__(self, options: OriginOptions) -> None:
        self._options = options
        self._allow = [_Pattern.parse(each) for each in options.allow]

    def requestReceived(self, exchange: IExchange) -> Respond | None:
        """403 for a page that may not."""
        request = exchange.inbound.request
        if request is None:
            return self._forbidden
        isUnsafe = self._options.unsafeRequests and request.method not in _SAFE
        if (exchange.isUpgrade or isUnsafe) and not self._mayPass(exchange, request):
            return self._forbidden
        return None

    def responseReceived(self, exchange: IExchange) -> Respond | None:
        """Answers pass."""
        return None

    def _mayPass(self, exchange: IExchange, request: Request) -> bool:
        shown = request.headers.getAll("origin")
        if not shown:
            return self._options.missing == "allow"
        try:
            (text,) = shown
            origin = Origin.parse(text)
        except ValueError:
            return False
        isSame = self._options.sameOrigin and self._isSame(origin, exchange.inbound, request)
        return isSame or any(each.matches(origin) for each in self._allow)

    def _isSame(self, origin: Origin, inbound: Inbound, request: Request) -> bool:
        scheme = "https" if inbound.secure else "http"
        try:
            return Origin.parse(f"{scheme}://{request.headers.get('host', '')}") == origin
        except ValueError:
            return False
