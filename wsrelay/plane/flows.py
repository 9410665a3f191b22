# -*- test-case-name: tests.plane.test_flows -*-
"""
One direction of a portable link at the levels BYTES and FRAMES.

A L{Flow} receives from its I{source} leg and writes to its I{sink} leg, and is the
streaming producer that the sink's transport pauses: a peer that does not read stops the
other from being read, so at most one transport buffer (64 KiB and one read) is kept.

While a flow I{awaits} something, a hook's answer or room in a transport, it does not read,
and what had been read, the end of the stream included, stays in order behind it.

Three things end forwarding, each more than the one before: a I{mute} flow forwards nothing
more, but listens for the sender's Close; a I{silent} one does not even look; a I{cut} one
has only one thing left to say, that its source is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.answers import whenAnswered
from wsrelay.model import Close, Counts, Direction, Message
from wsrelay.plane.engine import Lane, Owner
from wsrelay.plane.legs import Leg
from wsrelay.plane.outcomes import askStream, inOneFrame
from wsrelay.wire.frames import CLOSE, Control, Scanner, parseClose

__all__ = ["ByteFlow", "Flow", "FrameFlow"]


class _End:
    """Stands in the queue for the end of the stream."""


@implementer(IPushProducer)
class Flow:
    """
    What the three levels share: reading, waiting, backpressure, the end.

    @ivar opposite: the flow of the other direction.
    @ivar counts: what went this way.
    @ivar lastActive: when a byte was read last, in the clock's seconds.
    @ivar isFull: whether the sink's transport has more to write than it likes.
    @ivar instead: what goes out in place of the sender's Close frame.
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
        self.isFull = False
        self.isMute = False
        self.isSilent = False
        self._isCut = False
        self.instead: bytes | None = None
        self._isClosing = False
        self._isEnded = False
        self._isDraining = False
        # What this flow holds still for: a token for an answer, a flow for room in its sink.
        self._awaited: object = None
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

    def send(self, message: Message) -> None:
        """See L{ILink.send}."""
        raise NotImplementedError

    def mute(self, last: bytes) -> bool:
        """See L{ILink.mute}."""
        raise NotImplementedError

    def closeWith(self, last: bytes) -> bool:
        """See L{ILink.closeWith}."""
        if not self.isMute:
            self.instead = last
        return not self.isMute

    def isOver(self) -> bool:
        """Whether nothing of the source's is forwarded any more."""
        return self.isMute or self.isSilent

    def write(self, data: bytes) -> None:
        """Forward these bytes."""
        self.sink.write(data)

    # -- the receiver of the source leg

    def received(self, data: bytes) -> None:
        """Bytes came from the source."""
        self.lastActive = self._seconds()
        if self._awaited is None:
            self.take(data)
        else:
            self._queue.append(data)

    def finished(self) -> None:
        """The source will send nothing more."""
        if self._awaited is None:
            self.ended()
        else:
            self._queue.append(_End)

    def ended(self) -> None:
        """Everything up to the end of the stream was handed on."""
        self._isEnded = True
        if not self._isCut:
            self.owner.streamEnded(self.direction)

    def lost(self, reason: Failure) -> None:
        """The source is gone: after what still waits if it closed cleanly, else at once."""
        if self._isClosing:
            # However it came about, it is the end that was wanted.
            reason = Failure(CONNECTION_DONE)
        if self._awaited is not None and reason.check(ConnectionDone):
            self._queue.append(reason)
        else:
            # Not mute: the owner may still have a last word to put on this way.
            self._queue.clear()
            self._awaited = None
            self._isCut = True
            self.silence()
            self.owner.legLost(self.direction, reason)

    # -- the producer of the sink leg

    def pauseProducing(self) -> None:
        """The sink's peer does not read fast enough."""
        self.isFull = True
        self.heed()

    def resumeProducing(self) -> None:
        """The sink takes more."""
        self.isFull = False
        for flow in (self, self.opposite):
            if flow._awaited is self:
                flow.proceed()
        self.heed()

    def stopProducing(self) -> None:
        """The sink is gone, as its own flow will say; nobody else would read on."""
        self.resumeProducing()

    def heed(self) -> None:
        """Read, or do not."""
        if self._awaited is not None or (self.isFull and not self.isMute and not self.isSilent):
            self.source.pauseProducing()
        else:
            self.source.resumeProducing()

    # -- holding still

    def waitFor(self, verdict: Any, apply: Callable[[Any], None]) -> None:
        """Hold this direction still until C{verdict} came, then C{apply} it."""
        token = self._awaited = object()
        isNow = True

        def answered(value: Any) -> None:
            if self._awaited is token:
                self._awaited = None
                apply(value)
                if not isNow:
                    self._drain()

        def failed(failure: Failure) -> None:
            if self._awaited is token:
                self._awaited = None
                self.fail(failure)
                if not isNow:
                    self._drain()

        whenAnswered(verdict, answered, failed)
        isNow = False
        if self._awaited is token:
            if self.isMute or self.isSilent:
                # Its own hook has ended this direction: the answer will change nothing.
                self._awaited = None
            self.heed()

    def waitForRoom(self, flow: Flow) -> None:
        """Hold this direction still until the sink of C{flow} takes more."""
        self._awaited = flow
        self.heed()

    def proceed(self) -> None:
        """Go on without what was awaited."""
        self._awaited = None
        self._drain()

    def requeue(self, items: list[Any]) -> None:
        """Put back, in front, what was taken apart but not yet handled."""
        self._queue.extendleft(reversed(items))

    def _drain(self) -> None:
        if self._isDraining:
            return
        self._isDraining = True
        try:
            while self._queue and self._awaited is None:
                item = self._queue.popleft()
                if item is _End:
                    self.ended()
                elif isinstance(item, Failure):
                    self.lost(item)
                else:
                    self.take(item)
        finally:
            self._isDraining = False
        self.heed()

    # -- ending

    def fail(self, failure: Failure) -> None:
        """The hook failed: nothing more goes this way."""
        self.silence()
        self.owner.hookFailed(self.direction, failure)

    def silence(self) -> None:
        """Read on, forward nothing more."""
        self.isSilent = True
        self.take = self._swallow  # type: ignore[method-assign]  # a state is the current method
        self.heed()

    def hush(self) -> None:
        """Become mute: read on, whatever the sink and a hook that is still to answer say."""
        self.isMute = True
        if self._awaited is None:
            self.heed()
        else:
            self.proceed()

    def _halt(self) -> list[Any]:
        """Look at and await nothing more. @return: what was still queued."""
        queue, self._queue = list(self._queue), deque()
        self._awaited = None
        self.silence()
        return queue

    def cut(self) -> None:
        """Nothing more is forwarded, and only the loss of the source remains to be said."""
        self.isMute = self._isCut = True
        for item in self._halt():
            if isinstance(item, Failure):
                self.owner.legLost(self.direction, item)

    def finish(self) -> None:
        """Half-close the sink, see L{ILink.finish}."""
        self.mute(b"")
        self.hush()
        self.sink.finish()
        # Nobody feeds the sink now, so nobody will be told that there is room again.
        self.resumeProducing()

    def close(self) -> None:
        """Close the source after all that was written to it, see L{ILink.close}."""
        self.cut()
        self._isClosing = True
        self.source.linger()

    def abort(self) -> None:
        """Close the source at once, see L{ILink.abort}."""
        self.cut()
        self._isClosing = False
        self.source.abort()

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
        self._ask(data)

    def _ask(self, data: bytes) -> None:
        assert self.lane.hook is not None
        askStream(self, self.lane.hook, data)

    def ended(self) -> None:
        """Let the hook say its last word before the end is handed on."""
        if self.isSilent or self.take == self._pass:
            self.end()
        else:
            self._ask(b"")

    # -- the hook's outlet, see L{wsrelay.plane.outcomes}

    def end(self) -> None:
        """The last word was said."""
        super().ended()

    def retire(self) -> None:
        """Ask the hook no more."""
        self.take = self._pass  # type: ignore[method-assign]  # a state is the current method

    def asked(self, close: Close) -> None:
        """The hook wants the end: nothing more goes this way."""
        self.silence()
        self.owner.hookAsked(self.direction, close)

    # -- frames of the relay's own

    def inject(self, frame: bytes) -> None:
        """Bytes have no borders: it goes out at once."""
        if not self.isMute:
            self.sink.write(frame)

    def mute(self, last: bytes) -> bool:
        """C{last} goes out at once, and nothing more."""
        if self.isMute:
            return False
        self.sink.write(last)
        self.silence()
        self.hush()
        return True


class FrameFlow(Flow):
    """
    Level FRAMES: frame heads are read, payload is forwarded as it came.

    The relay's own frames wait in C{_own} for the next border between two frames, data
    frames in C{_ownData} for the next border between two messages, C{_last} for the border
    behind which nothing more goes.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._scanner = Scanner(
            masked=self.direction is Direction.TO_BACKEND,
            maxFrame=self.lane.maxFrame,
            maxMessage=self.lane.maxMessage,
            rsv=self.lane.rsv,
            maxFragments=self.lane.maxFragments,
            maxControlRate=self.lane.maxControlRate,
        )
        self.counts = self._scanner.counts
        self._own: list[bytes] = []
        self._ownData: list[bytes] = []
        self._last: bytes | None = None

    def take(self, data: bytes) -> None:
        """Forward what may be forwarded; say what was noteworthy."""
        scanner = self._scanner
        scanner.now = self.lastActive
        forward, controls = scanner.feed(data)
        if scanner.closed and self.instead is not None and self._last is None and controls:
            self._last, self.instead = self.instead, None
        if self._own or self._ownData or self._last is not None:
            forward = self._withOwn(forward, controls)
        if forward and not self.isMute:
            self.sink.write(forward)
        if scanner.closed:
            self._heard(controls)
        if scanner.violation is not None:
            self.silence()
            self.owner.violated(self.direction, scanner.violation)

    def _heard(self, controls: list[Control]) -> None:
        """Say that a Close went by, the last of these; nothing may follow it (5.5.1)."""
        if controls and controls[-1].opcode == CLOSE:
            self.hush()
            self.owner.closeReceived(self.direction, *parseClose(controls[-1].payload))

    def _withOwn(self, forward: bytes, controls: list[Control]) -> bytes:
        """C{forward} with the relay's own frames put where they may stand."""
        if self.isMute:
            return b""
        frames, messages = self._borders(forward, controls)
        if frames < 0:
            return forward
        border, own = frames, self._own
        if self._ownData and messages >= 0:
            border, own = messages, own + self._ownData
            self._ownData = []
        self._own = []
        if self._last is None:
            return b"".join([forward[:border], *own, forward[border:]])
        self.sink.write(b"".join([forward[:border], *own, self._last]))
        self.hush()
        return b""

    def _borders(self, forward: bytes, controls: list[Control]) -> tuple[int, int]:
        """The last places between two frames and two messages, or -1; before a Close."""
        scanner = self._scanner
        if not scanner.closed:
            return scanner.frameBorder, scanner.messageBorder
        masked = self.direction is Direction.TO_BACKEND
        border = len(forward) - len(controls[-1].payload) - (6 if masked else 2)
        return border, -1 if scanner.inMessage else border

    def inject(self, frame: bytes) -> None:
        """A control frame of the relay's own."""
        if not self.isMute:
            self._own.append(frame)
            self._flush()

    def send(self, message: Message) -> None:
        """A message of the relay's own; never compressed, so that nobody gets out of step."""
        if not self.isMute:
            self._ownData.append(inOneFrame(self.direction, message.data, message.isText))
            self._flush()

    def _flush(self) -> None:
        """Write at once what need not wait."""
        if not self._scanner.atBoundary:
            return
        own, self._own = self._own, []
        if not self._scanner.inMessage:
            own, self._ownData = own + self._ownData, []
        self.sink.write(b"".join(own))

    def mute(self, last: bytes) -> bool:
        """Forward up to the next border, then C{last}, then nothing."""
        if self.isMute or self._last is not None:
            return False
        if self._scanner.atBoundary:
            self._flush()
            self.sink.write(last)
        elif self._isEnded or self.source.isLost:
            self.hush()
            return False
        elif last:
            self._last = last
            return True
        self.hush()
        return True
