# -*- test-case-name: tests.plane.test_outcomes -*-
"""
What becomes of what a hook was shown, once its verdict is there: one reading for all engines.

An I{outlet} is one direction of a link as far as verdicts reach. It does as it is told, and
each engine has its own. When the verdict is still to come it holds its direction still.

Compressed frames can go on as they came only while both legs use the same parameters and
the receiver's inflater has seen all that the sender's deflater did (it is I{in step}): with
context takeover (RFC 7692 section 7.1.1) one compressed message that is not forwarded as it
came ends that, and from then on the relay deflates itself.

Which verdicts there are is L{wsrelay.plane.verdicts}' business; what ends a link, its
owner's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol as TypingProtocol

from twisted.python.failure import Failure

from wsrelay.model import Close, Direction, Message, Reply, Retire
from wsrelay.plane.engine import Lane
from wsrelay.plane.verdicts import StreamHook, isLater, parts, replacement, stream
from wsrelay.wire.deflate import Deflater, Parameters
from wsrelay.wire.frames import BINARY, TEXT, encode
from wsrelay.wire.messages import Assembled

__all__ = [
    "MessageOutlet",
    "Outlet",
    "StreamOutlet",
    "askStream",
    "codec",
    "decideChunk",
    "decideMessage",
    "deflaterOf",
    "forward",
    "inOneFrame",
]

# Deflating fewer bytes than this costs more bytes than it saves.
_WORTH_DEFLATING = 64


class Outlet(TypingProtocol):
    """What every outlet does."""

    def isOver(self) -> bool:
        """Whether nothing of the sender's is forwarded any more."""

    def write(self, data: bytes) -> None:
        """Forward these bytes."""

    def waitFor(self, verdict: Any, apply: Callable[[Any], None]) -> None:
        """Hold this direction still until C{verdict} came, then C{apply} it, or L{fail}."""

    def asked(self, close: Close) -> None:
        """The hook wants the end: tell, and forward nothing more."""

    def fail(self, failure: Failure) -> None:
        """The hook has failed: tell, and forward nothing more."""


class MessageOutlet(Outlet, TypingProtocol):
    """
    At the level MESSAGES.

    @ivar direction: which way it leads.
    @ivar deflater: for what the relay itself says this way; C{None} if it may not compress.
    """

    direction: Direction
    deflater: Deflater | None

    def mayForward(self) -> bool:
        """Whether compressed frames may go on as they came."""

    def outOfStep(self) -> None:
        """The receiver's inflater has missed something."""

    def reply(self, message: Message) -> None:
        """Send this to the sender."""


class StreamOutlet(Outlet, TypingProtocol):
    """At the level BYTES, with a hook."""

    def retire(self) -> None:
        """Ask the hook no more."""

    def end(self) -> None:
        """Tell that everything up to the end of the stream was handed on."""


# ----------------------------------------------------------------------------- messages


def codec(parameters: Parameters, direction: Direction) -> tuple[bool, int]:
    """Whether each message starts afresh, and the window bits, in this direction."""
    if direction is Direction.TO_BACKEND:
        return parameters.clientNoContextTakeover, parameters.clientMaxWindowBits
    return parameters.serverNoContextTakeover, parameters.serverMaxWindowBits


def deflaterOf(lane: Lane, direction: Direction) -> Deflater | None:
    """What compresses the relay's own messages on a lane, if anything does."""
    return None if lane.deflate is None else Deflater(*codec(lane.deflate, direction))


def inOneFrame(direction: Direction, data: bytes, isText: bool, isDeflated: bool = False) -> bytes:
    """A whole message of the relay's own in one frame; masked towards the backend."""
    key = os.urandom(4) if direction is Direction.TO_BACKEND else None
    return encode(TEXT if isText else BINARY, data, key, rsv1=isDeflated)


def decideMessage(outlet: MessageOutlet, item: Assembled, message: Message, verdict: Any) -> None:
    """
    Do what a hook has answered, now or later.

    @param item: the message as it came.
    @param message: what the hook was shown of it, and may have changed.
    """
    if isLater(verdict):
        outlet.waitFor(verdict, lambda value: _settle(outlet, item, message, value))
    else:
        _settle(outlet, item, message, verdict)


def _settle(outlet: MessageOutlet, item: Assembled, message: Message, verdict: Any) -> None:
    if outlet.isOver():
        # The hook has closed the session itself, or somebody else has meanwhile.
        return
    if verdict is None:
        forward(outlet, item)
        return
    try:
        todo = parts(verdict, message)
    except Exception:
        outlet.fail(Failure())
        return
    isTouched = message.data is not item.payload or message.isText != (item.opcode == TEXT)
    isOriginal = not isTouched and any(part is message for part in todo)
    if item.compressed and not isOriginal:
        outlet.outOfStep()
    for part in todo:
        if part is message and isOriginal:
            # Its frames can be used once: a second time they would be out of step.
            isOriginal = False
            forward(outlet, item)
        elif isinstance(part, Message):
            _write(outlet, part.data, part.isText)
        elif isinstance(part, Reply):
            outlet.reply(replacement(part.data, Message(b"")))
        else:
            outlet.asked(part)


def forward(outlet: MessageOutlet, item: Assembled) -> None:
    """Let a message pass, as it came if the receiver can read that."""
    if not item.compressed or outlet.mayForward():
        outlet.write(item.wire)
    else:
        _write(outlet, item.payload, item.opcode == TEXT)


def _write(outlet: MessageOutlet, data: bytes, isText: bool) -> None:
    deflater, isDeflated = outlet.deflater, False
    if deflater is not None and len(data) >= _WORTH_DEFLATING:
        data, isDeflated = deflater.deflate(data), True
        outlet.outOfStep()
    outlet.write(inOneFrame(outlet.direction, data, isText, isDeflated))


# ------------------------------------------------------------------------------- streams


def askStream(outlet: StreamOutlet, hook: StreamHook, chunk: bytes) -> None:
    """Show a chunk to the hook, C{b""} at the end of the stream, and do what it answers."""
    try:
        verdict = hook(chunk)
    except Exception:
        outlet.fail(Failure())
        return
    decideChunk(outlet, chunk, verdict)


def decideChunk(outlet: StreamOutlet, chunk: bytes, verdict: Any) -> None:
    """Do what a hook has answered to a chunk, C{b""} at the end of the stream, now or later."""
    if isLater(verdict):
        outlet.waitFor(verdict, lambda value: _settleChunk(outlet, chunk, value))
    else:
        _settleChunk(outlet, chunk, verdict)


def _settleChunk(outlet: StreamOutlet, chunk: bytes, verdict: Any) -> None:
    if not outlet.isOver():
        _obey(outlet, chunk, verdict)
    if not chunk:
        outlet.end()


def _obey(outlet: StreamOutlet, chunk: bytes, verdict: Any) -> None:
    try:
        answer = stream(verdict, chunk)
    except TypeError:
        outlet.fail(Failure())
        return
    if isinstance(answer, bytes):
        outlet.write(answer)
    elif isinstance(answer, Retire):
        outlet.retire()
        outlet.write(answer.data)
    else:
        outlet.asked(answer)
