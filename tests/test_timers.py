# -*- test-case-name: tests.test_timers -*-
"""
Very many timers at the price of a few: the same as the clock's own, but fewer of them.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.timers import Timer, Timers


class TimersTests(SynchronousTestCase):
    """Timers on a clock that is set by hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = Timers(self.clock)
        self.fired: list[object] = []

    def later(self, seconds: float, name: object) -> Timer:
        """A timer that leaves its name."""
        return self.timers.callLater(seconds, self.fired.append, name)

    def test_fires(self) -> None:
        """A timer fires once, when it is due and not before."""
        timer = self.later(5, "a")
        self.assertEqual(timer.getTime(), 5)
        self.clock.advance(4.999)
        self.assertEqual((self.fired, timer.active()), ([], True))
        self.clock.advance(0.001)
        self.assertEqual((self.fired, timer.active()), (["a"], False))
        self.clock.advance(100)
        self.assertEqual(self.fired, ["a"])

    def test_oneCall(self) -> None:
        """However many timers of one length there are, the clock has one call for them."""
        for number in range(1000):
            self.later(10, number)
            self.clock.advance(0.001)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_nothingLeft(self) -> None:
        """When all were cancelled or have fired the clock has nothing to do."""
        self.later(1, "a")
        for timer in [self.later(10, "b"), self.later(10, "c"), self.later(20, "d")]:
            timer.cancel()
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.timers._queues, {})

    def test_cancelled(self) -> None:
        """A cancelled timer does not fire, and the next one is not late."""
        first = self.later(10, "a")
        self.clock.advance(1)
        self.later(10, "b")
        first.cancel()
        self.clock.advance(9)
        self.assertEqual(self.fired, [])
        self.clock.advance(1)
        self.assertEqual(self.fired, ["b"])

    def test_tooLate(self) -> None:
        """What has fired or was cancelled cannot be cancelled or reset, and says which."""
        fired, cancelled = self.later(1, "a"), self.later(2, "b")
        cancelled.cancel()
        self.clock.advance(1)
        for timer, error in ((fired, AlreadyCalled), (cancelled, AlreadyCancelled)):
            self.assertRaises(error, timer.cancel)
            self.assertRaises(error, timer.reset, 1)

    def test_reset(self) -> None:
        """A timer that was reset fires so much later, in its new turn."""
        timer = self.later(1, "a")
        self.clock.advance(0.5)
        timer.reset(3)
        self.later(1, "b")
        self.clock.advance(2.999)
        self.assertEqual(self.fired, ["b"])
        self.clock.advance(0.001)
        self.assertEqual(self.fired, ["b", "a"])

    def test_cancelsAnother(self) -> None:
        """A timer may cancel one that is due at the same moment."""
        other: list[Timer] = []
        self.timers.callLater(1, lambda: other[0].cancel())
        other.append(self.later(1, "a"))
        self.clock.advance(1)
        self.assertEqual(self.fired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_beginsAnother(self) -> None:
        """A timer may begin another one of its own length."""

        def again() -> None:
            self.fired.append("a")
            if len(self.fired) < 3:
                self.timers.callLater(1, again)

        self.timers.callLater(1, again)
        for _ in range(5):
            self.clock.advance(1)
        self.assertEqual(self.fired, ["a"] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_raises(self) -> None:
        """A call that raises is logged, and the others are made."""
        self.timers.callLater(1, lambda: 1 // 0)
        self.later(1, "a")
        self.clock.advance(1)
        self.assertEqual(self.fired, ["a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["begin", "cancel", "advance"]), st.sampled_from([1, 2, 5])),
            max_size=60,
        )
    )
    def test_asTheClock(self, steps: list[tuple[str, int]]) -> None:
        """Whatever is begun and cancelled, the same fires at the same time as with the clock."""
        clock = Clock()
        timers = Timers(clock)
        ours: list[tuple[float, int]] = []
        theirs: list[tuple[float, int]] = []
        pairs = []
        for number, (step, amount) in enumerate(steps):
            if step == "begin":
                pairs.append(
                    (
                        timers.callLater(
                            amount, lambda n=number: ours.append((clock.seconds(), n))
                        ),
                        clock.callLater(
                            amount, lambda n=number: theirs.append((clock.seconds(), n))
                        ),
                    )
                )
            elif step == "advance":
                clock.pump([0.5] * amount)
            elif pairs:
                our, their = pairs.pop(amount % len(pairs))
                self.assertEqual(our.active(), their.active())
                if our.active():
                    our.cancel()
                    their.cancel()
        clock.pump([0.5] * 12)
        self.assertEqual(sorted(ours), sorted(theirs))
        self.assertEqual(clock.getDelayedCalls(), [])
