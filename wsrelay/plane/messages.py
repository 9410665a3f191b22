# -*- test-case-name: tests.plane.test_messages -*-
"""
One direction of a portable link at the level MESSAGES.

Messages are reassembled, inflated and shown to the hook. What the hook leaves alone goes on
as the very frames that came, what it changes is encoded anew: L{wsrelay.plane.outcomes} knows
which, and a flow is its I{outlet}.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from wsrelay.errors import Violation
from wsrelay.model import Close, Direction, Message
from wsrelay.plane.flows import Flow
from wsrelay.plane.outcomes import codec, decideMessage, deflaterOf, forward, inOneFrame
from wsrelay.wire.deflate import Inflater
from wsrelay.wire.frames import BINARY, CLOSE, TEXT, parseClose
from wsrelay.wire.messages import Assembled, Assembler

__all__ = ["MessageFlow"]


class MessageFlow(Flow):
    """Level MESSAGES, see the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        lane = self.lane
        inflater = None
        self.deflater = deflaterOf(lane, self.direction)
        self._startsAfresh = False
        if lane.inflate is not None:
            self._startsAfresh, bits = codec(lane.inflate, self.direction)
            inflater = Inflater(self._startsAfresh, bits)
        self._isSameCoding = lane.inflate == lane.deflate
        self._isInStep = True
        self._violation: Violation | None = None
        self._assembler = Assembler(
            masked=self.direction is Direction.TO_BACKEND,
            maxFrame=lane.maxFrame,
            maxMessage=lane.maxMessage,
            inflater=inflater,
            maxFragments=lane.maxFragments,
            maxControlRate=lane.maxControlRate,
        )
        self.counts = self._assembler.counts

    def take(self, data: Any) -> None:
        """Handle bytes, or one item that had to wait for the hook."""
        if isinstance(data, bytes):
            self._assembler.now = self.lastActive
            items: list[Any] = list(self._assembler.feed(data))
            violation = self._assembler.violation
            if violation is not None and self._violation is None:
                self._violation = violation
                items.append(violation)
        else:
            items = [data]
        for position, item in enumerate(items):
            self._one(item)
            if self.isSilent:
                return
            if (self._awaited is not None or self.isFull) and self._mustWait(
                items[position + 1 :]
            ):
                return

    def _mustWait(self, rest: list[Any]) -> bool:
        """Whether C{rest} cannot be handled yet; then it is queued."""
        if self._awaited is None and not self.isMute and (rest or self._queue):
            # A few bytes can hold many messages, and a hook can make each a large one.
            self.waitForRoom(self)
        if self._awaited is None:
            return False
        self.requeue(rest)
        return True

    def _one(self, item: Assembled | Violation) -> None:
        if isinstance(item, Violation):
            self.silence()
            self.owner.violated(self.direction, item)
        elif item.opcode in (TEXT, BINARY):
            if not self.isMute:
                self._ask(item)
        else:
            if not self.isMute:
                isLast = item.opcode == CLOSE
                self.sink.write((self.instead if isLast else None) or item.wire)
            if item.opcode == CLOSE:
                # Nothing may follow it (RFC 6455 section 5.5.1).
                self.hush()
                self.owner.closeReceived(self.direction, *parseClose(item.payload))

    def _ask(self, item: Assembled) -> None:
        hook = self.lane.hook
        if hook is None:
            forward(self, item)
            return
        message = Message(item.payload, item.opcode == TEXT)
        try:
            verdict = hook(message)
        except Exception:
            self.fail(Failure())
            return
        decideMessage(self, item, message, verdict)

    # -- its own outlet

    def mayForward(self) -> bool:
        """Whether compressed frames may go on as they came."""
        return self._isSameCoding and (self._isInStep or self._startsAfresh)

    def outOfStep(self) -> None:
        """The receiver's inflater has missed something."""
        self._isInStep = False

    def reply(self, message: Message) -> None:
        """Send this to the sender."""
        back = self.opposite
        back.send(message)
        if back.isFull and not back.isMute:
            # Who does not read the answers may ask no more questions.
            self.waitForRoom(back)

    def asked(self, close: Close) -> None:
        """The hook wants the end; the owner mutes the lane, as for L{fail}."""
        self.owner.hookAsked(self.direction, close)
        if not self.isMute:
            self.silence()

    def fail(self, failure: Failure) -> None:
        """The hook failed; the owner mutes the lane, and the sender's Close is still heard."""
        self.owner.hookFailed(self.direction, failure)
        if not self.isMute:
            self.silence()

    # -- frames of the relay's own

    def send(self, message: Message) -> None:
        """A message of the relay's own; not compressed, so that nobody gets out of step."""
        if not self.isMute:
            self.sink.write(inOneFrame(self.direction, message.data, message.isText))

    def inject(self, frame: bytes) -> None:
        """Only whole frames are ever written here, so it goes out at once."""
        if not self.isMute:
            self.sink.write(frame)

    def mute(self, last: bytes) -> bool:
        """C{last} goes out at once; messages are no longer forwarded."""
        if self.isMute:
            return False
        self.sink.write(last)
        self.hush()
        return True
