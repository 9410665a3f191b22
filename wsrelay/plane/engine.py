# -*- test-case-name: tests.plane.test_engine -*-
"""
The small interface between those who decide and those who move bytes.

A I{link} joins two legs. It has a I{lane} for each direction: how much is looked at, which
hook is called, which limits hold. Its I{owner} hears of everything that is not plain
relaying, through L{Owner}, and steers with the methods of L{ILink}.

Every engine behaves the same; C{tests/plane} holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol as TypingProtocol

from attrs import define
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from wsrelay.errors import Violation
from wsrelay.model import Close, Counts, Direction, Interest, Message
from wsrelay.plane.legs import Leg
from wsrelay.wire.deflate import Parameters

__all__ = ["ILink", "IPlane", "Lane", "Owner"]


@define
class Lane:
    """
    What is to be done with one direction of a link.

    @ivar level: how much is looked at.
    @ivar hook: for each message (level MESSAGES) or each chunk and C{b""} at the end (level
        BYTES); its answers are those that L{IMessageFilter} and L{IStreamFilter} allow.
    @ivar hookName: whom to name when it raises.
    @ivar maxFrame: bytes of payload, or C{None}.
    @ivar maxMessage: bytes of payload, inflated at level MESSAGES, or C{None}; then a
        message may inflate to a thousand times of what its sender has sent.
    @ivar maxFragments: frames of one message, or C{None}.
    @ivar maxControlRate: pings a second, as L{Reader<wsrelay.wire.frames.Reader>} counts them,
        or C{None}.
    @ivar rsv: the reserved bits (0x40, 0x20, 0x10) that a negotiated extension may set.
    @ivar inflate: how the sender compresses, when the relay must understand it (MESSAGES).
    @ivar deflate: how the relay may compress towards the receiver (MESSAGES).
    """

    level: Interest = Interest.BYTES
    hook: Callable[[Any], Any] | None = None
    hookName: str = ""
    maxFrame: int | None = None
    maxMessage: int | None = None
    maxFragments: int | None = None
    maxControlRate: float | None = None
    rsv: int = 0
    inflate: Parameters | None = None
    deflate: Parameters | None = None


class Owner(TypingProtocol):
    """
    Who hears of a link. C{direction} names the stream; its sender is the one at fault.

    Any of these may close the link from within. After L{ILink.close} or L{ILink.abort} only
    L{legLost} is said.
    """

    def closeReceived(self, direction: Direction, code: int | None, reason: str) -> None:
        """A Close frame came, and was forwarded unless the lane is mute."""

    def violated(self, direction: Direction, violation: Violation) -> None:
        """
        The sender broke RFC 6455. What came before was forwarded; nothing that comes
        after will be.
        """

    def hookAsked(self, direction: Direction, close: Close) -> None:
        """A hook wants the end. Nothing more of the sender's is forwarded this way."""

    def hookFailed(self, direction: Direction, failure: Failure) -> None:
        """A hook raised or answered nonsense. Nothing more is forwarded this way."""

    def streamEnded(self, direction: Direction) -> None:
        """
        The sender will send nothing more; all it had sent was handed on, or thrown away for
        a reason that was told before.
        """

    def legLost(self, direction: Direction, failure: Failure) -> None:
        """
        The connection to the sender of this direction is gone, both ways. Said once for
        each of the two legs, whatever ended them; the second is the last word of a link.
        When the connection was closed cleanly all it had sent was handed on before.
        """


class ILink(Interface):
    """Two joined legs."""

    def start() -> None:
        """Begin, with the bytes that the legs had held."""

    def counts() -> Mapping[Direction, Counts]:
        """What went each way so far."""

    def idleFor() -> float:
        """Seconds since a byte was read from either side."""

    def inject(direction: Direction, frame: bytes) -> None:
        """
        Put a whole control frame between two frames of this direction, as soon as that is
        possible. Nothing happens on a mute lane.
        """

    def send(direction: Direction, message: Message) -> None:
        """
        Put a message of the relay's own between two messages of this direction, as soon as
        that is possible. No hook sees it. Nothing happens on a mute lane.
        """

    def mute(direction: Direction, last: bytes = b"") -> bool:
        """
        Forward nothing more in this direction after C{last}, a frame of the relay's own
        that goes out at the next border between two frames; read on, so that the sender's
        Close is heard. What a hook has still to answer, and what waits behind it, is not
        forwarded. A lane is mute, too, once a Close frame was forwarded.

        @return: C{False} if C{last} can never go out: the lane was mute before, or what was
            forwarded ends inside a frame, and its sender is gone.
        """

    def closeWith(direction: Direction, last: bytes) -> bool:
        """
        Forward on until the sender's own Close comes, and put C{last}, a Close frame of the
        relay's own, in its place: what the sender had still to say is heard before.

        @return: C{False} if the lane is mute already.
        """

    def finish(direction: Direction) -> None:
        """
        Half-close towards the receiver of this direction, after all that was forwarded; the
        lane is mute from then on. With TLS, which has no half-close, the receiver's whole
        connection is closed.
        """

    def close() -> None:
        """
        Close both legs after all that was forwarded; what a hook has still to answer is not.

        Each peer hears the end at once, but its leg is read, for nothing, until the peer has
        ended its side too: to close sooner would destroy what it has not read yet. That may
        take for ever, so the owner has a deadline for L{abort}.
        """

    def abort() -> None:
        """Close both legs at once; what was not yet sent is lost."""


class IPlane(Interface):
    """An engine."""

    name: str = Attribute("C{portable} or C{native}")

    def accept(port: IListeningPort) -> IListeningPort:
        """
        Take over the accepting of a port's connections, if the engine can do that for it.

        @param port: listens already.
        @return: the port from now on.
        """

    def endpoint(family: int, host: str, port: int) -> IStreamClientEndpoint | None:
        """
        What dials an address, if the engine can do that better than Twisted.

        @param family: C{AF_INET}, C{AF_INET6} or C{AF_UNIX}.
        @param host: an IP address, or the path of a UNIX socket.
        """

    def link(client: Leg, backend: Leg, lanes: Mapping[Direction, Lane], owner: Owner) -> ILink:
        """
        Join two legs that hold still; nothing moves before L{ILink.start}.
        """
