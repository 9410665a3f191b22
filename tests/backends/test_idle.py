"""Tests for connections that wait for their next request."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.backends.idle import Idle


class Connection:
    """One that says when it was closed."""

    def __init__(self, closed: list[str], name: str) -> None:
        self._closed = closed
        self._name = name

    def close(self) -> None:
        """Nobody wants it."""
        self._closed.append(self._name)


class IdleTests(SynchronousTestCase):
    """Up to three connections wait for ten seconds."""

    def setUp(self) -> None:
        """Nothing waits yet."""
        self.clock = Clock()
        self.idle = Idle(self.clock, 3, 10)
        self.closed: list[str] = []
        self.a, self.b, self.c, self.d = (Connection(self.closed, name) for name in "abcd")

    def test_newestFirst(self) -> None:
        """The one that came last is taken first, each once."""
        for each in (self.a, self.b):
            self.assertTrue(self.idle.keep(each))
        self.assertEqual(len(self.idle), 2)
        self.assertIs(self.idle.take(), self.b)
        self.assertIs(self.idle.take(), self.a)
        self.assertIsNone(self.idle.take())

    def test_enough(self) -> None:
        """One more than may wait is not kept."""
        for each in (self.a, self.b, self.c):
            self.assertTrue(self.idle.keep(each))
        self.assertFalse(self.idle.keep(self.d))
        self.idle.take()
        self.assertTrue(self.idle.keep(self.d))

    def test_timeout(self) -> None:
        """Each is closed when it has waited for its own ten seconds."""
        self.idle.keep(self.a)
        self.clock.advance(4)
        self.idle.keep(self.b)
        self.clock.advance(5.9)
        self.assertEqual(self.closed, [])
        self.clock.advance(0.2)
        self.assertEqual(self.closed, ["a"])
        self.clock.advance(4)
        self.assertEqual(self.closed, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_takenInTime(self) -> None:
        """One that was taken is not closed, and counts anew when it comes back."""
        self.idle.keep(self.a)
        self.clock.advance(9)
        self.idle.keep(self.idle.take())
        self.clock.advance(9)
        self.assertEqual(self.closed, [])
        self.clock.advance(1)
        self.assertEqual(self.closed, ["a"])

    def test_youngerThan(self) -> None:
        """Who must be sure of a connection gets a fresh one or none; an old one stays."""
        self.idle.keep(self.a)
        self.clock.advance(1)
        self.assertIsNone(self.idle.take(1.0))
        self.assertIs(self.idle.take(1.5), self.a)

    def test_forget(self) -> None:
        """One that was lost is nobody's any more."""
        self.idle.keep(self.a)
        self.assertTrue(self.idle.forget(self.a))
        self.assertFalse(self.idle.forget(self.a))
        self.assertIsNone(self.idle.take())
        self.assertEqual(self.closed, [])

    def test_drop(self) -> None:
        """All are closed when their backend is gone; others may come."""
        self.idle.keep(self.a)
        self.idle.keep(self.b)
        self.idle.drop()
        self.assertEqual(self.closed, ["a", "b"])
        self.assertTrue(self.idle.keep(self.c))

    def test_close(self) -> None:
        """After the end none waits, none is kept, and no timer runs."""
        self.idle.keep(self.a)
        self.idle.close()
        self.assertEqual(self.closed, ["a"])
        self.assertFalse(self.idle.keep(self.b))
        self.assertEqual(self.clock.getDelayedCalls(), [])
