# -*- test-case-name: tests.test_answers -*-
"""
A hook's answer reaches the one who asked, now or later, exactly once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.answers import whenAnswered
from wsrelay.model import Close, Drop, Forward, Message, Reply, Respond


class Asked:
    """Someone who asked, and what they heard."""

    def __init__(self, value: Any) -> None:
        self.heard: list[Any] = []
        whenAnswered(value, self.heard.append, lambda failure: self.heard.append(failure.type))


IMMEDIATE: list[Any] = [
    None,
    b"bytes",
    "text",
    [Drop(), b"more"],
    (Reply(b"x"), Close()),
    Message(b"x"),
    Forward("chat"),
    Respond(401),
    7,
    object(),
    Exception("returned, not raised"),
]

# What a hook does -> what is heard; each as a fired Deferred, a late one, and a coroutine.
OUTCOMES: list[tuple[Callable[[], Any], list[Any]]] = [
    (lambda: None, [None]),
    (lambda: b"x", [b"x"]),
    (lambda: 1 // 0, [ZeroDivisionError]),
]


async def run(work: Callable[[], Any], wait: Deferred[None] | None = None) -> Any:
    """A hook written as a coroutine."""
    if wait is not None:
        await wait
    return work()


class WhenAnsweredTests(SynchronousTestCase):
    """What L{whenAnswered} promises."""

    def test_immediate(self) -> None:
        """A plain value is handed on, the very object, before the call returns."""
        for value in IMMEDIATE:
            (heard,) = Asked(value).heard
            self.assertIs(heard, value)

    def test_firedDeferred(self) -> None:
        """A Deferred that has fired is heard before the call returns."""
        for work, heard in OUTCOMES:
            self.assertEqual(Asked(Deferred.fromCoroutine(run(work))).heard, heard)
        self.assertEqual(Asked(succeed(3)).heard, [3])
        self.assertEqual(Asked(fail(ZeroDivisionError())).heard, [ZeroDivisionError])

    def test_lateDeferred(self) -> None:
        """A Deferred is heard when it fires, and only then."""
        for work, heard in OUTCOMES:
            wait: Deferred[Any] = Deferred()
            asked = Asked(wait.addCallback(lambda _, work=work: work()))
            self.assertEqual(asked.heard, [])
            wait.callback(None)
            self.assertEqual(asked.heard, heard)

    def test_coroutine(self) -> None:
        """A coroutine that waits for nothing is heard before the call returns."""
        for work, heard in OUTCOMES:
            self.assertEqual(Asked(run(work)).heard, heard)

    def test_lateCoroutine(self) -> None:
        """A coroutine is heard when it is done."""
        for work, heard in OUTCOMES:
            wait: Deferred[None] = Deferred()
            asked = Asked(run(work, wait))
            self.assertEqual(asked.heard, [])
            wait.callback(None)
            self.assertEqual(asked.heard, heard)

    def test_cancelled(self) -> None:
        """An answer that was cancelled is a failure."""
        wait: Deferred[None] = Deferred()
        asked = Asked(wait)
        wait.cancel()
        self.assertEqual(asked.heard, [CancelledError])

    def test_oneDeferredForMany(self) -> None:
        """A plugin may give one Deferred to many connections; each hears the same result."""
        shared: Deferred[bytes] = Deferred()
        asked = [Asked(shared), Asked(shared)]
        shared.callback(b"x")
        asked.append(Asked(shared))
        self.assertEqual([a.heard for a in asked], [[b"x"]] * 3)

    def test_oneFailureForMany(self) -> None:
        """A shared Deferred that fails refuses everybody, not only the first who asked."""
        shared: Deferred[None] = Deferred()
        asked = [Asked(shared), Asked(shared)]
        shared.errback(ZeroDivisionError())
        asked.append(Asked(shared))
        self.assertEqual([a.heard for a in asked], [[ZeroDivisionError]] * 3)

    def test_failureIsNotUnhandled(self) -> None:
        """A failure that was heard is not logged once more when it is forgotten."""
        Asked(fail(ZeroDivisionError()))
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_raisingAtOnce(self) -> None:
        """What the listener raises for a plain value goes to whoever called."""
        self.assertRaises(ZeroDivisionError, whenAnswered, 0, lambda n: 1 // n, lambda _: None)

    def test_raisingLater(self) -> None:
        """What the listener raises later is logged, once, and is not told as a failed answer."""
        failures: list[Any] = []
        whenAnswered(succeed(0), lambda n: failures.append(1 // n), failures.append)
        whenAnswered(fail(OSError()), failures.append, lambda _: failures.append(1 // 0))
        gc.collect()
        self.assertEqual(failures, [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
