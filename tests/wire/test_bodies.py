# -*- test-case-name: tests.wire.test_bodies -*-
"""
Tests for L{wsrelay.wire.bodies}: a body ends in one place, or the message is refused.
"""

from __future__ import annotations

import gc
import itertools
import time

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest, BadResponse, NotImplementedByRelay, RelayError
from wsrelay.model import Headers, Request, Response
from wsrelay.wire.bodies import (
    BodyKind,
    BodyReader,
    Framing,
    bodyReader,
    chunk,
    lastChunk,
    requestFraming,
    responseFraming,
)
from wsrelay.wire.heads import HeadReader, parseRequest, writeRequest

try:
    import h11
except ImportError:  # pragma: no cover
    h11 = None

try:
    import httptools
except ImportError:  # pragma: no cover
    httptools = None

bounded = settings(max_examples=100, deadline=None)

NONE = Framing(BodyKind.NONE)
CHUNKED = Framing(BodyKind.CHUNKED)
CLOSE = Framing(BodyKind.CLOSE)

LENGTH = b"Content-Length"
CODING = b"Transfer-Encoding"


def length(count: int) -> Framing:
    """So many bytes."""
    return Framing(BodyKind.LENGTH, count)


def request(*fields: tuple[bytes, bytes], version: tuple[int, int] = (1, 1)) -> Request:
    """A POST with these fields."""
    return Request("POST", "/", Headers(fields), version)


def response(
    *fields: tuple[bytes, bytes], status: int = 200, version: tuple[int, int] = (1, 1)
) -> Response:
    """An answer with these fields."""
    return Response(status, "", Headers(fields), version)


BAD_LENGTHS = [
    b"", b"+5", b"-5", b"-0", b"0x5", b"5_0", b"5 0", b"5,5", b"5, 5", b"5;", b"5.0", b"05", b"00",
    b"five", b"\xb2", b"\xd9\xa5", b"9" * 19, b"9" * 5000, b"5\x85", b"\x0b5",
]  # fmt: skip

BAD_CODINGS = [
    b"", b"identity", b"gzip", b"chunked, identity", b"chunked, gzip", b"chunked, chunked",
    b"chunked, gzip, chunked", b"Chunked, chunked", b"xchunked", b"chunkedx", b"chunked x",
    b"chunked;", b"chunked;a=b", b"chunked,", b",chunked", b", chunked", b"gzip,, chunked",
    b'"chunked"', b"\x0bchunked", b"chunked\x0b", b"chunked\x85", b"gzip;q=1, chunked",
    b"chun ked",
]  # fmt: skip

# Chunked bodies and what is in them.
GOOD_BODIES: list[tuple[bytes, bytes]] = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", b"hello!"),
    (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    (b"0000000000000002\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    (b'2;a;b=c; d="e;f\\"\xff"\r\nhi\r\n0;x\r\n\r\n', b"hi"),
    (b"2\r\nhi\r\n0\r\nA: b\r\nC:\r\n\r\n", b"hi"),
    (b"2\r\nhi\r\n0\r\nContent-Length: 5\r\n\r\n", b"hi"),
]

BAD_BODIES = [
    b"\r\n", b"\n", b"5\n", b"5\nhello\r\n0\r\n\r\n", b"g\r\n", b"-5\r\n", b"+5\r\n", b"0x5\r\n",
    b"5_0\r\n", b" 5\r\n", b"5 \r\n", b"5\t\r\n", b"5 ;a\r\n", b"5\r\r\n", b"\xb2\r\n",
    b"0" * 17 + b"\r\n", b"f" * 17 + b"\r\n", b"5;\r\n", b"5;a=\r\n", b"5;=a\r\n", b"5;;a\r\n",
    b"5;a b\r\n", b"5;a\nhello\r\n", b"5;a\rb\r\n", b'5;a="\r\n', b'5;a="b"c\r\n', b"5;a\x00\r\n",
    b'5;a="\n"\r\n', b"5,a\r\n", b"2\r\nhi0\r\n\r\n", b"2\r\nhi\n0\r\n\r\n", b"2\r\nhix\r\n",
    b"2\r\nhi\r0\r\n", b"2\r\nhi\r\n\r\n", b"0\r\n\n", b"0\r\nA : b\r\n\r\n", b"0\r\nA\r\n\r\n",
    b"0\r\nA: b\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA: \x00\r\n\r\n",
    b"0\r\n: b\r\n\r\n", b"5;" + b"a" * 1100 + b"\r\n", b"0\r\nA: " + b"b" * 1100 + b"\r\n\r\n",
    b"0\r\n" + b"A: b\r\n" * 1500 + b"\r\n", b"0" * 2000, b"5;" + b"a" * 1100,
]  # fmt: skip


def isReader(each: object) -> bool:
    """Whether this is a body reader."""
    return type(each).__module__ == "wsrelay.wire.bodies" and hasattr(type(each), "feed")


def fed(reader: BodyReader, data: bytes, size: int) -> tuple[bytes, bytes | None]:
    """Everything that came out when C{data} was fed in pieces."""
    found, rest = b"", b"" if reader.complete else None
    for start in range(0, len(data), size):
        content, behind = reader.feed(data[start : start + size])
        found += content
        if behind is not None:
            rest = (rest or b"") + behind
    return found, rest


class RequestFramingTests(SynchronousTestCase):
    """The end of a request's body is told in one way."""

    def test_good(self) -> None:
        """No length, one length, or chunks."""
        for fields, framing in (
            ([], NONE),
            ([(LENGTH, b"0")], length(0)),
            ([(b"content-LENGTH", b"123")], length(123)),
            ([(LENGTH, b"9" * 18)], length(10**18 - 1)),
            ([(CODING, b"chunked")], CHUNKED),
        ):
            self.assertEqual(requestFraming(request(*fields)), framing)

    def test_http10(self) -> None:
        """HTTP/1.0 knows lengths and no transfer coding."""
        self.assertEqual(requestFraming(request((LENGTH, b"5"), version=(1, 0))), length(5))
        chunked = request((CODING, b"chunked"), version=(1, 0))
        self.assertRaises(BadRequest, requestFraming, chunked)

    def test_twoAnswers(self) -> None:
        """A length with a coding, two lengths, or two codings are refused, equal or not."""
        for fields in (
            [(LENGTH, b"5"), (CODING, b"chunked")],
            [(CODING, b"chunked"), (LENGTH, b"0")],
            [(CODING, b"gzip, chunked"), (LENGTH, b"0")],
            [(LENGTH, b"5"), (LENGTH, b"5")],
            [(LENGTH, b"5"), (LENGTH, b"6")],
            [(LENGTH, b"5"), (b"content-length", b"")],
            [(CODING, b"chunked"), (CODING, b"chunked")],
            [(CODING, b"gzip"), (CODING, b"chunked")],
            [(CODING, b"chunked"), (CODING, b"")],
            [(CODING, b"gzip, chunked"), (CODING, b"gzip")],
        ):
            self.assertRaises(BadRequest, requestFraming, request(*fields))

    def test_badLengths(self) -> None:
        """A length is plain digits."""
        for value in BAD_LENGTHS:
            with self.assertRaises(BadRequest, msg=repr(value)):
                requestFraming(request((LENGTH, value)))

    def test_badCodings(self) -> None:
        """A coding that does not end in one plain C{chunked} has no end anybody knows."""
        for value in [*BAD_CODINGS, b"Chunked", b"CHUNKED"]:
            with self.assertRaises(BadRequest, msg=repr(value)):
                requestFraming(request((CODING, value)))

    def test_trace(self) -> None:
        """TRACE has no content (RFC 9110 section 9.3.8); a server that ignored it, or did not,
        would be out of step."""
        for field in ((LENGTH, b"5"), (CODING, b"chunked")):
            traced = Request("TRACE", "/", Headers([field]))
            self.assertRaises(BadRequest, requestFraming, traced)
        for fields, framing in (([], NONE), ([(LENGTH, b"0")], length(0))):
            self.assertEqual(requestFraming(Request("TRACE", "/", Headers(fields))), framing)

    def test_otherCodings(self) -> None:
        """A coding below C{chunked} is well-formed, and not ours to relay."""
        for value in (b"gzip, chunked", b"gzip,chunked", b"a, b \t,\tchunked"):
            error = self.assertRaises(
                NotImplementedByRelay, requestFraming, request((CODING, value))
            )
            self.assertEqual(error.status, 501)


class ResponseFramingTests(SynchronousTestCase):
    """The end of a response's body is told in one way too."""

    def test_good(self) -> None:
        """A length, chunks, or else the end of the connection."""
        for fields, framing in (
            ([], CLOSE),
            ([(LENGTH, b"0")], length(0)),
            ([(LENGTH, b"7")], length(7)),
            ([(CODING, b"chunked")], CHUNKED),
            ([(CODING, b"Chunked")], CHUNKED),
        ):
            self.assertEqual(responseFraming(response(*fields), "GET"), framing)

    def test_none(self) -> None:
        """Some answers have no body, whatever they say about the one they describe."""
        for status, method, field in (
            (200, "HEAD", (LENGTH, b"5")),
            (200, "HEAD", (CODING, b"chunked")),
            (304, "GET", (LENGTH, b"5")),
            (304, "GET", (b"A", b"b")),
            (204, "GET", (b"A", b"b")),
            (204, "GET", (LENGTH, b"0")),
            (100, "POST", (b"A", b"b")),
            (101, "GET", (b"A", b"b")),
        ):
            self.assertEqual(responseFraming(response(field, status=status), method), NONE)

    def test_bodyWhereNoneMayBe(self) -> None:
        """A 1xx or 204 that announces a body is refused: somebody would look for it."""
        for status in (100, 101, 103, 199, 204):
            for field in ((LENGTH, b"5"), (CODING, b"chunked")):
                answer = response(field, status=status)
                self.assertRaises(BadResponse, responseFraming, answer, "GET")

    def test_bad(self) -> None:
        """What is refused from a client is refused from a backend, with 502."""
        fields = [
            [(LENGTH, b"5"), (CODING, b"chunked")],
            [(LENGTH, b"5"), (LENGTH, b"5")],
            [(CODING, b"chunked"), (CODING, b"chunked")],
            [(CODING, b"gzip, chunked")],
            *([(LENGTH, value)] for value in BAD_LENGTHS),
            *([(CODING, value)] for value in BAD_CODINGS),
        ]
        for some in fields:
            for method in ("GET", "HEAD"):
                error = self.assertRaises(BadResponse, responseFraming, response(*some), method)
                self.assertEqual(error.status, 502)
        chunked = response((CODING, b"chunked"), version=(1, 0))
        self.assertRaises(BadResponse, responseFraming, chunked, "GET")


class LengthTests(SynchronousTestCase):
    """A body of so many bytes."""

    def test_pieces(self) -> None:
        """It ends after them, in pieces of any size, and what is behind stays as it is."""
        for size in (1, 2, 3, 100):
            reader = bodyReader(length(5))
            self.assertFalse(reader.complete)
            self.assertEqual(fed(reader, b"helloGET /", size), (b"hello", b"GET /"))
            self.assertTrue(reader.complete)
            reader.finish()

    def test_lastByte(self) -> None:
        """It is complete with its last byte, not with the one behind it."""
        reader = bodyReader(length(5))
        self.assertEqual(reader.feed(b"hello"), (b"hello", b""))
        self.assertTrue(reader.complete)

    def test_none(self) -> None:
        """No body is complete before anything arrived."""
        for framing in (NONE, length(0)):
            reader = bodyReader(framing)
            self.assertTrue(reader.complete)
            self.assertEqual(reader.feed(b"GET /"), (b"", b"GET /"))
            reader.finish()

    def test_cutShort(self) -> None:
        """The end of the connection inside it is an error."""
        reader = bodyReader(length(5))
        self.assertEqual(reader.feed(b"hell"), (b"hell", None))
        self.assertRaises(BadRequest, reader.finish)


class CloseTests(SynchronousTestCase):
    """A body that the end of the connection ends."""

    def test_untilClosed(self) -> None:
        """Everything is content until then."""
        reader = bodyReader(CLOSE)
        self.assertEqual(reader.feed(b"HTTP/1.1"), (b"HTTP/1.1", None))
        self.assertFalse(reader.complete)
        reader.finish()
        self.assertTrue(reader.complete)
        self.assertEqual(reader.feed(b"x"), (b"", b"x"))


class ChunkedTests(SynchronousTestCase):
    """A chunked body."""

    def test_good(self) -> None:
        """The content comes out without chunk heads, extensions and trailers."""
        for data, content in GOOD_BODIES:
            for size in (1, 2, 3, 7, 1000):
                reader = bodyReader(CHUNKED)
                self.assertFalse(reader.complete)
                self.assertEqual(fed(reader, data + b"GET /", size), (content, b"GET /"), data)
                self.assertTrue(reader.complete)
                reader.finish()

    def test_bad(self) -> None:
        """What another parser might read differently is refused, in pieces of any size."""
        for data in BAD_BODIES:
            for size in (1, 2, 3, 7, 10000):
                with self.assertRaises(BadRequest, msg=repr(data[:80])):
                    fed(bodyReader(CHUNKED), data, size)

    def test_cutShort(self) -> None:
        """The end of the connection before the last line is an error."""
        whole = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"
        for end in range(len(whole)):
            reader = bodyReader(CHUNKED)
            reader.feed(whole[:end])
            self.assertRaises(BadRequest, reader.finish)

    def test_nothingIsHeldBack(self) -> None:
        """Content comes out with the bytes it arrived in, before its chunk is complete."""
        reader = bodyReader(CHUNKED)
        self.assertEqual(reader.feed(b"ffffffffffffffff\r\nhel"), (b"hel", None))
        self.assertEqual(reader.feed(b"lo"), (b"lo", None))

    def test_linear(self) -> None:
        """Tiny chunks and tiny pieces cost no more than their number: no byte is kept long."""
        start = time.process_time()
        data = b"1\r\nx\r\n" * 50_000
        content, rest = bodyReader(CHUNKED).feed(data)
        self.assertEqual((len(content), rest), (50_000, None))
        fed(bodyReader(CHUNKED), b"ffffff\r\n" + b"x" * 200_000, 1)
        self.assertLess(time.process_time() - start, 5.0)

    @bounded
    @given(st.sampled_from(GOOD_BODIES), st.sets(st.integers(1, 60)))
    def test_anyCuts(self, body: tuple[bytes, bytes], cuts: set[int]) -> None:
        """However the bytes are cut, the content and what is behind it are the same."""
        data, content = body[0] + b"GET /", body[1]
        places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        reader, found, behind = bodyReader(CHUNKED), b"", b""
        for start, end in itertools.pairwise(places):
            piece, rest = reader.feed(data[start:end])
            found += piece
            behind += rest or b""
        self.assertEqual((found, behind, reader.complete), (content, b"GET /", True))

    def test_readerIsLetGo(self) -> None:
        """A reader does not hold on to itself: it need not wait for the collector."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = sum(map(isReader, gc.get_objects()))
        for framing in (CHUNKED, CLOSE, length(5)):
            bodyReader(framing).feed(b"5\r\nhel")
        self.assertEqual(sum(map(isReader, gc.get_objects())), before)

    @bounded
    @given(st.lists(st.binary(max_size=20)), st.binary(max_size=5), st.integers(1, 40))
    def test_roundTrip(self, parts: list[bytes], behind: bytes, size: int) -> None:
        """What was written as chunks is read as the same."""
        data = b"".join(map(chunk, parts)) + lastChunk() + behind
        content, rest = fed(bodyReader(CHUNKED), data, size)
        self.assertEqual((content, rest), (b"".join(parts), behind))

    @bounded
    @given(
        st.lists(
            st.sampled_from(
                [b"0", b"1", b"2", b"a", b";", b"\r\n", b"\r\n", b"\r", b"\n", b"A: b", b" ", b"x"]
            )
        ).map(b"".join),
        st.integers(1, 5),
    )
    def test_anyPieces(self, data: bytes, size: int) -> None:
        """Whatever is fed, pieces give the same content, rest or error as the whole."""

        def outcome(size: int) -> object:
            reader = bodyReader(CHUNKED)
            try:
                return fed(reader, data, size), reader.complete
            except RelayError as error:
                return type(error)

        self.assertEqual(outcome(size), outcome(len(data) or 1))


# What a message is most likely to be read wrongly at.
LINES = st.sampled_from(
    [b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 11", b"Content-Length: 05",
     b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"A: b", b"A:\tb\xe9",
     b"Transfer-Encoding: gzip, chunked", b"Connection: close"]
)  # fmt: skip
BODIES = st.lists(
    st.sampled_from(
        [b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"hello",
         b"B\r\nhello world\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n", b"\n"]
    ),
    max_size=5,
).map(b"".join)  # fmt: skip
MESSAGES = st.builds(
    lambda lines, body: (
        b"".join(line + b"\r\n" for line in (b"POST / HTTP/1.1", b"Host: a", *lines))
        + b"\r\n"
        + body
    ),
    st.lists(LINES, max_size=2),
    BODIES,
)


def relayed(data: bytes, size: int) -> tuple[bytes, list[tuple[bytes, bytes]], bytes] | None:
    """
    The first request in C{data}, fed in pieces, written anew, and its fields and content;
    C{None} if it is refused or cut short.
    """
    head, rest = HeadReader(1000, 10).feed(data)
    assert head is not None
    try:
        found = parseRequest(head)
        framing = requestFraming(found)
        reader = bodyReader(framing)
        content, _ = fed(reader, rest, size)
    except RelayError:
        return None
    if not reader.complete:
        return None
    fields = list(found.headers.raw)
    body = chunk(content) + lastChunk() if framing.kind is BodyKind.CHUNKED else content
    return writeRequest(found.method, found.target, fields) + body, fields, content


class _Heard:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.content = b""
        self.count = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.count += 1


class AgreementTests(SynchronousTestCase):
    """What was accepted and written anew is one message, the same one for everybody."""

    @bounded
    @given(MESSAGES, st.integers(1, 30))
    def test_h11(self, data: bytes, size: int) -> None:
        """h11 reads the same fields and content, and nothing is left."""
        written = relayed(data, size)
        if written is None:
            return
        message, fields, content = written
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(message)
        event = connection.next_event()
        self.assertEqual(list(event.headers.raw_items()), fields)
        heard = b""
        while isinstance(event := connection.next_event(), h11.Data):
            heard += event.data
        self.assertIsInstance(event, h11.EndOfMessage)
        self.assertEqual((heard, connection.trailing_data), (content, (b"", False)))

    @bounded
    @given(MESSAGES, st.integers(1, 30))
    def test_llhttp(self, data: bytes, size: int) -> None:
        """llhttp reads the same fields and content, and one message."""
        written = relayed(data, size)
        if written is None:
            return
        message, fields, content = written
        heard = _Heard()
        httptools.HttpRequestParser(heard).feed_data(message)
        self.assertEqual((heard.fields, heard.content, heard.count), (fields, content, 1))

    if h11 is None:
        test_h11.skip = "h11 is not installed"  # type: ignore[attr-defined]  # trial's
    if httptools is None:
        test_llhttp.skip = "httptools is not installed"  # type: ignore[attr-defined]  # trial's

    def test_agreementIsTested(self) -> None:
        """The messages that are compared do pass."""
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        fields = [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]
        for size in (1, 1000):
            self.assertEqual(
                relayed(head + b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\nGET", size),
                (head + b"5\r\nhello\r\n0\r\n\r\n", fields, b"hello"),
            )


class WriteTests(SynchronousTestCase):
    """Chunks as they are written."""

    def test_chunk(self) -> None:
        """The size is hexadecimal."""
        self.assertEqual(chunk(b"0123456789abcdef"), b"10\r\n0123456789abcdef\r\n")

    def test_noData(self) -> None:
        """No data is no chunk: an empty one would end the body."""
        self.assertEqual(chunk(b""), b"")
