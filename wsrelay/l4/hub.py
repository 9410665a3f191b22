# -*- test-case-name: tests.l4.test_hub -*-
"""
The I{hub}: what listeners, links and plugins of one relay share (L{IRelay}).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.interfaces import IRelay
from wsrelay.l4.limits import reservedFrom
from wsrelay.model import Event
from wsrelay.timers import Timers

__all__ = ["Hub"]

_log = Logger()


class _Hearers(dict[type[Event], tuple[Any, ...]]):
    """Who hears of a kind of event, by the kind: found out once."""

    def __init__(self, observers: tuple[Any, ...]) -> None:
        self._observers = observers

    def __missing__(self, kind: type[Event]) -> tuple[Any, ...]:
        found = self[kind] = tuple(
            each for each in self._observers if issubclass(kind, getattr(each, "hears", Event))
        )
        return found


@implementer(IRelay)
class Hub:
    """
    Ids, observers, caches, and what is open.

    @ivar reactor: the reactor.
    @ivar clock: the same time, with timers that cost less.
    @ivar hearers: by kind of event, who hears of it; where nobody does it need not be made.
    @ivar directory: where relative file names of the configuration begin.
    @ivar reservedFrom: the first descriptor that no client is admitted to.
    @ivar caches: those of the configuration that runs, by name.
    """

    def __init__(
        self,
        reactor: Any,
        observers: Sequence[Any] = (),
        reserve: int | None = None,
        directory: Path | None = None,
    ) -> None:
        """
        @param reserve: how many descriptors are held back, see
            L{reservedFrom<wsrelay.l4.limits.reservedFrom>}.
        """
        self.reactor = reactor
        self.directory = directory
        self.clock = Timers(reactor)
        self.reservedFrom = reservedFrom(reserve)
        self.caches: dict[str, Any] = {}
        self._observers = tuple(observers)
        self.hearers = _Hearers(self._observers)
        self._ids = itertools.count(1)
        self._open: dict[Any, tuple[Callable[[], None], Callable[[], None] | None]] = {}
        self._waiting: list[Deferred[None]] = []

    def newId(self) -> str:
        """An id for a client's connection or request, unique in this process."""
        return f"{next(self._ids):x}"

    @property
    def observers(self) -> tuple[Any, ...]:
        """Who hears of events."""
        return self._observers

    @observers.setter
    def observers(self, observers: Sequence[Any]) -> None:
        self._observers = tuple(observers)
        self.hearers = _Hearers(self._observers)

    def observe(self, event: Event) -> None:
        """Tell all observers, see L{IRelay.observe}."""
        for observer in self.hearers[type(event)]:
            try:
                observer.observe(event)
            except Exception:
                _log.failure("observer {observer!r} failed", Failure(), observer=observer)

    def purge(self, url: str) -> int:
        """Forget what all caches keep for a URL, see L{IRelay.purge}."""
        return sum(cache.purge(url) for cache in self.caches.values())

    def opened(
        self, link: Any, leave: Callable[[], None], cut: Callable[[], None] | None = None
    ) -> None:
        """
        Something that must be told when the relay stops.

        @param leave: called to ask it to end soon, by itself.
        @param cut: called if it has not; it must end at once.
        """
        self._open[link] = leave, cut

    def closed(self, link: Any) -> None:
        """It has ended."""
        self._open.pop(link, None)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def leaveAll(self) -> None:
        """Ask everything that is open to end."""
        for link, (leave, _) in list(self._open.items()):
            self._tell(link, leave)

    def cutAll(self) -> None:
        """Have everything end that is still open."""
        for link, (_, cut) in list(self._open.items()):
            if cut is not None:
                self._tell(link, cut)

    def _tell(self, link: Any, call: Callable[[], None]) -> None:
        # The end of one may have been the end of another.
        if link in self._open:
            try:
                call()
            except Exception:
                _log.failure("{link!r} failed to end", Failure(), link=link)

    def whenNoneOpen(self) -> Deferred[None]:
        """
        Wait for all of them to end.

        @return: fires when nothing is open, at once if nothing is now. May be cancelled.
        """
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        if not self._open:
            self._waiting.remove(waiter)
            waiter.callback(None)
        return waiter

    @property
    def openCount(self) -> int:
        """How many tunnels and sessions are open."""
        return len(self._open)
