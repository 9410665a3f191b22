# -*- test-case-name: tests.l7.test_pages -*-
"""
What a client gets that gets no backend: the one place where errors become HTTP.

The relay's own page says the status and nothing else; what happened stands in the log. A
listener may have pages of its own, L{Pages}, in which C{{status}}, C{{reason}} and C{{id}}
are filled in. Of the request nothing is ever in a page but its id, which the relay made.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from wsrelay.errors import ConfigurationError, RelayError
from wsrelay.model import Inbound, Respond

__all__ = ["Pages", "page", "phrase", "withoutBody"]


def phrase(status: int) -> str:
    """The standard reason phrase; empty if the status is not registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def withoutBody(status: int) -> bool:
    """Whether an answer with this status never has a body (RFC 9112 section 6.3)."""
    return status < 200 or status in (204, 304)


# A page is kept in memory and sent whole.
_MAX_SIZE = 65536

_PLACEHOLDER = re.compile(r"\{(?:status|reason|id)\}")
_STATUSES = re.compile(r"[45](?:[0-9][0-9]|xx)")


def _asIs(text: str) -> str:
    return text


def _inJson(text: str) -> str:
    return json.dumps(text)[1:-1]


# By the end of a file's name: its type, and how what is filled in is escaped.
_TYPES: dict[str, tuple[bytes, Callable[[str], str]]] = {
    ".html": (b"text/html; charset=utf-8", html.escape),
    ".json": (b"application/json", _inJson),
    ".txt": (b"text/plain; charset=utf-8", _asIs),
}


class Pages:
    """The error pages of a listener, read once."""

    def __init__(self, files: Mapping[str, str], where: str = "errorPages") -> None:
        """
        @param files: paths of files by status: C{"404"}, or C{"5xx"} for those without one of
            their own.
        @param where: the path of this table in the configuration.
        @raise ConfigurationError: with every page that cannot be used.
        """
        problems: list[str] = []
        self._pages: dict[str, tuple[bytes, str, Callable[[str], str]]] = {}
        for status, path in files.items():
            try:
                self._pages[status] = _read(status, Path(path))
            except ValueError as error:
                problems.append(f"{where}.{status}: {error}")
        if problems:
            raise ConfigurationError(problems)

    def page(self, status: int, id: str) -> tuple[bytes, bytes] | None:
        """
        Type and body of a page; C{None} if there is none for this status.

        @param id: L{Inbound.id}; empty before there is one.
        """
        made = self._pages.get(str(status)) or self._pages.get(f"{status // 100}xx")
        if made is None:
            return None
        kind, text, escaped = made
        words = {"{status}": str(status), "{reason}": phrase(status), "{id}": id}
        body = _PLACEHOLDER.sub(lambda match: escaped(words[match[0]]), text)
        return kind, body.encode("utf-8")


def _read(status: str, path: Path) -> tuple[bytes, str, Callable[[str], str]]:
    """@raise ValueError: it cannot be a page; the message says why."""
    if not _STATUSES.fullmatch(status):
        raise ValueError('expected a status from 400 to 599, "4xx" or "5xx"')
    if path.suffix not in _TYPES:
        raise ValueError(f'"{path}": expected a name that ends in {", ".join(_TYPES)}')
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise ValueError(f'"{path}": {error.strerror}') from None
    if len(data) > _MAX_SIZE:
        raise ValueError(f'"{path}": a page has at most {_MAX_SIZE} bytes')
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f'"{path}": it is not UTF-8') from None
    kind, escaped = _TYPES[path.suffix]
    return kind, text, escaped


def page(error: RelayError, pages: Pages | None = None, inbound: Inbound | None = None) -> Respond:
    """
    The answer to an error.

    @param pages: the listener's own; the relay's page takes the place of one that is missing.
    @param inbound: whose request it was, if it was read.
    """
    own = pages.page(error.status, inbound.id if inbound else "") if pages else None
    if own is None:
        body = f"{error.status} {phrase(error.status)}\n".encode()
        own = b"text/plain; charset=utf-8", body
    return Respond(error.status, ((b"Content-Type", own[0]), *error.headers), own[1])
