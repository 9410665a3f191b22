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

    def __init__(self, clock: Any) -> None:
        """@param clock: an L{IReactorTime} provider."""
        self._clock = clock
        self._call: Any = None

    def watch(
        self, idleFor: Callable[[], float], limit: float, call: Callable[[float], None]
    ) -> None:
        """
        Call C{call(limit)} once, when C{idleFor()} has reached C{limit} seconds.
        """

        def look() -> None:
            left = limit - idleFor()
            # A clock that is a rounding error short must not wake us for ever.
            if left > 0.001:
                self._call = self._clock.callLater(left, look)
            else:
                self._call = None
                call(limit)

        self._call = self._clock.callLater(limit, look)

    def cancel(self) -> None:
        """Never call."""
        if self._call is not None:
            self._call.cancel()
            self._call = None


class Deadline:
    """
    Calls once, C{after} seconds from the first L{start}.

    @ivar after: seconds.
    """

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
