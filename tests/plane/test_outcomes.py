# -*- test-case-name: tests.plane.test_outcomes -*-
"""
What becomes of what a hook was shown: an outlet is told what to do, in order.

What that looks like on the wire is in L{tests.plane.suite}, for every engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.plane.deflatesuite import KEEP, Inflating
from tests.plane.support import Frame, frames
from tests.plane.worlds import DOWN, UP
from wsrelay.answers import whenAnswered
from wsrelay.model import Close, Direction, Drop, Interest, Message, Reply, Retire
from wsrelay.plane.engine import Lane
from wsrelay.plane.outcomes import (
    askStream,
    codec,
    decideChunk,
    decideMessage,
    deflaterOf,
    forward,
    inOneFrame,
)
from wsrelay.wire.deflate import Deflater, Parameters
from wsrelay.wire.frames import BINARY, TEXT
from wsrelay.wire.messages import Assembled

WIRE = b"the frames as they came"


class Outlet:
    """
    Writes down what it is told.

    @ivar told: tuples that begin with the word for what it was told.
    """

    def __init__(self, direction: Direction = UP, deflater: Deflater | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.direction = direction
        self.deflater = deflater
        self.over = False
        self.readable = True

    def isOver(self) -> bool:
        """Whether the test says so."""
        return self.over

    def mayForward(self) -> bool:
        """Whether the test says so."""
        return self.readable

    def waitFor(self, verdict: Any, apply: Callable[[Any], None]) -> None:
        """Wait as an engine does."""
        self.told.append(("wait",))
        whenAnswered(verdict, apply, self.fail)

    def write(self, data: bytes) -> None:
        """Forward."""
        if data == WIRE:
            self.told.append(("forward",))
        elif self.deflater is None and data[1:2] == b"\x81":
            self.told += [("write", *frame[:2]) for frame in frames(data, self.direction)]
        else:
            self.told.append(("write", data))

    def outOfStep(self) -> None:
        """The receiver has missed something."""
        self.told.append(("step",))

    def reply(self, message: Message) -> None:
        """To the sender."""
        self.told.append(("reply", message))

    def retire(self) -> None:
        """No more questions."""
        self.told.append(("retire",))

    def end(self) -> None:
        """The end of the stream."""
        self.told.append(("end",))

    def asked(self, close: Close) -> None:
        """The end is wanted."""
        self.told.append(("asked", close))

    def fail(self, failure: Failure) -> None:
        """The hook failed."""
        self.told.append(("fail", failure.type))


class MessageTests(SynchronousTestCase):
    """Verdicts about messages."""

    def decide(self, verdict: Any, outlet: Outlet | None = None, **how: Any) -> list[Any]:
        """What an outlet is told of a verdict about the text C{x}; a callable is given it."""
        outlet = outlet or Outlet()
        item = Assembled(TEXT, b"x", WIRE, **how)
        message = Message(item.payload, True)
        answer = verdict(message) if callable(verdict) else verdict
        decideMessage(outlet, item, message, answer)
        return outlet.told

    def test_verdicts(self) -> None:
        """Each verdict has its effect; the message itself, untouched, is its own frames, once."""
        bye = Close(1000)
        for verdict, told in [
            (None, [("forward",)]),
            (lambda message: message, [("forward",)]),
            (b"y", [("write", TEXT, b"y")]),
            (Message(b"y", False), [("write", BINARY, b"y")]),
            (Drop(), []),
            (Reply("no"), [("reply", Message(b"no", True))]),
            (Reply(b"no"), [("reply", Message(b"no", False))]),
            (bye, [("asked", bye)]),
            ([bye, b"behind"], [("asked", bye)]),
            (lambda message: ["y", message], [("write", TEXT, b"y"), ("forward",)]),
            (lambda message: [message, message], [("forward",), ("write", TEXT, b"x")]),
            (7, [("fail", TypeError)]),
            (Message(b"\xff", True), [("fail", UnicodeDecodeError)]),
        ]:
            self.assertEqual(self.decide(verdict), told, verdict)

    def test_touched(self) -> None:
        """A message that its hook has written to is not what came, unless it answers None."""

        def write(message: Message) -> Message:
            message.data = b"y"
            return message

        def retype(message: Message) -> Message:
            message.isText = False
            return message

        self.assertEqual(self.decide(write), [("write", TEXT, b"y")])
        self.assertEqual(self.decide(retype), [("write", BINARY, b"x")])
        self.assertEqual(self.decide(lambda message: [write(message), None][1]), [("forward",)])

    def test_inStep(self) -> None:
        """A compressed message that is not forwarded is missed by the receiver's inflater."""
        for verdict, told in [
            (None, [("forward",)]),
            (lambda message: message, [("forward",)]),
            (Drop(), [("step",)]),
            (b"y", [("step",), ("write", TEXT, b"y")]),
            (7, [("fail", TypeError)]),
        ]:
            self.assertEqual(self.decide(verdict, compressed=True), told, verdict)

    def test_unreadable(self) -> None:
        """What the receiver could not inflate is said anew; what is plain goes as it came."""
        for compressed, told in [(True, [("write", TEXT, b"x")]), (False, [("forward",)])]:
            outlet = Outlet()
            outlet.readable = False
            self.assertEqual(self.decide(None, outlet, compressed=compressed), told)
            again = Outlet()
            again.readable = False
            forward(again, Assembled(TEXT, b"x", WIRE, compressed))
            self.assertEqual(again.told, told)

    def test_deflated(self) -> None:
        """What the relay says itself is compressed where it may be and where that pays."""
        lane = Lane(Interest.MESSAGES, deflate=KEEP)
        for size, isDeflated in [(63, False), (64, True)]:
            outlet = Outlet(DOWN, deflaterOf(lane, DOWN))
            self.decide(b"y" * size, outlet)
            *before, (word, data) = outlet.told
            self.assertEqual((before, word), ([("step",)] * isDeflated, "write"))
            found = frames(data, DOWN)
            self.assertEqual([frame.rsv1 for frame in found], [isDeflated])
            said = Inflating(KEEP, DOWN).messages(found)
            self.assertEqual(said, [(TEXT, b"y" * size)])
        self.assertIsNone(deflaterOf(Lane(Interest.MESSAGES), UP))

    def test_over(self) -> None:
        """A verdict that comes when all is over changes nothing, not even a wrong one."""
        for verdict in (None, b"y", Reply("no"), Close(1000), 7):
            outlet = Outlet()
            outlet.over = True
            self.assertEqual(self.decide(verdict, outlet), [])

    def test_later(self) -> None:
        """A verdict that is still to come is waited for, and then is one like any other."""
        outlet = Outlet()
        answer: Deferred[Any] = Deferred()
        self.assertEqual(self.decide(answer, outlet), [("wait",)])
        answer.callback(Reply("no"))
        self.assertEqual(outlet.told[1:], [("reply", Message(b"no", True))])
        outlet = Outlet()
        answer = Deferred()
        self.decide(answer, outlet)
        answer.errback(KeyError("oh"))
        self.assertEqual(outlet.told[1:], [("fail", KeyError)])

    def test_laterAndOver(self) -> None:
        """A verdict that comes after the end changes nothing."""
        outlet = Outlet()
        answer: Deferred[Any] = Deferred()
        self.decide(answer, outlet)
        outlet.over = True
        answer.callback(b"y")
        self.assertEqual(outlet.told, [("wait",)])

    def test_codec(self) -> None:
        """A sender's side of what was agreed on is that of its role on its connection."""
        parameters = Parameters(True, False, 9, 10)
        self.assertEqual(codec(parameters, UP), (True, 9))
        self.assertEqual(codec(parameters, DOWN), (False, 10))


class InOneFrameTests(SynchronousTestCase):
    """Frames of the relay's own."""

    def test_frame(self) -> None:
        """A message is one frame, masked towards the backend."""
        for direction in Direction:
            for isText in (True, False):
                for isDeflated in (True, False):
                    data = inOneFrame(direction, b"said", isText, isDeflated)
                    expected = Frame(TEXT if isText else BINARY, b"said", True, isDeflated)
                    self.assertEqual(frames(data, direction), [expected])

    def test_keys(self) -> None:
        """Each frame has a masking key of its own."""
        self.assertEqual(len({inOneFrame(UP, bytes(4), False)[2:6] for _ in range(20)}), 20)


class StreamTests(SynchronousTestCase):
    """Verdicts about chunks of a stream."""

    def test_verdicts(self) -> None:
        """Each verdict has its effect; behind the last word comes the end."""
        bye = Close(1000)
        for verdict, chunk, told in [
            (None, b"x", [("write", b"x")]),
            (b"y", b"x", [("write", b"y")]),
            (Drop(), b"x", [("write", b"")]),
            (Retire(b"y"), b"x", [("retire",), ("write", b"y")]),
            (bye, b"x", [("asked", bye)]),
            ("y", b"x", [("fail", TypeError)]),
            (b"y", b"", [("write", b"y"), ("end",)]),
            (Retire(b"y"), b"", [("retire",), ("write", b"y"), ("end",)]),
            (bye, b"", [("asked", bye), ("end",)]),
            (7, b"", [("fail", TypeError), ("end",)]),
        ]:
            outlet = Outlet()
            decideChunk(outlet, chunk, verdict)
            self.assertEqual(outlet.told, told, (verdict, chunk))

    def test_ask(self) -> None:
        """The hook is shown the chunk; when it raises, that is all."""
        outlet = Outlet()
        askStream(outlet, lambda chunk: chunk * 2, b"x")
        self.assertEqual(outlet.told, [("write", b"xx")])
        outlet = Outlet()
        askStream(outlet, lambda chunk: 1 // 0, b"")
        self.assertEqual(outlet.told, [("fail", ZeroDivisionError)])

    def test_over(self) -> None:
        """When all is over nothing is done, but the end of the stream is still told."""
        for chunk, told in [(b"x", []), (b"", [("end",)])]:
            outlet = Outlet()
            outlet.over = True
            decideChunk(outlet, chunk, b"y")
            self.assertEqual(outlet.told, told)

    def test_later(self) -> None:
        """The end waits for a last word that is still to come."""
        outlet = Outlet()
        answer: Deferred[Any] = Deferred()
        decideChunk(outlet, b"", answer)
        self.assertEqual(outlet.told, [("wait",)])
        answer.callback(b"last")
        self.assertEqual(outlet.told[1:], [("write", b"last"), ("end",)])
