# -*- test-case-name: tests.l4.test_timers -*-
"""
The two timers of a link: how long nothing may happen, and how long an end may take.

Both cost nothing while bytes flow: the idle timer looks at the link's own clock only when
it would have fired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Deadline", "IdleTimer"]


class IdleTimer:
    """Calls when nothing was read from either side for a while."""

    __slots__ = ("_call", "_clock", "_idleFor", "_limit", "_timer")

    def __init__(self, clock: Any) -> None:
        """@param clock: an L{IReactorTime} provider."""
        self._clock = clock
        self._timer: Any = None

    def watch(
        self, idleFor: Callable[[], float], limit: float, call: Callable[[float], None]
    ) -> None:
        """
        Call C{call(limit)} once, when C{idleFor()} has reached C{limit} seconds.
        """
        self._idleFor = idleFor
        self._limit = limit
        self._call = call
        self._timer = self._clock.callLater(limit, self._look)

    def _look(self) -> None:
        left = self._limit - self._idleFor()
        # A clock that is a rounding error short must not wake us for ever.
        if left > 0.001:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._timer = None
            self._call(self._limit)

    def cancel(self) -> None:
        """Never call, and hold on to nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            del self._idleFor, self._call


class Deadline:
    """
    Calls once, C{after} seconds from the first L{start}.

    @ivar after: seconds.
    """

    __slots__ = ("_call", "_clock", "after")

    def __init__(self, clock: Any, after: float = 10.0) -> None:
        """@param clock: an L{IReactorTime} provider."""
        self._clock = clock
        self.after = after
        self._call: Any = None

    def start(self, call: Callable[[], None]) -> None:
        """Begin to count; a later start changes nothing."""
        if self._call is None:
            self._call = self._clock.callLater(self.after, call)

    def cancel(self) -> None:
        """Never call."""
        if self._call is not None and self._call.active():
            self._call.cancel()
