# -*- test-case-name: tests.test_headers -*-
"""
Header fields are found in any case, kept in order, and cannot be made to split a head.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.headers import _LOWER, Headers, MutableHeaders

bounded = settings(max_examples=100, deadline=None)

# Names and values as a strict reader of heads lets them through.
names = st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
values = st.from_regex(
    rb"([!-~\x80-\xff]([!-~\x80-\xff \t]{0,10}[!-~\x80-\xff])?)?", fullmatch=True
)
fields = st.lists(st.tuples(names, values), max_size=8)


class HeadersTests(SynchronousTestCase):
    """Header fields as they came."""

    headers = Headers(
        [(b"Host", b"example.org"), (b"X-A", b"1, 2"), (b"x-a", b""), (b"X-A", b"\xe9,3 ")]
    )

    def test_lookUp(self) -> None:
        """A field is found by its name in any case; the first one if there are several."""
        for name in ("host", "Host", "HOST"):
            self.assertEqual(self.headers.get(name), "example.org")
            self.assertIn(name, self.headers)
        self.assertEqual(self.headers.get("X-A"), "1, 2")

    def test_missing(self) -> None:
        """A field that is not there is None, the default, or an empty list."""
        self.assertIsNone(self.headers.get("cookie"))
        self.assertEqual(self.headers.get("cookie", "none"), "none")
        self.assertEqual(self.headers.getAll("cookie"), [])
        self.assertEqual(self.headers.rawAll(b"cookie"), [])
        self.assertEqual(self.headers.tokens("cookie"), [])
        self.assertNotIn("cookie", self.headers)
        self.assertNotIn(7, self.headers)
        self.assertNotIn("\xe9", self.headers)

    def test_all(self) -> None:
        """All fields of a name are there in order, as text or as bytes."""
        self.assertEqual(self.headers.getAll("x-a"), ["1, 2", "", "\xe9,3 "])
        self.assertEqual(self.headers.rawAll(b"x-a"), [b"1, 2", b"", b"\xe9,3 "])

    def test_tokens(self) -> None:
        """A list field over several lines is one list, without its empty elements."""
        self.assertEqual(self.headers.tokens("x-a"), ["1", "2", "\xe9", "3"])
        self.assertEqual(Headers([(b"A", b" ,, a\t, b ,")]).tokens("a"), ["a", "b"])

    def test_equality(self) -> None:
        """The same fields in the same order are equal and hash alike."""
        same = Headers(list(self.headers.raw))
        self.assertEqual(self.headers, same)
        self.assertEqual(hash(self.headers), hash(same))
        self.assertNotEqual(self.headers, Headers(reversed(list(self.headers.raw))))
        self.assertNotEqual(self.headers, list(self.headers.raw))

    def test_lookUpGivesCopies(self) -> None:
        """Changing what a look-up gave does not change the headers."""
        self.headers.rawAll(b"host").append(b"other")
        self.assertEqual(self.headers.getAll("host"), ["example.org"])

    def test_readyIndex(self) -> None:
        """Who has made the index while reading saves making it again; nothing else changes."""
        raw = list(self.headers.raw)
        ready = Headers(raw, {b"host": b"example.org", b"x-a": b"\xe9,3 "})
        self.assertEqual(ready, self.headers)
        for name in (b"host", b"x-a", b"cookie"):
            self.assertEqual(ready.rawAll(name), self.headers.rawAll(name))
        ready.forget()
        self.assertEqual(ready.rawAll(b"x-a"), self.headers.rawAll(b"x-a"))

    def test_manyNames(self) -> None:
        """However many names peers make up, fields are found, and little is remembered."""
        for number in range(5000):
            name = b"X-%d" % number
            self.assertEqual(Headers([(name, b"1"), (b"x" * 50 + name, b"2")]).rawAll(name), [])
            self.assertEqual(Headers([(name, b"1")]).rawAll(name.lower()), [b"1"])
        self.assertLessEqual(len(_LOWER), 1024)
        self.assertLessEqual(max(map(len, _LOWER)), 40)

    def test_repr(self) -> None:
        """What is printed shows every field."""
        self.assertEqual(repr(Headers([(b"A", b"1")])), "Headers([(b'A', b'1')])")

    @bounded
    @given(fields)
    def test_nothingIsLost(self, raw: list[tuple[bytes, bytes]]) -> None:
        """Every field that came is in the headers, once, in its place, and can be looked up."""
        headers = Headers(raw)
        self.assertEqual(list(headers.raw), raw)
        self.assertEqual(len(headers), len(raw))
        self.assertEqual([(n.encode(), v.encode("latin-1")) for n, v in headers], raw)
        for name, value in raw:
            self.assertIn(value, headers.rawAll(name.lower()))
            self.assertIn(value.decode("latin-1"), headers.getAll(name.decode()))


class MutableHeadersTests(SynchronousTestCase):
    """Header fields that a filter edits."""

    def test_edit(self) -> None:
        """Fields are set, added and removed without regard to case, the others stay in order."""
        headers = MutableHeaders([(b"A", b"1"), (b"B", b"2"), (b"a", b"3")])
        headers.set("a", "4")
        self.assertEqual(headers.raw, [(b"B", b"2"), (b"a", b"4")])
        headers.add(b"b", b"5")
        self.assertEqual(headers.getAll("B"), ["2", "5"])
        headers.remove("B")
        headers.remove("never-there")
        self.assertEqual(headers.raw, [(b"a", b"4")])

    def test_lookUpFollows(self) -> None:
        """What was looked up before a change is not what is found after it."""
        headers = MutableHeaders([(b"A", b"1")])
        self.assertEqual(headers.get("a"), "1")
        headers.set("A", "2")
        self.assertEqual(headers.get("a"), "2")
        headers.add("A", "3")
        self.assertEqual(headers.getAll("a"), ["2", "3"])
        headers.remove("A")
        self.assertNotIn("a", headers)

    def test_editWhileGoingThrough(self) -> None:
        """Who goes through the fields sees those that were there when it began."""
        headers = MutableHeaders([(b"A", b"1"), (b"B", b"2")])
        for name, value in headers.raw:
            headers.add(b"X-" + name, value)
            headers.set(b"Y-" + name, value)
            headers.remove(name)
        self.assertEqual([name for name, _ in headers.raw], [b"X-A", b"Y-A", b"X-B", b"Y-B"])

    def test_originalIsUntouched(self) -> None:
        """Editing a copy leaves the client's headers as they were."""
        original = Headers([(b"A", b"1")])
        copy = MutableHeaders(original.raw)
        copy.remove("a")
        self.assertEqual(original.get("a"), "1")

    def test_splitting(self) -> None:
        """No plugin can split a request or response through a name or a value."""
        for name, value in [
            ("A", "1\r\nB: 2"),
            ("A", "1\n"),
            ("A", "\r"),
            (b"A", b"1\x002"),
            ("A\r\nB", "1"),
            ("A:", "1"),
            ("A ", "1"),
            ("", "1"),
            ("\xe9", "1"),
            (b"\xe9", b"1"),
            ("A", "\u20ac"),
            *(("A", chr(code)) for code in (*range(1, 9), *range(10, 32), 127)),
        ]:
            headers = MutableHeaders([(b"A", b"0")])
            self.assertRaises(ValueError, headers.set, name, value)
            self.assertRaises(ValueError, headers.add, name, value)
            self.assertEqual(headers.raw, [(b"A", b"0")], (name, value))

    def test_trimmed(self) -> None:
        """Blanks around a value are not part of it (RFC 9110 section 5.5)."""
        headers = MutableHeaders()
        headers.set("A", " \t1 2\t ")
        self.assertEqual(headers.get("a"), "1 2")

    def test_unhashable(self) -> None:
        """What can change is no key."""
        self.assertRaises(TypeError, hash, MutableHeaders())

    @bounded
    @given(fields, names, values)
    def test_setIsTheOnlyOne(
        self, raw: list[tuple[bytes, bytes]], name: bytes, value: bytes
    ) -> None:
        """After a set there is one field of that name, and every other field is as before."""
        headers = MutableHeaders(raw)
        headers.set(name, value)
        self.assertEqual(headers.rawAll(name.lower()), [value])
        others = [pair for pair in raw if pair[0].lower() != name.lower()]
        self.assertEqual(headers.raw, [*others, (name, value)])
