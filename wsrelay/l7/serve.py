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

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

from wsrelay.errors import ClientFault, ContentTooLarge
from wsrelay.l7.fields import framed, outboundRequest
from wsrelay.l7.linger import Linger
from wsrelay.l7.pages import page, phrase
from wsrelay.model import Counts, Direction, Headers, Interest, Kind, Party, Phase, Request, Serve
from wsrelay.plane.legs import Leg
from wsrelay.wire.bodies import BodyKind, Framing, bodyReader
from wsrelay.wire.heads import writeRequest, writeResponse

if TYPE_CHECKING:
    from wsrelay.l7.exchange import Exchange

__all__ = ["Served"]

_log = Logger()

_HANDSHAKE = (b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions")
_CLOSE = ((b"Connection", b"close"),)

# What a client may say ahead of a resource that has not taken the connection over yet.
_AHEAD = 64 * 1024

# A site has sessions, and lives as long as one of them or a channel does; it keeps its resource,
# so that an id means the same resource all the while.
_sites: WeakValueDictionary[int, Site] = WeakValueDictionary()


def _siteOf(resource: Any, reactor: Any) -> Site:
    site = _sites.get(id(resource))
    if site is None:
        site = _sites[id(resource)] = Site(resource, reactor=reactor)
    return site


class Served:
    """
    One request that a resource answers; receives from the client's leg.

    Its state is the method that what comes is given to.
    """

    def __init__(self, exchange: Exchange, serve: Serve, framing: Framing) -> None:
        self._exchange = exchange
        self._life = exchange.life
        self._hub = exchange.listener.relay
        self._serve = serve
        self._framing = framing
        self._body = bodyReader(framing)
        self._size = 0
        self._ahead: list[bytes] = []
        self._state: Callable[[bytes], None] = (
            self._readAhead if self._body.complete else self._readBody
        )
        self._counts = {direction: Counts() for direction in Direction}
        self._leg: Leg = exchange.door.give()
        self._linger = Linger(
            self._hub.clock, self._leg, exchange.listener.settings.keepAliveTimeout
        )
        kind = SecureServedTransport if self._leg.isTLS else ServedTransport
        self._transport = kind(self, self._leg)

    def begin(self) -> None:
        """Hand the request over."""
        self._life.phase = Phase.RELAY
        site = _siteOf(self._serve.resource, self._hub.reactor)
        channel = site.buildProtocol(self._leg.transport.getPeer())
        self._transport.protocol = channel
        channel.makeConnection(self._transport)
        if self._framing.length > self._serve.maxBody:
            self._reject(ContentTooLarge(f"request body over {self._serve.maxBody} bytes"))
        else:
            head = self._head()
            self._counts[Direction.TO_BACKEND].bytes += len(head)
            try:
                channel.dataReceived(head)
            except Exception:
                # What fails once it has taken the transport, C{twisted.web} cannot answer for.
                _log.failure("{id}: the resource failed", id=self._life.inbound.id)
                self._life.end(Party.PLUGIN, "the resource failed")
                self._leg.abort()
        self._leg.resumeProducing()
        self._leg.hand(self)

    def soon(self) -> None:
        """The resource is taking the transport over; it has first to finish doing so."""
        self._hub.reactor.callLater(0, self._taken)

    def _taken(self) -> None:
        """What comes is for the new protocol."""
        if self._leg.isLost or self._transport.disconnecting:
            return
        self._life.established(Kind.SESSION, dict.fromkeys(Direction, Interest.BYTES))
        self._hub.opened(self, self._leave)
        self._state = self._pass
        self._leg.resumeProducing()
        while self._ahead and self._state == self._pass:
            self._pass(self._ahead.pop(0))

    def _leave(self) -> None:
        self._life.end(Party.RELAY, "the relay stops")
        self._transport.loseConnection()

    def _head(self) -> bytes:
        exchange = self._exchange
        request: Request = exchange.inbound.request  # type: ignore[assignment]  # there is one at L7
        outbound = outboundRequest(exchange.inbound, exchange.isUpgrade, "localhost")
        if exchange.isUpgrade:
            # Autobahn takes Unicode's line separators for ends of lines: none may reach it.
            fields = [(name, _ascii(value)) for name, value in outbound.headers.raw]
            # If no WebSocket comes of it, the channel must not wait for another request.
            fields += [(b"Connection", b"Upgrade, close"), (b"Upgrade", b"websocket")]
            for name in _HANDSHAKE:
                fields += [(name, _ascii(value)) for value in request.headers.rawAll(name)]
        else:
            fields = framed(outbound.headers, self._framing, _CLOSE)
        head = writeRequest(outbound.method, outbound.target, fields)
        if request.version < (1, 1):
            # The answer must be one that this client can read.
            head = head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
        return head

    # -- the receiver of the leg

    def received(self, data: bytes) -> None:
        """Some of the body, or what a protocol that took over shall get."""
        self._state(data)

    def _pass(self, data: bytes) -> None:
        self._counts[Direction.TO_BACKEND].bytes += len(data)
        self._transport.protocol.dataReceived(data)

    def _readAhead(self, data: bytes) -> None:
        """For whoever takes over; if nobody does, it is nobody's."""
        self._ahead.append(data)
        if sum(map(len, self._ahead)) > _AHEAD:
            self._leg.pauseProducing()

    def _readBody(self, data: bytes) -> None:
        try:
            content, rest = self._body.feed(data)
            self._size += len(content)
            if self._size > self._serve.maxBody:
                raise ContentTooLarge(f"request body over {self._serve.maxBody} bytes")
        except ClientFault as error:
            self._reject(error)
            return
        if rest is not None:
            self._state = self._readAhead
            data = data[: len(data) - len(rest)]
        self._counts[Direction.TO_BACKEND].bytes += len(data)
        # The reader has checked the very bytes; the channel may read them as they are.
        self._transport.protocol.dataReceived(data)
        if rest:
            self._state(rest)

    def _reject(self, error: ClientFault) -> None:
        """Not the resource but the relay answers; if the resource has begun to, it is cut."""
        self._life.end(Party.CLIENT, error.detail)
        self._transport.isMute = True
        if self._life.status:
            self._leg.abort()
            return
        self._life.status = error.status
        answer = page(error)
        framing = Framing(BodyKind.LENGTH, len(answer.body))
        fields = framed(Headers(answer.headers), framing, _CLOSE)
        head = writeResponse(answer.status, phrase(answer.status), fields)
        self._leg.write(head + answer.body)
        self._counts[Direction.TO_CLIENT].bytes += len(answer.body)
        self._transport.loseConnection()

    def finished(self) -> None:
        """The client sends nothing more; what it asked for it still gets."""
        if self._transport.isTaken or self._state == self._readBody:
            self._life.end(Party.CLIENT, "closed its connection")
            self._transport.loseConnection()

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._life.end(Party.CLIENT, "closed its connection")
        self._linger.lost()
        self._hub.closed(self)
        self._life.close(self._counts)
        # Last, for it is not ours and may raise.
        self._transport.protocol.connectionLost(reason)

    # -- what the transport tells

    def wrote(self, data: bytes) -> None:
        """The resource answers."""
        self._counts[Direction.TO_CLIENT].bytes += len(data)
        # "HTTP/1.1 200"; a 100 is not the answer yet.
        if not self._life.status and data[9:12].isdigit() and data[9:12] != b"100":
            self._life.status = int(data[9:12])

    def closing(self, detail: str) -> None:
        """The resource is done; what the client still sends is nobody's."""
        self._life.end(Party.RELAY, detail)
        self._ahead.clear()
        self._state = self._linger.received

    def close(self) -> None:
        """Close after all that was written."""
        self._linger.wait()


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
        self._isPulling = False

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

    # What Autobahn sets where TLS is a protocol that wraps another.
    wrappedProtocol = protocol

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
        if not self.disconnecting:
            self.disconnecting = True
            self._served.closing("the resource closed")
            self._served.close()

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
            self._isPulling = True
            self._leg.transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """There is no producer any more."""
        if self._isPulling:
            self._isPulling = False
            self._leg.transport.unregisterProducer()
        else:
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


@implementer(ISSLTransport)
class SecureServedTransport(ServedTransport):
    """
    The same where TLS ended here.

    It gives itself out as Twisted's TLS transport, which it has all the methods of: Autobahn
    asks for that very class before it looks at the certificate and the channel binding.
    """

    @property  # type: ignore[misc]  # it cannot be set, as it should be
    def __class__(self) -> type:
        return TLSMemoryBIOProtocol


def _ascii(value: bytes) -> bytes:
    return value.decode("ascii", "replace").encode("ascii", "replace")
