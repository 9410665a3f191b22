# -*- test-case-name: tests.l7.test_connection -*-
"""
One client's connection at layer 7: reads request heads, one exchange at a time.

The head is read here, once, strictly, bounded in bytes and in time. While an exchange is in
progress the connection is its L{Door}: the exchange answers through it, and takes the leg
away when a 101 makes it a WebSocket. What a client sends ahead stays unread until its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.python.failure import Failure

from wsrelay.errors import ClientFault, Misdirected, RequestTimeout
from wsrelay.l4.life import Life
from wsrelay.l4.listener import Listener
from wsrelay.l4.timers import MovingDeadline
from wsrelay.l7.exchange import Exchange
from wsrelay.l7.fields import frame, isPlain, mayHaveBody, saysClose, unframed
from wsrelay.l7.linger import Linger
from wsrelay.l7.pace import Pace, Paced, takenBy
from wsrelay.l7.pages import page, phrase, withoutBody
from wsrelay.l7.trailers import Trailers
from wsrelay.model import Headers, Inbound, Kind, Party, Phase, Request, Respond
from wsrelay.plane.legs import Leg, unheard
from wsrelay.wire.bodies import BodyKind, BodyReader, Framing, bodyReader, chunk, lastChunk
from wsrelay.wire.heads import HeadReader, parseRequest, writeResponse

__all__ = ["Connection"]


class Connection:
    """
    One client connection, see the module.

    Its state is the method that what comes is given to: C{_readHead} between exchanges,
    C{_readAhead} and C{_readBody} during one, and L{Linger.received} once the last answer
    was written. What comes too early is kept in C{_ahead}; while there is any, nothing is read.
    """

    def __init__(self, listener: Listener, leg: Leg) -> None:
        self._listener = listener
        self._clock = listener.relay.clock
        self._settings = listener.settings
        self._leg = leg
        self._exchange: Exchange | None = None
        self._request: Request | None = None
        self._body: BodyReader | None = None
        self.isRead = True
        """Whether nothing of the request is left to be read."""
        self._out = BodyKind.NONE
        self._isLast = False
        self._hasFinished = False
        self._begun = b""
        self.deadline = MovingDeadline(self._clock)
        self._head = HeadReader(self._settings.maxHead, self._settings.maxHeaders)
        self._facts: Inbound | None = None
        self._served = 0
        self._linger: Linger | None = None
        self._ahead = b""
        self._isTurning = False
        # How slow the client may be: with its body, and with the response.
        self._sending: Pace | None = None
        self._taking: Pace | None = None
        self._mayBePaused = True
        self._listen(self._settings.headTimeout)
        leg.hand(self)

    # -- the receiver of the leg

    def received(self, data: bytes) -> None:
        """Bytes came."""
        self._state(data)

    def finished(self) -> None:
        """The client sends nothing more; what it asked for it still gets."""
        self._hasFinished = True
        if self._exchange is None:
            if self._state == self._readHead:
                self._close()
        elif not self.isRead:
            self._exchange.clientLeft("closed its connection in the middle of its request")

    def lost(self, reason: Failure) -> None:
        """The client is gone."""
        self.deadline.stop()
        self._unpaced()
        if self._linger is not None:
            self._linger.lost()
        if self._exchange is not None:
            self._exchange.clientLeft("closed its connection")

    def _turn(self, state: Callable[[bytes], None]) -> None:
        """
        From now on what comes is for C{state}, and first what came too early.

        The loop is for a client that sends many requests at once: however many of them are
        answered on the spot, the stack stays as it is.
        """
        self._state = state
        if self._mayBePaused:
            self._mayBePaused = False
            self._leg.resumeProducing()
        if self._isTurning:
            return
        self._isTurning = True
        while self._ahead and self._state != self._readAhead:
            ahead, self._ahead = self._ahead, b""
            self._state(ahead)
        self._isTurning = False
        if self._ahead:
            self._pause()

    def _pause(self) -> None:
        self._mayBePaused = True
        self._leg.pauseProducing()

    # -- reading a head

    def _listen(self, timeout: float) -> None:
        self.deadline.set(timeout, self._late)
        self._turn(self._readHead)

    def _readHead(self, data: bytes) -> None:
        wasEmpty = self._head.empty
        try:
            head, self._ahead = self._head.feed(data)
            if head is None:
                if self._hasFinished:
                    # It never will be.
                    self._close()
                elif wasEmpty and self._served and not self._head.empty:
                    self.deadline.set(self._settings.headTimeout, self._late)
                return
            self._begin(parseRequest(head, self._settings.maxHeaders), len(head))
        except ClientFault as error:
            self._reject(error)

    def _begin(self, request: Request, size: int) -> None:
        self._served += 1
        self._request = request
        plain = isPlain(request)
        if plain:
            self.isRead, self._isLast = True, False
        else:
            self.isRead = not mayHaveBody(request)
            self._isLast = request.version < (1, 1) or saysClose(request)
        self.deadline.clear()
        self._state = self._readAhead
        inbound, listener = self._inbound(request), self._listener
        isMisdirected = listener.tls is not None and listener.isMisdirected(inbound)
        trust = listener.settings.trust
        if trust is not None:
            inbound = trust.believed(inbound)
        exchange = Exchange(listener, self, inbound, size, plain)
        self._exchange = exchange
        if isMisdirected:
            name = inbound.serverName or "no name"
            exchange.fail(Misdirected(f"Host {request.host!r} after TLS with {name}"))
        else:
            exchange.begin()

    def _inbound(self, request: Request) -> Inbound:
        """The facts about the client, which are the same for each of its requests."""
        facts = self._facts
        if facts is None:
            facts = self._facts = self._listener.inbound(self._leg, request)
            return facts
        # attrs.evolve() takes six times as long.
        return Inbound(
            self._listener.relay.newId(),
            facts.listener,
            facts.client,
            facts.local,
            facts.secure,
            facts.serverName,
            facts.alpn,
            request,
            facts.via,
            facts.certificate,
        )

    def _reject(self, error: ClientFault) -> None:
        """There is no request to make an exchange of: answer, and close."""
        self.deadline.clear()
        life = Life(self._listener, Kind.EXCHANGE, self._listener.inbound(self._leg))
        life.phase = Phase.ACCEPT
        life.status = error.status
        life.end(Party.CLIENT, error.detail)
        life.close()
        self._request = None
        self._isLast = True
        self.answer(page(error, self._listener.settings.pages))

    def _late(self) -> None:
        if self._head.empty:
            self._close()
        else:
            self._reject(RequestTimeout("the request head did not arrive in time"))

    # -- reading a body

    def _readAhead(self, data: bytes) -> None:
        """The client sends before it was answered: not now."""
        self._ahead += data
        self._pause()

    def _readBody(self, data: bytes) -> None:
        exchange = self._exchange
        assert self._body is not None
        assert exchange is not None
        sending = self._sending
        if sending is not None:
            if not sending.moved:
                # It was not waited for while it waited for a 100.
                sending.resume()
            sending.moved += len(data)
        try:
            content, rest = self._body.feed(data)
        except ClientFault as error:
            exchange.clientFailed(error)
            return
        if rest is not None:
            self.isRead = True
            self._ahead = rest
            self._state = self._readAhead
        if content:
            exchange.uploaded(content)
        # It may have been answered by now, and the next one have begun.
        if rest is not None and self._exchange is exchange:
            self._uploadEnded(exchange)

    def _uploadEnded(self, exchange: Exchange) -> None:
        trailers: Trailers = () if self._body is None else self._body.trailers
        self._body = None
        self.isRead = True
        if self._sending is not None:
            self._sending.stop()
            self._sending = None
        exchange.uploadEnded(trailers)
        if self._exchange is not None:
            # A backend that was slow to take it may have paused the leg.
            self._mayBePaused = True
            self._turn(self._readAhead)

    # -- the door of the exchange

    @property
    def source(self) -> Any:
        """What the request's body comes from."""
        return Paced(self._leg, self._backendIsFull, self._backendReads)

    def _backendIsFull(self) -> None:
        if self._sending is not None:
            self._sending.pause()

    def _backendReads(self) -> None:
        if self._sending is not None:
            self._sending.resume()

    def feed(self, source: Any) -> None:
        """C{source} is paused while the client does not read."""
        settings = self._settings
        pace = self._taking = Pace(
            self._clock,
            settings.readTimeout,
            settings.minRate,
            self._tooSlow,
            partial(takenBy, self._leg),
        )
        self._leg.feed(Paced(source, pace.resume, pace.pause))

    def _unpaced(self) -> None:
        if self._sending is not None:
            self._sending.stop()
            self._sending = None
        if self._taking is not None:
            self._taking.stop()
            self._taking = None

    def _tooSlow(self) -> None:
        if self._exchange is not None:
            what = "sends the request's body" if self._taking is None else "takes its response"
            self._exchange.clientFailed(RequestTimeout(f"{what} too slowly"))

    def give(self) -> Leg:
        """The leg, holding still; this connection has nothing more to do with it."""
        self._exchange = None
        self.deadline.stop()
        self._unpaced()
        # Nobody holds on to it by its own method: it is over now, whatever becomes of the leg.
        self._state = unheard
        ahead, self._ahead = self._ahead, b""
        self._leg.hold(ahead)
        return self._leg

    def upload(self, framing: Framing) -> None:
        """The exchange takes the request's body now."""
        assert self._exchange is not None
        self._mayBePaused = True
        self._body = bodyReader(framing)
        if self._body.complete:
            self._uploadEnded(self._exchange)
            return
        settings = self._settings
        sending = Pace(self._clock, settings.bodyTimeout, settings.minRate, self._tooSlow)
        self._sending = sending
        self._turn(self._readBody)
        if self._request is not None and "expect" not in self._request.headers:
            # Stopped by now, if that was all; then this does nothing.
            sending.resume()

    def interim(self, status: int, reason: str, headers: Headers) -> None:
        """A 1xx, for clients that know them."""
        if status == 100 and self._sending is not None:
            self._sending.resume()
        if self._request is not None and self._request.version >= (1, 1):
            self._leg.write(writeResponse(status, reason, headers.raw))

    @property
    def _endsHere(self) -> bool:
        """Whether no other request will be answered on this connection."""
        return self._isLast or (self._hasFinished and not self._ahead)

    def head(
        self,
        status: int,
        reason: str,
        fields: list[tuple[bytes, bytes]],
        framing: Framing,
        isChecked: bool = False,
    ) -> None:
        """The response's head, framed for this client."""
        if framing.kind in (BodyKind.CHUNKED, BodyKind.CLOSE):
            isOld = self._request is None or self._request.version < (1, 1)
            kind = BodyKind.CLOSE if isOld else BodyKind.CHUNKED
            framing = framing if framing.kind is kind else Framing(kind)
        isLast = self._endsHere or framing.kind is BodyKind.CLOSE or not self.isRead
        options = [b"close"] if isLast else []
        extra = []
        if status == 426:
            # RFC 9110 section 15.5.22; it is the only other protocol here.
            extra.append((b"Upgrade", b"websocket"))
            options.append(b"Upgrade")
        if options:
            extra.append((b"Connection", b", ".join(options)))
        # With what follows at once it is one segment, and one call of the system.
        self._begun = writeResponse(status, reason, frame(fields, framing, extra), isChecked)
        self._out = framing.kind
        self._isLast = isLast

    def content(self, data: bytes) -> None:
        """Some of the response's body."""
        begun, self._begun = self._begun, b""
        self._leg.write(begun + (chunk(data) if self._out is BodyKind.CHUNKED else data))

    def flush(self) -> None:
        """Send what has begun."""
        begun, self._begun = self._begun, b""
        if begun:
            self._leg.write(begun)

    def end(self, trailers: Trailers = ()) -> None:
        """The response is complete: the next request, or the end."""
        if self._out is BodyKind.CHUNKED:
            self._begun += lastChunk(trailers)
        self.flush()
        self._exchange = None
        self._body = None
        self._unpaced()
        self._leg.starve()
        if self._leg.isLost:
            return
        if self._endsHere:
            self._leave()
        else:
            self._listen(self._settings.keepAliveTimeout)

    def cut(self) -> None:
        """The response can not be completed, and the client must notice."""
        self._exchange = None
        self._unpaced()
        self._leg.abort()

    def whole(self, head: bytes, body: bytes) -> None:
        """A whole response of known length."""
        self._isLast = self._endsHere or not self.isRead
        self._out = BodyKind.LENGTH
        self._begun = head + (b"Connection: close\r\n\r\n" if self._isLast else b"\r\n") + body
        self.end()

    def answer(self, respond: Respond, isHead: bool = False) -> None:
        """A whole response of the relay's own."""
        isBare = withoutBody(respond.status)
        framing = Framing(BodyKind.NONE if isBare else BodyKind.LENGTH, len(respond.body))
        fields = unframed(Headers(respond.headers))
        self.head(respond.status, phrase(respond.status), fields, framing)
        if respond.body and not isHead and not isBare:
            self.content(respond.body)
        self.end()

    def accept(self, head: bytes) -> Leg:
        """Send a 101 and give the leg away, holding still."""
        leg = self.give()
        leg.write(head)
        return leg

    # -- leaving

    def _leave(self) -> None:
        """The last answer was written: let it arrive."""
        self._ahead = b""
        self._seeOff().wait()

    def _close(self) -> None:
        """There is nothing to answer."""
        self._seeOff().close()

    def _seeOff(self) -> Linger:
        self.deadline.stop()
        # The client has as long to take the last answer as it has between two requests.
        linger = Linger(self._clock, self._leg, self._settings.keepAliveTimeout)
        self._linger = linger
        self._state = linger.received
        return linger
