# -*- test-case-name: tests.l7.test_serve -*-
"""
Lets a C{twisted.web} resource answer one request, an Autobahn C{WebSocketResource} among
them.

The resource's channel gets the head that the relay writes, on a transport of the relay's
own that delivers this one request and nothing else: what follows on the connection is
never parsed as a second one, a body over the limit is never buffered, and when a resource
takes the transport over for a WebSocket, frames that came right behind the handshake are
delivered and backpressure works, which C{twisted.web} and Autobahn alone do not do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import directlyProvides, implementer, providedBy

from wsrelay.errors import ClientFault, ContentTooLarge
from wsrelay.l7.fields import framed, outboundRequest
from wsrelay.l7.pages import page, phrase
from wsrelay.model import Counts, Direction, Headers, Interest, Kind, Party, Phase, Request, Serve
from wsrelay.plane.legs import Leg
from wsrelay.wire.bodies import BodyKind, Framing, bodyReader
from wsrelay.wire.heads import writeRequest, writeResponse

if TYPE_CHECKING:
    from wsrelay.l7.exchange import Exchange

__all__ = ["Served"]

_HANDSHAKE = (b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions")


class Served:
    """One request that a resource answers; receives from the client's leg."""

    def __init__(self, exchange: Exchange, serve: Serve, framing: Framing) -> None:
        self._exchange = exchange
        self._life = exchange.life
        self._serve = serve
        self._framing = framing
        self._body = bodyReader(framing)
        self._size = 0
        self._isRead = self._body.complete
        self._counts = {direction: Counts() for direction in Direction}
        self._leg: Leg = exchange.door.give()
        self._transport = ServedTransport(self, self._leg)

    def begin(self) -> None:
        """Hand the request over."""
        reactor = self._exchange.listener.relay.reactor
        site = Site(self._serve.resource, reactor=reactor)
        channel = site.buildProtocol(self._leg.transport.getPeer())
        self._transport.protocol = channel
        self._life.phase = Phase.RELAY
        channel.makeConnection(self._transport)
        head = self._head()
        self._counts[Direction.TO_BACKEND].bytes += len(head)
        channel.dataReceived(head)
        if not self._isRead or self._transport.isTaken:
            self._read()

    def soon(self) -> None:
        """The resource is taking the transport over; it has first to finish doing so."""
        self._exchange.listener.relay.reactor.callLater(0, self._taken)

    def _taken(self) -> None:
        """What comes is for the new protocol."""
        self._life.established(Kind.SESSION, {each: Interest.BYTES for each in Direction})
        self._isRead = False
        self._read()

    def _read(self) -> None:
        if not self._leg.isLost:
            self._leg.resumeProducing()
            self._leg.hand(self)

    def _head(self) -> bytes:
        exchange = self._exchange
        request: Request = exchange.inbound.request  # type: ignore[assignment]  # there is one at L7
        outbound = outboundRequest(exchange.inbound, exchange.isUpgrade, "localhost")
        if exchange.isUpgrade:
            # Autobahn takes Unicode's line separators for ends of lines: none may reach it.
            fields = [(name, _ascii(value)) for name, value in outbound.headers.raw]
            fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
            for name in _HANDSHAKE:
                fields += [(name, _ascii(value)) for value in request.headers.rawAll(name)]
        else:
            fields = framed(outbound.headers, self._framing, ((b"Connection", b"close"),))
        return writeRequest(outbound.method, outbound.target, fields)

    # -- the receiver of the leg

    def received(self, data: bytes) -> None:
        """Some of the body, or what a protocol that took over shall get."""
        if self._transport.isTaken:
            self._counts[Direction.TO_BACKEND].bytes += len(data)
            self._transport.protocol.dataReceived(data)
        elif self._isRead:
            self._leg.hold(data)
        else:
            self._readBody(data)

    def _readBody(self, data: bytes) -> None:
        try:
            content, rest = self._body.feed(data)
            self._size += len(content)
            if self._size > self._serve.maxBody:
                raise ContentTooLarge(f"request body over {self._serve.maxBody} bytes")
        except ClientFault as error:
            self._reject(error)
            return
        self._counts[Direction.TO_BACKEND].bytes += len(data)
        if rest is not None:
            self._isRead = True
            self._leg.hold(rest)
        # The reader has checked the very bytes; the channel may read them as they are.
        self._transport.protocol.dataReceived(data[: len(data) - len(rest or b"")])

    def _reject(self, error: ClientFault) -> None:
        self._isRead = True
        self._life.end(Party.CLIENT, error.detail)
        answer = page(error)
        framing = Framing(BodyKind.LENGTH, len(answer.body))
        extra = ((b"Connection", b"close"),)
        fields = framed(Headers(answer.headers), framing, extra)
        if not self._life.status:
            self._life.status = answer.status
            head = writeResponse(answer.status, phrase(answer.status), fields)
            self._leg.write(head + answer.body)
        self._transport.isMute = True
        self._leg.close()

    def finished(self) -> None:
        """The client sends nothing more; a protocol that took over may care."""
        self._life.end(Party.CLIENT, "closed its connection")
        if self._transport.isTaken or not self._isRead:
            self._leg.close()

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._life.end(Party.CLIENT, "closed its connection")
        self._transport.protocol.connectionLost(reason)
        self._life.close(self._counts)

    # -- what the transport tells

    def wrote(self, data: bytes) -> None:
        """The resource answers."""
        self._counts[Direction.TO_CLIENT].bytes += len(data)
        if not self._life.status and data[9:12].isdigit():
            self._life.status = int(data[9:12])

    def closing(self, detail: str) -> None:
        """The resource is done; the end of the leg must be heard."""
        self._life.end(Party.RELAY, detail)
        if not self._leg.isLost:
            self._leg.hand(self)


@implementer(ITCPTransport, IPushProducer)
class ServedTransport:
    """
    The client's leg as a transport for a C{twisted.web} channel, or for what takes it over.

    @ivar isTaken: whether something else than the channel is the protocol now.
    @ivar isMute: whether what is written is thrown away.
    """

    disconnecting = False

    def __init__(self, served: Served, leg: Leg) -> None:
        self._served = served
        self._leg = leg
        self._protocol: Any = None
        self.isTaken = False
        self.isMute = False
        if leg.isTLS:
            directlyProvides(self, ISSLTransport, providedBy(self))

    def __getattr__(self, name: str) -> Any:
        """Whatever else the real transport knows: TLS facts, TCP options."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._leg.transport, name)

    @property
    def protocol(self) -> Any:
        """Who gets the bytes; whoever sets it a second time has taken over."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        isFirst = self._protocol is None
        self._protocol = protocol
        if not isFirst and not self.isTaken:
            self.isTaken = True
            # The channel is still the registered producer; it would shut out its successor.
            self._leg.starve()
            self._served.soon()

    def getPeer(self) -> Any:
        """The client's address."""
        return self._leg.transport.getPeer()

    def getHost(self) -> Any:
        """Our address."""
        return self._leg.transport.getHost()

    def write(self, data: bytes) -> None:
        """Send."""
        if not self.isMute:
            self._served.wrote(data)
            self._leg.write(data)

    def writeSequence(self, data: Any) -> None:
        """Send all of it."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close after all that was written."""
        self.disconnecting = True
        self._served.closing("the resource closed")
        self._leg.close()
        self._leg.resumeProducing()

    def abortConnection(self) -> None:
        """Close at once."""
        self.disconnecting = True
        self._served.closing("the resource aborted")
        self._leg.abort()

    def loseWriteConnection(self) -> None:
        """Send FIN after all that was written."""
        self._leg.finish()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause C{producer} while the client does not read."""
        if streaming:
            self._leg.feed(producer)
        else:
            self._leg.transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """There is no producer any more."""
        self._leg.starve()

    def pauseProducing(self) -> None:
        """Do not read."""
        self._leg.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._leg.resumeProducing()

    def stopProducing(self) -> None:
        """Nobody wants what is read."""
        self.loseConnection()


def _ascii(value: bytes) -> bytes:
    return value if value.isascii() else value.decode("ascii", "replace").encode("ascii", "replace")
