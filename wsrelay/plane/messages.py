# -*- test-case-name: tests.plane.test_messages -*-
"""
One direction of a portable link at the level MESSAGES.

Messages are reassembled, inflated and shown to the hook. What the hook leaves alone goes on
as the very frames that came; what it changes is encoded anew.

Compressed frames can go on as they came only while both legs use the same parameters and
the receiver's inflater has seen all that the sender's deflater did (it is I{in step}): with
context takeover (RFC 7692 section 7.1.1) one compressed message that is not forwarded as it
came ends that, and from then on the relay deflates itself.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from wsrelay.errors import Violation
from wsrelay.model import Direction, Message, Reply
from wsrelay.plane.flows import Flow
from wsrelay.plane.verdicts import isLater, parts, replacement
from wsrelay.wire.deflate import Deflater, Inflater, Parameters
from wsrelay.wire.frames import BINARY, CLOSE, TEXT, encode, parseClose
from wsrelay.wire.messages import Assembled, Assembler

__all__ = ["WORTH_DEFLATING", "MessageFlow", "codec"]

WORTH_DEFLATING = 64
"""Deflating fewer bytes than this costs more bytes than it saves."""


def codec(parameters: Parameters, direction: Direction) -> tuple[bool, int]:
    """Whether each message starts afresh, and the window bits, in this direction."""
    if direction is Direction.TO_BACKEND:
        return parameters.clientNoContextTakeover, parameters.clientMaxWindowBits
    return parameters.serverNoContextTakeover, parameters.serverMaxWindowBits


class MessageFlow(Flow):
    """Level MESSAGES, see the module."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        lane = self.lane
        inflater = None
        self._deflater: Deflater | None = None
        self._startsAfresh = False
        if lane.inflate is not None:
            self._startsAfresh, bits = codec(lane.inflate, self.direction)
            inflater = Inflater(self._startsAfresh, bits)
        if lane.deflate is not None:
            self._deflater = Deflater(*codec(lane.deflate, self.direction))
        self._isSameCoding = lane.inflate == lane.deflate
        self._isInStep = True
        self._violation: Violation | None = None
        self._assembler = Assembler(
            masked=self.direction is Direction.TO_BACKEND,
            maxFrame=lane.maxFrame,
            maxMessage=lane.maxMessage,
            inflater=inflater,
        )
        self.counts = self._assembler.counts

    def take(self, data: Any) -> None:
        """Handle bytes, or one item that had to wait for the hook."""
        if isinstance(data, bytes):
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
            self._forward(item)
            return
        message = Message(item.payload, item.opcode == TEXT)
        try:
            verdict = hook(message)
        except Exception:
            self.fail(Failure())
            return
        if isLater(verdict):
            self.waitFor(verdict, lambda value: self._apply(item, message, value))
        else:
            self._apply(item, message, verdict)

    def fail(self, failure: Failure) -> None:
        """The hook failed; the owner mutes the lane, and the sender's Close is still heard."""
        self.owner.hookFailed(self.direction, failure)
        if not self.isMute:
            self.silence()

    def _apply(self, item: Assembled, message: Message, verdict: Any) -> None:
        if self.isMute or self.isSilent:
            # The hook has closed the session itself, or somebody else has meanwhile.
            return
        if verdict is None:
            self._forward(item)
            return
        try:
            todo = parts(verdict, message)
        except Exception:
            self.fail(Failure())
            return
        isTouched = message.data is not item.payload or message.isText != (item.opcode == TEXT)
        isOriginal = not isTouched and any(part is message for part in todo)
        if item.compressed and not isOriginal:
            self._isInStep = False
        for part in todo:
            if part is message and isOriginal:
                # Its frames can be used once: a second time they would be out of step.
                isOriginal = False
                self._forward(item)
            elif isinstance(part, Message):
                self._write(part)
            elif isinstance(part, Reply):
                self._reply(part)
            else:
                self.owner.hookAsked(self.direction, part)
                if not self.isMute:
                    self.silence()

    def _reply(self, reply: Reply) -> None:
        back = self.opposite
        back.send(replacement(reply.data, Message(b"")))
        if back.isFull and not back.isMute:
            # Who does not read the answers may ask no more questions.
            self.waitForRoom(back)

    def _forward(self, item: Assembled) -> None:
        if not item.compressed or (self._isSameCoding and (self._isInStep or self._startsAfresh)):
            self.sink.write(item.wire)
        else:
            self._write(Message(item.payload, item.opcode == TEXT))

    def _write(self, message: Message) -> None:
        data, isDeflated = message.data, False
        if self._deflater is not None and len(data) >= WORTH_DEFLATING:
            data, isDeflated = self._deflater.deflate(data), True
            self._isInStep = False
        opcode = TEXT if message.isText else BINARY
        self.sink.write(encode(opcode, data, self.key(), rsv1=isDeflated))

    def send(self, message: Message) -> None:
        """A message of the relay's own; not compressed, so that nobody gets out of step."""
        if not self.isMute:
            opcode = TEXT if message.isText else BINARY
            self.sink.write(encode(opcode, message.data, self.key()))

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
