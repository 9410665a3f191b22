# -*- test-case-name: tests.backends.test_idle -*-
"""
Connections to one backend that wait for their next request.

The newest is taken first, so that those that are not needed grow old and are closed. How many
there are is bounded, and how long each waits. What they are, and what is said on them, is the
business of whoever keeps them here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol as TypingProtocol

__all__ = ["Idle", "Waiting"]


class Waiting(TypingProtocol):
    """One that waits."""

    def close(self) -> None:
        """Nobody will take it any more."""


class Idle:
    """The connections of one backend, see the module."""

    def __init__(self, clock: Any, most: int, timeout: float) -> None:
        """
        @param clock: an L{IReactorTime} provider.
        @param most: how many may wait; 0 is none.
        @param timeout: seconds for which one may wait.
        """
        self._clock = clock
        self._seconds: Callable[[], float] = clock.seconds
        self._most = most
        self._timeout = timeout
        # In the order in which they came, with the time when they did.
        self._waiting: dict[Any, float] = {}
        self._timer: Any = None

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, connection: Waiting) -> bool:
        """Let it wait; false, and nothing is kept, when there are enough."""
        if len(self._waiting) >= self._most:
            return False
        self._waiting[connection] = self._seconds()
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout, self._sweep)
        return True

    def take(self, youngerThan: float | None = None) -> Any:
        """
        The one that came last, which waits no longer, or C{None}.

        @param youngerThan: it must have waited for less than so many seconds.
        """
        if not self._waiting:
            return None
        connection, since = self._waiting.popitem()
        if youngerThan is not None and self._seconds() - since >= youngerThan:
            self._waiting[connection] = since
            return None
        return connection

    def forget(self, connection: Waiting) -> bool:
        """It waits no longer, since it was lost; whether it did."""
        return self._waiting.pop(connection, None) is not None

    def drop(self) -> None:
        """Close all of them: their backend is not what it was."""
        while self._waiting:
            self._end(next(iter(self._waiting)))

    def close(self) -> None:
        """Close all of them, and keep none any more."""
        self._most = 0
        self.drop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, connection: Waiting) -> None:
        del self._waiting[connection]
        connection.close()

    def _sweep(self) -> None:
        # Not cancelled whenever nothing waits: that comes and goes with each request.
        self._timer = None
        now = self._seconds()
        while self._waiting:
            connection, since = next(iter(self._waiting.items()))
            left = since + self._timeout - now
            # A clock that is a rounding error short must not wake us for ever.
            if left > 0.001:
                self._timer = self._clock.callLater(left, self._sweep)
                return
            self._end(connection)
