# -*- test-case-name: tests.l4.test_timers -*-
"""
The two timers of a link.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.l4.timers import Deadline, IdleTimer, MovingDeadline


class IdleTimerTests(SynchronousTestCase):
    """How long nothing may happen."""

    def setUp(self) -> None:
        """A link whose last byte was read when it began."""
        self.clock = Clock()
        self.last = 0.0
        self.calls: list[float] = []
        self.timer = IdleTimer(self.clock)
        self.timer.watch(lambda: self.clock.seconds() - self.last, 10, self.calls.append)

    def test_silence(self) -> None:
        """After the limit without a byte it calls, once, and says what the limit was."""
        self.clock.advance(9.9)
        self.assertEqual(self.calls, [])
        self.clock.advance(0.2)
        self.assertEqual(self.calls, [10])
        self.clock.advance(100)
        self.assertEqual(self.calls, [10])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_traffic(self) -> None:
        """While bytes come it does not call, and it looks only when it might have to."""
        for _ in range(100):
            self.clock.advance(5)
            self.last = self.clock.seconds()
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.calls, [])
        self.clock.advance(10)
        self.assertEqual(self.calls, [10])

    def test_rounding(self) -> None:
        """A clock that is a rounding error short does not make it look again and again."""
        self.last = 1e-9
        self.clock.advance(10)
        self.assertEqual(self.calls, [10])

    def test_cancel(self) -> None:
        """Once cancelled it never calls; cancelling twice, or after the call, is no error."""
        self.timer.cancel()
        self.timer.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.timer.watch(lambda: 10.0, 1, self.calls.append)
        self.clock.advance(1)
        self.timer.cancel()
        self.assertEqual(self.calls, [1])


class DeadlineTests(SynchronousTestCase):
    """How long an end may take."""

    def setUp(self) -> None:
        """Three seconds."""
        self.clock = Clock()
        self.calls: list[str] = []
        self.deadline = Deadline(self.clock, 3)

    def test_first(self) -> None:
        """It counts from the first start; a later start changes nothing."""
        self.deadline.start(lambda: self.calls.append("first"))
        self.clock.advance(2)
        self.deadline.start(lambda: self.calls.append("second"))
        self.clock.advance(1)
        self.assertEqual(self.calls, ["first"])
        self.clock.advance(10)
        self.assertEqual(self.calls, ["first"])

    def test_cancel(self) -> None:
        """Once cancelled it never calls, and it may be cancelled at any time."""
        self.deadline.cancel()
        self.deadline.start(lambda: self.calls.append("late"))
        self.deadline.cancel()
        self.deadline.cancel()
        self.clock.advance(10)
        self.assertEqual(self.calls, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MovingDeadlineTests(SynchronousTestCase):
    """A deadline that is set and set again."""

    def setUp(self) -> None:
        """Nothing is due."""
        self.clock = Clock()
        self.deadline = MovingDeadline(self.clock)
        self.met: list[tuple[str, float]] = []

    def set(self, seconds: float, name: str) -> None:
        """Set it, and remember when it is met."""
        self.deadline.set(seconds, lambda: self.met.append((name, self.clock.seconds())))

    def test_met(self) -> None:
        """It is met once, and no timer is left."""
        self.set(5, "a")
        self.clock.pump([4.5, 0.5, 5])
        self.assertEqual(self.met, [("a", 5)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_later(self) -> None:
        """Set later, it is met later, and the clock was not asked again before."""
        self.set(5, "a")
        timers = self.clock.getDelayedCalls()
        self.clock.advance(3)
        self.set(5, "b")
        self.assertEqual(self.clock.getDelayedCalls(), timers)
        self.clock.pump([2, 3])
        self.assertEqual(self.met, [("b", 8)])

    def test_sooner(self) -> None:
        """Set sooner, it is met sooner, once."""
        self.set(50, "a")
        self.set(5, "b")
        self.clock.pump([5, 45])
        self.assertEqual(self.met, [("b", 5)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cleared(self) -> None:
        """Taken away it is not met, but may be set again."""
        self.set(5, "a")
        self.deadline.clear()
        self.clock.advance(3)
        self.set(5, "b")
        self.clock.pump([2, 3, 10])
        self.assertEqual(self.met, [("b", 8)])

    def test_stopped(self) -> None:
        """Stopped it leaves no timer."""
        self.set(5, "a")
        self.deadline.stop()
        self.deadline.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
