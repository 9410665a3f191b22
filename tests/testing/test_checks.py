# -*- test-case-name: tests.testing.test_checks -*-
"""
The conformance check passes good filters, and finds each way to be a bad one.
"""

from __future__ import annotations

from itertools import count
from random import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from wsrelay.interfaces import IMessageFilter
from wsrelay.model import Close, Direction, Drop, Forward, Interest, Message, Reply
from wsrelay.testing import SAMPLES, checkMessageFilter

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT


@implementer(IMessageFilter)
class Filter:
    """Interested in everything, and changes nothing."""

    def interest(self, route: Forward, direction: Direction) -> Any:
        """See L{IMessageFilter}."""
        return Interest.MESSAGES

    def attach(self, session: Any, direction: Direction) -> Any:
        """See L{IMessageFilter}."""
        return self.hook

    def hook(self, message: Message) -> Any:
        """Leave it alone."""


class Redact(Filter):
    """Changes words."""

    def hook(self, message: Message) -> Any:
        """Change the word."""
        return message.data.replace(b"hello", b"*****")


class Numbering(Filter):
    """Keeps a number for each session, where it belongs."""

    def attach(self, session: Any, direction: Direction) -> Any:
        """See L{IMessageFilter}."""
        numbers = count()
        return lambda message: [None, f"{next(numbers)}"]


class Slow(Filter):
    """Answers later."""

    def attach(self, session: Any, direction: Direction) -> Any:
        """See L{IMessageFilter}."""

        async def hook(message: Message) -> Any:
            await deferLater(session.clock, 30)
            return [Reply("got it"), message]

        return hook


class OneWay(Filter):
    """Interested in what backends say, and would fail otherwise."""

    def interest(self, route: Forward, direction: Direction) -> Any:
        """See L{IMessageFilter}."""
        return Interest.MESSAGES if direction is DOWN else Interest.BYTES

    def attach(self, session: Any, direction: Direction) -> Any:
        """See L{IMessageFilter}."""
        return None if direction is DOWN else 1 / 0


class Strict(Filter):
    """Closes on what it does not like."""

    def hook(self, message: Message) -> Any:
        """Only text."""
        return None if message.isText else Close(1003)


class GoodFilterTests(SynchronousTestCase):
    """Filters that are as they should be."""

    def test_good(self) -> None:
        """Whatever it does, a filter that keeps to the interface passes."""
        for good in (Filter(), Redact(), Numbering(), Slow(), OneWay(), Strict()):
            checkMessageFilter(good)

    def test_samples(self) -> None:
        """The samples are text and binary, empty and large, and one's own are sent too."""
        self.assertEqual({type(sample) for sample in SAMPLES}, {str, bytes})
        self.assertEqual({len(sample) == 0 for sample in SAMPLES}, {True, False})
        self.assertTrue(any(len(sample) > 65535 for sample in SAMPLES))
        seen: list[bytes] = []

        class Seeing(Filter):
            def hook(self, message: Message) -> Any:
                seen.append(message.data)

        checkMessageFilter(Seeing(), samples=["my own"])
        self.assertIn(b"my own", seen)

    def test_route(self) -> None:
        """A filter that looks at its route is given the one it expects."""
        routes: set[str] = set()

        class Looking(Filter):
            def interest(self, route: Forward, direction: Direction) -> Any:
                routes.add(route.pool)
                return Interest.MESSAGES

            def attach(self, session: Any, direction: Direction) -> Any:
                routes.add(session.route.pool)

        checkMessageFilter(Looking(), route=Forward("mine"))
        self.assertEqual(routes, {"mine"})

    def test_shares(self) -> None:
        """What is shared on purpose, or random, is allowed when that is said."""

        class Shared(Filter):
            numbers = count()

            def hook(self, message: Message) -> Any:
                return f"{next(self.numbers)} {random()}"

        checkMessageFilter(Shared(), shares=True)
        self.assertRaises(AssertionError, checkMessageFilter, Shared())


class BadFilterTests(SynchronousTestCase):
    """Filters that are not, and what is said about them."""

    def assertFound(self, bad: object, words: str) -> None:
        """The check fails, and says so."""
        error = self.assertRaises(AssertionError, checkMessageFilter, bad)
        self.assertIn(words, str(error))

    def test_interface(self) -> None:
        """What provides no interface, or half of it, is no filter."""

        @implementer(IMessageFilter)
        class Half:
            def interest(self, route: Forward, direction: Direction) -> Interest:
                return Interest.MESSAGES

        self.assertFound(object(), "IMessageFilter")
        self.assertFound(Half(), "attach")

    def test_interest(self) -> None:
        """Interest must be one, and always the same."""

        class Wrong(Filter):
            def interest(self, route: Forward, direction: Direction) -> Any:
                return "messages"

        class Fickle(Filter):
            def __init__(self) -> None:
                self.answers = [Interest.MESSAGES, Interest.FRAMES]

            def interest(self, route: Forward, direction: Direction) -> Any:
                return self.answers.pop()

        self.assertFound(Wrong(), "interest() gives an Interest, not 'messages'")
        self.assertFound(Fickle(), "and then")

    def test_attach(self) -> None:
        """What is attached must be callable."""

        class Wrong(Filter):
            def attach(self, session: Any, direction: Direction) -> Any:
                return 7

        self.assertFound(Wrong(), "attach() gives a callable or None, not 7")

    def test_raises(self) -> None:
        """A hook that trusts what peers send is found, with the message that was too much."""

        class Trusting(Filter):
            def hook(self, message: Message) -> Any:
                return message.data.decode("utf-8")

        class Narrow(Filter):
            def hook(self, message: Message) -> Any:
                if message.data == b"special":
                    raise KeyError("oh")

        self.assertFound(Trusting(), r"to-backend: at b'\xff\xfe\x00\x80': 'utf-8' codec")
        checkMessageFilter(Narrow())
        error = self.assertRaises(
            AssertionError, checkMessageFilter, Narrow(), samples=["special"]
        )
        self.assertIn("'special'", str(error))
        self.assertIsInstance(error.__cause__, KeyError)

    def test_nonsense(self) -> None:
        """A hook that answers nonsense, or text that is none, is found."""

        class Nonsense(Filter):
            def hook(self, message: Message) -> Any:
                return len(message.data)

        class Broken(Filter):
            def hook(self, message: Message) -> Any:
                return Message(message.data[:-1], message.isText) if message.data else Drop()

        self.assertFound(Nonsense(), "a message hook returns None, bytes")
        self.assertFound(Broken(), "'utf-8' codec")

    def test_neverAnswers(self) -> None:
        """A hook that never answers is found."""

        class Silent(Filter):
            def hook(self, message: Message) -> Any:
                return Deferred()

        self.assertFound(Silent(), "no answer within")

    def test_touches(self) -> None:
        """A hook that writes into the message it was shown is found."""

        class Writing(Filter):
            def hook(self, message: Message) -> Any:
                message.data = b"x"

        class Retyping(Filter):
            def hook(self, message: Message) -> Any:
                message.isText = not message.isText
                return message

        self.assertFound(Writing(), "writes into the message")
        self.assertFound(Retyping(), "writes into the message")

    def test_sharedState(self) -> None:
        """A filter that keeps a session's state in itself is found."""

        class Counting(Filter):
            def __init__(self) -> None:
                self.number = 0

            def hook(self, message: Message) -> Any:
                self.number += 1
                return f"{self.number}"

        class Resetting(Counting):
            def attach(self, session: Any, direction: Direction) -> Any:
                self.number = 0
                return self.hook

        self.assertFound(Counting(), "in the next session")
        self.assertFound(Resetting(), "two sessions at once")
