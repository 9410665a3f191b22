# -*- test-case-name: tests.testing.test_transports -*-
"""
Connections in memory: L{join} connects two protocols, L{pair} a L{Leg} and a scripted
L{Peer}.

A L{MemoryTransport} has a bounded buffer, pauses its producer, half-closes unless it stands
for TLS, and is reset when it writes to somebody who has left. Nothing moves until L{settle}
turns the clock, so nothing is ever called from within a call::

    leg, peer = pair(clock)
    peer.say(b"hello")
    settle(clock)

What is not imitated: a kernel's own buffers. A byte has been sent when the other end has
read it, so to close towards somebody who does not read takes until he does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.plane.legs import Leg

__all__ = ["MemoryTransport", "Peer", "join", "pair", "settle"]


def settle(clock: Clock) -> None:
    """Turn the clock, without letting time pass, until nothing is due."""
    clock.advance(0)


@implementer(IConsumer, IPushProducer, ITransport)
class MemoryTransport:
    """
    One end of a connection in memory; L{join} makes both. It behaves as a TCP transport of
    Twisted's does.

    @ivar bufferSize: with more bytes than this to write, the producer is paused.
    @ivar chunkSize: bytes that are read at once.
    @ivar connected: until C{connectionLost} is called.
    @ivar disconnecting: whether it closes once everything is written.
    """

    bufferSize = 64 * 1024
    chunkSize = 64 * 1024
    _other: MemoryTransport

    def __init__(self, clock: Clock, protocol: Any, host: IPv4Address, peer: IPv4Address) -> None:
        self.connected = True
        self.disconnecting = False
        self._isAborting = False
        self._clock = clock
        self._protocol = protocol
        self._addresses = host, peer
        self._out = bytearray()
        self._producer: Any = None
        self._isStreaming = False
        self._isProducerPaused = False
        self._isReading = True
        self._isFinishing = False
        self._isFinished = False
        # Whether the other end's FIN was noticed; what came and has not been noticed yet.
        self._isEnded = False
        self._ending: Exception | None = None
        self._isDue = False

    # -- ITransport

    def write(self, data: bytes) -> None:
        """Send; pauses the producer whenever the buffer is full."""
        if not isinstance(data, bytes):
            raise TypeError(f"a transport writes bytes, not {data!r:.100}")
        if data and self.connected and not self._isFinished:
            self._out += data
            if self._producer is not None and self._isStreaming and self.isFull:
                self._isProducerPaused = True
                self._producer.pauseProducing()
            self._poke()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several."""
        for each in data:
            self.write(each)

    def loseConnection(self) -> None:
        """Close after everything was written; nothing more is read."""
        if not self.connected or self.disconnecting:
            return
        self._isReading = False
        self.disconnecting = True
        if self._isFinished:
            self._lose(ConnectionDone())
        self._poke()

    def abortConnection(self) -> None:
        """Close at once; the other end is reset."""
        if self.connected:
            self._out.clear()
            self._isReading = False
            self.disconnecting = self._isAborting = True
            self._poke()

    def getHost(self) -> IPv4Address:
        """Where this end is; made up."""
        return self._addresses[0]

    def getPeer(self) -> IPv4Address:
        """Where the other end is; made up."""
        return self._addresses[1]

    @property
    def isFull(self) -> bool:
        """Whether there is more to write than C{bufferSize}."""
        return len(self._out) > self.bufferSize

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause C{producer} from now on when there is too much to write."""
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer, self._isStreaming = producer, streaming
        self._isProducerPaused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """There is no producer any more."""
        self._producer = None
        self._poke()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._isReading = False

    def resumeProducing(self) -> None:
        """Read on, unless it is closing."""
        if self.connected and not self.disconnecting:
            self._isReading = True
            self._poke()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # -- what a reactor would do

    def _poke(self) -> None:
        for end in (self, self._other):
            if not end._isDue:
                end._isDue = True
                end._clock.callLater(0, end._turn)

    def _turn(self) -> None:
        self._isDue = False
        if self._isAborting:
            self._lose(ConnectionAborted())
        if self.connected and self._out:
            self._send()
        if self.connected and not self._out:
            self._drained()
        if self._ending is not None and (self._isReading or self._out):
            self._notice()

    def _send(self) -> None:
        other = self._other
        if not other.connected:
            self._ending = ConnectionLost()
        elif other._isReading:
            chunk = bytes(self._out[: self.chunkSize])
            del self._out[: self.chunkSize]
            self._poke()
            other._protocol.dataReceived(chunk)

    def _drained(self) -> None:
        if self._producer is not None and (self._isProducerPaused or not self._isStreaming):
            self._isProducerPaused = False
            self._producer.resumeProducing()
        elif self.disconnecting:
            self._lose(ConnectionDone())
        elif self._isFinishing and not self._isFinished:
            self._isFinished = True
            self._other._hear(ConnectionDone())
            if IHalfCloseableProtocol.providedBy(self._protocol):
                self._protocol.writeConnectionLost()

    def _hear(self, ending: Exception) -> None:
        """The other end has finished, closed or aborted."""
        if self.connected and (not self._isEnded or not isinstance(ending, ConnectionDone)):
            self._ending = ending
        self._poke()

    def _notice(self) -> None:
        ending, self._ending = self._ending, None
        if ending is None or not self.connected:
            return
        isHalf = isinstance(ending, ConnectionDone) and hasattr(self, "loseWriteConnection")
        if isHalf and IHalfCloseableProtocol.providedBy(self._protocol):
            self._isReading, self._isEnded = False, True
            self._protocol.readConnectionLost()
        else:
            self._lose(ending)

    def _lose(self, reason: Exception) -> None:
        if not self.connected:
            return
        unread = bool(self._other._out)
        self.connected = self._isReading = False
        self._out.clear()
        isReset = unread or not isinstance(reason, ConnectionDone)
        self._other._hear(ConnectionLost() if isReset else ConnectionDone())
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._protocol.connectionLost(Failure(reason))


class _Plain(MemoryTransport):
    """TCP as it is."""

    def loseWriteConnection(self) -> None:
        """Half-close after everything was written."""
        self._isFinishing = True
        self._poke()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """There is no Nagle in memory."""


class _TLS(MemoryTransport):
    """As TLS ends at this end: there is no half-close."""

    def getPeerCertificate(self) -> None:
        """It has none."""


def join(
    clock: Clock, one: Any, other: Any, isTLS: bool = False
) -> tuple[MemoryTransport, MemoryTransport]:
    """
    Connect two protocols, that of the connecting side first.

    @param isTLS: whether neither of them can half-close.
    """
    here, there = IPv4Address("TCP", "192.0.2.1", 40000), IPv4Address("TCP", "192.0.2.2", 80)
    kind = _TLS if isTLS else _Plain
    left, right = kind(clock, one, here, there), kind(clock, other, there, here)
    left._other, right._other = right, left
    one.makeConnection(left)
    other.makeConnection(right)
    return left, right


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    A scripted other end: says what it is told to and remembers what it hears.

    @ivar heard: everything that came and was not yet taken.
    @ivar isEnded: whether the other end has half-closed.
    @ivar reason: why the connection is gone; C{None} while it is there.
    """

    transport: Any

    def __init__(self) -> None:
        self.heard = bytearray()
        self.isEnded = False
        self.reason: Failure | None = None

    @property
    def isOver(self) -> bool:
        """Whether nothing more will be heard."""
        return self.isEnded or self.reason is not None

    def take(self) -> bytes:
        """What was heard; it is forgotten here."""
        heard, self.heard = bytes(self.heard), bytearray()
        return heard

    def say(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    def finish(self) -> None:
        """Half-close."""
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close after what was said."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()

    def pause(self) -> None:
        """Do not read."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    # -- what Twisted calls

    def dataReceived(self, data: bytes) -> None:
        """Remember it."""
        self.heard += data

    def readConnectionLost(self) -> None:
        """The other end has half-closed."""
        self.isEnded = True

    def writeConnectionLost(self) -> None:
        """Our own half-close has gone out."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self.reason = reason


def pair(clock: Clock, isTLS: bool = False, leg: Leg | None = None) -> tuple[Leg, Peer]:
    """A leg that holds still, and the peer at its other end."""
    leg = Leg() if leg is None else leg
    peer = Peer()
    join(clock, peer, leg, isTLS)
    return leg, peer
