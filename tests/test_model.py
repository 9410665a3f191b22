# -*- test-case-name: tests.test_model -*-
"""
Facts and decisions as values: what can be asked of them, and what they refuse to be.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from attrs import has
from attrs.exceptions import FrozenInstanceError
from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay import model
from wsrelay.model import (
    Address,
    Close,
    CloseReason,
    Counts,
    Decided,
    Direction,
    Drop,
    Forward,
    Headers,
    Inbound,
    Interest,
    Message,
    MutableHeaders,
    OutboundRequest,
    OutboundResponse,
    Party,
    Phase,
    Refuse,
    Reply,
    Request,
    Respond,
    Response,
    Retire,
    RouteSettings,
)

bounded = settings(max_examples=100, deadline=None)

# Names and values as a strict reader of heads lets them through.
names = st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True)
values = st.from_regex(
    rb"([!-~\x80-\xff]([!-~\x80-\xff \t]{0,10}[!-~\x80-\xff])?)?", fullmatch=True
)
fields = st.lists(st.tuples(names, values), max_size=8)


def request(target: str = "/", **headers: str) -> Request:
    """A request with these header fields."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request("GET", target, Headers(raw))


class DirectionTests(SynchronousTestCase):
    """Which way bytes go, and how much of them is looked at."""

    def test_opposite(self) -> None:
        """There are two directions, and each is the other's opposite."""
        self.assertIs(Direction.TO_BACKEND.opposite, Direction.TO_CLIENT)
        self.assertIs(Direction.TO_CLIENT.opposite, Direction.TO_BACKEND)

    def test_interestIsOrdered(self) -> None:
        """Of several interests the greatest one satisfies all."""
        self.assertIs(max(Interest.FRAMES, Interest.MESSAGES, Interest.BYTES), Interest.MESSAGES)
        self.assertLess(Interest.BYTES, Interest.FRAMES)


class AddressTests(SynchronousTestCase):
    """One end of a connection."""

    def test_forms(self) -> None:
        """An address is written as people write it, and has an IP address if it is one."""
        for address, text, ip in [
            (Address("192.0.2.1", 80), "192.0.2.1:80", "192.0.2.1"),
            (Address("2001:db8::1", 80), "[2001:db8::1]:80", "2001:db8::1"),
            (Address("fe80::1%eth0", 80), "[fe80::1%eth0]:80", "fe80::1"),
            (Address("::ffff:192.0.2.1", 80), "[::ffff:192.0.2.1]:80", "192.0.2.1"),
            (Address("unix:"), "unix:", None),
            (Address("unix:/run/relay.sock"), "unix:/run/relay.sock", None),
            (Address("unix:/run/a:b"), "unix:/run/a:b", None),
        ]:
            self.assertEqual(str(address), text)
            self.assertEqual(address.ip, ip and ipaddress.ip_address(ip), text)


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


class RequestTests(SynchronousTestCase):
    """A request head, and what is read out of it."""

    def test_path(self) -> None:
        """The path is what stands before the first question mark, as it was written."""
        for target, path in [("/a%2Fb?c?d", "/a%2Fb"), ("/", "/"), ("/?", "/"), ("*", "*")]:
            self.assertEqual(request(target).path, path)

    def test_host(self) -> None:
        """The host is lower-case and without port."""
        for header, host in [
            ("Example.ORG:80", "example.org"),
            ("example.org", "example.org"),
            ("[2001:DB8::1]:80", "2001:db8::1"),
            ("[::1]", "::1"),
            ("", ""),
        ]:
            self.assertEqual(request(Host=header).host, host)
        self.assertEqual(request().host, "")

    def test_query(self) -> None:
        """Parameters are percent-decoded, in order, and may be empty or repeated."""
        self.assertEqual(
            request("/a?b=1&c=&b=%C3%A9+2&d;e=3").query,
            {"b": ["1", "\xe9 2"], "c": [""], "d;e": ["3"]},
        )
        self.assertEqual(request("/a").query, {})

    def test_cookies(self) -> None:
        """Cookies are found over several lines; what is no cookie is left out."""
        headers = Headers([(b"Cookie", b"a=1; b=x=y==;c"), (b"cookie", b'd="2"; =3; e=')])
        self.assertEqual(
            Request("GET", "/", headers).cookies, {"a": "1", "b": "x=y==", "d": "2", "e": ""}
        )
        self.assertEqual(request().cookies, {})

    def test_equality(self) -> None:
        """Two readings of the same head are the same request, whatever was asked of one."""
        one, other = request("/a?b=1", Host="x"), request("/a?b=1", Host="x")
        self.assertEqual(one.query, {"b": ["1"]})
        self.assertEqual(one, other)
        self.assertEqual(hash(one), hash(other))


# One of everything that does not change, with one attribute to try.
FROZEN: list[tuple[Any, str]] = [
    (Address("192.0.2.1", 80), "host"),
    (request(), "target"),
    (Response(200, "OK", Headers()), "status"),
    (Inbound("1", "public", Address("192.0.2.1"), Address("192.0.2.2")), "client"),
    (RouteSettings(), "maxFrame"),
    (Forward("chat"), "pool"),
    (Respond(401), "status"),
    (Refuse(), "detail"),
    (Reply("x"), "data"),
    (Close(), "code"),
    (Retire(), "data"),
    (CloseReason(Party.CLIENT, Phase.RELAY), "party"),
    (Decided("1", 0.0, None), "decision"),
]


class ValueTests(SynchronousTestCase):
    """Facts and decisions do not change under those who hold them."""

    def test_frozen(self) -> None:
        """Facts, decisions, verdicts and events cannot be changed."""
        for value, attribute in FROZEN:
            self.assertRaises(FrozenInstanceError, setattr, value, attribute, None)

    def test_editable(self) -> None:
        """What a request filter edits can be changed, and so can counts."""
        for value, attribute in [
            (OutboundRequest("GET", "/", MutableHeaders()), "target"),
            (OutboundResponse(200, "OK", MutableHeaders()), "status"),
            (Counts(), "bytes"),
        ]:
            setattr(value, attribute, 7)
            self.assertEqual(getattr(value, attribute), 7)

    def test_noOtherAttributes(self) -> None:
        """A misspelt attribute is an error and not a new attribute."""
        for name in model.__all__:
            kind = getattr(model, name)
            if isinstance(kind, type) and has(kind):
                self.assertNotIn("__dict__", dir(kind), name)

    def test_equalByValue(self) -> None:
        """Two decisions that say the same are equal; none of its fields is left out."""
        self.assertEqual(Forward("chat", ("redact",)), Forward("chat", ("redact",)))
        self.assertEqual(hash(Forward("chat")), hash(Forward("chat")))
        for other in (
            Forward("chat", ("redact",)),
            Forward("chat", route="r"),
            Forward("chat", settings=RouteSettings(maxFrame=1)),
        ):
            self.assertNotEqual(Forward("chat"), other)
        self.assertEqual(Drop(), Drop())

    def test_closeReason(self) -> None:
        """How something ended reads: who, in which phase, and what happened."""
        reason = CloseReason(Party.BACKEND, Phase.DIAL, "connection refused")
        self.assertEqual(str(reason), "backend/dial: connection refused")

    def test_countsOfTheirOwn(self) -> None:
        """What one closing event counts is not shared with the next."""
        inbound = Inbound("1", "public", Address("192.0.2.1"), Address("192.0.2.2"))
        reason = CloseReason(Party.CLIENT, Phase.RELAY)
        one, other = (
            model.Closed("1", 0.0, model.Kind.SESSION, inbound, reason) for _ in range(2)
        )
        self.assertIsNot(one.counts, other.counts)


class MessageTests(SynchronousTestCase):
    """One whole WebSocket message."""

    def test_text(self) -> None:
        """The text of a message is its payload, decoded."""
        self.assertEqual(Message("\xe9\u20ac".encode(), True).text, "\xe9\u20ac")

    def test_noText(self) -> None:
        """A binary message need not be text."""
        self.assertRaises(UnicodeDecodeError, lambda: Message(b"\xff").text)


class CloseTests(SynchronousTestCase):
    """Ending a session with a code and a reason (RFC 6455 section 7.4)."""

    def test_codes(self) -> None:
        """Codes that mean something on the wire are allowed, at both ends of every range."""
        for code in (1000, 1001, 1003, 1007, 1008, 1011, 1014, 3000, 3999, 4000, 4999):
            self.assertEqual(Close(code).code, code)

    def test_codesThatNeverGoOnTheWire(self) -> None:
        """Codes outside the range, or only for local use, are refused when the value is made."""
        for code in (-1, 0, 1, 999, 1004, 1005, 1006, 1015, 5000, 65536):
            self.assertRaises(ValueError, Close, code)

    def test_reason(self) -> None:
        """A reason has 123 bytes of UTF-8 and not one more."""
        for reason in ("x" * 123, "\xe9" * 61, ""):
            self.assertEqual(Close(1000, reason).reason, reason)
        for reason in ("x" * 124, "\xe9" * 62, "\ud800"):
            self.assertRaises(ValueError, Close, 1000, reason)
