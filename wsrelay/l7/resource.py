# -*- test-case-name: tests.l7.test_resource -*-
"""
The relay as a C{twisted.web} resource, for a site that exists already::

    root.putChild(b"ws", RelayResource(["ws://127.0.0.1:9000"]))

It relays WebSockets. The site has read the request's head; it is written anew and read
again by the relay's own reader, so that nothing passes that would not pass elsewhere. Once
the backend has answered 101, the connection is taken away from the site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from wsrelay.backends.backend import Backend, Destination
from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Pool
from wsrelay.errors import BadHandshake, RelayError
from wsrelay.interfaces import IForwarder
from wsrelay.l4.hub import Hub
from wsrelay.l4.listener import Listener
from wsrelay.l4.plans import Plans
from wsrelay.l4.timers import MovingDeadline
from wsrelay.l7.exchange import Exchange
from wsrelay.l7.pages import page, phrase
from wsrelay.l7.trailers import Trailers
from wsrelay.model import Forward, Headers, Inbound, Request, Respond, RouteSettings
from wsrelay.plane.choice import makePlane
from wsrelay.plane.legs import Leg, addressOf, takeOver
from wsrelay.tls.backends import BackendTLS
from wsrelay.wire.bodies import BodyKind, Framing
from wsrelay.wire.handshake import wantsUpgrade
from wsrelay.wire.heads import parseRequest, writeRequest

__all__ = ["RelayResource"]


_SETTINGS = RouteSettings()


@implementer(IResource)
class RelayResource:
    """
    Relays WebSockets to a pool. Anything else gets 426, or what the backend answers.
    """

    isLeaf = True

    def __init__(
        self,
        pool: Pool | Sequence[str],
        filters: Mapping[str, Any] | None = None,
        settings: RouteSettings = _SETTINGS,
        observers: Sequence[Any] = (),
        reactor: Any = None,
    ) -> None:
        """
        @param pool: a pool, or the URLs of its backends.
        @param filters: request and message filters by name, in order towards the backend.
        @param observers: who hears of events.
        @param reactor: C{None} is the global one.
        @raise ValueError: a URL is none.
        """
        if reactor is None:
            from twisted.internet import reactor
        if not isinstance(pool, Pool):
            tls = BackendTLS()
            backends = [Backend(Destination.parse(url), reactor, tls) for url in pool]
            pool = Pool("resource", backends, RoundRobin())
        filters = filters or {}
        self._listener = Listener(
            "resource",
            (),
            _Nothing(),
            (),
            Hub(reactor, observers),
            Plans({pool.name: pool}, filters),
            makePlane("auto", reactor),
            otherwise=Forward(pool.name, tuple(filters), "resource", settings),
        )

    def render(self, request: Any) -> Any:
        """Relay it, or refuse."""
        try:
            read, size = _reread(request)
            if not wantsUpgrade(read):
                raise BadHandshake("not a WebSocket handshake", 426)
            if not isinstance(request.channel, HTTPChannel):
                raise BadHandshake("a WebSocket over HTTP/2 (RFC 8441) is not relayed here", 426)
        except RelayError as error:
            return _whole(request, page(error))
        inbound = Inbound(
            self._listener.relay.newId(),
            self._listener.name,
            addressOf(request.getClientAddress()),
            addressOf(request.getHost()),
            request.isSecure(),
            request=read,
        )
        door = _ResourceDoor(request, self._listener.relay.clock)
        door.exchange = Exchange(self._listener, door, inbound, size)
        door.exchange.begin()
        return NOT_DONE_YET

    def getChildWithDefault(self, path: bytes, request: Any) -> RelayResource:
        """Everything below it is relayed too."""
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """There are no children."""
        raise NotImplementedError("RelayResource has no children")


@implementer(IForwarder)
class _Nothing:
    """The site accepts; nobody needs a factory."""

    def forwardingFactory(self, listener: Any) -> Any:
        return None


def _reread(request: Any) -> tuple[Request, int]:
    """
    The request as the relay reads it, and the size of its head.

    @raise BadRequest: the site was more lenient than the relay.
    """
    fields = [
        (name, value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]
    head = writeRequest(request.method.decode("latin-1"), request.uri.decode("latin-1"), fields)
    if request.clientproto != b"HTTP/1.1":
        head = head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    return parseRequest(head), len(head)


def _whole(request: Any, respond: Respond) -> bytes:
    request.setResponseCode(respond.status, phrase(respond.status).encode())
    for name, value in respond.headers:
        request.responseHeaders.addRawHeader(name, value)
    request.responseHeaders.setRawHeaders(b"content-length", [b"%d" % len(respond.body)])
    return respond.body


class _ResourceDoor:
    """The C{twisted.web} request as the door of an exchange."""

    exchange: Exchange
    isRead = True

    def __init__(self, request: Any, clock: Any) -> None:
        self._request = request
        self._isOver = False
        self.deadline = MovingDeadline(clock)
        request.notifyFinish().addErrback(self._left)

    def _left(self, failure: Any) -> None:
        if not self._isOver:
            self._over()
            self.exchange.clientLeft("closed its connection")

    def _over(self) -> None:
        self._isOver = True
        self.deadline.stop()

    @property
    def source(self) -> Any:
        """There is never a body to pause."""
        raise NotImplementedError("a handshake has no body")

    def feed(self, source: Any) -> None:
        """C{source} is paused while the client does not read."""
        self._request.registerProducer(source, True)

    def give(self) -> Leg:
        """Take the connection away from the site; the leg holds still."""
        self._over()
        return _taken(self._request.channel)

    def upload(self, framing: Framing) -> None:
        """A handshake has no body."""
        self.exchange.uploadEnded()

    def interim(self, status: int, reason: str, headers: Headers) -> None:
        """C{twisted.web} cannot send one of its own choice."""

    def head(
        self,
        status: int,
        reason: str,
        fields: list[tuple[bytes, bytes]],
        framing: Framing,
        isChecked: bool = False,
    ) -> None:
        """Begin the response, with the site's own framing."""
        request = self._request
        request.setResponseCode(status, reason.encode("latin-1"))
        for name, value in fields:
            request.responseHeaders.addRawHeader(name, value)
        if framing.kind is BodyKind.LENGTH:
            request.responseHeaders.setRawHeaders(b"content-length", [b"%d" % framing.length])

    def content(self, data: bytes) -> None:
        """Some of the response's body."""
        self._request.write(data)

    def flush(self) -> None:
        """The site sends the head with the first of the body."""

    def end(self, trailers: Trailers = ()) -> None:
        """The response is complete; C{twisted.web} knows no trailers."""
        if not self._isOver:
            self._over()
            if self._request.producer is not None:
                self._request.unregisterProducer()
            self._request.finish()

    def cut(self) -> None:
        """The response will never be complete."""
        if not self._isOver:
            self._over()
            self._request.channel.forceAbortClient()

    def whole(self, head: bytes, body: bytes) -> None:
        """Comes from caches, and a handshake never does."""
        raise NotImplementedError("a handshake is never answered from a cache")

    def answer(self, respond: Respond, isHead: bool = False) -> None:
        """A whole response of the relay's own."""
        if not self._isOver:
            self._request.write(_whole(self._request, respond))
            self.end()

    def accept(self, head: bytes) -> Leg:
        """Send a 101 and take the connection away."""
        leg = self.give()
        leg.write(head)
        return leg


def _taken(channel: HTTPChannel) -> Leg:
    """
    A leg in place of C{channel}, holding still, with what had been read behind the head.

    The channel hears of the end, so that C{notifyFinish} and the site's log work.
    """
    transport: Any = channel.transport
    early = b"".join(channel._dataBuffer)
    channel._dataBuffer.clear()
    channel.setTimeout(None)
    transport.unregisterProducer()
    return takeOver(transport, early)
