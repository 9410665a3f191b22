# -*- test-case-name: tests.plane.test_legs -*-
"""
A I{leg}: one of the two connections of everything that is relayed.

From accept or dial to its end a connection is one L{Leg}. Whoever is in charge of it for
the moment is its I{receiver}; between two receivers, while somebody decides or dials, the
leg holds still: it stops reading, keeps what had already been read, and remembers the end
of the stream, so that nothing is lost and nothing arrives out of order.

A leg understands no protocol and starts no timer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol as TypingProtocol

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.model import Address

__all__ = ["Leg", "LegFactory", "Receiver", "addressOf", "takeOver", "unheard"]


class Receiver(TypingProtocol):
    """Who is in charge of a leg."""

    def received(self, data: bytes) -> None:
        """Bytes came."""

    def finished(self) -> None:
        """The peer will send nothing more, but still reads (half-close)."""

    def lost(self, reason: Failure) -> None:
        """The connection is gone, both ways."""


def addressOf(address: IAddress) -> Address:
    """A Twisted address as ours."""
    host = getattr(address, "host", None)
    if host is not None:
        return Address(host, getattr(address, "port", 0))
    name = getattr(address, "name", None)
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    return Address(f"unix:{name or ''}")


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Leg:
    """
    One connection, its transport still Twisted's. There are two for all that is relayed, so
    it is a protocol without what Twisted's base class has and it does not need.

    @ivar transport: as of any protocol; C{None} before the connection is there.
    @ivar isTLS: whether TLS ends here; then there is no half-close.
    @ivar isLost: whether the connection is gone.
    """

    __slots__ = (
        "_atEnd",
        "_early",
        "_gone",
        "_hands",
        "_isFinished",
        "_isLingering",
        "_made",
        "_producer",
        "_reason",
        "_receiver",
        "isLost",
        "isTLS",
        "transport",
    )

    def __init__(
        self,
        made: Callable[[Leg], None] | None = None,
        gone: Callable[[], None] | None = None,
    ) -> None:
        """
        @param made: called once, when the connection is there.
        @param gone: called once, after its end, whoever the receiver was then.
        """
        self._made = made
        self._gone = gone
        self.transport: Any = None
        self.isTLS = False
        self.isLost = False
        self._receiver: Any = None
        # How often it has changed hands.
        self._hands = 0
        # What is held for the next receiver; None while one hears what comes.
        self._early: list[bytes] | None = []
        self._atEnd = False
        self._isFinished = False
        self._isLingering = False
        self._reason: Failure | None = None
        self._producer: Any = None

    # -- what Twisted calls

    def makeConnection(self, transport: Any) -> None:
        """This is its transport."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """The connection is there: hold still until somebody takes charge."""
        self.isTLS = hasattr(self.transport, "getPeerCertificate")
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        made, self._made = self._made, None
        if made is None:
            self.transport.pauseProducing()
        else:
            made(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes came: for the receiver, or the next one."""
        if self._early is None:
            self._receiver.received(data)
        else:
            self._early.append(data)

    def readConnectionLost(self) -> None:
        """The peer sent FIN."""
        self._atEnd = True
        if self._receiver is not None:
            self._receiver.finished()
        if self._isLingering:
            self.close()

    def writeConnectionLost(self) -> None:
        """Our FIN is out; nobody needs to know."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.isLost = True
        self._reason = reason
        self._producer = None
        gone, self._gone = self._gone, None
        # The receiver knows its leg: without this the two would wait for the collector.
        receiver, self._receiver = self._receiver, None
        self._keep()
        if receiver is not None:
            receiver.lost(reason)
        if gone is not None:
            gone()

    # -- for those in charge

    @property
    def peer(self) -> Address:
        """Where the other end is."""
        transport = self.transport
        return getattr(transport, "peer", None) or addressOf(transport.getPeer())

    @property
    def local(self) -> Address:
        """Where this end is."""
        transport = self.transport
        return getattr(transport, "local", None) or addressOf(transport.getHost())

    def hand(self, receiver: Receiver) -> None:
        """
        Put C{receiver} in charge; first it hears what had been held. Whether the leg is read
        on is another question: see L{resumeProducing}.
        """
        self._receiver = receiver
        self._hands += 1
        hands = self._hands
        while self._early and self._hands == hands:
            receiver.received(self._early.pop(0))
        if self._hands != hands:
            # It has given the leg away again, which may have come back to it since.
            return
        if self._reason is not None:
            self._receiver = None
            receiver.lost(self._reason)
            return
        self._early = None
        if self._atEnd:
            receiver.finished()

    def hold(self, rest: bytes = b"") -> None:
        """
        Nobody is in charge from now on. C{rest} is what the last receiver did not use; the
        next one hears it first.
        """
        self._receiver = None
        early = self._keep()
        if rest:
            early.insert(0, rest)
        self.pauseProducing()

    def _keep(self) -> list[bytes]:
        """Keep what comes from now on."""
        self._hands += 1
        if self._early is None:
            self._early = []
        return self._early

    def takeEarly(self) -> bytes:
        """What was held so far, for an engine that reads by itself from now on."""
        early, self._early = self._early, []
        return b"".join(early or ())

    def write(self, data: bytes) -> None:
        """Send; buffered without bound, so heed L{feed}."""
        self.transport.write(data)

    def feed(self, source: Any) -> None:
        """Let C{source} (an L{IPushProducer}) be paused while this leg's peer does not read."""
        self.starve()
        if not self.isLost:
            self._producer = source
            self.transport.registerProducer(source, True)

    def starve(self) -> None:
        """Nobody feeds this leg any more."""
        if self._producer is not None:
            self._producer = None
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Stop reading."""
        if not self.isLost:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on, if there can be anything to read."""
        if not self.isLost and not self._atEnd:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The consumer of this leg's bytes is gone; its own receiver hears of that."""

    def finish(self) -> None:
        """Send FIN after all that was written; TLS has no half-close, so close there."""
        # Asked twice, Twisted would write nothing once more, behind the FIN, and break it off.
        if self.isLost or self._isFinished:
            return
        self._isFinished = True
        self.starve()
        if self.isTLS or not hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close after all that was written."""
        if not self.isLost:
            self.starve()
            self.transport.loseConnection()

    def linger(self) -> None:
        """
        Close after all that was written, but not before the peer has ended its side too: to
        close while it still sends would have the kernel reset the connection, and destroy
        what the peer has not read yet (RFC 9112 section 9.6). The receiver goes on hearing
        what comes. A peer may take for ever: the caller has a deadline.
        """
        if self.isTLS or self._atEnd:
            self.close()
        else:
            self._isLingering = True
            self.finish()
        # TLS needs to read, too: the peer answers the end of the session.
        self.resumeProducing()

    def abort(self) -> None:
        """Close at once; what was not yet sent is lost (TCP: RST)."""
        if not self.isLost:
            self.starve()
            self.transport.abortConnection()


class LegFactory(Factory):
    """Makes legs, of one connection each. A plane may serve such a factory natively."""

    noisy = False

    def __init__(self, make: Callable[[], Leg]) -> None:
        self._make = make

    def buildProtocol(  # type: ignore[override]  # any IProtocol will do
        self, addr: IAddress | None
    ) -> Leg:
        """One connection, one leg."""
        return self._make()


def unheard(data: bytes) -> None:
    """In the place of a receiver's method once the leg was given away: nothing can come."""


def takeOver(transport: Any, early: bytes = b"") -> Leg:
    """
    Put a leg in place of the protocol of a connected transport.

    The protocol hears nothing more but the end of the connection, as C{connectionLost}.

    @param transport: what the protocol has as its C{transport}.
    @param early: what it has read and not used.
    @return: the leg, holding still.
    """
    # The transport of a protocol is the wrapper when there is one (TLS, a policy); what was
    # made secure by startTLS has the wrapper as its protocol.
    owner: Any = transport
    name = "wrappedProtocol" if isinstance(owner, ProtocolWrapper) else "protocol"
    if name == "protocol" and isinstance(owner.protocol, ProtocolWrapper):
        owner, name = owner.protocol, "wrappedProtocol"
    old = getattr(owner, name)
    leg = Leg(gone=lambda: old.connectionLost(connectionDone))
    setattr(owner, name, leg)
    leg.makeConnection(transport)
    leg.hold(early)
    return leg
