# -*- test-case-name: tests.demo.test_page -*-
"""
The page of the demo and what belongs to it, as one plugin: a resource that a route serves,
and the observer that keeps its feed supplied.

Everything comes from this package; the page's C{Content-Security-Policy} holds it to that.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from pydantic import Field
from twisted.logger import Logger
from twisted.web.resource import Resource
from zope.interface import implementer

from wsrelay.demo.feed import Feed
from wsrelay.interfaces import IObserver, IPluginMaker, IRelay, Options
from wsrelay.model import Event

__all__ = ["Page", "PageMaker", "PageOptions", "Part", "page"]

_log = Logger()

_PARTS = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
}


class PageOptions(Options):
    """What the page has to know of the rest of the configuration."""

    l4Port: int = Field(description="The port of the layer 4 listener.")
    l7Port: int = Field(description="The port of the layer 7 listener, where the page is.")


class Part(Resource):
    """A file of the page."""

    isLeaf = True

    def __init__(self, name: str, kind: str, policy: str) -> None:
        """
        @param name: of the file.
        @param kind: its media type.
        @param policy: the C{Content-Security-Policy}.
        """
        Resource.__init__(self)
        self._data = (files(__package__) / name).read_bytes()
        self._fields = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            "Content-Type": f"{kind}; charset=utf-8",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    def render_GET(self, request: Any) -> bytes:
        """The file."""
        for name, value in self._fields.items():
            request.setHeader(name, value)
        return self._data


@implementer(IObserver)
class Page(Resource):
    """The page, its parts and its feed."""

    def __init__(self, options: PageOptions, reactor: Any) -> None:
        Resource.__init__(self)
        self._feed = Feed(reactor, l4Port=options.l4Port)
        self.putChild(b"feed", WebSocketResource(self._feed))
        policy = _policy(options)
        for path, (name, kind) in _PARTS.items():
            self.putChild(path.encode(), Part(name, kind, policy))

    def observe(self, event: Event) -> None:
        """See L{IObserver.observe}."""
        self._feed.observe(event)


def _policy(options: PageOptions) -> str:
    """Own files only, and WebSockets to the two listeners, by either name of this machine."""
    sockets = [
        f"ws://{host}:{port}"
        for host in ("127.0.0.1", "localhost")
        for port in (options.l7Port, options.l4Port)
    ]
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src data:",
            f"connect-src {' '.join(sockets)}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


@implementer(IPluginMaker)
class PageMaker:
    """Makes the page."""

    name = "page"
    description = "The page of the demo, for a route to serve."
    options = PageOptions

    def make(self, options: PageOptions, relay: IRelay) -> Page:
        """See L{IPluginMaker.make}."""
        relay.reactor.callWhenRunning(_invite, options.l7Port)
        return Page(options, relay.reactor)


def _invite(port: int) -> None:
    _log.info("the demo runs: open http://127.0.0.1:{port}/ in a browser", port=port)


page = PageMaker()
