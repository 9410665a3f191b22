"""
What tests/fuzz/heads.c has in Python: heads are read with the extension and without.

An exception here ends the run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.wire.readers import EXTENSION, readings, withAndWithout
from wsrelay.model import Request, Response
from wsrelay.wire.heads import writeRequest, writeResponse

__all__ = ["read"]

assert EXTENSION is not None, "there is nothing to compare"


def read(data: bytes, eighths: int, maxHeaders: int) -> None:
    """
    Fail unless both ways of reading C{data}, and of writing what was read, are one.

    @param eighths: of the bytes that are here a head may have so many.
    """
    for call in readings(data, len(data) * eighths // 8, maxHeaders):
        found, expected = withAndWithout(call)
        assert found == expected, (data, found, expected)
        if isinstance(found, tuple) and isinstance(found[0], Request | Response):
            write(found[0])


def write(head: Request | Response) -> None:
    """Fail unless both ways of writing it are one; what was read can be written."""
    fields = list(head.headers.raw)
    for isChecked in (False, True):
        call: Callable[[], bytes]
        if isinstance(head, Request):
            call = partial(writeRequest, head.method, head.target, fields, isChecked)
        else:
            call = partial(writeResponse, head.status, head.reason, fields, isChecked)
        found, expected = withAndWithout(call)
        assert found == expected and isinstance(found, bytes), (head, found, expected)
