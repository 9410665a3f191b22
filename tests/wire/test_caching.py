# -*- test-case-name: tests.wire.test_caching -*-
"""
Tests for L{wsrelay.wire.caching}: what a shared cache may keep, and when it may use it.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.model import Headers, Response
from wsrelay.wire.caching import (
    NO_WISHES,
    Control,
    Rules,
    Terms,
    Verdict,
    agrees,
    appraise,
    freshened,
    isNotModified,
    isUsableOnError,
    parseDate,
    readControl,
    readWishes,
    validators,
    variant,
    varyNames,
    verdict,
)

bounded = settings(max_examples=200, deadline=None)

# RFC 9110 section 5.6.7.
NOW = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
HOUR_AGO = "Sun, 06 Nov 1994 07:49:37 GMT"
HOUR_LATER = "Sun, 06 Nov 1994 09:49:37 GMT"

RULES = Rules()
GUESSING = Rules(isHeuristic=True)
PATIENT = Rules(staleWhileRevalidate=30, staleIfError=300)


def headers(text: str) -> Headers:
    """Fields, one a line."""
    lines = [line.partition(":") for line in text.splitlines()]
    return Headers((name.encode(), value.strip().encode("latin-1")) for name, _, value in lines)


def response(text: str, status: int = 200) -> Response:
    """An answer with these fields, sent now unless they say otherwise."""
    date = "" if "Date:" in text else f"Date: {DATE}\n"
    return Response(status, "", headers(date + text))


def terms(text: str, status: int = 200, rules: Rules = RULES, **request: bool) -> Terms | None:
    """The terms of an answer that came at once."""
    return appraise(response(text, status), rules, NOW, 0.0, **request)


CC = "Cache-Control: "

#: (section of RFC 9111, fields, status) -> lifetime; C{None}: it is not kept.
LIFETIMES: list[tuple[str, str, int, float | None]] = [
    ("3", "", 200, None),
    ("3", CC + "max-age=60", 200, 60),
    ("3", CC + "max-age=60", 204, 60),
    ("3", CC + "max-age=60", 302, 60),
    ("3", CC + "max-age=60", 404, 60),
    ("3", CC + "max-age=60", 206, None),
    ("3", CC + "max-age=60", 304, None),
    ("3", CC + "max-age=60", 400, None),
    ("3", CC + "max-age=60", 414, None),
    ("3", CC + "max-age=60", 503, None),
    ("3", 'ETag: "a"', 200, 0),
    ("3", f"Last-Modified: {HOUR_AGO}", 200, 0),
    ("3", 'ETag: "a"', 404, None),
    ("3", CC + 'max-age=0\nETag: "a"', 404, None),
    ("3", CC + 'public\nETag: "a"', 404, None),
    ("3", CC + "public", 200, None),
    ("3.5", CC + "max-age=60\nSet-Cookie: a=b", 200, None),
    ("3.5", CC + "max-age=60, public\nSet-Cookie: a=b", 200, 60),
    ("4.1", CC + "max-age=60\nVary: *", 200, None),
    ("4.1", CC + "max-age=60\nVary: Accept\nVary: *", 200, None),
    ("4.1", CC + "max-age=60\nVary: Accept Encoding", 200, None),
    ("4.1", CC + "max-age=60\nVary: " + ",".join("abcdefghijklmnopq"), 200, None),
    ("4.1", CC + "max-age=60\nVary: Accept", 200, 60),
    ("4.2.1", CC + "max-age=60, s-maxage=10", 200, 10),
    ("4.2.1", CC + f"max-age=60\nExpires: {HOUR_LATER}", 200, 60),
    ("4.2.1", f"Expires: {HOUR_LATER}", 200, 3600),
    ("4.2.1", CC + 'max-age=60, max-age=50\nETag: "a"', 200, 0),
    ("4.2.1", CC + "max-age=60, max-age=60", 200, 60),
    ("4.2.1", CC + 'max-age=-1\nETag: "a"', 200, 0),
    ("4.2.1", CC + 'max-age=1.5\nETag: "a"', 200, 0),
    ("4.2.1", CC + 'max-age\nETag: "a"', 200, 0),
    ("4.2.1", CC + 'max-age=x, s-maxage=60\nETag: "a"', 200, 60),
    ("4.2.1", CC + 's-maxage=x, max-age=60\nETag: "a"', 200, 0),
    ("4.2.1", CC + "max-age=60; public", 200, None),
    ("4.2.1", CC + 'max-age=60, x="', 200, None),
    ("4.2.1", CC + 'max-age="60"', 200, 60),
    ("1.2.2", CC + "max-age=99999999999999999999", 200, 2**31),
    ("5.3", 'Expires: 0\nETag: "a"', 200, 0),
    ("5.3", f'Expires: {HOUR_AGO}\nETag: "a"', 200, 0),
    ("5.3", f'Expires: {HOUR_LATER}\nExpires: {HOUR_AGO}\nETag: "a"', 200, 0),
    ("5.2", CC + "MAX-AGE=60", 200, 60),
    ("5.2", CC + "x-unknown=1, max-age=60", 200, 60),
    ("5.2", CC + "x\nCache-Control: max-age=60", 200, 60),
    ("5.2.2.4", CC + "no-cache, max-age=60", 200, None),
    ("5.2.2.4", CC + 'no-cache, max-age=60\nETag: "a"', 200, 60),
    ("5.2.2.5", CC + "no-store, max-age=60", 200, None),
    ("5.2.2.3", CC + "must-understand, no-store, max-age=60", 200, None),
    ("5.2.2.7", CC + "private, max-age=60", 200, None),
    ("5.2.2.7", CC + 'private="X-A", max-age=60', 200, None),
    ("5.2.2.7", CC + "max-age=60\nCache-Control: PRIVATE", 200, None),
    ("4.2.3", CC + "max-age=60\nAge: 60", 200, None),
    ("4.2.3", CC + f"max-age=60\nDate: {HOUR_AGO}", 200, None),
    ("RFC 5861 3", CC + "max-age=60, stale-while-revalidate=9\nAge: 65", 200, 60),
    ("RFC 5861 3", CC + "max-age=60, stale-while-revalidate=5\nAge: 65", 200, None),
]

#: (fields, age when it came) by section 4.2.3 and 5.1; the answer took two seconds.
AGES = [
    ("", 2),
    ("Age: 5", 7),
    ("Age: 5, 900", 7),
    ("Age: 5\nAge: 900", 7),
    ("Age: -5", 2),
    ("Age: x", 2),
    (f"Date: {HOUR_AGO}", 3600),
    (f"Date: {HOUR_LATER}", 2),
    ("Date: yesterday", 2),
]

AUTHORIZED = [
    ("max-age=60", False),
    ("max-age=60, public", True),
    ("max-age=60, must-revalidate", True),
    ("s-maxage=60", True),
    ("max-age=60, proxy-revalidate", False),
]

#: Freshness that is guessed (section 4.2.2): a tenth of its age, at most a day.
GUESSES = [
    (f"Last-Modified: {HOUR_AGO}", 200, 360),
    ("Last-Modified: Sun, 06 Nov 1983 08:49:37 GMT", 200, 86400),
    (f"Last-Modified: {HOUR_LATER}", 200, 0),
    (f'Last-Modified: {HOUR_AGO}\nETag: "a"', 302, 0),
    (f"Cache-Control: public\nLast-Modified: {HOUR_AGO}", 302, 360),
    (f"Last-Modified: {HOUR_AGO}", 404, None),
    (f"Cache-Control: max-age=5\nLast-Modified: {HOUR_AGO}", 200, 5),
]

#: (section, what the answer says, what the request says, age) -> verdict.
VERDICTS = [
    ("4.2", "max-age=60", "", 59, "use"),
    ("4.2", "max-age=60", "", 60, "validate"),
    ("5.2.2.4", "no-cache, max-age=60", "", 0, "validate"),
    ("5.2.1.4", "max-age=60", "no-cache", 0, "validate"),
    ("5.2.1.1", "max-age=60", "max-age=10", 10, "use"),
    ("5.2.1.1", "max-age=60", "max-age=10", 11, "validate"),
    ("5.2.1.1", "max-age=60", "max-age=0", 1, "validate"),
    ("5.2.1.1", "max-age=60", "max-age=x", 1, "validate"),
    ("5.2.1.2", "max-age=60", "max-stale", 6000, "use"),
    ("5.2.1.2", "max-age=60", "max-stale=10", 69, "use"),
    ("5.2.1.2", "max-age=60", "max-stale=10", 70, "validate"),
    ("5.2.1.2", "max-age=60", "max-stale=x", 60, "validate"),
    ("5.2.1.3", "max-age=60", "min-fresh=10", 50, "use"),
    ("5.2.1.3", "max-age=60", "min-fresh=10", 51, "validate"),
    ("5.2.1.5", "max-age=60", "no-store", 0, "use"),
    ("5.2.2.2", "max-age=60, must-revalidate", "max-stale", 60, "validate"),
    ("5.2.2.8", "max-age=60, proxy-revalidate", "max-stale", 60, "validate"),
    ("5.2.2.10", "s-maxage=60", "max-stale", 60, "validate"),
    ("RFC 5861 3", "max-age=60, stale-while-revalidate=9", "", 68, "refresh"),
    ("RFC 5861 3", "max-age=60, stale-while-revalidate=9", "", 69, "validate"),
    ("RFC 5861 3", "s-maxage=60, stale-while-revalidate=9", "", 68, "refresh"),
    ("RFC 5861 3", "max-age=60, stale-while-revalidate=9, must-revalidate", "", 68, "validate"),
    ("RFC 5861 3", "max-age=60, stale-while-revalidate=9", "max-age=70", 68, "validate"),
    ("RFC 5861 3", "max-age=60, stale-while-revalidate=9", "min-fresh=1", 68, "validate"),
    ("garbled", "max-age=60", 'x="', 0, "validate"),
]

#: (what the answer says, rules, age) -> whether it stands in for an error (RFC 5861 section 4).
ON_ERROR = [
    ("max-age=60, stale-if-error=10", RULES, 69, True),
    ("max-age=60, stale-if-error=10", RULES, 70, False),
    ("max-age=60", RULES, 60, False),
    ("max-age=60", PATIENT, 359, True),
    ("max-age=60, stale-if-error=0", PATIENT, 60, False),
    ("max-age=60, must-revalidate, stale-if-error=10", PATIENT, 60, False),
    ("max-age=60, proxy-revalidate", PATIENT, 60, False),
    ("s-maxage=60", PATIENT, 60, False),
    ("s-maxage=60, stale-if-error=10", PATIENT, 60, True),
    ("max-age=60, no-cache, stale-if-error=10", PATIENT, 0, False),
]

#: (If-None-Match, If-Modified-Since, the answer's fields) -> whether it is 304.
CONDITIONS = [
    ('"a"', None, 'ETag: "a"', True),
    ('"a"', None, 'ETag: W/"a"', True),
    ('W/"a"', None, 'ETag: "a"', True),
    ('"b", "a"', None, 'ETag: "a"', True),
    ('"b"', None, 'ETag: "a"', False),
    ('"b,a"', None, 'ETag: "a"', False),
    ("a", None, 'ETag: "a"', False),
    ('"a" "b"', None, 'ETag: "a"', False),
    ("*", None, "", True),
    ('"a"', None, "", False),
    ('"a"', None, 'ETag: "a"\nETag: "b"', False),
    ('"b"', HOUR_LATER, f'ETag: "a"\nLast-Modified: {HOUR_AGO}', False),
    (None, HOUR_AGO, f"Last-Modified: {HOUR_AGO}", True),
    (None, HOUR_LATER, f"Last-Modified: {HOUR_AGO}", True),
    (None, HOUR_AGO, f"Last-Modified: {DATE}", False),
    (None, "yesterday", f"Last-Modified: {HOUR_AGO}", False),
    (None, DATE, "", True),
    (None, HOUR_AGO, "", False),
    (None, None, 'ETag: "a"', False),
]

DATES = [
    (DATE, NOW),
    ("Sunday, 06-Nov-94 08:49:37 GMT", NOW),
    ("Sun Nov  6 08:49:37 1994", NOW),
    ("Sun, 06 Nov 1994 08:49:60 GMT", NOW + 23),
    ("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800),
    ("Wednesday, 01-Jan-25 00:00:00 GMT", 1735689600),
    ("0", None),
    ("", None),
    ("Sun, 06 Nov 1994 08:49:37", None),
    ("Sun, 06 Nov 1994 08:49:37 +0000", None),
    ("Sun, 31 Feb 1994 08:49:37 GMT", None),
    ("Sun, 00 Nov 1994 08:49:37 GMT", None),
    ("Sun, 06 Nov 1994 24:49:37 GMT", None),
    ("Sun, 06 Nov 0000 08:49:37 GMT", None),
    (" " + DATE, None),
]


class ControlTests(SynchronousTestCase):
    """Cache-Control is read as RFC 9111 section 5.2 writes it."""

    def test_table(self) -> None:
        """Directives are found with their arguments, and garbage is called so."""
        for text, members, isBroken in [
            ("", {}, False),
            (" , ,", {}, False),
            ("a", {b"a": None}, False),
            ("A , b=c", {b"a": None, b"b": b"c"}, False),
            ('a="b, c"', {b"a": b"b, c"}, False),
            ('a="\\"\\\\"', {b"a": b'"\\'}, False),
            ("a=1, a=1", {b"a": b"1"}, False),
            ("a=1, a=2", {b"a": b""}, False),
            ("a, a=2", {b"a": b""}, False),
            ("a=", {b"a": None}, True),
            ("a = 1", {b"a": None}, True),
            ('a="b', {b"a": None}, True),
            ('a="b"c, d', {b"a": b"b", b"d": None}, True),
            ("=, d", {b"d": None}, True),
            ("a b, d", {b"a": None, b"d": None}, True),
        ]:
            self.assertEqual(readControl([text.encode()]), Control(members, isBroken), text)

    @bounded
    @given(st.lists(st.binary(max_size=60), max_size=3))
    def test_anything(self, values: list[bytes]) -> None:
        """Whatever stands there is read to its end, and every name is a token."""
        control = readControl(values)
        for name in control.members:
            self.assertRegex(name, rb"\A[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
            self.assertGreaterEqual(control.seconds(name) or 0, 0)

    @bounded
    @given(
        st.dictionaries(
            st.text("abcdefghij-", min_size=1, max_size=6),
            st.none() | st.text('ab ,;="\\\té', max_size=8),
            max_size=5,
        )
    )
    def test_roundTrip(self, members: dict[str, str | None]) -> None:
        """Every argument can be written as a quoted string, whatever is in it."""

        def quoted(text: str) -> str:
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

        written = [
            name if argument is None else f"{name}={quoted(argument)}"
            for name, argument in members.items()
        ]
        expected = {
            name.encode(): None if argument is None else argument.encode("latin-1")
            for name, argument in members.items()
        }
        for values in ([", ".join(written)], written):
            control = readControl(value.encode("latin-1") for value in values)
            self.assertEqual(control, Control(expected))

    @bounded
    @given(st.text('abc"\\,= \t', max_size=30))
    def test_nothingHides(self, garbage: str) -> None:
        """Behind any garbage no-store is found, or the whole is called broken."""
        control = readControl([garbage.encode() + b", no-store"])
        isQuoted = any(b"no-store" in (value or b"") for value in control.members.values())
        self.assertTrue(b"no-store" in control or control.isBroken or isQuoted, garbage)

    def test_wishes(self) -> None:
        """A request without wishes has none, and Pragma counts only alone."""
        self.assertIs(readWishes(None), NO_WISHES)
        self.assertIs(readWishes(None, b"x"), NO_WISHES)
        self.assertTrue(readWishes(None, b"No-Cache").isNoCache)
        self.assertFalse(readWishes(b"max-age=5", b"no-cache").isNoCache)
        self.assertTrue(readWishes(b"no-store").isNoStore)
        self.assertTrue(readWishes(b"only-if-cached").isOnlyIfCached)


class AppraisalTests(SynchronousTestCase):
    """What is kept, and for how long it is fresh."""

    def test_lifetimes(self) -> None:
        """Each rule on keeping and on freshness, with its section."""
        for section, text, status, lifetime in LIFETIMES:
            found = terms(text, status)
            self.assertEqual(found and found.lifetime, lifetime, (section, text, status))

    def test_ages(self) -> None:
        """An answer may be old when it comes."""
        for text, age in AGES:
            said = response(f"Cache-Control: max-age=9999\n{text}")
            found = appraise(said, RULES, NOW, 2.0)
            assert found is not None
            self.assertEqual(found.age, age, text)

    def test_authorized(self) -> None:
        """The answer to somebody who is known is kept only if it is for all (section 3.5)."""
        for said, isKept in AUTHORIZED:
            found = terms(CC + said, isAuthorized=True)
            self.assertEqual(found is not None, isKept, said)

    def test_guesses(self) -> None:
        """Freshness is guessed only where that was asked for."""
        for text, status, lifetime in GUESSES:
            found = terms(text, status, GUESSING)
            self.assertEqual(found and found.lifetime, lifetime, (text, status))
        self.assertEqual(terms(f"Last-Modified: {HOUR_AGO}"), Terms(0.0, 0.0))

    def test_cookie(self) -> None:
        """An answer to a request with a cookie is kept only if it says so itself."""
        for text, isKept in [
            (f"Last-Modified: {HOUR_AGO}", False),
            (CC + f"public\nLast-Modified: {HOUR_AGO}", True),
            (CC + "max-age=60", True),
        ]:
            found = terms(text, rules=GUESSING, hasCookie=True)
            self.assertEqual(found is not None, isKept, text)

    def test_statuses(self) -> None:
        """Which statuses are kept is the operator's choice, but for incomplete answers."""
        rules = Rules(statuses={503, 206, 304})
        for status, isKept in [(503, True), (200, False), (206, False), (304, False)]:
            found = terms(CC + "max-age=60", status, rules)
            self.assertEqual(found is not None, isKept, status)


class VerdictTests(SynchronousTestCase):
    """What is kept is used only as both sides allow."""

    def test_table(self) -> None:
        """Each rule on use, with its section."""
        for section, said, wishes, age, expected in VERDICTS:
            found = terms(f'{CC}{said}\nETag: "a"')
            assert found is not None
            wanted = readWishes(wishes.encode() if wishes else None)
            answer = verdict(found, wanted, age)
            self.assertIs(answer, Verdict(expected), (section, said, wishes, age))

    def test_onError(self) -> None:
        """A stale answer stands in for an error only where that is allowed."""
        for said, rules, age, expected in ON_ERROR:
            found = terms(f'{CC}{said}\nETag: "a"', rules=rules)
            assert found is not None
            self.assertEqual(isUsableOnError(found, age), expected, (said, age))

    def test_defaults(self) -> None:
        """The operator's windows hold where the answer says nothing."""
        found = terms(CC + "max-age=60", rules=PATIENT)
        assert found is not None
        self.assertIs(verdict(found, NO_WISHES, 89), Verdict.REFRESH)
        self.assertIs(verdict(found, NO_WISHES, 90), Verdict.VALIDATE)

    def test_vary(self) -> None:
        """Requests are alike if what the answer names is, however it was written (4.1)."""
        names = varyNames(headers("Vary: Accept-Encoding, accept,\nVary: ACCEPT"))
        self.assertEqual(names, (b"accept", b"accept-encoding"))
        assert names is not None
        one = variant(names, headers("Accept: a\nAccept: b"))
        self.assertEqual(one, variant(names, headers("ACCEPT: a, b\nX: y")))
        for other in ("", "Accept: a", "Accept: a, b\nAccept-Encoding:"):
            self.assertNotEqual(one, variant(names, headers(other)), other)


class ValidationTests(SynchronousTestCase):
    """Conditions, of the relay's own and of clients."""

    def test_dates(self) -> None:
        """All three forms of a date are read, and nothing else."""
        for text, seconds in DATES:
            self.assertEqual(parseDate(text.encode()), seconds, text)

    @bounded
    @given(st.binary(max_size=40))
    def test_anyDate(self, text: bytes) -> None:
        """What is no date is none; it is no error."""
        self.assertIsInstance(parseDate(text), int | None)

    def test_validators(self) -> None:
        """The backend is asked with what it has said itself, if it makes sense (4.3.1)."""
        for text, names in [
            ('ETag: "a"', [b"If-None-Match"]),
            (f"Last-Modified: {DATE}", [b"If-Modified-Since"]),
            (f'ETag: W/"a"\nLast-Modified: {DATE}', [b"If-None-Match", b"If-Modified-Since"]),
            ("ETag: a", []),
            ('ETag: "a"\nETag: "b"', []),
            ("Last-Modified: yesterday", []),
        ]:
            self.assertEqual([name for name, _ in validators(headers(text))], names, text)

    def test_conditions(self) -> None:
        """A client is told that it has the answer already if, and only if, it has (4.3.2)."""
        for noneMatch, since, text, expected in CONDITIONS:
            isSame = isNotModified(
                noneMatch.encode() if noneMatch is not None else None,
                since.encode() if since is not None else None,
                response(text),
            )
            self.assertEqual(isSame, expected, (noneMatch, since, text))
        self.assertFalse(isNotModified(b"*", None, response("", 404)))

    def test_agrees(self) -> None:
        """A 304 about another answer confirms nothing (4.3.4)."""
        kept = headers(f'ETag: "a"\nLast-Modified: {DATE}')
        for text, expected in [
            ("", True),
            ('ETag: "a"', True),
            ('ETag: W/"a"', True),
            ('ETag: "b"', False),
            ('ETag: "a"\nETag: "b"', False),
            (f"Last-Modified: {DATE}", True),
            (f"Last-Modified: {HOUR_AGO}", False),
        ]:
            self.assertEqual(agrees(kept, headers(text)), expected, text)
        self.assertFalse(agrees(headers(""), headers('ETag: "a"')))

    def test_freshened(self) -> None:
        """What a 304 says is new, but what is true of the body stays (3.2)."""
        kept = headers("Content-Type: a\nX: 1\nX: 2\nY: 3")
        confirmed = headers("x: 4\nContent-Type: b\nContent-Length: 0\nZ: 5")
        self.assertEqual(
            freshened(kept, confirmed),
            [(b"Content-Type", b"a"), (b"Y", b"3"), (b"x", b"4"), (b"Z", b"5")],
        )
