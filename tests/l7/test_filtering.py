"""Tests for running request filters; what they may do to an exchange is in test_exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import PluginFault
from wsrelay.l7.filtering import runFilters
from wsrelay.model import Respond


class Exchange:
    """As much of an exchange as filters and their runner see."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.answers: list[tuple[str, int]] = []
        self.faults: list[str] = []

    def guarded(self, step: Callable[..., None]) -> Callable[..., None]:
        """Remember what goes wrong."""

        def guarded(*args: Any) -> None:
            try:
                step(*args)
            except PluginFault as error:
                self.faults.append(str(error))

        return guarded

    def answeredBy(self, name: str, respond: Respond) -> None:
        """Remember the answer."""
        self.answers.append((name, respond.status))


class Filter:
    """Answers what it was told to."""

    def __init__(self, name: str, answer: Any = None) -> None:
        self._name = name
        self._answer = answer

    def requestReceived(self, exchange: Exchange) -> Any:
        """Be seen, and answer or raise."""
        exchange.seen.append(self._name)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class RunFiltersTests(SynchronousTestCase):
    """Filters in order, the last of which is C{last}."""

    def run_(self, *answers: Any) -> Exchange:
        """Run filters with these answers; at the end C{"then"} is seen."""
        exchange = Exchange()
        named = [(f"f{n}", Filter(f"f{n}", answer)) for n, answer in enumerate(answers)]
        runFilters(exchange, named, "requestReceived", lambda: exchange.seen.append("then"))
        return exchange

    def test_inOrder(self) -> None:
        """All of them, then what follows."""
        self.assertEqual(self.run_(None, None).seen, ["f0", "f1", "then"])

    def test_answers(self) -> None:
        """One that answers the client is the last."""
        exchange = self.run_(None, Respond(401), None)
        self.assertEqual(exchange.seen, ["f0", "f1"])
        self.assertEqual(exchange.answers, [("f1", 401)])

    def test_later(self) -> None:
        """One that takes its time holds up those behind it, and only them."""
        wait: Deferred[Any] = Deferred()
        exchange = self.run_(None, wait, None)
        self.assertEqual(exchange.seen, ["f0", "f1"])
        wait.callback(None)
        self.assertEqual(exchange.seen, ["f0", "f1", "f2", "then"])

    def test_raises(self) -> None:
        """What one raises names it."""
        error = self.assertRaises(PluginFault, self.run_, ValueError("no idea"))
        self.assertIn("f0", str(error))
        self.assertIn("requestReceived: ValueError: no idea", str(error))

    def test_failsLater(self) -> None:
        """So does what goes wrong later, and nothing follows."""
        wait: Deferred[Any] = Deferred()
        exchange = self.run_(wait, None)
        wait.errback(ValueError("no idea"))
        self.assertEqual(len(exchange.faults), 1)
        self.assertEqual(exchange.seen, ["f0"])

    def test_nonsense(self) -> None:
        """An answer that means nothing is a fault, at once or later."""
        wait: Deferred[Any] = Deferred()
        exchange = self.run_(wait)
        wait.callback(7)
        self.assertEqual(len(exchange.faults), 1)
        self.assertIn("returned 7", exchange.faults[0])
