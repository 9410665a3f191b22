# -*- test-case-name: tests.plane.test_flows -*-
"""
One direction of a portable link at the levels BYTES and FRAMES.

A L{Flow} receives from its I{source} leg and writes to its I{sink} leg, and is the
streaming producer that the sink's transport pauses: a peer that does not read stops the
other from being read, so at most one transport buffer (64 KiB and one read) is kept.

While a hook's answer is still to come the flow I{waits}: it does not read, and what had
been read, the end of the stream included, stays in order behind the answer.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.answers import whenAnswered
from wsrelay.model import Close, Counts, Direction, Drop, Message, Retire
from wsrelay.plane.engine import Lane, Owner
from wsrelay.plane.legs import Leg
from wsrelay.plane.verdicts import isLater
from wsrelay.wire.frames import BINARY, CLOSE, TEXT, Scanner, encode, parseClose

__all__ = ["ByteFlow", "Flow", "FrameFlow"]


class _End:
    """Stands in the queue for the end of the stream."""


@implementer(IPushProducer)
class Flow:
    """
    What the three levels share: reading, waiting, backpressure, the end.

    @ivar counts: what went this way.
    @ivar lastActive: when a byte was read last, in the clock's seconds.
    """

    opposite: Flow

    def __init__(
        self, clock: Any, direction: Direction, source: Leg, sink: Leg, lane: Lane, owner: Owner
    ) -> None:
        self._seconds = clock.seconds
        self.direction = direction
        self.source = source
        self.sink = sink
        self.lane = lane
        self.owner = owner
        self.counts = Counts()
        self.lastActive = 0.0
        self.isSilent = False
        self.isEnded = False
        self._isFull = False
        self._isWaiting = False
        self._queue: deque[Any] = deque()

    def start(self) -> None:
        """Begin to be paused by the sink."""
        self.sink.feed(self)

    def take(self, data: bytes) -> None:
        """Handle what was read."""
        raise NotImplementedError

    def inject(self, frame: bytes) -> None:
        """See L{ILink.inject}."""
        raise NotImplementedError

    def mute(self, last: bytes) -> bool:
        """See L{ILink.mute}."""
        raise NotImplementedError

    def send(self, message: Any) -> None:
        """Put a message that no hook sees on the wire (level MESSAGES)."""
        raise NotImplementedError

    def key(self) -> bytes | None:
        """A masking key for a frame of the relay's own: towards the backend only."""
        return os.urandom(4) if self.direction is Direction.TO_BACKEND else None

    # -- the receiver of the source leg

    def received(self, data: bytes) -> None:
        """Bytes came from the source."""
        self.lastActive = self._seconds()
        if self._isWaiting:
            self._queue.append(data)
        else:
            self.take(data)

    def finished(self) -> None:
        """The source will send nothing more."""
        if self._isWaiting:
            self._queue.append(_End)
        else:
            self.ended()

    def ended(self) -> None:
        """Everything up to the end of the stream was handed on."""
        self.isEnded = True
        self.owner.streamEnded(self.direction)

    def lost(self, reason: Failure) -> None:
        """The source is gone: after what still waits if it closed cleanly, else at once."""
        if self._isWaiting and reason.check(ConnectionDone):
            self._queue.append(reason)
            return
        self._queue.clear()
        self.owner.legLost(self.direction, reason)

    # -- the producer of the sink leg

    def pauseProducing(self) -> None:
        """The sink's peer does not read fast enough."""
        self._isFull = True
        self.heed()

    def resumeProducing(self) -> None:
        """The sink takes more."""
        self._isFull = False
        self.heed()

    def stopProducing(self) -> None:
        """The sink is gone; its own flow says so."""

    def heed(self) -> None:
        """Read, or do not."""
        if self._isFull or self._isWaiting:
            self.source.pauseProducing()
        else:
            self.source.resumeProducing()

    # -- waiting for a hook

    def waitFor(self, verdict: Any, apply: Any) -> None:
        """Hold this direction still until C{verdict} came, then C{apply} it."""
        self._isWaiting = True

        def answered(value: Any) -> None:
            self._isWaiting = False
            apply(value)
            self._drain()

        def failed(failure: Failure) -> None:
            self._isWaiting = False
            self.fail(failure)
            self._drain()

        whenAnswered(verdict, answered, failed)
        if self._isWaiting:
            self.heed()

    def fail(self, failure: Failure) -> None:
        """The hook failed: nothing more goes this way."""
        self.silence()
        self.owner.hookFailed(self.direction, failure)

    def requeue(self, items: Any) -> None:
        """Put back, in front, what was taken apart but not yet handled."""
        self._queue.extendleft(reversed(items))

    def _drain(self) -> None:
        while self._queue and not self._isWaiting:
            item = self._queue.popleft()
            if item is _End:
                self.ended()
            elif isinstance(item, Failure):
                self.owner.legLost(self.direction, item)
            else:
                self.take(item)
        if not self._isWaiting:
            self.heed()

    def silence(self) -> None:
        """Read on, forward nothing more."""
        self.isSilent = True
        self.take = self._swallow  # type: ignore[method-assign]  # a state is the current method
        self._isFull = False

    def _swallow(self, data: Any) -> None:
        """Nobody is interested any more."""


class ByteFlow(Flow):
    """Level BYTES: what is read is written, through a stream filter's hook if there is one."""

    def start(self) -> None:
        """Choose the plain way if no hook is there."""
        super().start()
        if self.lane.hook is None:
            self.take = self._pass  # type: ignore[method-assign]  # a state is the current method

    def _pass(self, data: bytes) -> None:
        self.counts.bytes += len(data)
        self.sink.write(data)

    def take(self, data: bytes) -> None:
        """Ask the hook about a chunk."""
        self.counts.bytes += len(data)
        self._ask(data, self._apply)

    def _ask(self, data: bytes, apply: Any) -> None:
        assert self.lane.hook is not None
        try:
            verdict = self.lane.hook(data)
        except Exception:
            self.fail(Failure())
            return
        if isLater(verdict):
            self.waitFor(verdict, lambda value: apply(data, value))
        else:
            apply(data, verdict)

    def _apply(self, data: bytes, verdict: Any) -> None:
        if verdict is None:
            self.sink.write(data)
        elif isinstance(verdict, bytes):
            self.sink.write(verdict)
        elif isinstance(verdict, Retire):
            self.take = self._pass  # type: ignore[method-assign]  # a state is the current method
            self.sink.write(verdict.data)
        elif isinstance(verdict, Close):
            self.silence()
            self.owner.hookAsked(self.direction, verdict)
        elif not isinstance(verdict, Drop):
            wrong = TypeError(
                "a stream hook returns None, bytes, Drop(), Retire() or Close(), "
                f"not {verdict!r:.100}"
            )
            self.fail(Failure(wrong))

    def ended(self) -> None:
        """Let the hook say its last word before the end is handed on."""
        if self.isSilent or self.take == self._pass:
            super().ended()
        else:
            self._ask(b"", self._applyLast)

    def _applyLast(self, data: bytes, verdict: Any) -> None:
        self._apply(data, verdict)
        super().ended()

    def inject(self, frame: bytes) -> None:
        """Bytes have no borders: it goes out at once."""
        self.sink.write(frame)

    def mute(self, last: bytes) -> bool:
        """Forward nothing more."""
        self.silence()
        self.sink.write(last)
        self.heed()
        return True


class FrameFlow(Flow):
    """
    Level FRAMES: frame heads are read, payload is forwarded as it came.

    The relay's own frames wait in C{_own} for the next border between two frames, data
    frames for the next border between two messages.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._scanner = Scanner(
            masked=self.direction is Direction.TO_BACKEND,
            maxFrame=self.lane.maxFrame,
            maxMessage=self.lane.maxMessage,
            rsv=self.lane.rsv,
        )
        self.counts = self._scanner.counts
        self._isMute = False
        self._own: list[bytes] = []
        self._ownData: list[bytes] = []
        self._last: bytes | None = None

    def take(self, data: bytes) -> None:
        """Forward what may be forwarded; say what was noteworthy."""
        scanner = self._scanner
        forward, controls = scanner.feed(data)
        if self._own or self._ownData or self._last is not None:
            forward = self._withOwn(forward)
        if forward and not self._isMute:
            self.sink.write(forward)
        if controls:
            for control in controls:
                if control.opcode == CLOSE:
                    self.owner.closeReceived(self.direction, *parseClose(control.payload))
        if scanner.violation is not None:
            self.silence()
            self.owner.violated(self.direction, scanner.violation)

    def _withOwn(self, forward: bytes) -> bytes:
        if self._isMute:
            return b""
        border = self._scanner.messageBorder
        if self._ownData and border >= 0:
            own = b"".join(self._own + self._ownData)
            self._own, self._ownData = [], []
        else:
            border = self._scanner.frameBorder
            if border < 0:
                return forward
            own = b"".join(self._own)
            self._own = []
        if self._last is None:
            return forward[:border] + own + forward[border:]
        self.sink.write(forward[:border] + own + self._last)
        self._isMute = True
        return b""

    def inject(self, frame: bytes) -> None:
        """A control frame of the relay's own."""
        self._own.append(frame)
        self._flush()

    def send(self, message: Message) -> None:
        """A message of the relay's own."""
        opcode = TEXT if message.isText else BINARY
        self._ownData.append(encode(opcode, message.data, self.key()))
        self._flush()

    def _flush(self) -> None:
        """Write at once what need not wait."""
        if self._isMute or not self._scanner.atBoundary:
            return
        own, self._own = self._own, []
        if not self._scanner.inMessage:
            own, self._ownData = own + self._ownData, []
        self.sink.write(b"".join(own))

    def mute(self, last: bytes) -> bool:
        """Forward up to the next border, then C{last}, then nothing."""
        if self._isMute or self._last is not None:
            return False
        if self._scanner.atBoundary:
            self._flush()
            self.sink.write(last)
            self._isMute = True
        elif self.isSilent or self.source.isLost or self.isEnded:
            self._isMute = True
            return False
        elif last:
            self._last = last
        else:
            self._isMute = True
        self._isFull = False
        self.heed()
        return True
