# -*- test-case-name: tests.plane.test_outlets -*-
"""
The native engine's outlets, see L{wsrelay.plane.outcomes}: they steer a link of the extension.

There is one for each direction that may have to decide something in Python. The lanes that
most links have, without a hook, cost nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from wsrelay.answers import whenAnswered
from wsrelay.model import Close, Direction, Interest, Message
from wsrelay.plane.engine import Lane, Owner
from wsrelay.plane.outcomes import askStream, deflaterOf, inOneFrame

__all__ = ["NativeMessages", "NativeOutlet", "NativeStream", "outletsOf"]

_DIRECTIONS = (Direction.TO_BACKEND, Direction.TO_CLIENT)
_BYTES, _MESSAGES = Interest.BYTES, Interest.MESSAGES


class NativeOutlet:
    """
    What both levels share.

    @ivar owner: who hears; exchanged for nobody when the link was closed.
    """

    __slots__ = ("_index", "_link", "direction", "owner")

    def __init__(self, link: Any, index: int, lane: Lane, owner: Owner) -> None:
        """
        @param link: the extension's.
        @param index: the direction, as the extension counts: 0 is to the backend.
        """
        self._link = link
        self._index = index
        self.direction = _DIRECTIONS[index]
        self.owner = owner

    def isOver(self) -> bool:
        """Whether nothing of the sender's is forwarded any more."""
        return bool(self._link.isMute(self._index))

    def write(self, data: bytes) -> None:
        """Forward these bytes."""
        self._link.write(self._index, data)

    def waitFor(self, verdict: Any, apply: Callable[[Any], None]) -> None:
        """Hold this direction still until C{verdict} came, then C{apply} it."""
        link, index = self._link, self._index
        link.hold(index)

        def answered(value: Any) -> None:
            apply(value)
            link.release(index)

        def failed(failure: Failure) -> None:
            self.fail(failure)
            link.release(index)

        whenAnswered(verdict, answered, failed)

    def fail(self, failure: Failure) -> None:
        """The hook has failed: tell, and forward nothing more."""
        raise NotImplementedError

    def ended(self) -> None:
        """The sender will send nothing more."""
        self.end()

    def end(self) -> None:
        """Tell that everything up to the end of the stream was handed on."""
        self.owner.streamEnded(self.direction)


class NativeMessages(NativeOutlet):
    """Level MESSAGES. The owner mutes the direction, so that the sender's Close is heard."""

    __slots__ = ("deflater",)

    def __init__(self, link: Any, index: int, lane: Lane, owner: Owner) -> None:
        super().__init__(link, index, lane, owner)
        self.deflater = deflaterOf(lane, self.direction)

    def mayForward(self) -> bool:
        """Whether compressed frames may go on as they came."""
        return bool(self._link.mayForward(self._index))

    def outOfStep(self) -> None:
        """The receiver's inflater has missed something."""
        self._link.outOfStep(self._index)

    def reply(self, message: Message) -> None:
        """Send this to the sender; the extension heeds whether that one reads it."""
        reply = inOneFrame(self.direction.opposite, message.data, message.isText)
        self._link.inject(1 - self._index, reply, True)

    def asked(self, close: Close) -> None:
        """The hook wants the end."""
        self.owner.hookAsked(self.direction, close)
        self._silence()

    def fail(self, failure: Failure) -> None:
        """The hook has failed."""
        self.owner.hookFailed(self.direction, failure)
        self._silence()

    def _silence(self) -> None:
        if not self.isOver():
            self._link.silence(self._index)


class NativeStream(NativeOutlet):
    """Level BYTES, with a hook."""

    __slots__ = ("_hook",)

    def __init__(self, link: Any, index: int, lane: Lane, owner: Owner) -> None:
        super().__init__(link, index, lane, owner)
        self._hook = lane.hook

    def retire(self) -> None:
        """Ask the hook no more."""
        self._hook = None
        self._link.retire(self._index)

    def asked(self, close: Close) -> None:
        """The hook wants the end."""
        self._link.silence(self._index)
        self.owner.hookAsked(self.direction, close)

    def fail(self, failure: Failure) -> None:
        """The hook has failed."""
        self._link.silence(self._index)
        self.owner.hookFailed(self.direction, failure)

    def ended(self) -> None:
        """The hook may have a last word."""
        if self._hook is None or self.isOver():
            self.end()
        else:
            askStream(self, self._hook, b"")


def outletsOf(link: Any, up: Lane, down: Lane, owner: Owner) -> tuple[Any, Any]:
    """The outlets of both directions; C{None} where nothing is ever decided."""
    if not (_isDecided(up) or _isDecided(down)):
        # Of this there is one for all links.
        return None, None
    return _outletOf(link, 0, up, owner), _outletOf(link, 1, down, owner)


def _isDecided(lane: Lane) -> bool:
    return lane.level is _MESSAGES or (lane.hook is not None and lane.level is _BYTES)


def _outletOf(link: Any, index: int, lane: Lane, owner: Owner) -> NativeOutlet | None:
    if not _isDecided(lane):
        return None
    make = NativeMessages if lane.level is _MESSAGES else NativeStream
    return make(link, index, lane, owner)
