# -*- test-case-name: tests.test_answers -*-
"""
What a plugin answers: at once, or later.

A hook that "may be asynchronous" returns a value, a C{Deferred} or a coroutine. Almost all
return a value, so L{whenAnswered} costs those one look at its type and a plain call: no
C{Deferred} is made for them.

It does not judge what was answered, does not time out, and does not catch what the hook
raises while it is called; whoever calls the hook does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, TypeAlias, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsrelay.model import (
    Close,
    Drop,
    Forward,
    Message,
    Refuse,
    Reply,
    Respond,
    Retire,
    Serve,
)

__all__ = ["Answer", "whenAnswered"]

T = TypeVar("T")

Answer: TypeAlias = T | Deferred[T] | Coroutine[Any, Any, T]
"""What a hook that may be asynchronous returns."""

_log = Logger()

# One set look-up finds these; anything else is asked whether it is a Deferred or a coroutine.
_IMMEDIATE = frozenset(
    {type(None), bytes, str, list, tuple, Message, Drop, Reply, Close, Retire}
    | {Forward, Respond, Serve, Refuse}
)


@frozen
class _Failed:
    """Stands in a Deferred for a failure that was dealt with; see L{_whenFired}."""

    failure: Failure


def whenAnswered(
    value: Answer[T],
    then: Callable[[T], None],
    failed: Callable[[Failure], None],
) -> None:
    """
    Call C{then} with what a hook answered, or C{failed} with why it could not.

    Exactly one of them is called, once: before this returns if the answer is there by then
    (a plain value, or a C{Deferred} that has fired), later otherwise.

    One C{Deferred} may be the answer to many calls: each hears the same result, and a failure
    stays a failure for all of them, so that nothing opens because somebody else was told
    first.

    Neither callable should raise. What one raises at once goes to the caller of this; what it
    raises later is logged.

    @param value: what the hook returned.
    """
    if type(value) in _IMMEDIATE:
        then(value)  # type: ignore[arg-type]  # mypy does not narrow on type(...) in a set
    elif isinstance(value, Deferred):
        _whenFired(value, then, failed)
    elif isinstance(value, CoroutineType):
        _whenFired(Deferred.fromCoroutine(value), then, failed)
    else:
        then(value)  # type: ignore[arg-type]  # a coroutine of another make is taken as a value


def _whenFired(
    deferred: Deferred[T], then: Callable[[T], None], failed: Callable[[Failure], None]
) -> None:
    def fired(result: T | _Failed) -> T | _Failed:
        if isinstance(result, _Failed):
            failed(result.failure)
        else:
            then(result)
        return result

    def broke(failure: Failure) -> _Failed:
        failed(failure)
        # Passing the failure on would have Twisted log it as unhandled; passing nothing on
        # would be a success to whoever else was given this Deferred.
        return _Failed(failure)

    def raised(failure: Failure) -> _Failed:
        _log.failure("An answer could not be used", failure=failure)
        return _Failed(failure)

    deferred.addCallbacks(fired, broke).addErrback(raised)
