"""
What tests/fuzz/link.c has in Python: the owner of a link, its hooks, and two legs.

C{link.c} asks L{begin} for each input. Everything else is the relay's own: L{NativePlane}
joins the legs, which stand on socket pairs. The input's I{script} says what the owner does
when it hears something, and what its hooks answer; without one the owner only listens.

The owner holds the link to what L{Owner} and L{ILink} promise. An exception here, or one
that the extension cannot hand to anybody, ends the run.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from wsrelay.errors import Violation
from wsrelay.model import Close, Direction, Drop, Interest, Message, Reply, Retire
from wsrelay.plane.engine import Lane
from wsrelay.plane.legs import Leg
from wsrelay.plane.native import NativePlane
from wsrelay.wire.deflate import Parameters
from wsrelay.wire.frames import PING, encode, encodeClose

__all__ = ["begin", "plane"]

_DIRECTIONS = (Direction.TO_BACKEND, Direction.TO_CLIENT)
_LIMITS = (None, 0, 30, 127, 1000, 70000)
_RESERVED = (0, 0x40, 0x20, 0x70)
_KEY = b"\1\2\3\4"


class _Reactor:
    """Nobody watches the descriptors: the fuzzer knows when something has happened."""

    def addReader(self, reader: Any) -> None:
        pass

    removeReader = addWriter = removeWriter = addReader


_reactor: Any = _Reactor()
_native = NativePlane(_reactor)
#: The extension's plane, which every input shares.
plane = _native._plane


class _Transport(FileDescriptor):
    """A connected socket of Twisted's."""

    def __init__(self, descriptor: int, leg: Leg) -> None:
        super().__init__(_reactor)
        self.connected = 1
        self.socket = socket(AF_UNIX, SOCK_STREAM, 0, descriptor)
        self.fileno = self.socket.fileno
        self.leg = leg
        leg.makeConnection(self)  # type: ignore[arg-type, no-untyped-call]  # Twisted

    def connectionLost(self, reason: Failure) -> None:
        """The extension has closed its descriptor."""
        super().connectionLost(reason)
        self.socket.close()
        leg = self.leg
        del self.leg  # as Twisted does; the two would wait for the collector
        leg.connectionLost(reason)


class _Owner:
    """
    Hears of one link.

    @ivar script: what to do next, one byte each; it begins again at its end.
    @ivar lost: how many legs are gone.
    """

    def __init__(self, script: bytes) -> None:
        self.link: Any = None
        self.script = script
        self.at = 0
        self.lost = 0
        self.isOver = False
        self.depth = 0
        self.waiting: list[Deferred[Any]] = []

    def next(self) -> int:
        """The next byte of the script."""
        self.at += 1
        return self.script[self.at % len(self.script)]

    def over(self) -> None:
        """The link has come to its end: forget it, for nothing may need the collector."""
        assert self.lost == 2, "a leg was not lost"
        self.link = None
        self.waiting.clear()

    # -- the owner of the link

    def closeReceived(self, direction: Direction, code: int | None, reason: str) -> None:
        """A Close frame came."""
        self._heard(direction)

    def violated(self, direction: Direction, violation: Violation) -> None:
        """A rule was broken."""
        assert violation.code in (1002, 1007, 1008, 1009) and violation.detail
        self._heard(direction)

    def hookAsked(self, direction: Direction, close: Close) -> None:
        """A hook wants the end."""
        self._heard(direction)

    def hookFailed(self, direction: Direction, failure: Failure) -> None:
        """A hook raised."""
        self._heard(direction)

    def streamEnded(self, direction: Direction) -> None:
        """A sender has finished."""
        self._heard(direction)

    def legLost(self, direction: Direction, failure: Failure) -> None:
        """A leg is gone."""
        self.lost += 1
        assert self.lost <= 2, "a third leg was lost"
        if self.lost == 2:
            self.isOver = True
        self._react(direction)

    def _heard(self, direction: Direction) -> None:
        assert not self.isOver, "something was said after the end"
        self._react(direction)

    # -- what it does

    def _react(self, direction: Direction) -> None:
        if self.script and self.link is not None and self.depth < 4:
            self.depth += 1
            self.act(self.next(), direction)
            self.depth -= 1

    def act(self, what: int, direction: Direction = Direction.TO_BACKEND) -> None:
        """Do to the link what an owner may do at any time."""
        link = self.link
        if what & 0x80:
            direction = direction.opposite
        key = _KEY if direction is Direction.TO_BACKEND else None
        last = encodeClose(1000 + (what & 3), "bye", key)
        kind = what & 15
        if kind == 1:
            self.isOver = True
            link.close()
        elif kind == 2:
            self.isOver = True
            link.abort()
        elif kind == 3:
            link.mute(direction)
        elif kind == 4:
            link.mute(direction, last)
        elif kind == 5:
            link.closeWith(direction, last)
        elif kind == 6:
            link.finish(direction)
        elif kind in (7, 8):
            link.inject(direction, encode(PING, b"ping", key))
        elif kind in (9, 10):
            link.send(direction, Message(b"of its own" * (what >> 4 & 7), bool(what & 16)))
        elif kind in (11, 12) and self.waiting:
            self.waiting.pop(0).callback([b"later", Reply("late")] if kind == 12 else None)
        elif kind == 13 and self.waiting:
            self.waiting.pop(0).errback(Failure(RuntimeError("the hook's, later")))
        elif kind == 14:
            assert link.idleFor() >= 0
            assert all(count.frames >= count.messages for count in link.counts().values())

    # -- hooks

    def hook(self, kind: int, direction: Direction) -> Callable[[Any], Any] | None:
        """The hook of this kind."""
        if kind == 0:
            return None
        if kind == 1:
            return _nothing
        if kind == 2:
            return _replace
        if kind == 3:
            return _fail

        def hook(message: Any) -> Any:
            self._react(direction)
            return self.verdict(self.next() if self.script else kind, message)

        return hook

    def verdict(self, what: int, message: Any) -> Any:
        """What a hook answers."""
        kind = what & 15
        if kind == 2:
            return b"another"
        if kind == 3:
            return "another \u00e9" if isinstance(message, Message) else b""
        if kind == 4:
            return message
        if kind == 5 and isinstance(message, Message):
            message.data = b"touched" * 30
            return message if what & 16 else None
        if kind == 6:
            return Drop()
        if kind == 7:
            return Reply(b"reply" * 40)
        if kind == 8:
            return Close(4000, "the hook's")
        if kind == 9:
            return [b"one", message, Reply("two"), b"three"]
        if kind == 10:
            return Retire(b"last")
        if kind == 11:
            return 42
        if kind == 12:
            return b"\xff" * (1 << (what >> 4))
        if kind == 13:
            raise RuntimeError("the hook's")
        if kind in (14, 15):
            later: Deferred[Any] = Deferred()
            later.addErrback(lambda failure: failure.trap(Exception) and None)
            self.waiting.append(later)
            return later
        return None


def _nothing(message: Any) -> None:
    pass


def _replace(message: Any) -> bytes:
    return b"instead"


def _fail(message: Any) -> None:
    raise RuntimeError("a hook's")


def _lane(owner: _Owner, header: Sequence[int], index: int) -> Lane:
    """See the table in link.c."""
    level = Interest(min(header[0] >> 2 * index & 3, 2))
    limit = header[1] >> 4 * index & 15
    inflate = deflate = None
    if header[2] & 0x10 and level is Interest.MESSAGES:
        inflate = deflate = Parameters(*([bool(header[2] & 0x20)] * 2))
        if header[2] & 0x40:
            deflate = None
    hook = None
    if level is not Interest.FRAMES:
        hook = owner.hook(header[3] >> 4 * index & 15, _DIRECTIONS[index])
    return Lane(
        level,
        hook,
        "",
        _LIMITS[limit % 6],
        _LIMITS[(limit * 5) % 6],
        None if limit < 12 else 3,
        None,
        _RESERVED[header[2] >> 2 * index & 3],
        inflate,
        deflate,
    )


def begin(
    header: bytes, script: bytes, client: int, backend: int, early0: bytes, early1: bytes
) -> _Owner:
    """Join two descriptors, which belong to the link from now on."""
    legs = []
    for descriptor, early in ((client, early0), (backend, early1)):
        leg = Leg()
        _Transport(descriptor, leg)
        if early:
            leg.dataReceived(early)
        legs.append(leg)
    owner = _Owner(script)
    lanes = {direction: _lane(owner, header, i) for i, direction in enumerate(_DIRECTIONS)}
    owner.link = _native.link(legs[0], legs[1], lanes, owner)
    owner.link.start()
    return owner


def _unraisable(what: Any) -> None:
    """Nobody was there to hear of an exception."""
    traceback.print_exception(what.exc_type, what.exc_value, what.exc_traceback)
    os.abort()


def _observe(event: Any) -> None:
    """Nobody was there to hear of one but the log."""
    if "log_failure" in event:
        event["log_failure"].printTraceback(sys.stderr)
        os.abort()


sys.unraisablehook = _unraisable
globalLogBeginner.beginLoggingTo([_observe], redirectStandardIO=False)
