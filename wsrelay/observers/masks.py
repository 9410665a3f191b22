# -*- test-case-name: tests.observers.test_masks -*-
"""
What the log does not tell: secrets that stand in URLs, and in what is quoted of a head.

A L{Mask} knows names of query parameters whose values are C{***} from then on, however the
names are written; and so are the user and the password before a host, and, should a bad head be
quoted, what stands in its C{Authorization} and C{Cookie}.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache
from urllib.parse import unquote, unquote_plus

__all__ = ["SECRETS", "Mask"]

SECRETS = (
    "*token*",
    "*secret*",
    "*passw*",
    "*api*key*",
    "*signature*",
    "*credential*",
    "*session*",
    "*jwt*",
    "auth",
    "authorization",
    "code",
    "key",
    "otp",
    "pass",
    "pwd",
    "sid",
    "sig",
    "ticket",
)
"""Names that look like a secret; C{*} stands for anything, case counts for nothing."""

_HIDDEN = "***"
# What stands between the parameters of a query, or around a URL in a sentence.
_PIECE = re.compile(r"[^&;#\s\"']+")
# What looks at the end of a name like a secret is one.
_LONGEST = 100
# User and password before a host, with their last "@": behind "//", or where a word begins.
_USERINFO = re.compile(
    r"(?<=//)[^/?#\s\"']*@|(?<![^/?#&=;\s\"'])[^/?#&=;\s\"':@]*:[^/?#&=;\s\"']*@"
)
# A field that is quoted because something is wrong about it, or about what stands before it.
_FIELD = re.compile(r"(authorization|cookie)\s*:[^\"']*", re.IGNORECASE)


class Mask:
    """Hides secrets in text, in time that grows with its length only."""

    __slots__ = ("_isSecret",)

    def __init__(self, names: Sequence[str] = SECRETS) -> None:
        """@param names: as L{SECRETS}."""
        patterns = "|".join(translate(name.lower()) for name in names)
        # The same few names come again and again.
        self._isSecret = lru_cache(1024)(re.compile(patterns or r"(?!)").match)

    def __call__(self, text: str) -> str:
        """The same without what is secret."""
        if "=" in text or "%3" in text:
            text = _PIECE.sub(self._piece, text)
        if ":" in text:
            text = _FIELD.sub(rf"\1: {_HIDDEN}", text)
        return _USERINFO.sub(f"{_HIDDEN}@", text) if "@" in text else text

    def _piece(self, match: re.Match[str]) -> str:
        """One parameter, and where its value is a URL those of that as well."""
        piece = match[0]
        masked = self._parameters(piece)
        if masked is piece and "%" in piece:
            # A backend that decodes it may find more in it than was to be seen.
            plain = unquote(piece)
            decoded = _PIECE.sub(lambda inner: self._parameters(inner[0]), plain)
            decoded = _USERINFO.sub(f"{_HIDDEN}@", decoded)
            return piece if decoded == plain else decoded
        return masked

    def _parameters(self, piece: str) -> str:
        parts = piece.split("=")
        for index, name in enumerate(parts[:-1], 1):
            word = name.rpartition("?")[2][-_LONGEST:].lower()
            if "%" in word or "+" in word:
                word = unquote_plus(word).lower()
            if self._isSecret(word):
                return "=".join([*parts[:index], _HIDDEN])
        return piece
