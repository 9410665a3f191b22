# -*- test-case-name: tests.l7.test_linger -*-
"""
How a leg is seen off, step by step.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.l7.linger import Linger


class Steps:
    """A leg that notes what it is told."""

    isLost = False

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda: self.told.append(name)


class LingerTests(SynchronousTestCase):
    """Every end has its own end."""

    def setUp(self) -> None:
        """A leg that is about to be left."""
        self.clock: Any = Clock()
        self.leg: Any = Steps()
        self.linger = Linger(self.clock, self.leg, 30)

    def assertTold(self, *names: str) -> None:
        """These are the steps since last time."""
        self.assertEqual(self.leg.told, list(names))
        self.leg.told.clear()

    def test_wait(self) -> None:
        """A peer that never ends: FIN, then closed, then cut."""
        self.linger.wait()
        self.assertTold("linger")
        self.clock.advance(1.9)
        self.assertTold()
        self.clock.advance(0.1)
        self.assertTold("close", "resumeProducing")
        self.clock.advance(29.9)
        self.assertTold()
        self.clock.advance(0.1)
        self.assertTold("abort")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """A peer that does not take what was written is cut."""
        self.linger.close()
        self.assertTold("close", "resumeProducing")
        self.clock.advance(30)
        self.assertTold("abort")

    def test_lost(self) -> None:
        """Once the leg is lost nothing is done any more, at any step."""
        for step in (self.linger.wait, self.linger.close):
            step()
            self.leg.told.clear()
            self.linger.lost()
            self.linger.lost()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.leg.isLost = True
            self.linger.wait()
            self.linger.close()
            self.assertTold()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.leg.isLost = False

    def test_bounded(self) -> None:
        """What the peer still sends is read for nothing, up to a bound."""
        self.linger.wait()
        self.leg.told.clear()
        for _ in range(4):
            self.linger.received(bytes(64 * 1024))
        self.assertTold()
        self.linger.received(b"x")
        self.assertTold("pauseProducing")
