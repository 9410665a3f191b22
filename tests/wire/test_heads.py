# -*- test-case-name: tests.wire.test_heads -*-
"""
Tests for L{wsrelay.wire.heads}: one head, one reading, or none.

All of it runs twice: as it is installed, and in Python alone (the classes C{...InPython}),
which is the reference that the extension is compared with.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from hypothesis import HealthCheck, given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.l7 import attacks, misanswers
from tests.wire.headtables import (
    BAD_FIELDS,
    BAD_HOSTS,
    BAD_REQUESTS,
    BAD_STATUS_LINES,
    CONTROLS,
    GOOD_FIELDS,
    GOOD_HOSTS,
    GOOD_REQUESTS,
    GOOD_STATUS_LINES,
    LOWER_CASE,
    TOKEN_BYTES,
    request,
    response,
)
from tests.wire.readers import EXTENSION, readings, withAndWithout
from wsrelay.errors import BadRequest, BadResponse, HeadTooLarge, RelayError
from wsrelay.model import Request
from wsrelay.wire import heads
from wsrelay.wire.heads import (
    HeadReader,
    parseRequest,
    parseResponse,
    writeRequest,
    writeResponse,
)

try:
    import h11
except ImportError:  # pragma: no cover
    h11 = None

try:
    import httptools
except ImportError:  # pragma: no cover
    httptools = None

# One test runs in two classes.
bounded = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors],
)


class InPython(SynchronousTestCase):
    """The extension is not there."""

    def setUp(self) -> None:
        self.patch(heads, "_heads", None)


def fed(reader: HeadReader, data: bytes, size: int) -> tuple[list[bytes], bytes]:
    """The heads that come out when C{data} is fed in pieces, and what is left behind the last."""
    found, rest = [], b""
    for start in range(0, len(data), size):
        head, rest = reader.feed(rest + data[start : start + size])
        while head is not None:
            found.append(head)
            head, rest = reader.feed(rest)
    return found, rest


class HeadReaderTests(SynchronousTestCase):
    """Where a head ends does not depend on how it was cut into pieces."""

    def test_whole(self) -> None:
        """A head that arrives at once comes out with what stands behind it."""
        reader = HeadReader(1000, 10)
        self.assertEqual(reader.feed(request() + b"body"), (request(), b"body"))

    def test_pieces(self) -> None:
        """Heads come out the same, one after another, in pieces of any size."""
        heads = [request(b"GET /%d HTTP/1.1" % number) for number in range(3)]
        for size in (1, 2, 3, 5, 7, 1000):
            self.assertEqual(fed(HeadReader(1000, 10), b"".join(heads), size), (heads, b""))

    def test_oneEmptyLineIsSkipped(self) -> None:
        """One CRLF too many before a head does no harm; a second one is no head."""
        for size in (1, 2, 3, 1000):
            found, _ = fed(HeadReader(1000, 10), b"\r\n" + request() + b"\r\n" + request(), size)
            self.assertEqual(found, [request(), request()])
            found, _ = fed(HeadReader(1000, 10), b"\r\n\r\n" + request(), size)
            for head in found:
                self.assertRaises(BadRequest, parseRequest, head)
            self.assertEqual(len(found), 1)

    def test_bareLineFeedsEndAHeadToo(self) -> None:
        """A head of bare LFs comes out at once, so that it can be refused at once."""
        for head in (b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\nHost: a\n\r\n"):
            self.assertEqual(fed(HeadReader(1000, 10), head, 1), ([head], b""))
            self.assertRaises(BadRequest, parseRequest, head)

    def test_limit(self) -> None:
        """The limit counts every byte of the head, and is the same in any pieces."""
        head = request()
        for size in (1, 3, 1000):
            self.assertEqual(fed(HeadReader(len(head), 10), head, size), ([head], b""))
            with self.assertRaises(HeadTooLarge):
                fed(HeadReader(len(head) - 1, 10), head, size)

    def test_endless(self) -> None:
        """A head that never ends is refused as soon as it has reached the limit."""
        reader = HeadReader(100, 10)
        self.assertEqual(reader.feed(b"x" * 99), (None, b""))
        self.assertRaises(HeadTooLarge, reader.feed, b"x")

    def test_tooManyFields(self) -> None:
        """One field more than allowed is refused."""
        head = request(b"GET / HTTP/1.1", b"A: b", b"C: d")
        self.assertEqual(HeadReader(1000, 3).feed(head), (head, b""))
        self.assertRaises(HeadTooLarge, HeadReader(1000, 2).feed, head)

    def test_empty(self) -> None:
        """It is empty until something other than a blank line has arrived, and after a head."""
        reader = HeadReader(1000, 10)
        for data, empty in ((b"", True), (b"\r", True), (b"\n", True), (b"G", False)):
            reader.feed(data)
            self.assertEqual(reader.empty, empty)
        reader.feed(request()[1:])
        self.assertTrue(reader.empty)

    @bounded
    @given(st.lists(st.integers(0, 200)), st.sampled_from([(), (b"\r\n",), (b"\r\n", b"\r\n")]))
    def test_anyCuts(self, cuts: list[int], blank: tuple[bytes, ...]) -> None:
        """However the bytes are cut, the same heads come out, with the same bytes behind them."""
        heads = [request(b"GET /%d HTTP/1.1" % number, b"A: b") for number in range(4)]
        data = b"".join([*blank[:1], heads[0], *blank[1:], *heads[1:], b"GET"])
        reader, found, rest = HeadReader(1000, 10), [], b""
        places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in itertools.pairwise(places):
            head, rest = reader.feed(rest + data[start:end])
            while head is not None:
                found.append(head)
                head, rest = reader.feed(rest)
        self.assertEqual((found, rest, reader.empty), (heads, b"", False))

    @bounded
    @given(
        st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"A: b", b"GET / HTTP/1.1"])),
        st.integers(1, 9),
    )
    def test_anyPieces(self, parts: list[bytes], size: int) -> None:
        """Whatever is fed, pieces of one size find what pieces of another find."""
        data = b"".join(parts)
        whole = fed(HeadReader(10**6, 10**6), data, len(data) or 1)
        self.assertEqual(fed(HeadReader(10**6, 10**6), data, size), whole)


class RequestTests(SynchronousTestCase):
    """A request head is read in one way, or refused with the right status."""

    def test_good(self) -> None:
        """What is well-formed is read field by field."""
        for head, method, target, fields, version in GOOD_REQUESTS:
            found = parseRequest(head)
            self.assertEqual((found.method, found.target), (method, target), head)
            self.assertEqual((list(found.headers.raw), found.version), (fields, version), head)

    def test_bad(self) -> None:
        """What is not is refused: the error says with which status."""
        for head, error, status in BAD_REQUESTS:
            with self.assertRaises(RelayError, msg=repr(head)) as caught:
                parseRequest(head)
            self.assertIs(type(caught.exception), error, head)
            self.assertEqual(caught.exception.status, status, head)

    def test_goodFields(self) -> None:
        """Names stay as written, values lose the white space around them and nothing else."""
        for line, field in GOOD_FIELDS:
            raw = parseRequest(request(b"GET / HTTP/1.1", line, b"Z: z")).headers.raw
            self.assertEqual(list(raw), [(b"Host", b"a"), field, (b"Z", b"z")])

    def test_badFields(self) -> None:
        """A line that two parsers could read in two ways is refused, wherever it stands."""
        for line in BAD_FIELDS:
            for lines in ([line], [line, b"Z: z"], [b"Z: z", line]):
                with self.assertRaises(BadRequest, msg=repr(line)):
                    parseRequest(request(b"GET / HTTP/1.1", *lines))

    def test_firstLineFolded(self) -> None:
        """White space before the first field is no continuation of the request line."""
        head = b"GET / HTTP/1.1\r\n A: b\r\nHost: a\r\n\r\n"
        self.assertRaises(BadRequest, parseRequest, head)

    def test_hosts(self) -> None:
        """A Host is a name or an address, maybe with a port; nothing else is one."""
        for host in GOOD_HOSTS:
            found = parseRequest(request(host=b"Host: " + host))
            self.assertEqual(found.headers.rawAll(b"host"), [host])
        for host in BAD_HOSTS:
            for version in (b"1.0", b"1.1"):
                head = request(b"GET / HTTP/" + version, host=b"Host: " + host)
                self.assertRaises(BadRequest, parseRequest, head)

    def test_everyByte(self) -> None:
        """Exactly the bytes that RFC 9110 allows pass, in each part of a head."""
        everything = frozenset(range(256))
        places: list[tuple[bytes, bytes, frozenset[int]]] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\nA", b"B: c\r\n\r\n", TOKEN_BYTES | frozenset(b":")),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", b"B: c\r\n\r\n", TOKEN_BYTES),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nA: b",
                b"c\r\n\r\n",
                everything - CONTROLS | frozenset(b"\t"),
            ),
            (b"GET /a", b" HTTP/1.1\r\nHost: a\r\n\r\n", frozenset(range(33, 127)) - {ord("#")}),
            (b"G", b"T / HTTP/1.1\r\nHost: a\r\n\r\n", TOKEN_BYTES - LOWER_CASE),
        ]
        for before, after, allowed in places:
            for byte in everything:
                head = before + bytes([byte]) + after
                try:
                    parseRequest(head)
                except BadRequest:
                    self.assertNotIn(byte, allowed, head)
                else:
                    self.assertIn(byte, allowed, head)

    def test_headerLimit(self) -> None:
        """The number of fields is an argument."""
        head = request(b"GET / HTTP/1.1", b"A: b")
        self.assertEqual(len(parseRequest(head, 2).headers), 2)
        self.assertRaises(HeadTooLarge, parseRequest, head, 1)


class ResponseTests(SynchronousTestCase):
    """A response head is read as strictly."""

    def test_good(self) -> None:
        """Status, reason, version and fields come out."""
        for line, status, reason, version in GOOD_STATUS_LINES:
            found = parseResponse(response(line, b"A: b", b"a:c "))
            self.assertEqual(
                (found.status, found.reason, found.version), (status, reason, version), line
            )
            self.assertEqual(list(found.headers.raw), [(b"A", b"b"), (b"a", b"c")])

    def test_badStatusLines(self) -> None:
        """A status line that is none is the backend's fault."""
        for line in BAD_STATUS_LINES:
            with self.assertRaises(BadResponse, msg=repr(line)) as caught:
                parseResponse(response(line))
            self.assertEqual(caught.exception.status, 502)

    def test_badFields(self) -> None:
        """Neither may a backend's field be read in two ways."""
        for line in BAD_FIELDS:
            if not line.lower().startswith(b"host"):
                with self.assertRaises(BadResponse, msg=repr(line)):
                    parseResponse(response(b"HTTP/1.1 200 OK", line))

    def test_incomplete(self) -> None:
        """A head without its empty line, or with something behind it, is none."""
        for head in (b"", b"HTTP/1.1 200 OK\r\n", response()[:-1], response() + b"x"):
            self.assertRaises(BadResponse, parseResponse, head)

    def test_headerLimit(self) -> None:
        """Too many fields are the backend's fault too."""
        self.assertRaises(BadResponse, parseResponse, response(b"HTTP/1.1 200 OK", b"A: b"), 0)
        many = response(b"HTTP/1.1 200 OK", *[b"A: b"] * 200)
        self.assertEqual(len(parseResponse(many).headers), 200)


class WriteTests(SynchronousTestCase):
    """What is written is read again as the same, or not written."""

    def test_request(self) -> None:
        """A request head is written in the plainest form."""
        self.assertEqual(
            writeRequest("GET", "/a?b", [(b"Host", b"c"), (b"D", b"")]),
            b"GET /a?b HTTP/1.1\r\nHost: c\r\nD: \r\n\r\n",
        )

    def test_response(self) -> None:
        """So is a response head, with or without a reason."""
        self.assertEqual(
            writeResponse(200, "OK", iter([(b"A", b"b")])), b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
        )
        self.assertEqual(writeResponse(599, "", []), b"HTTP/1.1 599 \r\n\r\n")
        self.assertEqual(writeResponse(404, "Gone?", []), b"HTTP/1.1 404 Gone?\r\n\r\n")

    def test_everyStatus(self) -> None:
        """Every registered status line is written as it is read, checked or not."""
        for status in HTTPStatus:
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\n\r\n".encode()
            for isChecked in (False, True):
                self.assertEqual(writeResponse(status, status.phrase, [], isChecked), line)
            found = parseResponse(line)
            self.assertEqual((found.status, found.reason), (status.value, status.phrase))
            self.assertIs(type(found.status), int)

    def test_injectedFields(self) -> None:
        """A field that would be read as something else never leaves."""
        for field in (
            (b"A", b"b\r\nC: d"), (b"A", b"b\nC: d"), (b"A", b"b\r"), (b"A", b"\x00"),
            (b"A", b"b\r\n\r\n"), (b"A\r\nB", b"c"), (b"A:b", b"c"), (b"A b", b"c"), (b"", b"c"),
            (b"A ", b"c"), (b"A", b" b"), (b"A", b"b\t"), (b"A\xff", b"b"), (b"A", b"b\x1b[2J"),
        ):  # fmt: skip
            for fields in ([field], [field, (b"Z", b"z")], [(b"Z", b"z"), field]):
                self.assertRaises(ValueError, writeRequest, "GET", "/", fields)
                self.assertRaises(ValueError, writeResponse, 200, "OK", fields)

    def test_injectedLines(self) -> None:
        """Neither does a first line that a plugin broke."""
        for method, target in (
            ("GET", "/ HTTP/1.1\r\nA: b"), ("GET", "/\n"), ("GET", "/a b"), ("GET", ""), ("", "/"),
            ("GET", "/\xe9"), ("GET", "/#"), ("G T", "/"), ("get", "/"), ("GET", "/\u20ac"),
        ):  # fmt: skip
            self.assertRaises(ValueError, writeRequest, method, target, [])
        for status, reason in ((200, "a\r\nB: c"), (200, "\x00"), (99, ""), (1000, ""), (600, "")):
            self.assertRaises(ValueError, writeResponse, status, reason, [])
        self.assertRaises(ValueError, writeResponse, 200, "\u20ac", [])


TOKENS = st.binary(min_size=1, max_size=8).map(
    lambda data: bytes(sorted(TOKEN_BYTES)[byte % len(TOKEN_BYTES)] for byte in data)
)
VALUES = st.binary(max_size=12).map(
    lambda data: bytes(byte for byte in data if byte not in CONTROLS).strip(b" \t")
)
FIELDS = st.lists(st.tuples(TOKENS, VALUES), max_size=5).map(
    lambda pairs: [pair for pair in pairs if pair[0].lower() not in (b"host", b"expect")]
)

# What a head is most likely to be read wrongly at, in any order.
PIECES = st.sampled_from(
    [b"GET", b"POST", b" ", b"\t", b"/", b"*", b"#", b"http://a", b"HTTP/1.1", b"HTTP/1.0",
     b"\r\n", b"\r", b"\n", b"\r\n\r\n", b":", b"Host", b"a", b": ", b"\x00", b"\x0b", b"\x85",
     b"\xff", b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"A: b\r\n", b"A: b\r\n c\r\n", b"A : b\r\n"]
)  # fmt: skip


def mutated(head: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """C{head} with some places replaced."""
    for start, length, piece in cuts:
        start %= len(head) + 1
        head = head[:start] + piece + head[start + length :]
    return head


HOSTILE = st.one_of(
    st.binary(max_size=60),
    st.lists(PIECES, max_size=12).map(b"".join),
    st.builds(
        mutated,
        st.sampled_from([head for head, *_ in GOOD_REQUESTS]),
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), PIECES), max_size=2),
    ),
)  # fmt: skip


def readByH11(head: bytes) -> Request | None:
    """h11's reading, if it has one."""
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    version = tuple(map(int, event.http_version.split(b".")))
    fields = list(event.headers.raw_items())
    return Request(event.method.decode(), event.target.decode(), fields, version)


class _Collected:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.target, self.fields, self.complete = b"", [], False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def readByLlhttp(head: bytes) -> Request | None:
    """llhttp's reading, if it has one."""
    collected = _Collected()
    parser = httptools.HttpRequestParser(collected)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return None
    if not collected.complete:
        return None
    version = tuple(map(int, parser.get_http_version().split(".")))
    target = collected.target.decode()
    return Request(parser.get_method().decode(), target, collected.fields, version)


class GeneratedTests(SynchronousTestCase):
    """Invariants that hold for any bytes."""

    @bounded
    @given(FIELDS, st.integers(33, 126).filter(lambda byte: byte != ord("#")))
    def test_roundTrip(self, fields: list[tuple[bytes, bytes]], byte: int) -> None:
        """What was written is read as the same."""
        fields = [(b"Host", b"a"), *fields]
        found = parseRequest(writeRequest("GET", f"/{chr(byte)}", fields))
        self.assertEqual((found.target, list(found.headers.raw)), (f"/{chr(byte)}", fields))
        answer = parseResponse(writeResponse(200, "OK", fields))
        self.assertEqual(list(answer.headers.raw), fields)

    @bounded
    @given(HOSTILE)
    def test_requestOrError(self, head: bytes) -> None:
        """Any bytes are a request that can be written again as the same, or an error of ours."""
        try:
            found = parseRequest(head)
        except RelayError:
            return
        fields = list(found.headers.raw)
        if "host" not in found.headers:
            fields.append((b"Host", b"a"))
        again = parseRequest(writeRequest(found.method, found.target, fields))
        self.assertEqual((again.target, list(again.headers.raw)), (found.target, fields))

    @bounded
    @given(HOSTILE.map(lambda head: head.replace(b"GET / HTTP/1.1", b"HTTP/1.1 200 OK")))
    def test_responseOrError(self, head: bytes) -> None:
        """Any bytes are a response that can be written again as the same, or a BadResponse."""
        try:
            found = parseResponse(head)
        except BadResponse:
            return
        again = parseResponse(writeResponse(found.status, found.reason, found.headers.raw))
        self.assertEqual((again.reason, again.headers), (found.reason, found.headers))

    def agree(self, head: bytes, other: Callable[[bytes], Request | None]) -> None:
        """Another parser reads what we read, or nothing."""
        try:
            ours = parseRequest(head)
        except RelayError:
            return
        theirs = other(head)
        if theirs is None or not theirs.target.startswith("/"):
            return  # absolute-form is taken apart by us only
        self.assertEqual(
            (ours.method, ours.target, list(ours.headers.raw), ours.version),
            (theirs.method, theirs.target, theirs.headers, theirs.version),
        )

    @bounded
    @given(HOSTILE)
    def test_h11Agrees(self, head: bytes) -> None:
        """No head that passes here is read differently by h11."""
        self.agree(head, readByH11)

    @bounded
    @given(HOSTILE)
    def test_llhttpAgrees(self, head: bytes) -> None:
        """No head that passes here is read differently by llhttp."""
        self.agree(head, readByLlhttp)

    if h11 is None:
        test_h11Agrees.skip = "h11 is not installed"  # type: ignore[attr-defined]  # trial's
    if httptools is None:
        test_llhttpAgrees.skip = "httptools is not installed"  # type: ignore[attr-defined]  # trial's

    def test_agreementIsTested(self) -> None:
        """The parsers that are compared do read something."""
        for other in [
            read for read, there in ((readByH11, h11), (readByLlhttp, httptools)) if there
        ]:
            self.assertIsNotNone(other(request()))


class LinearTests(SynchronousTestCase):
    """The work is proportional to the bytes: quadratic work would take minutes here."""

    SIZE = 300_000

    def timed(self, call: Callable[[], object]) -> None:
        """Call it, whatever it raises, in less than some seconds of CPU."""
        start = time.process_time()
        with contextlib.suppress(RelayError):
            call()
        self.assertLess(time.process_time() - start, 5.0)

    def test_parse(self) -> None:
        """No head costs more than its length, however it is made up."""
        size = self.SIZE
        fields = [
            b"a" * size, b"a:" + b" " * size, b"a:" + b" " * size + b"\rb\n", b":" * size,
            b"a: " + b" b" * size, b"a:" + b" \t" * size + b"\x00", b"a:\r" * size, b"\r" * size,
            b"a:b\r\n" * size, b"a: b\r\n" + b" " * size, b"Host: " + b"a." * size + b"/",
            b"Host: [" + b":" * size, b"a: \r" + b" " * size + b"x\n\r\nb:\n\r",
        ]  # fmt: skip
        lines = [b"G" * size, b"GET " + b"/" * size, b"GET http://" + b"a." * size + b"/ HTTP/1.1"]
        heads = [request(b"GET / HTTP/1.1", field) for field in fields] + [*map(request, lines)]
        for head in heads:
            self.timed(partial(parseRequest, head, size * 2))

    def test_read(self) -> None:
        """Byte by byte, a reader does not begin again at each byte."""
        reader = HeadReader(self.SIZE + 1, 10)
        self.timed(lambda: [reader.feed(b"x") for _ in range(self.SIZE)])


class HeadReaderInPython(InPython, HeadReaderTests):
    """The same in Python alone."""


class RequestInPython(InPython, RequestTests):
    """The same in Python alone."""


class ResponseInPython(InPython, ResponseTests):
    """The same in Python alone."""


class WriteInPython(InPython, WriteTests):
    """The same in Python alone."""


class GeneratedInPython(InPython, GeneratedTests):
    """The same in Python alone."""


class LinearInPython(InPython, LinearTests):
    """The same in Python alone."""


def asResponse(head: bytes) -> bytes:
    """The same fields behind a status line."""
    return head.replace(b"GET / HTTP/1.1", b"HTTP/1.1 200 OK")


class ExtensionTests(SynchronousTestCase):
    """With the extension, every head is read and written as without."""

    if EXTENSION is None:
        skip = "the extension is not built: no compiler, or another Python"

    def agree(self, call: Callable[[], object]) -> None:
        """It gives the same with the extension and without."""
        found, expected = withAndWithout(call)
        self.assertEqual(found, expected)

    def agreeOn(self, data: bytes, maxHeaders: int = 100) -> None:
        """Whatever these bytes are, they are the same to both."""
        for limit in (len(data), 60):
            for call in readings(data, limit, maxHeaders):
                self.agree(call)

    def assertRead(self, head: bytes, isRead: bool) -> None:
        """Whether it is the extension that reads this head."""
        read = EXTENSION.response if head[:4] == b"HTTP" else EXTENSION.request
        self.assertEqual(read(head, 100) is not None, isRead, head)

    def test_common(self) -> None:
        """Common heads are read by the extension itself: it is there for them."""
        for line, _ in GOOD_FIELDS[:-1]:
            self.assertRead(request(b"GET / HTTP/1.1", line), True)
            self.assertRead(response(b"HTTP/1.1 200 OK", line), True)
        for host in GOOD_HOSTS:
            self.assertRead(request(host=b"Host: " + host), not host.startswith(b"["))
        for line, *_ in GOOD_STATUS_LINES:
            self.assertRead(response(line), True)
        for head, *_ in GOOD_REQUESTS:
            self.assertRead(head, b" /" in head)

    def test_bad(self) -> None:
        """It reads no head that is to be refused."""
        for head, *_ in BAD_REQUESTS:
            self.assertRead(head, False)
        for line in BAD_FIELDS:
            self.assertRead(request(b"GET / HTTP/1.1", line), False)
        for host in BAD_HOSTS:
            self.assertRead(request(host=b"Host: " + host), False)
        for line in BAD_STATUS_LINES:
            self.assertIsNone(EXTENSION.response(response(line), 100), line)

    def test_tables(self) -> None:
        """Good or bad, heads are what they are without it."""
        for head in [
            *(row[0] for row in (*GOOD_REQUESTS, *BAD_REQUESTS)),
            *(request(host=b"Host: " + host) for host in (*GOOD_HOSTS, *BAD_HOSTS)),
            *(response(line) for line in BAD_STATUS_LINES),
            *(response(row[0]) for row in GOOD_STATUS_LINES),
            *(request(b"GET / HTTP/1.1", line) for line in BAD_FIELDS),
            *(request(b"GET / HTTP/1.1", row[0]) for row in GOOD_FIELDS),
        ]:
            for data in (head, head + b"behind", asResponse(head)):
                self.agreeOn(data)

    def test_attacks(self) -> None:
        """Whatever hostile clients and backends say begins with the same head, or none."""
        rows = [row.said for row in (*attacks.REFUSED, *misanswers.REWRITTEN)]
        rows += [attacks.head(b"POST / HTTP/1.1") + body for body in attacks.BAD_BODIES.values()]
        for table in (misanswers.BAD, misanswers.CUT, misanswers.NO_WEBSOCKET):
            rows += table.values()
        self.assertGreater(len(rows), 300)
        for said in rows:
            self.agreeOn(said)
            head, _ = HeadReader(10**6, 10**6).feed(said)
            if head is not None:
                self.agreeOn(head)

    def test_everyByte(self) -> None:
        """Each byte at each place of a head is the same to both."""
        for head in (
            request(b"GE /a HTTP/1.1", b"Ab:  c d\t", host=b"Host: a.b:80"),
            response(b"HTTP/1.0 404 Not", b"Content-Length:5", b"A: b"),
        ):
            for place in range(len(head)):
                self.agreeOn(head[:place])
                for byte in range(256):
                    self.agreeOn(head[:place] + bytes([byte]) + head[place + 1 :])

    def test_limits(self) -> None:
        """Each limit is reached with the same byte and the same field."""
        head = request(b"GET / HTTP/1.1", b"A: b", b"C: d")
        for number in (-1, 0, 1, 2, 3, 4, 2**63 - 1):
            self.agreeOn(head, number)
            self.agreeOn(asResponse(head), number)
        for limit in range(len(head) + 2):
            for call in readings(head + b"rest", limit, 3):
                self.agree(call)
        self.assertEqual(EXTENSION.cut(head + b"rest", len(head), 3), (head, b"rest"))
        for read in (EXTENSION.request, lambda *args: EXTENSION.cut(args[0], 999, args[1])):
            self.assertIsNone(read(head, 2))
            self.assertIsNotNone(read(head, 3))

    def test_otherTypes(self) -> None:
        """What is no bytes is refused, or taken, as without it."""
        for head in (bytearray(request()), memoryview(request()), "GET / HTTP/1.1\r\n\r\n"):
            self.agreeOn(head)
        for line, fields in [
            (b"A\r\n", ["ab"]),
            (b"A\r\n", [(b"a",)]),
            (b"A\r\n", [(b"a", b"b", b"c")]),
            (b"A\r\n", [[b"a", b"b"]]),
            (b"A\r\n", [(b"a", "b")]),
            (b"A\r\n", [(b"a", bytearray(b"b"))]),
            (b"A\r\n", ((b"a", b"b"),)),
            (b"A\r\n", {(b"a", b"b"): 1}),
            (b"A\r\n", ()),
            (b"", []),
            (b"A\r\n", None),
        ]:
            self.agree(partial(heads._joined, line, fields))
        for read in (EXTENSION.request, EXTENSION.cut, EXTENSION.join):
            self.assertRaises(TypeError, read, b"")

    def test_shared(self) -> None:
        """Names that stand in every head cost no memory; names that peers make up do."""
        first, second = (
            EXTENSION.response(response(b"HTTP/1.1 200 OK", b"ETag: 1", b"X-Own: 2"), 9)[3]
            for _ in range(2)
        )
        self.assertIs(first[0][0], second[0][0])
        self.assertIsNot(first[1][0], second[1][0])
        self.assertEqual(first, second)

    def test_kept(self) -> None:
        """Whatever is read or refused, nobody holds a name or a version that it had."""
        found = EXTENSION.request(request(b"GET / HTTP/1.1", b"ETag: 1"), 9)
        shared = [found[2], *(name for name, _ in found[3]), *found[4]]
        before = [sys.getrefcount(each) for each in shared]
        for head, *_ in (*GOOD_REQUESTS, *BAD_REQUESTS):
            for line in (b"ETag: 1\r\n", b"eTAG: 1\r\netag: 2\r\n", b"ETag: 1\r\nB\r\n"):
                data = head.replace(b"\r\n", b"\r\n" + line, 1)
                for read in (EXTENSION.request, EXTENSION.response):
                    read(data, 9)
                    read(asResponse(data), 9)
        self.assertEqual([sys.getrefcount(each) for each in shared], before)

    @bounded
    @given(HOSTILE, st.integers(0, 6))
    def test_hostile(self, head: bytes, maxHeaders: int) -> None:
        """Any bytes are the same request or the same error."""
        self.agreeOn(head, maxHeaders)
        self.agreeOn(asResponse(head), maxHeaders)

    @bounded
    @given(FIELDS, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), PIECES), max_size=2))
    def test_written(
        self, fields: list[tuple[bytes, bytes]], cuts: list[tuple[int, int, bytes]]
    ) -> None:
        """Good heads are written the same, and read the same, whole or with some damage."""
        fields = [(b"Host", b"a"), *fields]
        for isChecked in (False, True):
            self.agree(partial(writeRequest, "GET", "/", fields, isChecked))
            self.agree(partial(writeResponse, 200, "OK", fields, isChecked))
        for head in (writeRequest("GET", "/", fields), writeResponse(200, "OK", fields)):
            self.assertRead(head, True)
            self.agreeOn(mutated(head, cuts))

    @bounded
    @given(TOKENS, st.lists(st.booleans(), min_size=8, max_size=8))
    def test_case(self, name: bytes, capitals: list[bool]) -> None:
        """A name in any case is found by the same name in lower case."""
        for word in (name, b"Host", b"ETag", b"Set-Cookie"):
            written = bytes(
                ord(chr(byte).upper() if capitals[place % 8] else chr(byte).lower())
                for place, byte in enumerate(word)
            )
            self.agreeOn(response(b"HTTP/1.1 200 OK", written + b": 1", b"A: 2", word + b": 3"))
