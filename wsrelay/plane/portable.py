# -*- test-case-name: tests.plane.test_portable -*-
"""
The portable engine: pure Python on Twisted transports.

It runs wherever Twisted does, and is the reference that the native engine is compared
with. Each direction of a link is a I{flow} (L{wsrelay.plane.flows}); the link joins the two
and says when a leg is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IListeningPort
from zope.interface import implementer

from wsrelay.model import Counts, Direction, Interest, Message
from wsrelay.plane.engine import ILink, IPlane, Lane, Owner
from wsrelay.plane.flows import ByteFlow, Flow, FrameFlow
from wsrelay.plane.legs import Leg
from wsrelay.plane.messages import MessageFlow

__all__ = ["PortableLink", "PortablePlane"]

_FLOWS: dict[Interest, type[Flow]] = {
    Interest.BYTES: ByteFlow,
    Interest.FRAMES: FrameFlow,
    Interest.MESSAGES: MessageFlow,
}


@implementer(ILink)
class PortableLink:
    """Two joined legs, see L{ILink}."""

    def __init__(
        self, clock: Any, client: Leg, backend: Leg, lanes: Mapping[Direction, Lane], owner: Owner
    ) -> None:
        self._clock = clock
        self._started = clock.seconds()
        self._legs = client, backend
        up, down = Direction.TO_BACKEND, Direction.TO_CLIENT
        self._flows = {
            up: _FLOWS[lanes[up].level](clock, up, client, backend, lanes[up], owner),
            down: _FLOWS[lanes[down].level](clock, down, backend, client, lanes[down], owner),
        }
        self._flows[up].opposite = self._flows[down]
        self._flows[down].opposite = self._flows[up]

    def start(self) -> None:
        """Begin, see L{ILink.start}."""
        for flow in self._flows.values():
            flow.start()
        for leg, flow in zip(self._legs, self._flows.values(), strict=True):
            leg.resumeProducing()
            leg.hand(flow)
            flow.heed()

    def counts(self) -> Mapping[Direction, Counts]:
        """What went each way, see L{ILink.counts}."""
        return {direction: flow.counts for direction, flow in self._flows.items()}

    def idleFor(self) -> float:
        """Seconds without a byte, see L{ILink.idleFor}."""
        last = max(flow.lastActive for flow in self._flows.values())
        return float(self._clock.seconds() - max(last, self._started))

    def inject(self, direction: Direction, frame: bytes) -> None:
        """A frame of the relay's own, see L{ILink.inject}."""
        self._flows[direction].inject(frame)

    def send(self, direction: Direction, message: Message) -> None:
        """A message of the relay's own, see L{ILink.send}."""
        self._flows[direction].send(message)

    def mute(self, direction: Direction, last: bytes = b"") -> bool:
        """The last frame of a direction, see L{ILink.mute}."""
        return self._flows[direction].mute(last)

    def closeWith(self, direction: Direction, last: bytes) -> bool:
        """Another Close than the sender's, see L{ILink.closeWith}."""
        return self._flows[direction].closeWith(last)

    def finish(self, direction: Direction) -> None:
        """Half-close, see L{ILink.finish}."""
        self._flows[direction].finish()

    def close(self) -> None:
        """Close both legs, see L{ILink.close}."""
        for flow in self._flows.values():
            flow.close()

    def abort(self) -> None:
        """Abort both legs, see L{ILink.abort}."""
        for flow in self._flows.values():
            flow.abort()


@implementer(IPlane)
class PortablePlane:
    """The engine in pure Python."""

    name = "portable"

    def __init__(self, clock: Any) -> None:
        """@param clock: an L{IReactorTime} provider."""
        self._clock = clock

    def accept(self, port: IListeningPort) -> IListeningPort:
        """Twisted accepts, see L{IPlane.accept}."""
        return port

    def endpoint(self, family: int, host: str, port: int) -> None:
        """Twisted dials, see L{IPlane.endpoint}."""

    def link(
        self, client: Leg, backend: Leg, lanes: Mapping[Direction, Lane], owner: Owner
    ) -> PortableLink:
        """Join two legs, see L{IPlane.link}."""
        return PortableLink(self._clock, client, backend, lanes, owner)
