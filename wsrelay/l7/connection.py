# -*- test-case-name: tests.l7.test_connection -*-
"""
One client's connection at layer 7: reads request heads, one exchange at a time.

The head is read here, once, strictly, bounded in bytes and in time. While an exchange is in
progress the connection is its L{Door}: the exchange answers through it, and takes the leg
away when a 101 makes it a WebSocket. What a client sends ahead stays unread until its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol as TypingProtocol

from twisted.python.failure import Failure

from wsrelay.errors import ClientFault, RelayError, RequestTimeout
from wsrelay.l4.forwarders import inboundOf
from wsrelay.l4.life import Life
from wsrelay.l4.listener import Listener
from wsrelay.l7.exchange import Exchange
from wsrelay.l7.fields import framed
from wsrelay.l7.pages import page, phrase
from wsrelay.model import Counts, Direction, Headers, Inbound, Kind, Party, Phase, Request, Respond
from wsrelay.plane.legs import Leg
from wsrelay.wire.bodies import LAST_CHUNK, BodyKind, BodyReader, Framing, bodyReader, chunk
from wsrelay.wire.heads import HeadReader, parseRequest, writeResponse

__all__ = ["Connection"]

# After an error the client may still be sending; closing at once would make its kernel
# throw our answer away (RFC 9112 section 9.6). Seconds and bytes that are read for nothing.
_LINGER = 2.0
_LINGER_BYTES = 256 * 1024


class Connection:
    """One client connection, see the module."""

    def __init__(self, listener: Listener, leg: Leg) -> None:
        self._listener = listener
        self._clock = listener.relay.reactor
        self._settings = listener.settings
        self._leg = leg
        self._exchange: Exchange | None = None
        self._request: Request | None = None
        self._body: BodyReader | None = None
        self._out: BodyKind = BodyKind.NONE
        self._isLast = False
        self._timer: Any = None
        self._served = 0
        self._lingered = 0
        self._listen(self._settings.headTimeout)

    # -- reading a head

    def _listen(self, timeout: float) -> None:
        self._exchange = None
        self._head = HeadReader(self._settings.maxHead, self._settings.maxHeaders)
        self._timer = self._clock.callLater(timeout, self._late)
        self._read(self._readHead)

    def _read(self, receive: Any) -> None:
        self._leg.hold()
        self.received = receive
        self._leg.resumeProducing()
        self._leg.hand(self)

    def _readHead(self, data: bytes) -> None:
        wasEmpty = self._head.empty
        try:
            head, rest = self._head.feed(data)
            if head is None:
                if wasEmpty and self._served and not self._head.empty:
                    self._timer.reset(self._settings.headTimeout)
                return
            self._timer.cancel()
            self._leg.hold(rest)
            self._begin(parseRequest(head, self._settings.maxHeaders), len(head))
        except ClientFault as error:
            self._reject(error)

    def _begin(self, request: Request, size: int) -> None:
        self._served += 1
        self._request = request
        self._isLast = request.version < (1, 1) or any(
            token.lower() == "close" for token in request.headers.tokens("connection")
        )
        self._exchange = Exchange(self._listener, self, self._inbound(request), size)
        self._exchange.begin()

    def _inbound(self, request: Request | None) -> Inbound:
        leg = self._leg
        plain = inboundOf(self._listener, leg)
        serverName, alpn = _tlsFacts(leg.transport) if leg.isTLS else (None, ())
        return Inbound(
            plain.id, plain.listener, plain.client, plain.local, leg.isTLS, serverName, alpn, request
        )

    def _reject(self, error: ClientFault) -> None:
        """There is no request to make an exchange of: answer, and close."""
        self._stopTimer()
        self._leg.hold()
        life = Life(self._listener, Kind.EXCHANGE, self._inbound(None))
        life.phase = Phase.ACCEPT
        life.status = error.status
        life.end(Party.CLIENT, error.detail)
        self._request = None
        self._isLast = True
        self.answer(page(error))
        life.close()

    def _late(self) -> None:
        self._timer = None
        if self._head.empty:
            self._leg.close()
        else:
            self._reject(RequestTimeout("the request head did not arrive in time"))

    def _stopTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # -- the receiver of the leg

    def _readAhead(self, data: bytes) -> None:
        """The client sends before it was answered: not now."""
        self._leg.hold(data)

    def _readBody(self, data: bytes) -> None:
        assert self._body is not None
        assert self._exchange is not None
        try:
            content, rest = self._body.feed(data)
        except ClientFault as error:
            self._isLast = True
            self._exchange.clientFailed(error)
            return
        if rest is not None:
            self._body = None
            self._leg.hold(rest)
        if content:
            self._exchange.uploaded(content)
        if rest is not None:
            self._exchange.uploadEnded()
            self.watch()

    def _readNothing(self, data: bytes) -> None:
        self._lingered += len(data)
        if self._lingered > _LINGER_BYTES:
            self._stopTimer()
            self._leg.abort()

    def finished(self) -> None:
        """The client sends nothing more; what it asked for it still gets."""
        self._isLast = True
        if self._exchange is None:
            self._stopTimer()
            self._leg.close()
        elif self._body is not None:
            self._exchange.clientLeft("closed its connection in the middle of its request")

    def lost(self, reason: Failure) -> None:
        """The client is gone."""
        self._stopTimer()
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.clientLeft("closed its connection")

    # -- the door of the exchange

    @property
    def source(self) -> Leg:
        """What the request's body comes from."""
        return self._leg

    def feed(self, source: Any) -> None:
        """C{source} is paused while the client does not read."""
        self._leg.feed(source)

    def give(self) -> Leg:
        """The leg, holding still; this connection has nothing more to do with it."""
        self._exchange = None
        self._leg.hold()
        return self._leg

    def upload(self, framing: Framing) -> None:
        """The exchange takes the request's body now."""
        assert self._exchange is not None
        self._body = bodyReader(framing)
        if self._body.complete:
            self._body = None
            self._exchange.uploadEnded()
            self.watch()
        else:
            self._read(self._readBody)

    def watch(self) -> None:
        """Nothing is to be read, but the client may leave."""
        if self._exchange is not None and not self._leg.isLost:
            self._read(self._readAhead)

    def interim(self, status: int, reason: str, headers: Headers) -> None:
        """A 1xx, for clients that know them."""
        if self._request is not None and self._request.version >= (1, 1):
            self._leg.write(writeResponse(status, reason, headers.raw))

    def head(self, status: int, reason: str, headers: Headers, framing: Framing) -> None:
        """The response's head, framed for this client."""
        if framing.kind in (BodyKind.CHUNKED, BodyKind.CLOSE):
            isOld = self._request is None or self._request.version < (1, 1)
            framing = Framing(BodyKind.CLOSE if isOld else BodyKind.CHUNKED)
        self._out = framing.kind
        self._isLast = self._isLast or framing.kind is BodyKind.CLOSE or self._body is not None
        extra: Iterable[tuple[bytes, bytes]] = (
            ((b"Connection", b"close"),) if self._isLast else ()
        )
        self._leg.write(writeResponse(status, reason, framed(headers, framing, extra)))

    def content(self, data: bytes) -> None:
        """Some of the response's body."""
        self._leg.write(chunk(data) if self._out is BodyKind.CHUNKED else data)

    def end(self) -> None:
        """The response is complete: the next request, or the end."""
        if self._out is BodyKind.CHUNKED:
            self._leg.write(LAST_CHUNK)
        self._exchange = None
        self._leg.starve()
        if self._leg.isLost:
            return
        if self._isLast or self._body is not None:
            self._linger()
        else:
            self._listen(self._settings.keepAliveTimeout)

    def cut(self) -> None:
        """The response can not be completed, and the client must notice."""
        self._exchange = None
        self._leg.abort()

    def answer(self, respond: Respond, isHead: bool = False) -> int:
        """
        A whole response of the relay's own.

        @return: bytes of its body.
        """
        headers = Headers(respond.headers)
        framing = Framing(BodyKind.LENGTH, len(respond.body))
        self.head(respond.status, phrase(respond.status), headers, framing)
        if respond.body and not isHead:
            self.content(respond.body)
        self.end()
        return len(respond.body)

    def accept(self, headers: Headers) -> Leg:
        """Send a 101 and give the leg away, holding still."""
        leg = self.give()
        leg.write(writeResponse(101, phrase(101), headers.raw))
        return leg

    def _linger(self) -> None:
        if self._leg.isTLS:
            self._leg.close()
            return
        self._leg.finish()
        self._timer = self._clock.callLater(_LINGER, self._leg.abort)
        self._read(self._readNothing)


def _tlsFacts(transport: Any) -> tuple[str | None, tuple[str, ...]]:
    """The server name and the protocol that the TLS handshake settled."""
    name = transport.getHandle().get_servername()
    protocol = getattr(transport, "negotiatedProtocol", None)
    return (
        name.decode("ascii", "replace").lower() if name else None,
        (protocol.decode("ascii", "replace"),) if protocol else (),
    )
