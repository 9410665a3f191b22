# -*- test-case-name: tests.conformance.test_probe -*-
"""
Message filters for tests that know the relay from outside only.

With C{--filter tests.conformance.filters:lookOnly} both directions of every session run at
level C{MESSAGES}, and what arrives must still be what was sent. C{...:shout} changes what it
sees, which proves that filters named in this way are asked at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from wsrelay.interfaces import IMessageFilter, IPluginMaker, IRelay, ISession
from wsrelay.model import Direction, Forward, Interest, Message, Verdict

__all__ = ["LookOnly", "LookOnlyMaker", "Shout", "ShoutMaker", "lookOnly", "shout"]


@implementer(IMessageFilter)
class LookOnly:
    """Sees every message of both directions and lets it pass."""

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Whole messages, always."""
        return Interest.MESSAGES

    def attach(
        self, session: ISession, direction: Direction
    ) -> Callable[[Message], Verdict] | None:
        """A hook that touches the payload, so that there must be one, and returns C{None}."""

        def look(message: Message) -> Verdict:
            len(message.data)
            return None

        return look


@implementer(IPlugin, IPluginMaker)
class LookOnlyMaker:
    """Makes L{LookOnly}."""

    name = "look-only"
    description = "Looks at every message and changes nothing."
    options = None

    def make(self, options: Any, relay: IRelay) -> LookOnly:
        """Make the filter."""
        return LookOnly()


lookOnly = LookOnlyMaker()


class Shout(LookOnly):
    """Makes text that goes to the client upper-case."""

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Whole messages, towards the client."""
        toClient = direction is Direction.TO_CLIENT
        return Interest.MESSAGES if toClient else Interest.FRAMES

    def attach(
        self, session: ISession, direction: Direction
    ) -> Callable[[Message], Verdict] | None:
        """The hook; asked for one direction only."""
        return lambda message: message.text.upper() if message.isText else None


@implementer(IPlugin, IPluginMaker)
class ShoutMaker:
    """Makes L{Shout}."""

    name = "shout"
    description = "Makes text that goes to the client upper-case."
    options = None

    def make(self, options: Any, relay: IRelay) -> Shout:
        """Make the filter."""
        return Shout()


shout = ShoutMaker()
