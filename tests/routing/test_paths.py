"""Tests for the normal form of paths."""

from __future__ import annotations

import re
from random import Random
from urllib.parse import quote

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest
from wsrelay.routing.paths import normalPath, normalPattern

# What is asked for: its normal form.
SAME = {
    # as they are
    "/": "/",
    "/a": "/a",
    "/a/": "/a/",
    "/a/b.c/..d/...": "/a/b.c/..d/...",
    "/!$&'()*+,=:@-._~": "/!$&'()*+,=:@-._~",
    "*": "*",
    # escapes
    "/%61%7e%2D%41": "/a~-A",
    "/%40admin": "/@admin",
    "/%e2%82%ac": "/%E2%82%AC",
    "/a b|c": "/a%20b%7Cc",
    "/caf\xe9": "/caf%E9",
    "/100%25": "/100%25",
    "/%2541": "/%2541",
    "/%3b": "/%3B",
    "/%0a": "/%0A",
    # slashes
    "//a": "/a",
    "/a//b///": "/a/b/",
    "/a%2fb": "/a/b",
    "/a%5Cb\\c": "/a/b/c",
    "/a%2F": "/a/",
    # parameters
    "/a;v=1/b;w": "/a/b",
    "/;x/admin": "/admin",
    "/a/;x": "/a/",
    # dot segments (RFC 3986 section 5.2.4)
    "/./a": "/a",
    "/a/.": "/a/",
    "/a/..": "/",
    "/a/b/..": "/a/",
    "/a/b/../c": "/a/c",
    "/a/%2e%2E/c": "/c",
    "/a/./b/../../c/d": "/c/d",
}

# Paths that two servers read as two places, or that none should read at all.
NONE = {
    "broken escape": ["/%", "/%4", "/%zz", "/a%", "/%%34"],
    "%00": ["/%00", "/admin%00.png"],
    "a NUL, or a character that is no byte": ["/\0", "/\u20ac"],
    "overlong": ["/%c0%ae", "/%C1%9C", "/%e0%80%af", "/%f0%80%80%af"],
    "above the root": ["/..", "/a/../..", "/a/../../a", "/%2e%2e"],
    "different ways": [
        "/a%2f..%2fb",
        "/a/..%2fb",
        "/a%2f../b",
        "/a\\..\\b",
        "/a/%5c../b",
        "/a//../b",
        "/a/..;/b",
        "/a;x/../b",
        "/a//./b",
        "/%2f..",
    ],
    "begin with a slash": ["", "a", "\\a", "%2fa", "http://a/"],
}


class NormalPathTests(SynchronousTestCase):
    """One form for all spellings of a path, and none for ambiguous ones."""

    def test_forms(self) -> None:
        """Every spelling has the one documented form."""
        for path, form in SAME.items():
            self.assertEqual(normalPath(path), form, path)

    def test_none(self) -> None:
        """A path that cannot be read in one way only is a bad request that says why."""
        for why, paths in NONE.items():
            for path in paths:
                error = self.assertRaises(BadRequest, normalPath, path)
                self.assertIn(why, error.detail, path)

    def test_patterns(self) -> None:
        """An operator may write a path in Unicode and in any spelling."""
        for pattern, form in [("/café", "/caf%C3%A9"), ("/a//%7Eb/*", "/a/~b/*"), ("*", "*")]:
            self.assertEqual(normalPattern(pattern), form)

    def test_badPatterns(self) -> None:
        """A pattern that no path can have is an error that shows it."""
        for pattern in ["/a?b", "/a#b", "/a;b", "a", "/..", "/%zz"]:
            error = self.assertRaises(ValueError, normalPattern, pattern)
            self.assertIn(f'"{pattern}" can match nothing', str(error))

    @given(st.text(st.sampled_from("/\\.;%2fFeE5cCab0 \xe9"), max_size=30))
    @settings(max_examples=300, deadline=None)
    def test_isNormal(self, rest: str) -> None:
        """The normal form is its own normal form, without anything that is left to resolve."""
        try:
            form = normalPath("/" + rest)
        except BadRequest:
            return
        self.assertEqual(normalPath(form), form)
        self.assertTrue(form.startswith("/"))
        self.assertIsNone(re.search(r"//|;|\\|%2F|%5C|%(?![0-9A-F]{2})|[^!-~]", form), form)
        self.assertNotIn("..", form.split("/"))
        self.assertNotIn(".", form.split("/"))

    @given(st.lists(st.text("abcz-._~@:!", min_size=1), min_size=1), st.randoms())
    @settings(max_examples=100, deadline=None)
    def test_anySpelling(self, segments: list[str], random: Random) -> None:
        """However a path is escaped, its form is the same."""
        path = "/" + "/".join(f"x{segment}" for segment in segments)
        spelled = "".join(
            each if each == "/" else random.choice([each, quote(each), f"%{ord(each):02x}"])
            for each in path
        )
        self.assertEqual(normalPath(spelled), path)
