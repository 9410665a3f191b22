# -*- test-case-name: tests.demo.test_watch -*-
"""
The two filters that look.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from wsrelay.demo.watch import ChunkPassed, MessagePassed, chunks, messages
from wsrelay.interfaces import IMessageFilter, IPluginMaker, IStreamFilter
from wsrelay.model import Counts, Direction, Event, Forward, Interest, Message

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT


class Heard:
    """A relay that keeps what observers would hear."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.reactor.advance(5)
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


class WatchMakerTests(SynchronousTestCase):
    """The makers, by which the configuration knows the filters."""

    def test_interfaces(self) -> None:
        """Each makes a filter for its layer."""
        relay: Any = Heard()
        for maker, interface in ((chunks, IStreamFilter), (messages, IMessageFilter)):
            verifyObject(IPluginMaker, maker)
            verifyObject(interface, maker.make(None, relay))


class ChunkWatchTests(SynchronousTestCase):
    """The filter of layer 4."""

    def test_counts(self) -> None:
        """It tells the size of each chunk, never what is in it, and changes nothing."""
        relay: Any = Heard()
        tunnel: Any = SimpleNamespace(id="7")
        hook = chunks.make(None, relay).attach(tunnel, UP)
        self.assertEqual([hook(b"abc"), hook(b"de"), hook(b"")], [None, None, None])
        self.assertEqual(
            relay.events,
            [ChunkPassed("7", 5.0, UP, 3, 3, 1), ChunkPassed("7", 5.0, UP, 2, 5, 2)],
        )

    def test_directionsApart(self) -> None:
        """Each direction of each tunnel is counted for itself."""
        relay: Any = Heard()
        watch = chunks.make(None, relay)
        tunnel: Any = SimpleNamespace(id="7")
        watch.attach(tunnel, UP)(b"abc")
        watch.attach(tunnel, DOWN)(b"x")
        self.assertEqual(relay.events[1], ChunkPassed("7", 5.0, DOWN, 1, 1, 1))


class MessageWatchTests(SynchronousTestCase):
    """The filter of layer 7."""

    def test_messages(self) -> None:
        """It tells each message with the relay's own count of bytes, and changes nothing."""
        relay: Any = Heard()
        counts = {UP: Counts(bytes=11), DOWN: Counts()}
        session: Any = SimpleNamespace(id="9", counts=lambda: counts)
        hook = messages.make(None, relay).attach(session, UP)
        self.assertIsNone(hook(Message(b"hello", isText=True)))
        counts[UP].bytes = 19
        self.assertIsNone(hook(Message(b"\0\1")))
        self.assertEqual(
            relay.events,
            [
                MessagePassed("9", 5.0, UP, True, b"hello", 11, 1),
                MessagePassed("9", 5.0, UP, False, b"\0\1", 19, 2),
            ],
        )

    def test_interest(self) -> None:
        """It wants whole messages both ways."""
        watch = messages.make(None, Heard())  # type: ignore[arg-type]  # all that it uses
        for direction in Direction:
            self.assertIs(watch.interest(Forward("echo"), direction), Interest.MESSAGES)
