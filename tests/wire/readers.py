# -*- test-case-name: tests.wire.test_heads -*-
"""
Heads read and written twice: with the extension, and in Python alone, which is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from wsrelay.model import Request, Response
from wsrelay.wire import heads

__all__ = ["EXTENSION", "outcome", "readings", "withAndWithout"]

#: The extension; C{None} where it was not built.
EXTENSION = heads._heads


def outcome(call: Callable[[], object]) -> object:
    """What comes of it, errors with their words, headers with their index."""
    try:
        found = call()
    except Exception as error:
        return type(error), str(error)
    if isinstance(found, Request | Response):
        return found, found.headers.raw, found.headers._lookup()
    return found


def withAndWithout(call: Callable[[], object]) -> tuple[object, object]:
    """Its outcome with the extension, and without."""
    found = outcome(call)
    heads._heads = None  # type: ignore[assignment]  # which is how it is when it was not built
    try:
        return found, outcome(call)
    finally:
        heads._heads = EXTENSION


def readings(data: bytes, limit: int, maxHeaders: int) -> Iterator[Callable[[], object]]:
    """All that can be asked about bytes that have come."""
    yield lambda: heads.HeadReader(limit, maxHeaders).feed(data)
    yield partial(heads.parseRequest, data, maxHeaders)
    yield partial(heads.parseResponse, data, maxHeaders)
