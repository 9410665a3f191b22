# -*- test-case-name: tests.routing.test_rewrite -*-
"""
Rewrites the path that a backend gets: strips a prefix, replaces, adds a prefix, in this order.

Routes are matched on the normal form of a path (L{wsrelay.routing.paths}), while a backend gets
what the client wrote. A rule about the path keeps both true at once:

 - It asks for the normal form, and a path that has none is refused.
 - B{strip} takes the prefix away from the path as it was written, if it stands there to the
   letter and what is left means the same below the new root. Else (C{/%61pi/x}, C{//api/x},
   C{/api;v=1/x}) the backend gets the rest of the normal form. A path that is not below the
   prefix stays as it is.
 - B{replace} looks at the normal form, as conditions do. Where the expression does not match
   all of it, the path stays as it is; where it does, the result must be a path in normal form.
 - B{add} puts its prefix in front. What has a normal form does not climb above its root, so it
   does not climb out of the prefix.

The query is not touched. C{*} (RFC 9112 section 3.2.4) is no path and stays.
"""

from __future__ import annotations

import re

from attrs import field, frozen

from wsrelay.errors import BadRequest
from wsrelay.routing.paths import normalPath, normalPattern

__all__ = ["PathRule"]

# A regular expression may need time that grows with a power of the length.
_MAX_LENGTH = 2048

# What begins with two slashes of any kind is a host to some readers (RFC 3986 section 4.2).
_ROOTED = re.compile(r"/(?![/\\]|%2[Ff]|%5[Cc])")


def _prefix(path: str) -> str:
    """A prefix in normal form; empty is none."""
    if not path:
        return ""
    if not path.startswith("/"):
        raise ValueError(f'"{path}" does not begin with a slash')
    normal = normalPattern(path)
    if normal == "/":
        raise ValueError(f'"{path}" is no prefix: every path begins so')
    return normal


def _added(path: str) -> str:
    return _prefix(path).removesuffix("/")


@frozen
class PathRule:
    """
    What becomes of a path.

    @ivar strip: a prefix, by whole segments as in
        L{PathPrefixMatcher<wsrelay.routing.matchers.PathPrefixMatcher>}; empty strips nothing.
    @ivar replace: a regular expression for the whole path, and what it becomes, in which C{\\1}
        is the first group; C{None} replaces nothing.
    @ivar add: a prefix; a slash at its end does not count.
    @raise ValueError: a prefix is none, or the expression or its replacement is wrong.
    """

    strip: str = field(default="", converter=_prefix)
    replace: tuple[str, str] | None = None
    add: str = field(default="", converter=_added)
    _regex: re.Pattern[str] | None = field(init=False, eq=False, repr=False)

    @_regex.default
    def _compile(self) -> re.Pattern[str] | None:
        if self.replace is None:
            return None
        regex, to = self.replace
        try:
            compiled = re.compile(regex)
        except re.error as error:
            raise ValueError(f'"{regex}" is not a regular expression: {error}') from None
        if not to.startswith(("/", "\\")) or not to.isascii() or {*" ?#;"} & {*to}:
            raise ValueError(f'"{to}" makes no path: expected a slash first, and no "?", "#", ";"')
        try:
            compiled.sub(to, "")
        except (re.error, IndexError) as error:
            raise ValueError(f'"{to}" does not fit "{regex}": {error}') from None
        return compiled

    def rewritten(self, target: str) -> str:
        """
        The target with another path.

        @raise BadRequest: the path has no normal form, or what would come out is none.
        """
        if target == "*":
            return target
        path, mark, query = target.partition("?")
        normal = normalPath(path)
        if self.strip:
            path = self._stripped(path, normal)
        if self._regex is not None:
            path = self._replaced(path, self._regex)
        return f"{self.add}{path}{mark}{query}"

    def _stripped(self, path: str, normal: str) -> str:
        below = self.strip.removesuffix("/")
        if normal != self.strip and not normal.startswith(below + "/"):
            return path
        rest = normal[len(below) :] or "/"
        written = path[len(below) :] or "/"
        if path.startswith(below) and _ROOTED.match(written) and _means(written, rest):
            return written
        return rest

    def _replaced(self, path: str, regex: re.Pattern[str]) -> str:
        normal = normalPath(path)
        if len(normal) > _MAX_LENGTH:
            raise BadRequest(f"a path of more than {_MAX_LENGTH} characters is not rewritten")
        match = regex.fullmatch(normal)
        if match is None:
            return path
        assert self.replace is not None
        result = match.expand(self.replace[1])
        if not result.startswith("/") or not _means(result, result):
            raise BadRequest(f"the path would become {result[:80]!r}, which is not in normal form")
        return result


def _means(path: str, normal: str) -> bool:
    """Whether that is the normal form of this path."""
    try:
        return normalPath(path) == normal
    except BadRequest:
        return False
