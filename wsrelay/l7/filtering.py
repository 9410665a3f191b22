# -*- test-case-name: tests.l7.test_filtering -*-
"""
Runs the request filters of an exchange, one after the other.

The first that answers the client itself is the last that runs. One may take its time: the
exchange waits, and nobody else does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol as TypingProtocol

from twisted.python.failure import Failure

from wsrelay.answers import whenAnswered
from wsrelay.errors import PluginFault
from wsrelay.model import Respond

__all__ = ["Filtered", "runFilters"]


class Filtered(TypingProtocol):
    """Whose filters run: the exchange."""

    def guarded(self, step: Callable[..., None]) -> Callable[..., None]:
        """A step that does nothing once all is over, and whose errors are answered."""

    def answeredBy(self, name: str, respond: Respond) -> None:
        """A filter has answered the client."""


def runFilters(
    exchange: Filtered,
    filters: Iterable[tuple[str, Any]],
    method: str,
    then: Callable[[], None],
) -> None:
    """
    Call C{method} of each filter with the exchange, then C{then}.

    @param filters: with the names of their plugins.
    @raise PluginFault: one raised, or returned what means nothing. What goes wrong later is
        told to the exchange.
    """
    _run(exchange, iter(filters), method, then)


def _run(
    exchange: Filtered,
    left: Iterator[tuple[str, Any]],
    method: str,
    then: Callable[[], None],
) -> None:
    for name, each in left:
        try:
            answer = getattr(each, method)(exchange)
        except Exception as error:
            raise _fault(name, method, error) from error
        if answer is None:
            continue
        go = partial(_answered, exchange, left, name, method, then)
        failed = partial(_failed, name, method)
        whenAnswered(answer, exchange.guarded(go), exchange.guarded(failed))
        return
    then()


def _answered(
    exchange: Filtered,
    left: Iterator[tuple[str, Any]],
    name: str,
    method: str,
    then: Callable[[], None],
    answer: Any,
) -> None:
    if answer is None:
        _run(exchange, left, method, then)
    elif isinstance(answer, Respond):
        exchange.answeredBy(name, answer)
    else:
        raise PluginFault(name, f"{method} returned {answer!r:.100}, not None or Respond")


def _failed(name: str, method: str, failure: Failure) -> None:
    error: Any = failure.value
    raise _fault(name, method, error) from error


def _fault(name: str, method: str, error: BaseException) -> PluginFault:
    return PluginFault(name, f"{method}: {type(error).__name__}: {error}")
