# -*- test-case-name: tests.l4.test_hub -*-
"""
The I{hub}: what listeners, links and plugins of one relay share (L{IRelay}).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsrelay.interfaces import IRelay
from wsrelay.model import Event

__all__ = ["Hub"]

_log = Logger()


@implementer(IRelay)
class Hub:
    """
    Ids, observers, and what is open.

    @ivar reactor: the reactor; also the clock.
    @ivar observers: who hears of events.
    """

    def __init__(self, reactor: Any, observers: Sequence[Any] = ()) -> None:
        self.reactor = reactor
        self.observers: list[Any] = list(observers)
        self._ids = itertools.count(1)
        self._open: dict[Any, Callable[[], None]] = {}

    def newId(self) -> str:
        """An id for a client's connection or request, unique in this process."""
        return f"{next(self._ids):x}"

    def observe(self, event: Event) -> None:
        """Tell all observers, see L{IRelay.observe}."""
        for observer in self.observers:
            try:
                observer.observe(event)
            except Exception:
                _log.failure("observer {observer!r} failed", Failure(), observer=observer)

    def opened(self, link: Any, leave: Callable[[], None]) -> None:
        """Something that must be told when the relay stops: C{leave} will be called."""
        self._open[link] = leave

    def closed(self, link: Any) -> None:
        """It has ended."""
        self._open.pop(link, None)

    def leaveAll(self) -> None:
        """Ask everything that is open to end."""
        for leave in list(self._open.values()):
            leave()

    @property
    def openCount(self) -> int:
        """How many tunnels and sessions are open."""
        return len(self._open)
