# -*- test-case-name: tests.filters.test_identity -*-
"""
What backends are told about who a client is, in header fields that they believe.

So a client must not be able to say it: whatever some backend may read as that field is taken
away first, whether or not there is anything to put in its place.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from wsrelay.headers import MutableHeaders, checkedField

__all__ = ["FieldName", "checkedText", "forget"]

# The relay writes these itself, or they mean one connection only.
_TAKEN = frozenset(
    {"connection", "content-length", "host", "http2-settings", "keep-alive", "te", "trailer"}
    | {"proxy-authenticate", "proxy-authorization", "proxy-connection", "transfer-encoding"}
    | {"upgrade", "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-key"}
    | {"sec-websocket-version"}
)

# CGI (RFC 3875 section 4.1.18) and what came of it cannot tell "-" from "_"; some fold every
# other character, too.
_FOLDED = bytes(
    byte if byte in b"0123456789abcdefghijklmnopqrstuvwxyz" else ord("-") for byte in range(256)
)


def _checkedName(name: str) -> str:
    checkedField(name, "")
    if name.lower() in _TAKEN:
        raise ValueError(f'"{name}" is written by the relay itself; choose another field')
    return name


FieldName = Annotated[str, AfterValidator(_checkedName)]
"""A header field that a filter may write, as an option."""


def forget(headers: MutableHeaders, names: Iterable[str]) -> None:
    """Remove every field that some backend may read as one of these."""
    wanted = {_fold(name.encode("ascii")) for name in names}
    for name in {name for name, _ in headers.raw if _fold(name) in wanted}:
        headers.remove(name)


def _fold(name: bytes) -> bytes:
    return name.lower().translate(_FOLDED)


def checkedText(text: str) -> bytes:
    """
    Text as the value of a field, in UTF-8.

    @raise ValueError: a backend would read something else than this: there is a control
        character in it, or white space around it, or nothing. The text is not shown.
    """
    if not text or text != text.strip() or any(map(_isUnsafe, text)):
        raise ValueError("empty, or with control characters or outer white space")
    return text.encode("utf-8")


def _isUnsafe(character: str) -> bool:
    # Line and paragraph separators end lines for some readers; surrogates are no text.
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
