# -*- test-case-name: tests.filters.test_purge -*-
"""
Drops what caches keep for a URL when somebody asks for it by C{PURGE}.

The URL is that of the request, as clients see it: behind a proxy that is trusted, what the
proxy says. It is no condition that the request's own route has a cache. The backend hears
nothing of it.

Who may is a matter of networks; the client is
L{Inbound.client<wsrelay.model.Inbound.client>}, who connected, or whom a trusted proxy names.
A client on a UNIX socket is in no network, and may not.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from zope.interface import implementer

from wsrelay.filters.networks import NetworkSet
from wsrelay.filters.refusals import refusal
from wsrelay.interfaces import IExchange, IRelay, IRequestFilter, Options
from wsrelay.model import Inbound, Request, Respond

__all__ = ["PurgeFilter", "PurgeOptions"]

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
# These mean something already (RFC 9110 section 9.1, RFC 5789).
_TAKEN = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)

_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


def _method(text: str) -> str:
    if text in _TAKEN or not _METHOD.fullmatch(text):
        raise ValueError('expected a method that means nothing else, in upper case: "PURGE"')
    return text


def _networks(texts: list[str]) -> list[str]:
    NetworkSet(texts)
    return texts


class PurgeOptions(Options):
    """What may stand in the plugin's table."""

    allow: Annotated[list[str], AfterValidator(_networks)] = Field(
        default=["127.0.0.0/8", "::1"],
        description="the networks whose clients may purge; everybody else gets 403",
        examples=[["127.0.0.0/8", "::1", "10.0.0.0/8"]],
    )
    method: Annotated[str, AfterValidator(_method)] = Field(
        default="PURGE",
        description="the method that asks for it; requests with another one pass",
        examples=["BAN"],
    )


@implementer(IRequestFilter)
class PurgeFilter:
    """Answers C{PURGE}."""

    _forbidden = refusal(403)
    _bad = refusal(400)

    def __init__(self, options: PurgeOptions, relay: IRelay) -> None:
        self._method = options.method
        self._allow = NetworkSet(options.allow)
        self._relay = relay

    def requestReceived(self, exchange: IExchange) -> Respond | None:
        """200 and how many answers were dropped, 403, or nothing."""
        inbound = exchange.inbound
        request = inbound.request
        if request is None or request.method != self._method:
            return None
        if inbound.client.ip not in self._allow:
            return self._forbidden
        try:
            count = self._relay.purge(_urlOf(inbound, request))
        except ValueError:
            # HTTP/1.0 needs no Host, and without one there is no URL.
            return self._bad
        return Respond(200, (_TEXT,), b"%d dropped\n" % count)

    def responseReceived(self, exchange: IExchange) -> Respond | None:
        """Answers pass."""
        return None


def _urlOf(inbound: Inbound, request: Request) -> str:
    scheme = "https" if inbound.secure else "http"
    return f"{scheme}://{request.headers.get('host', '')}{request.target}"
