# -*- test-case-name: tests.filters.test_joined -*-
"""
Many questions, one answer.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.filters.joined import Joined


class JoinedTests(SynchronousTestCase):
    """Who asks while somebody asks already."""

    def setUp(self) -> None:
        """Nobody asks yet."""
        self.started: list[Deferred[int]] = []
        self.joined: Joined[int] = Joined()

    def start(self) -> Deferred[int]:
        """One more question."""
        self.started.append(Deferred())
        return self.started[-1]

    def test_one(self) -> None:
        """Those who ask the same at a time share one answer; who asks later asks anew."""
        waiters = [self.joined.ask("a", self.start) for _ in range(3)]
        other = self.joined.ask("b", self.start)
        self.assertEqual(len(self.started), 2)
        self.started[0].callback(7)
        self.assertEqual([self.successResultOf(each) for each in waiters], [7, 7, 7])
        self.assertNoResult(other)
        self.joined.ask("a", self.start)
        self.assertEqual(len(self.started), 3)

    def test_failure(self) -> None:
        """A failure is everybody's, and the next one may try again."""
        waiters = [self.joined.ask("a", self.start) for _ in range(2)]
        self.started[0].errback(ValueError("no"))
        for each in waiters:
            self.failureResultOf(each, ValueError)
        self.joined.ask("a", self.start)
        self.assertEqual(len(self.started), 2)

    def test_raises(self) -> None:
        """A question that cannot even be asked is a failure."""

        def start() -> Deferred[int]:
            raise ValueError("no")

        self.failureResultOf(self.joined.ask("a", start), ValueError)
