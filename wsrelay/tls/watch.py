# -*- test-case-name: tests.tls.test_watch -*-
"""
Notices that files have changed, by looking at them now and then: it costs a C{stat} for each,
needs no thread, and works on every file system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["FileWatch"]

_Look = tuple[int, int, int] | None


def _look(path: Path) -> _Look:
    """What tells one state of a file from the next; C{None} if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class FileWatch:
    """Calls when any of some files is not what it was when this was made, or called last."""

    def __init__(self, paths: Sequence[Path], changed: Callable[[], None]) -> None:
        """@param changed: called once for each change that was noticed."""
        self._paths = tuple(dict.fromkeys(paths))
        self._changed = changed
        self._seen = self._state()
        self._timer: Any = None

    def _state(self) -> list[_Look]:
        return [_look(path) for path in self._paths]

    def start(self, clock: Any, interval: float) -> None:
        """
        Look every C{interval} seconds.

        @param clock: an L{IReactorTime} provider.
        """
        self._timer = clock.callLater(interval, self._turn, clock, interval)

    def _turn(self, clock: Any, interval: float) -> None:
        self.start(clock, interval)
        self.look()

    def look(self) -> None:
        """Look now."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            self._changed()

    def stop(self) -> None:
        """Look no more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
