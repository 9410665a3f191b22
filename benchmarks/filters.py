# -*- test-case-name: tests.test_benchmarks -*-
"""
The hooks that wsrelay is measured with.

L{Watch} looks at each message and changes none. L{Replace} sends a new message in place of
each; its payload is equal, since the load generator compares every byte, but it is another
object, and the relay cannot know that it is equal.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from wsrelay.interfaces import IMessageFilter, ISession
from wsrelay.model import Direction, Forward, Interest, Message

__all__ = ["Replace", "Watch"]


def _watch(message: Message) -> None:
    return None


def _replace(message: Message) -> Message:
    # bytes(data) would be data itself.
    return Message(bytes(memoryview(message.data)), message.isText)


@implementer(IMessageFilter)
class Watch:
    """A hook on every message in both directions that returns C{None}."""

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Whole messages."""
        return Interest.MESSAGES

    def attach(self, session: ISession, direction: Direction) -> Callable[[Message], None]:
        """The same hook for all."""
        return _watch


@implementer(IMessageFilter)
class Replace:
    """A hook on every message in both directions that returns another one."""

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Whole messages."""
        return Interest.MESSAGES

    def attach(self, session: ISession, direction: Direction) -> Callable[[Message], Message]:
        """The same hook for all."""
        return _replace
