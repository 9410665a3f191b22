# -*- test-case-name: tests.endtoend.test_soak -*-
"""
What runs inside the relay: filters whose verdicts the clients know, and a journal.

What a filter does depends on the message or chunk only, so that a client can tell what must
come back. L{SoakFault} is what they raise; in the relay's log it is no surprise, and any
other exception is one. The I{journal} is an observer that writes one line of JSON for each
opening and each end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import deferLater
from twisted.plugin import IPlugin
from zope.interface import implementer

from wsrelay.interfaces import (
    IMessageFilter,
    IObserver,
    IPluginMaker,
    IRelay,
    ISession,
    IStreamFilter,
    ITunnel,
    Options,
)
from wsrelay.model import (
    Close,
    Closed,
    Direction,
    Drop,
    Event,
    Forward,
    Interest,
    Message,
    Opened,
    Reply,
    Retire,
    Verdict,
)

__all__ = [
    "FAULT",
    "Journal",
    "JournalMaker",
    "MessageFilter",
    "SoakFault",
    "StreamFilter",
    "fail",
    "journal",
    "later",
    "look",
    "mirror",
    "mirrored",
    "obey",
    "stream",
]

#: A message that begins so makes L{fail} and L{later} raise.
FAULT = b"!fault"

# Seconds: long enough for a client to leave while a verdict is still to come.
_A_WHILE = 0.01


class SoakFault(Exception):
    """A filter was asked to raise."""


def _after(seconds: float, call: Callable[[], Any]) -> Any:
    from twisted.internet import reactor

    return deferLater(reactor, seconds, call)


# --------------------------------------------------------------------------- messages


@implementer(IMessageFilter)
class MessageFilter:
    """One hook for every message of these directions."""

    def __init__(self, hook: Callable[[Message], Verdict], *directions: Direction) -> None:
        self._hook = hook
        self._directions = directions or tuple(Direction)

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Whole messages in these directions."""
        return Interest.MESSAGES if direction in self._directions else Interest.FRAMES

    def attach(
        self, session: ISession, direction: Direction
    ) -> Callable[[Message], Verdict] | None:
        """The hook."""
        return self._hook


def mirrored(data: bytes, isText: bool) -> bytes:
    """What L{mirror} makes of a payload."""
    return data.decode()[::-1].encode() if isText else data[::-1]


def _mirror(message: Message) -> Verdict:
    return mirrored(message.data, message.isText)


def _fail(message: Message) -> Verdict:
    if message.data.startswith(FAULT):
        raise SoakFault("asked for")
    return None


def _later(message: Message) -> Any:
    if message.data.startswith(FAULT):
        return _after(_A_WHILE, lambda: _fail(message))
    if len(message.data) % 2:
        return _afterMirror(message.data, message.isText)
    return _after(0, lambda: None) if len(message.data) % 4 else succeed(None)


async def _afterMirror(data: bytes, isText: bool) -> bytes:
    await _after(_A_WHILE if len(data) % 5 == 0 else 0, lambda: None)
    return mirrored(data, isText)


def _obey(message: Message) -> Verdict:
    data, order = message.data, message.data[:1]
    if order == b"D":
        return Drop()
    if order == b"R":
        return Reply(data)
    if order == b"C":
        return [message, Close(4001, "asked")]
    if order == b"M":
        return [message, data + data]
    # None forwards what came, whatever became of the message meanwhile.
    message.data = b"touched"
    return None


look = MessageFilter(lambda message: None)
"""Forwards every message as it came, both ways."""

mirror = MessageFilter(_mirror, Direction.TO_BACKEND)
"""Reverses every message to the backend."""

fail = MessageFilter(_fail)
"""Raises for L{FAULT}."""

later = MessageFilter(_later, Direction.TO_BACKEND)
"""Answers later: messages of odd length reversed, L{FAULT} with an exception."""

obey = MessageFilter(_obey, Direction.TO_BACKEND)
"""Does what the first letter says: Drop, Reply, Many, or echo and Close."""


# ----------------------------------------------------------------------------- chunks


@implementer(IStreamFilter)
class StreamFilter:
    """
    Bytes to the backend as the first of them says: C{n}: as they are; C{s}: upper and lower
    case swapped; C{d}: the same, later; C{r}: retires at once; C{x} and C{c}: raises, or
    closes, at the second chunk or the end.
    """

    def attach(self, tunnel: ITunnel, direction: Direction) -> Callable[[bytes], Any] | None:
        """A hook for what goes to the backend; what comes back passes one that only looks."""
        if direction is Direction.TO_CLIENT:
            return lambda chunk: None
        order = b""

        def hook(chunk: bytes) -> Any:
            nonlocal order
            isFirst, order = not order, order or chunk[:1]
            return None if isFirst and order in b"xc" else _chunk(order, chunk)

        return hook


def _chunk(order: bytes, chunk: bytes) -> Any:
    if order == b"s":
        return chunk.swapcase()
    if order == b"d":
        return _after(0, chunk.swapcase)
    if order == b"r":
        return Retire(chunk)
    if order == b"x":
        raise SoakFault("asked for")
    if order == b"c":
        return Close(4001, "asked")
    return None


stream = StreamFilter()


# ---------------------------------------------------------------------------- journal


class JournalOptions(Options):
    """Where it writes."""

    file: str


@implementer(IObserver)
class Journal:
    """One line for each opening and each end, in the file as soon as it is said."""

    def __init__(self, path: str) -> None:
        self._out = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115  # for life

    def observe(self, event: Event) -> None:
        """Write it down."""
        if isinstance(event, Opened):
            line = {"opened": event.id, "kind": event.kind.value}
        elif isinstance(event, Closed):
            line = {"closed": event.id, "kind": event.kind.value, "reason": str(event.reason)}
        else:
            return
        self._out.write(json.dumps(line) + "\n")


@implementer(IPlugin, IPluginMaker)
class JournalMaker:
    """Makes L{Journal}."""

    name = "soak-journal"
    description = "Writes openings and ends to a file."
    options = JournalOptions

    def make(self, options: Any, relay: IRelay) -> Journal:
        """Open the file."""
        return Journal(options.file)


journal = JournalMaker()
