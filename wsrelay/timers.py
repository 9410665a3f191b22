# -*- test-case-name: tests.test_timers -*-
"""
Very many timers that hardly ever fire, at the price of a few.

Every connection has half a dozen deadlines, most of them cancelled long before. All timers of
the same length end in the order in which they began, so each length needs one queue and the
reactor one call for the head of it: to begin or to cancel a timer is to add an entry to a
dictionary or to take it out.

L{Timers} stands in for a reactor wherever its clock is asked for; what is called and when is
the same. For lengths that come up once only it has nothing to offer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.logger import Logger

__all__ = ["Timer", "Timers"]

_log = Logger()

# A clock that is a rounding error short must not wake us twice. Seconds.
_EARLY = 1e-6


class Timer:
    """One of them: an L{IDelayedCall<twisted.internet.interfaces.IDelayedCall>}."""

    __slots__ = ("_call", "_due", "_queue", "_timers", "_wasCancelled")

    def __init__(self, timers: Timers, call: Callable[[], object]) -> None:
        self._timers = timers
        self._call: Callable[[], object] | None = call
        self._wasCancelled = False

    def begin(self, queue: _Queue, due: float) -> None:
        """It waits in C{queue} from now on."""
        self._queue = queue
        self._due = due

    def fire(self) -> None:
        """Its time has come, unless it was cancelled at the last moment."""
        call, self._call = self._call, None
        if call is not None:
            try:
                call()
            except Exception:
                _log.failure("a timer's call failed")

    def active(self) -> bool:
        """Whether it is still to fire."""
        return self._call is not None

    def getTime(self) -> float:
        """When it is due, in the clock's seconds."""
        return self._due

    def cancel(self) -> None:
        """
        Never fire.

        @raise AlreadyCalled: it has fired.
        @raise AlreadyCancelled: it was cancelled before.
        """
        if self._call is None:
            raise AlreadyCancelled if self._wasCancelled else AlreadyCalled
        self._call = None
        self._wasCancelled = True
        self._queue.remove(self)

    def reset(self, seconds: float) -> None:
        """
        Fire so many seconds from now instead.

        @raise AlreadyCalled: it has fired.
        @raise AlreadyCancelled: it was cancelled.
        """
        call = self._call
        self.cancel()
        self._call = call
        self._wasCancelled = False
        self._timers.enter(self, seconds)


class _Queue:
    """Timers of one length, first the one that is due first."""

    __slots__ = ("_isFiring", "_length", "_timers", "_waiting", "_wake")

    def __init__(self, timers: Timers, length: float) -> None:
        self._timers = timers
        self._length = length
        self._waiting: dict[Timer, None] = {}
        self._wake: Any = None
        self._isFiring = False

    def add(self, timer: Timer) -> None:
        """One that is due after all the others."""
        self._waiting[timer] = None
        if self._wake is None and not self._isFiring:
            self._wait(self._length)

    def remove(self, timer: Timer) -> None:
        """It does not wait any more; one that fires may cancel another that is due as well."""
        self._waiting.pop(timer, None)
        if not self._waiting and not self._isFiring:
            self._wake.cancel()
            self._wake = None
            self._timers.forget(self._length)

    def _wait(self, seconds: float) -> None:
        self._wake = self._timers.clock.callLater(seconds, self._fire)

    def _fire(self) -> None:
        self._isFiring = True
        for timer in self._takeDue():
            timer.fire()
        self._isFiring = False
        self._wake = None
        if self._waiting:
            self._wait(max(0.0, next(iter(self._waiting)).getTime() - self._timers.seconds()))
        else:
            self._timers.forget(self._length)

    def _takeDue(self) -> list[Timer]:
        now = self._timers.seconds() + _EARLY
        due = list(takewhile(lambda timer: timer.getTime() <= now, self._waiting))
        for timer in due:
            del self._waiting[timer]
        return due


class Timers:
    """
    Times as a reactor does, see the module.

    @ivar clock: what it goes by, an L{IReactorTime} provider.
    @ivar seconds: the clock's.
    """

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.seconds: Callable[[], float] = clock.seconds
        self._queues: dict[float, _Queue] = {}

    def callLater(
        self, seconds: float, call: Callable[..., object], *args: Any, **kwargs: Any
    ) -> Timer:
        """
        Call C{call}, once, so many seconds from now.

        What it raises is logged.
        """
        if args or kwargs:
            call = partial(call, *args, **kwargs)
        timer = Timer(self, call)
        self.enter(timer, seconds)
        return timer

    def enter(self, timer: Timer, seconds: float) -> None:
        """Let a timer begin."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = _Queue(self, seconds)
        timer.begin(queue, self.seconds() + seconds)
        queue.add(timer)

    def forget(self, length: float) -> None:
        """No timer of this length waits any more."""
        self._queues.pop(length, None)
