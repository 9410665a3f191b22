# -*- test-case-name: tests.plane.test_outlets -*-
"""
The native engine's outlets, on a link of the extension's whose two sockets nobody but the
test knows.

What hooks can answer is in L{tests.plane.suite}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.plane.support import Frame, framed, frames
from tests.plane.worlds import DOWN, UP, Recorder
from wsrelay.model import Close, Direction, Interest, Message
from wsrelay.plane.engine import Lane
from wsrelay.plane.outlets import NativeMessages, NativeStream, outletsOf
from wsrelay.wire.frames import BINARY, TEXT

_native: Any = None
try:
    from wsrelay.plane import _native
except ImportError:
    _SKIP: str | None = "the extension is not built: no compiler, or another platform"
else:
    _SKIP = None


class _Handler:
    """Hears what the extension says, for nothing."""

    def _hear(self, *what: Any) -> None:
        pass

    lost = ended = violated = closeReceived = failed = decide = decideChunk = _hear


class OutletTestCase(SynchronousTestCase):
    """A link between two socket pairs; the test has the peers' ends."""

    skip = _SKIP

    def join(self, level: Interest, hook: Any = None) -> None:
        """Link both ways at a level."""
        self.plane = _native.Plane(Message)
        self.peers, descriptors = [], []
        for _ in range(2):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            self.addCleanup(theirs.close)
            self.peers.append(theirs)
            descriptors.append(ours.detach())
        self.lane = Lane(level, hook)
        lane = (int(level), hook, -1, -1, -1, 0.0, 0, None, True, False, False)
        self.link = self.plane.link(_Handler(), *descriptors, 0, 0, lane, lane)
        self.addCleanup(self.link.abort)
        self.link.start(b"", b"")
        self.owner = Recorder()
        self.plane.process()

    def outlet(self, direction: Direction) -> Any:
        """The outlet of one direction."""
        both = outletsOf(self.link, self.lane, self.lane, self.owner)
        return both[0] if direction is UP else both[1]

    def heard(self, direction: Direction) -> bytes:
        """What has reached the receiver of a direction."""
        self.plane.process()
        try:
            return self.peers[1 if direction is UP else 0].recv(65536)
        except BlockingIOError:
            return b""

    def say(self, direction: Direction, data: bytes) -> None:
        """Have this read."""
        self.peers[0 if direction is UP else 1].send(data)
        self.plane.process()


class OutletsOfTests(OutletTestCase):
    """Which lanes have an outlet."""

    def test_none(self) -> None:
        """Without anything to decide there is none, and links share that there is none."""
        for level in (Interest.BYTES, Interest.FRAMES):
            self.join(level)
            both = outletsOf(self.link, self.lane, self.lane, self.owner)
            self.assertEqual(both, (None, None))
            self.assertIs(both, outletsOf(self.link, Lane(), Lane(), self.owner))

    def test_kinds(self) -> None:
        """The level decides which; each direction has its own."""
        self.join(Interest.BYTES)
        messages, stream = Lane(Interest.MESSAGES), Lane(hook=lambda chunk: None)
        up, down = outletsOf(self.link, messages, stream, self.owner)
        self.assertEqual((type(up), up.direction), (NativeMessages, UP))
        self.assertEqual((type(down), down.direction), (NativeStream, DOWN))
        none, stream = outletsOf(self.link, Lane(Interest.FRAMES), stream, self.owner)
        self.assertEqual((none, type(stream)), (None, NativeStream))


class NativeMessagesTests(OutletTestCase):
    """Level MESSAGES."""

    def test_writeAndReply(self) -> None:
        """What is written goes to the receiver, a reply to the sender."""
        for direction in Direction:
            self.join(Interest.MESSAGES)
            outlet = self.outlet(direction)
            outlet.write(framed(direction, TEXT, b"on"))
            outlet.reply(Message(b"back", False))
            self.assertEqual(frames(self.heard(direction), direction), [Frame(TEXT, b"on")])
            back = frames(self.heard(direction.opposite), direction.opposite)
            self.assertEqual(back, [Frame(BINARY, b"back")])

    def test_inStep(self) -> None:
        """The extension knows whether compressed frames may go on as they came."""
        self.join(Interest.MESSAGES)
        for direction in Direction:
            outlet = self.outlet(direction)
            self.assertTrue(outlet.mayForward())
            outlet.outOfStep()
            self.assertFalse(outlet.mayForward())

    def test_waitFor(self) -> None:
        """While an answer is to come the direction holds still, and the other does not."""
        self.join(Interest.MESSAGES)
        for end in ("callback", "errback"):
            answer: Deferred[Any] = Deferred()
            applied: list[Any] = []
            self.outlet(UP).waitFor(answer, applied.append)
            self.say(UP, framed(UP, TEXT, b"held"))
            self.say(DOWN, framed(DOWN, TEXT, b"not held"))
            self.assertEqual(self.heard(UP), b"")
            self.assertEqual(self.heard(DOWN), framed(DOWN, TEXT, b"not held"))
            if end == "callback":
                answer.callback(b"it")
                self.assertEqual(applied, [b"it"])
                self.assertEqual(self.heard(UP), framed(UP, TEXT, b"held"))
            else:
                answer.errback(KeyError("oh"))
                self.assertEqual(applied, [])
                self.assertEqual([event[0] for event in self.owner.events], ["failed"])

    def test_theEnd(self) -> None:
        """Who wants the end, or fails, is told of, and then nothing more is forwarded."""
        close = Close(1000)
        for word, argument, event in [
            ("asked", close, ("asked", UP, close)),
            ("fail", Failure(KeyError()), None),
        ]:
            self.join(Interest.MESSAGES)
            outlet = self.outlet(UP)
            self.assertFalse(outlet.isOver())
            getattr(outlet, word)(argument)
            self.assertTrue(outlet.isOver())
            (told,) = self.owner.events
            self.assertEqual(told[:2], (event or ("failed", UP))[:2])
            self.say(UP, framed(UP, TEXT, b"more"))
            self.assertEqual(self.heard(UP), b"")

    def test_ownerMutes(self) -> None:
        """An owner that mutes the direction itself goes on hearing of the sender's Close."""
        self.join(Interest.MESSAGES)
        self.owner.reactions["asked"] = lambda *what: self.link.mute(0, b"bye")
        outlet = self.outlet(UP)
        outlet.asked(Close(1000))
        self.assertEqual(self.heard(UP), b"bye")
        self.assertTrue(outlet.isOver())

    def test_ended(self) -> None:
        """The end of the stream is told."""
        self.join(Interest.MESSAGES)
        self.outlet(DOWN).ended()
        self.assertEqual(self.owner.events, [("ended", DOWN)])


class NativeStreamTests(OutletTestCase):
    """Level BYTES, with a hook."""

    def test_lastWord(self) -> None:
        """At the end of the stream the hook has the last word."""
        self.join(Interest.BYTES, lambda chunk: b"last" if not chunk else None)
        self.outlet(UP).ended()
        self.assertEqual(self.heard(UP), b"last")
        self.assertEqual(self.owner.events, [("ended", UP)])

    def test_noLastWord(self) -> None:
        """A hook that has retired, or failed, is not asked for one."""
        for word in ("retire", "fail"):
            self.join(Interest.BYTES, lambda chunk: b"last")
            outlet = self.outlet(UP)
            if word == "retire":
                outlet.retire()
            else:
                outlet.fail(Failure(KeyError()))
            outlet.ended()
            self.assertEqual(self.heard(UP), b"")
            self.assertEqual(self.owner.events[-1], ("ended", UP))

    def test_retire(self) -> None:
        """Once a hook has retired, bytes pass it by."""
        asked: list[bytes] = []
        self.join(Interest.BYTES, asked.append)
        self.say(UP, b"1")
        self.outlet(UP).retire()
        self.say(UP, b"2")
        self.assertEqual((self.heard(UP), asked), (b"12", [b"1"]))

    def test_theEnd(self) -> None:
        """Nothing more is forwarded, and then the owner is told."""
        seen: list[bool] = []
        for word, argument in [("asked", Close(1000)), ("fail", Failure(KeyError()))]:
            self.join(Interest.BYTES, lambda chunk: None)
            outlet = self.outlet(UP)
            name = "asked" if word == "asked" else "failed"
            self.owner.reactions[name] = lambda *what, outlet=outlet: seen.append(outlet.isOver())
            getattr(outlet, word)(argument)
        self.assertEqual(seen, [True, True])
