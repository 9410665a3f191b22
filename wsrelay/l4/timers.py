# -*- test-case-name: tests.l4.test_timers -*-
"""
The timers of links and connections: how long nothing may happen, how long an end may take, and
a deadline that is always on the move.

They cost next to nothing while bytes flow: what is only ever moved further away is looked at
when it would have fired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Deadline", "IdleTimer", "MovingDeadline"]


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


class MovingDeadline:
    """
    One deadline after the other, hardly any of which is ever met.

    To set one later than the last, or to take it away, makes no call of the clock's: the timer
    that runs is looked at when it fires.
    """

    __slots__ = ("_call", "_clock", "_due", "_fires", "_seconds", "_timer")

    def __init__(self, clock: Any) -> None:
        """@param clock: an L{IReactorTime} provider."""
        self._clock = clock
        self._seconds: Callable[[], float] = clock.seconds
        self._call: Callable[[], None] | None = None
        self._due = 0.0
        self._timer: Any = None
        # When the timer that runs does.
        self._fires = 0.0

    def set(self, seconds: float, call: Callable[[], None]) -> None:
        """Call C{call} so many seconds from now, and not what was set before."""
        due = self._due = self._seconds() + seconds
        self._call = call
        if self._timer is None:
            self._arm(seconds)
        elif due < self._fires:
            self._timer.cancel()
            self._arm(seconds)

    def clear(self) -> None:
        """Call nothing."""
        self._call = None

    def stop(self) -> None:
        """Call nothing, and hold on to nobody."""
        self._call = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, seconds: float) -> None:
        self._fires = self._seconds() + seconds
        self._timer = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        call = self._call
        if call is None:
            return
        left = self._due - self._seconds()
        # A clock that is a rounding error short must not wake us for ever.
        if left > 0.001:
            self._arm(left)
        else:
            self._call = None
            call()
