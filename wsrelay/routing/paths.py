# -*- test-case-name: tests.routing.test_paths -*-
"""
The normal form of a path: what every rule about a path is compared with.

Servers read C{/a%2Fb}, C{//a} and C{/a;x/..} in different ways. A rule that guards
C{/admin} must hold for every spelling that some backend takes for C{/admin}, so spellings
are made one here, and a path that two backends would resolve to two places is refused.
In this order:

 1. Escapes of characters that may stand in a path as they are (RFC 3986 section 3.3,
    C{pchar}) are decoded; all others are written C{%XX} in upper case; characters that may
    not stand there are escaped. Escaped C{;} and C{%} stay escaped.
 2. C{/}, C{\\}, C{%2F} and C{%5C} are all slashes; several in a row are one.
 3. Parameters (a C{;} and what follows it in that segment) are left out.
 4. Dot segments are resolved (RFC 3986 section 5.2.4). A final slash is kept.

No normal form, but L{BadRequest<wsrelay.errors.BadRequest>}: a broken escape, C{%00}, an
overlong UTF-8 escape, a climb above the root, and a dot segment in a path that also has
parameters, empty segments or any slash but C{/}, since servers differ in the order of the
steps 2 to 4.

The backend still gets the path as the client wrote it: this form is for matching only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product
from string import hexdigits

from wsrelay.errors import BadRequest

__all__ = ["normalPath", "normalPattern"]

_PCHAR = r"A-Za-z0-9._~!$&'()*+,=:@\-"  # RFC 3986 section 3.3, without ";"
_ALREADY = re.compile(rf"/(?:(?!\.\.?(?:/|\Z))[{_PCHAR}]+(?:/|\Z))*")
_BARE = re.compile(f"[{_PCHAR}]")
_OVERLONG = re.compile("%C[01]%[89AB]|%E0%[89]|%F0%8")  # RFC 3629 section 3
_SLASH = re.compile("/|%2F|%5C")
_SHIFTY = re.compile("//|%2F|%5C|;")
_DOTS = frozenset((".", ".."))

# Tables, since clients may send nothing but escapes. NUL is in neither.
_SPELLINGS = {
    byte: chr(byte) if _BARE.match(chr(byte)) else f"%{byte:02X}" for byte in range(1, 256)
}
_ESCAPES = {
    high + low: _SPELLINGS[int(high + low, 16)]
    for high, low in product(hexdigits, repeat=2)
    if high + low != "00"
}
_RAW = {byte: spelling for byte, spelling in _SPELLINGS.items() if chr(byte) not in "/%;"}


# Several rules, and clients that ask for the same thing, share one computation. Few, since
# clients choose the keys, each as long as a request head may be.
@lru_cache(maxsize=64)
def normalPath(path: str) -> str:
    """
    The normal form of a request's path; C{*} (RFC 9112 section 3.2.4) is its own.

    @param path: the path as it was written, without query, each byte one character.
    @raise BadRequest: it has none, see above.
    """
    if path == "*" or _ALREADY.fullmatch(path):
        return path
    if not path.startswith("/"):
        raise BadRequest("the path does not begin with a slash")
    return _resolve(_respell(path))


def normalPattern(path: str) -> str:
    """
    The same for a path that an operator wrote, who writes Unicode.

    @raise ValueError: it has no normal form, or holds what no path can.
    """
    if not {"?", "#", ";"}.isdisjoint(path):
        raise ValueError(f'"{path}" can match nothing: a path is compared without ";", "?", "#"')
    try:
        return normalPath(path.encode("utf-8").decode("latin-1"))
    except BadRequest as error:
        raise ValueError(f'"{path}" can match nothing: {error.detail}') from None


def _respell(path: str) -> str:
    """Step 1."""
    start, *escapes = path.translate(_RAW).split("%")
    try:
        spelled = start + "".join([_ESCAPES[escape[:2]] + escape[2:] for escape in escapes])
    except KeyError:
        raise BadRequest("the path has a broken escape or %00") from None
    if not spelled.isascii() or "\0" in spelled:
        raise BadRequest("the path holds a NUL, or a character that is no byte")
    if _OVERLONG.search(spelled):
        raise BadRequest("the path has an overlong UTF-8 sequence")
    return spelled


def _resolve(path: str) -> str:
    """Steps 2 to 4."""
    segments = [segment.partition(";")[0] for segment in _SLASH.split(path)[1:]]
    if _SHIFTY.search(path) and not _DOTS.isdisjoint(segments):
        raise BadRequest("the path has a dot segment that servers resolve in different ways")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if not kept:
                raise BadRequest("the path climbs above the root")
            kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    last = "/" if kept and segments[-1] in ("", ".", "..") else ""
    return f"/{'/'.join(kept)}{last}"
