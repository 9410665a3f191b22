# -*- test-case-name: tests.routing.test_rewrite -*-
"""
Rules about the path: the target of a client in, that of the backend out.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest
from wsrelay.routing.paths import normalPath
from wsrelay.routing.rewrite import PathRule

STRIP = PathRule(strip="/api")
FOLDER = PathRule(strip="/api/")
ADD = PathRule(add="/v2/")
MOVE = PathRule("/api", None, "/v2")
ROOMS = PathRule(replace=(r"/rooms/([^/]*)(/feed)?", r"/v2/room/\1\2"))
TAIL = PathRule(replace=(r"/x(.*)", r"/base/\1"))
ALL = PathRule("/api", (r"/a/(.*)", r"/b/\1"), "/v2")

# None: refused.
TABLE: list[tuple[PathRule, str, str | None]] = [
    # strip: as it was written
    (STRIP, "/api", "/"),
    (STRIP, "/api/", "/"),
    (STRIP, "/api/x", "/x"),
    (STRIP, "/api/x/", "/x/"),
    (STRIP, "/api?a=/api/b", "/?a=/api/b"),
    (STRIP, "/api/x?", "/x?"),
    (STRIP, "/api/api/x", "/api/x"),
    (STRIP, "/api/a%2Fb", "/a%2Fb"),
    (STRIP, "/api/a;v=1/b", "/a;v=1/b"),
    (STRIP, "/api/%61", "/%61"),
    (STRIP, "/api/a/../b", "/a/../b"),
    (STRIP, "/api/a//b", "/a//b"),
    (STRIP, "/api/./b", "/./b"),
    (STRIP, "*", "*"),
    # strip: not below the prefix
    (STRIP, "/", "/"),
    (STRIP, "/apix/y", "/apix/y"),
    (STRIP, "/API/x", "/API/x"),
    (STRIP, "/x/api/y", "/x/api/y"),
    (STRIP, "/api/../x", "/api/../x"),
    (STRIP, "/api%3Bx", "/api%3Bx"),
    # strip: another spelling of the prefix, so the rest of the normal form
    (STRIP, "//api/x", "/x"),
    (STRIP, "/%61pi/x", "/x"),
    (STRIP, "/api;a/x", "/x"),
    (STRIP, "/api;a/x;b/%41", "/x/A"),
    (STRIP, "/api%2Fx", "/x"),
    (STRIP, "/api%5cx", "/x"),
    (STRIP, "\\api\\x", None),
    (STRIP, "/\\api\\x", "/x"),
    (STRIP, "/y/../api/x", "/x"),
    (STRIP, "/./api/x", "/x"),
    # strip: what is left would look like a host
    (STRIP, "/api//evil/x", "/evil/x"),
    (STRIP, "/api///evil", "/evil"),
    (STRIP, "/api/\\evil", "/evil"),
    (STRIP, "/api/%2fevil", "/evil"),
    (STRIP, "/api/%5Cevil", "/evil"),
    # strip: no normal form, or a climb
    (STRIP, "/api/../../x", None),
    (STRIP, "/api%2f..", None),
    (STRIP, "/api/..%2fx", None),
    (STRIP, "/api/..;/x", None),
    (STRIP, "/api/;/../x", None),
    (STRIP, "/api//../x", None),
    (STRIP, "/api/%2e%2e/%2e%2e", None),
    (STRIP, "/api/%00", None),
    (STRIP, "/api/%", None),
    (STRIP, "/api/%c0%ae%c0%ae/", None),
    (STRIP, "/api/x/../../api/y", "/y"),
    # strip: a folder
    (FOLDER, "/api", "/api"),
    (FOLDER, "/api/", "/"),
    (FOLDER, "/api/x", "/x"),
    (FOLDER, "//api/x", "/x"),
    # add
    (ADD, "/", "/v2/"),
    (ADD, "/x?y", "/v2/x?y"),
    (ADD, "/a%2Fb;c", "/v2/a%2Fb;c"),
    (ADD, "/x/../y", "/v2/x/../y"),
    (ADD, "/../x", None),
    (ADD, "/x/../../y", None),
    (ADD, "/..%2fx", None),
    (ADD, "*", "*"),
    # one for the other
    (MOVE, "/api/x", "/v2/x"),
    (MOVE, "/api", "/v2/"),
    (MOVE, "/other", "/v2/other"),
    (MOVE, "/api/../x", "/v2/api/../x"),
    (MOVE, "/api/../../v3", None),
    # replace
    (ROOMS, "/rooms/7", "/v2/room/7"),
    (ROOMS, "/rooms/7/feed?a=1", "/v2/room/7/feed?a=1"),
    (ROOMS, "/rooms/7/other", "/rooms/7/other"),
    (ROOMS, "/x/rooms/7", "/x/rooms/7"),
    (ROOMS, "//rooms/%37;v=1", "/v2/room/7"),
    (ROOMS, "/rooms/a%2fb", "/rooms/a%2fb"),
    (ROOMS, "/rooms/a%3fb", "/v2/room/a%3Fb"),
    (ROOMS, "/rooms/..%2f", None),
    (ROOMS, "/rooms/" + "7" * 2041, "/v2/room/" + "7" * 2041),
    (ROOMS, "/rooms/" + "7" * 2042, None),
    # replace: what would come out is no path in normal form
    (TAIL, "/xy", "/base/y"),
    (TAIL, "/x..", None),
    (TAIL, "/x.", None),
    (TAIL, "/x/y", None),
    (PathRule(replace=("(.*)", r"\1")), "/a//b", "/a/b"),
    (PathRule(replace=("/(.*)/(.*)", r"/\2")), "/a/", "/"),
    (PathRule(replace=("/a(/x)?", r"\1")), "/a", None),
    (PathRule(replace=("/a(/x)?", r"\1")), "/a/x", "/x"),
    # all three
    (ALL, "/api/a/x?q", "/v2/b/x?q"),
    (ALL, "/a/x", "/v2/b/x"),
    (ALL, "/api/c", "/v2/c"),
    (PathRule(), "/a//b?c", "/a//b?c"),
]


class PathRuleTests(SynchronousTestCase):
    """Paths are rewritten so that rule and backend mean the same place."""

    def test_table(self) -> None:
        """Every spelling comes to one place below the new root, or is refused."""
        for rule, target, expected in TABLE:
            try:
                found: str | None = rule.rewritten(target)
            except BadRequest:
                found = None
            self.assertEqual(found, expected, (rule, target))

    @settings(max_examples=500, deadline=None)
    @given(st.text(alphabet="/\\.;%25cCfFaApi?", max_size=24))
    def test_sameMeaning(self, rest: str) -> None:
        """What is stripped from the bytes is what is stripped from the normal form."""
        for start in ("/", "/api", "/api/"):
            path = (start + rest).partition("?")[0]
            try:
                found = STRIP.rewritten(path)
            except BadRequest:
                continue
            normal = normalPath(path)
            if normal == "/api" or normal.startswith("/api/"):
                self.assertEqual(normalPath(found), normal.removeprefix("/api") or "/", path)
                self.assertNotRegex(found, r"\A/[/\\]")
            else:
                self.assertEqual(found, path)

    @settings(max_examples=500, deadline=None)
    @given(st.text(alphabet="/\\.;%25cCfFv2a", max_size=24))
    def test_staysBelow(self, rest: str) -> None:
        """What got a prefix stays below it, however it is spelled."""
        for rule in (ADD, MOVE):
            try:
                found = rule.rewritten("/" + rest)
            except BadRequest:
                continue
            self.assertEqual(normalPath(found).partition("/")[2].partition("/")[0], "v2", rest)

    def test_wrong(self) -> None:
        """A rule that could not be carried out is refused when it is made."""
        wrong: list[tuple[dict[str, object], str]] = [
            ({"strip": "api"}, '"api" does not begin with a slash'),
            ({"strip": "/"}, '"/" is no prefix'),
            ({"strip": "/a?b"}, "can match nothing"),
            ({"add": "/a;b"}, "can match nothing"),
            ({"add": "/"}, '"/" is no prefix'),
            ({"add": "/../a"}, "climbs above the root"),
            ({"replace": ("(", "/")}, "is not a regular expression"),
            ({"replace": ("/a", "b")}, '"b" makes no path'),
            ({"replace": ("/a", "/b?c")}, "makes no path"),
            ({"replace": ("/a", "/b\\1")}, "does not fit"),
            ({"replace": ("/a", "/b\\g<x>")}, "does not fit"),
        ]
        for values, words in wrong:
            error = self.assertRaises(ValueError, PathRule, **values)  # type: ignore[arg-type]
            self.assertIn(words, str(error))

    def test_normal(self) -> None:
        """Prefixes are what they mean, however they are written."""
        self.assertEqual(PathRule("//%61pi/").strip, "/api/")
        self.assertEqual(PathRule(add="/v2/").add, "/v2")
        self.assertEqual(PathRule("/a"), PathRule("/%61"))
