# -*- test-case-name: tests.demo.test_watch -*-
"""
Two filters that see everything and change nothing: chunks at layer 4, messages at layer 7.

What they see they tell as events of their own, L{ChunkPassed} and L{MessagePassed}, through
L{IRelay.observe<wsrelay.interfaces.IRelay.observe>}, as the relay tells of openings and
closings; whoever observes hears both kinds in order, and no filter knows who that is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from zope.interface import implementer

from wsrelay.interfaces import (
    IMessageFilter,
    IPluginMaker,
    IRelay,
    ISession,
    IStreamFilter,
    ITunnel,
)
from wsrelay.model import Direction, Event, Forward, Interest, Message

__all__ = [
    "ChunkPassed",
    "ChunkWatch",
    "MessagePassed",
    "MessageWatch",
    "WatchMaker",
    "chunks",
    "messages",
]


@frozen
class ChunkPassed(Event):
    """
    Some bytes passed at layer 4. What they are is not told: a relay at this layer has no
    means to know.

    @ivar size: how many.
    @ivar bytes: of this direction so far, these included.
    @ivar chunks: likewise.
    """

    direction: Direction
    size: int
    bytes: int
    chunks: int


@frozen
class MessagePassed(Event):
    """
    A message passed at layer 7.

    @ivar data: its payload, UTF-8 if C{isText}.
    @ivar bytes: of this direction so far, as counted by the relay.
    @ivar messages: of this direction so far, this one included.
    """

    direction: Direction
    isText: bool
    data: bytes
    bytes: int
    messages: int


@implementer(IStreamFilter)
class ChunkWatch:
    """Tells of every chunk of every tunnel."""

    def __init__(self, relay: IRelay) -> None:
        self._relay = relay

    def attach(self, tunnel: ITunnel, direction: Direction) -> Callable[[bytes], None]:
        """See L{IStreamFilter.attach}."""
        total = count = 0

        def passed(chunk: bytes) -> None:
            nonlocal total, count
            if chunk:
                total, count = total + len(chunk), count + 1
                now = self._relay.reactor.seconds()
                self._relay.observe(
                    ChunkPassed(tunnel.id, now, direction, len(chunk), total, count)
                )

        return passed


@implementer(IMessageFilter)
class MessageWatch:
    """Tells of every message of every session."""

    def __init__(self, relay: IRelay) -> None:
        self._relay = relay

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """See L{IMessageFilter.interest}."""
        return Interest.MESSAGES

    def attach(self, session: ISession, direction: Direction) -> Callable[[Message], None]:
        """See L{IMessageFilter.attach}."""
        count = 0

        def passed(message: Message) -> None:
            nonlocal count
            count += 1
            now = self._relay.reactor.seconds()
            total = session.counts()[direction].bytes
            self._relay.observe(
                MessagePassed(
                    session.id, now, direction, message.isText, message.data, total, count
                )
            )

        return passed


@implementer(IPluginMaker)
class WatchMaker:
    """Makes one of the two; there is nothing to configure."""

    options = None

    def __init__(self, name: str, description: str, watch: Callable[[IRelay], Any]) -> None:
        self.name = name
        self.description = description
        self._watch = watch

    def make(self, options: None, relay: IRelay) -> Any:
        """See L{IPluginMaker.make}."""
        return self._watch(relay)


chunks = WatchMaker("chunks", "Tells observers of every chunk that passes.", ChunkWatch)
messages = WatchMaker("messages", "Tells observers of every message that passes.", MessageWatch)
