# -*- test-case-name: tests.l7.test_pages -*-
"""
What a client gets that gets no backend: the one place where errors become HTTP.

The page says the status and nothing else; what happened stands in the log.
"""

from __future__ import annotations

from http import HTTPStatus

from wsrelay.errors import RelayError
from wsrelay.model import Respond

__all__ = ["page", "phrase", "withoutBody"]


def phrase(status: int) -> str:
    """The standard reason phrase; empty if the status is not registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def withoutBody(status: int) -> bool:
    """Whether an answer with this status never has a body (RFC 9112 section 6.3)."""
    return status < 200 or status in (204, 304)


def page(error: RelayError) -> Respond:
    """The answer to an error."""
    body = f"{error.status} {phrase(error.status)}\n".encode()
    headers = ((b"Content-Type", b"text/plain; charset=utf-8"), *error.headers)
    return Respond(error.status, headers, body)
