# -*- test-case-name: tests.plane.test_native -*-
"""
The native engine: sockets are served by C, in the reactor's own thread.

The extension (in C, begin with C{_native.h}) owns one epoll instance; its descriptor is the
one that the reactor watches for all links together. What is here joins legs that were taken
(L{wsrelay.plane.adoption}), asks the extension what an owner asks, and tells the owner what
the extension tells; what hooks answer and C cannot do by itself goes to
L{wsrelay.plane.outlets}.

A leg that cannot be taken (a transport of an unknown kind, TLS by another OpenSSL) is
relayed by the portable engine; the owner of the link does not notice.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet.interfaces import IListeningPort, IReadDescriptor, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.errors import Violation
from wsrelay.model import Counts, Direction, Interest, Message
from wsrelay.plane import _native
from wsrelay.plane.adoption import Adopter, adopt, take
from wsrelay.plane.engine import ILink, IPlane, Lane, Owner
from wsrelay.plane.legs import Leg
from wsrelay.plane.outcomes import codec, decideChunk, decideMessage, inOneFrame
from wsrelay.plane.outlets import outletsOf
from wsrelay.plane.portable import PortablePlane
from wsrelay.plane.transports import NativeEndpoint, NativePort, endOf, isPlain
from wsrelay.wire.deflate import Inflater
from wsrelay.wire.messages import Assembled

__all__ = ["NativeLink", "NativePlane"]

_UP, _DOWN = _DIRECTIONS = (Direction.TO_BACKEND, Direction.TO_CLIENT)
_INDEX = {_UP: 0, _DOWN: 1}
_MESSAGES = Interest.MESSAGES


@implementer(IPlane, IReadDescriptor)
class NativePlane:
    """The engine in C."""

    name = "native"

    def __init__(self, reactor: Any) -> None:
        """@param reactor: an L{IReactorFDSet} and L{IReactorTime} provider."""
        self._reactor = reactor
        self._portable = PortablePlane(reactor)
        self._adopter = Adopter()
        self._plane = _native.Plane(Message, partial(_watch, weakref.ref(self)))
        if self._adopter.tlsFunctions:
            self._plane.useTLS(*self._adopter.tlsFunctions)
        #: Called by the reactor when anything is ready.
        self.doRead = self._plane.process

    def fileno(self) -> int:
        """The descriptor of the epoll instance."""
        return self._plane.fileno()

    def logPrefix(self) -> str:
        """Whose turn it is."""
        return "plane"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is at its end."""

    def watch(self, isWanted: bool) -> None:
        """The reactor watches only while there is something to be served."""
        if isWanted:
            self._reactor.addReader(self)
        else:
            self._reactor.removeReader(self)

    def accept(self, port: IListeningPort) -> IListeningPort:
        """Accept the connections of a port, see L{IPlane.accept}."""
        return NativePort(self._plane, port) if isPlain(port) else port

    def endpoint(self, family: int, host: str, port: int) -> IStreamClientEndpoint:
        """What dials an address, see L{IPlane.endpoint}."""
        return NativeEndpoint(self._plane, family, host, port)

    def link(
        self, client: Leg, backend: Leg, lanes: Mapping[Direction, Lane], owner: Owner
    ) -> Any:
        """Join two legs, see L{IPlane.link}."""
        adopter = self._adopter
        one, other = adopter.grip(client), adopter.grip(backend)
        if one is None or other is None or not adopter.secure(one, other):
            return self._portable.link(client, backend, lanes, owner)
        return NativeLink(self._plane, (client, backend), (one, other), lanes, owner)


def _watch(plane: weakref.ref[NativePlane], isWanted: bool) -> None:
    """The extension must not keep alive what keeps it alive: it is not searched for cycles."""
    owner = plane()
    if owner is not None:
        owner.watch(isWanted)


class _Nobody:
    """The owner of a link that was closed: of its legs L{Adopted} tells."""

    def _hear(self, *what: Any) -> None:
        pass

    closeReceived = violated = hookAsked = hookFailed = streamEnded = _hear


_NOBODY: Any = _Nobody()


class _Inflate(Inflater):
    """An inflater as the extension calls it, which knows its limit."""

    __slots__ = ("_limit",)

    def __init__(self, lane: Lane, isAfresh: bool, windowBits: int) -> None:
        super().__init__(isAfresh, windowBits)
        self._limit = lane.maxMessage

    def __call__(self, data: bytes) -> bytes:
        return self.inflate(data, self._limit)


def _described(lane: Lane, direction: Direction) -> tuple[Any, ...]:
    """A lane as the extension wants it; it keeps what it needs of it."""
    level = lane.level
    maxFrame = -1 if lane.maxFrame is None else lane.maxFrame
    maxMessage = -1 if lane.maxMessage is None else lane.maxMessage
    maxFragments = -1 if lane.maxFragments is None else lane.maxFragments
    pingCost = 0.0 if lane.maxControlRate is None else 1 / lane.maxControlRate
    first = level, lane.hook, maxFrame, maxMessage, maxFragments, pingCost
    if level is not _MESSAGES:
        return *first, lane.rsv, None, True, False, False
    rsv, inflate, isAfresh = 0, None, False
    if lane.inflate is not None:
        isAfresh, windowBits = codec(lane.inflate, direction)
        rsv, inflate = 0x40, _Inflate(lane, isAfresh, windowBits)
    isSame = lane.inflate == lane.deflate
    deflates = lane.deflate is not None
    return *first, rsv, inflate, isSame, isAfresh, deflates


@implementer(ILink)
class NativeLink:
    """Two joined legs, see L{ILink}; the handler of the extension's link."""

    __slots__ = ("_held", "_legs", "_link", "_outlets", "_owner")

    def __init__(
        self,
        plane: Any,
        legs: tuple[Leg, Leg],
        grips: tuple[Any, Any],
        lanes: Mapping[Direction, Lane],
        owner: Owner,
    ) -> None:
        """
        @param plane: the extension's.
        @param grips: what has the legs in its grip.
        """
        client, backend = self._legs = legs
        one, other = grips
        up, down = lanes[_UP], lanes[_DOWN]
        end0, ssl0, early0, unsent0 = take(client, one)
        end1, ssl1, early1, unsent1 = take(backend, other)
        # What is to be forwarded and what is to be sent, both ways, until the start.
        self._held: tuple[bytes, ...] = early0, early1, unsent1, unsent0
        self._owner = owner
        self._link = link = plane.link(
            self, end0, end1, ssl0, ssl1, _described(up, _UP), _described(down, _DOWN)
        )
        self._outlets = outletsOf(link, up, down, owner)
        adopt(client, one, link, _UP, owner)
        adopt(backend, other, link, _DOWN, owner)

    # -- ILink

    def start(self) -> None:
        """Begin, see L{ILink.start}."""
        early0, early1, toBackend, toClient = self._held
        self._held = ()
        self._link.start(early0, early1)
        # Not before: a peer may be gone, and the owner must know its link to hear of that.
        if toBackend:
            self._link.write(0, toBackend)
        if toClient:
            self._link.write(1, toClient)

    def counts(self) -> Mapping[Direction, Counts]:
        """What went each way, see L{ILink.counts}."""
        link = self._link
        return {_UP: Counts(*link.counts(0)), _DOWN: Counts(*link.counts(1))}

    def idleFor(self) -> float:
        """Seconds without a byte, see L{ILink.idleFor}."""
        return float(self._link.idleFor())

    def inject(self, direction: Direction, frame: bytes) -> None:
        """A frame of the relay's own, see L{ILink.inject}."""
        self._link.inject(_INDEX[direction], frame, False)

    def send(self, direction: Direction, message: Message) -> None:
        """A message of the relay's own, see L{ILink.send}."""
        whole = inOneFrame(direction, message.data, message.isText)
        self._link.inject(_INDEX[direction], whole, True)

    def mute(self, direction: Direction, last: bytes = b"") -> bool:
        """The last frame of a direction, see L{ILink.mute}."""
        return bool(self._link.mute(_INDEX[direction], last))

    def closeWith(self, direction: Direction, last: bytes) -> bool:
        """Another Close than the sender's, see L{ILink.closeWith}."""
        return bool(self._link.closeWith(_INDEX[direction], last))

    def finish(self, direction: Direction) -> None:
        """Half-close, see L{ILink.finish}."""
        self._link.finish(_INDEX[direction])

    def close(self) -> None:
        """Close both legs, see L{ILink.close}."""
        self._leave()
        self._link.close()

    def abort(self) -> None:
        """Abort both legs, see L{ILink.abort}."""
        self._leave()
        self._link.abort()

    def _leave(self) -> None:
        """Nothing but the loss of a leg is told from now on, and the owner is let go."""
        self._owner = _NOBODY
        for outlet in self._outlets:
            if outlet is not None:
                outlet.owner = _NOBODY

    # -- what the extension tells

    def lost(self, index: int, error: int) -> None:
        """A descriptor was closed: let the transport run its end, and with it the leg."""
        legs = self._legs
        if legs[1 - index].isLost:
            self._leave()
        leg = legs[index]
        leg.transport.end(leg, endOf(error))

    def ended(self, index: int) -> None:
        """The end of a stream; a stream filter may have a last word."""
        outlet = self._outlets[index]
        if outlet is None:
            self._owner.streamEnded(_DIRECTIONS[index])
        else:
            outlet.ended()

    def violated(self, index: int, code: int, detail: str) -> None:
        """A sender broke the rules."""
        self._owner.violated(_DIRECTIONS[index], Violation(code, detail))

    def closeReceived(self, index: int, code: int | None, reason: str) -> None:
        """A Close frame came."""
        self._owner.closeReceived(_DIRECTIONS[index], code, reason)

    def failed(self, index: int, error: BaseException) -> None:
        """A hook raised."""
        self._outlets[index].fail(Failure(error))

    def decide(
        self,
        index: int,
        message: Message,
        payload: bytes,
        verdict: Any,
        wire: bytes,
        compressed: bool,
    ) -> None:
        """A message hook answered something that C does not handle by itself."""
        item = Assembled(wire[0] & 0x0F, payload, wire, compressed)
        decideMessage(self._outlets[index], item, message, verdict)

    def decideChunk(self, index: int, chunk: bytes, verdict: Any) -> None:
        """A stream hook answered something that C does not handle by itself."""
        decideChunk(self._outlets[index], chunk, verdict)
