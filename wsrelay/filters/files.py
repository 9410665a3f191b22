# -*- test-case-name: tests.filters.test_files -*-
"""
A file that is read again when it has changed.

It is looked at when it is used, at most once a second. What cannot be read leaves what was
read before in place, and the log says why; only at the beginning it must be right. A file
should be replaced by renaming a new one over it, so that nobody reads half of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

from wsrelay.interfaces import IRelay

__all__ = ["WatchedFile", "located"]

T = TypeVar("T")


_log = Logger()

# Seconds between two looks at a file.
_EVERY = 1.0
# Bytes. Passwords of ten thousand people, or any set of keys, need less.
_MOST = 4 * 1024 * 1024

_Signature = tuple[int, int, int]


def located(path: Path, relay: IRelay) -> Path:
    """A file as the configuration names it: relative to the configuration's own directory."""
    return path if relay.directory is None else relay.directory / path


class WatchedFile(Generic[T]):
    """
    One file, and what was made of it.

    @raise ValueError: it cannot be read, or means nothing; from the constructor only.
    """

    def __init__(
        self, path: Path, parse: Callable[[bytes], T], seconds: Callable[[], float]
    ) -> None:
        """
        @param parse: makes something of the file; C{ValueError}, whose text is logged, if that
            is impossible.
        @param seconds: what time it is.
        """
        self._path = path
        self._parse = parse
        self._seconds = seconds
        self._looked = seconds()
        self._seen, data = self._read()
        self._value = self._made(data)

    @property
    def value(self) -> T:
        """What the file means; the last that was right if it means nothing any more."""
        now = self._seconds()
        if now - self._looked >= _EVERY:
            self._looked = now
            self._lookAgain()
        return self._value

    def _lookAgain(self) -> None:
        try:
            if _signature(os.stat(self._path)) == self._seen:
                return
            self._seen, data = self._read()
            self._value = self._made(data)
        except OSError as error:
            self._complain(f"{self._path}: {error.strerror}")
        except ValueError as error:
            self._complain(str(error))
        else:
            _log.info("{path} was read again", path=str(self._path))

    def _complain(self, why: str) -> None:
        _log.error("{why}; what was read before still holds", why=why)

    def _read(self) -> tuple[_Signature, bytes]:
        try:
            with self._path.open("rb") as file:
                # Of what was opened: another file may have this name by now.
                return _signature(os.fstat(file.fileno())), file.read(_MOST + 1)
        except OSError as error:
            raise ValueError(f"{self._path}: {error.strerror}") from None

    def _made(self, data: bytes) -> T:
        if len(data) > _MOST:
            raise ValueError(f"{self._path}: longer than {_MOST} bytes")
        try:
            return self._parse(data)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from None


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_size, status.st_ino
