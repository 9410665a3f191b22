# -*- test-case-name: tests.filters.test_joined -*-
"""
Many who want to know the same wait for one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["Joined"]

T = TypeVar("T")


class Joined(Generic[T]):
    """Questions that are being asked, and who waits for the answers."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Deferred[T]]] = {}

    def ask(self, key: Hashable, start: Callable[[], Deferred[T]]) -> Deferred[T]:
        """
        Ask, or wait with those who ask already.

        @param key: what makes two questions the same.
        @return: fires as what C{start} returned; a failure is everybody's.
        """
        waiter: Deferred[T] = Deferred()
        others = self._waiting.get(key)
        if others is not None:
            others.append(waiter)
            return waiter
        self._waiting[key] = [waiter]
        maybeDeferred(start).addBoth(self._tell, key)
        return waiter

    def _tell(self, result: Any, key: Hashable) -> None:
        for waiter in self._waiting.pop(key):
            waiter.callback(result)
