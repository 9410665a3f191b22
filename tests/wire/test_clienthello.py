# -*- test-case-name: tests.wire.test_clienthello -*-
"""
L{wsrelay.wire.clienthello}: what a TLS client says in the open.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterable, Sequence

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.frametables import bytewise, cut
from wsrelay.errors import BadRequest
from wsrelay.wire.clienthello import ClientHello, HelloReader

GREASE = b"\x0a\x0a"  # RFC 8701


def vector(size: int, data: bytes) -> bytes:
    """C{data} behind its length in C{size} bytes."""
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, body: bytes) -> bytes:
    """One extension."""
    return kind.to_bytes(2, "big") + vector(2, body)


def names(*entries: tuple[int, bytes]) -> bytes:
    """The extension server_name with these names, each with its type."""
    return extension(0, vector(2, b"".join(bytes([t]) + vector(2, n) for t, n in entries)))


def sni(name: bytes) -> bytes:
    """The extension server_name with one host name."""
    return names((0, name))


def alpn(*protocols: bytes) -> bytes:
    """The extension that offers protocols."""
    return extension(16, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


def body(
    *extensions: bytes,
    version: bytes = b"\x03\x03",
    random: bytes = bytes(32),
    session: bytes = b"",
    suites: bytes = GREASE + b"\x13\x01",
    compressions: bytes = b"\x00",
) -> bytes:
    """A ClientHello without its head."""
    parts = [version, random, vector(1, session), vector(2, suites), vector(1, compressions)]
    return b"".join(parts) + (vector(2, b"".join(extensions)) if extensions else b"")


def message(content: bytes, kind: int = 1) -> bytes:
    """A handshake message."""
    return bytes([kind]) + vector(3, content)


def record(content: bytes, kind: int = 22, version: bytes = b"\x03\x01") -> bytes:
    """A TLS record."""
    return bytes([kind]) + version + vector(2, content)


def hello(*extensions: bytes) -> bytes:
    """A ClientHello with these extensions, in one record."""
    return record(message(body(*extensions)))


def read(pieces: Iterable[bytes], limit: int = 64 * 1024) -> ClientHello | None:
    """What a reader makes of these pieces."""
    reader = HelloReader(limit)
    found = None
    for piece in pieces:
        found = reader.feed(piece)
    return found


def realHello(
    name: str | None,
    protocols: Sequence[str] = (),
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> bytes:
    """What OpenSSL says first."""
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    settings.check_hostname = False
    settings.verify_mode = ssl.CERT_NONE
    settings.maximum_version = newest
    if protocols:
        settings.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = settings.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


LABEL = b"a" * 63

GOOD = [
    ("nothing asked for", hello(), ClientHello()),
    ("only grease", hello(extension(0x0A0A, b""), extension(0x1A1A, b"\x00")), ClientHello()),
    ("a name", hello(sni(b"example.org")), ClientHello("example.org")),
    ("a name in upper case", hello(sni(b"EXAMPLE.Org")), ClientHello("example.org")),
    ("a name with a final dot", hello(sni(b"example.org.")), ClientHello("example.org")),
    ("a name of one label", hello(sni(b"localhost")), ClientHello("localhost")),
    ("a name with an underscore", hello(sni(b"my_service")), ClientHello("my_service")),
    (
        "an internationalised name",
        hello(sni(b"xn--bcher-kva.de")),
        ClientHello("xn--bcher-kva.de"),
    ),
    ("a label of 63", hello(sni(LABEL + b".de")), ClientHello("a" * 63 + ".de")),
    (
        "a name of 253",
        hello(sni(b".".join([LABEL] * 3 + [b"b" * 61]))),
        ClientHello(".".join(["a" * 63] * 3 + ["b" * 61])),
    ),
    ("an IPv4 address", hello(sni(b"192.0.2.1")), ClientHello()),
    ("an IPv4 address with a dot", hello(sni(b"192.0.2.1.")), ClientHello()),
    ("an IPv6 address", hello(sni(b"2001:db8::1")), ClientHello()),
    ("a name of another type", hello(names((7, b"\xff\x00"))), ClientHello()),
    (
        "names of two types",
        hello(names((7, b"?"), (0, b"example.org"))),
        ClientHello("example.org"),
    ),
    ("protocols", hello(alpn(b"h2", b"http/1.1")), ClientHello(None, ("h2", "http/1.1"))),
    (
        "protocols with grease",
        hello(alpn(GREASE, b"h2", b"\xff")),
        ClientHello(None, ("\n\n", "h2", "\xff")),
    ),
    (
        "all of it",
        hello(extension(0x2A2A, b""), sni(b"a.b"), extension(43, b"\x02\x03\x04"), alpn(b"h2")),
        ClientHello("a.b", ("h2",)),
    ),
    ("an empty list of extensions", record(message(body() + b"\x00\x00")), ClientHello()),
    ("a session", record(message(body(session=bytes(32)))), ClientHello()),
    ("SSL 3.0", record(message(body(version=b"\x03\x00")), version=b"\x03\x00"), ClientHello()),
    (
        "an encrypted hello behind an outer name",
        hello(extension(0xFE0D, bytes(300)), sni(b"public.example")),
        ClientHello("public.example"),
    ),
    (
        "keys that resist quantum computers",
        hello(extension(51, bytes(1800)), sni(b"a.b"), extension(21, bytes(500))),
        ClientHello("a.b"),
    ),
    (
        "grease where it may be",
        hello(extension(0xFAFA, b""), sni(b"a.b"), alpn(GREASE), extension(0xDADA, b"\0" * 9)),
        ClientHello("a.b", ("\n\n",)),
    ),
    ("more in the same record", record(message(body()) + b"\x01\x00"), ClientHello()),
    ("a record of TLS 1.2", record(message(body()), version=b"\x03\x03"), ClientHello()),
]

BAD = [
    (
        "a name in an encrypted hello only",
        hello(extension(0xFE0D, b"\x00" * 9), names()),
    ),
    ("HTTP", b"GET / HTTP/1.1\r\n\r\n"),
    ("an SSH greeting", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("a PROXY header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
    ("an SSLv2 hello", bytes.fromhex("802e0100020015000000100100800200800300800400800500800600")),
    ("an alert", record(b"\x02\x28", kind=21)),
    ("application data", record(b"x", kind=23)),
    ("a record of another version", record(message(body()), version=b"\x02\x00")),
    ("an empty record", record(b"")),
    ("an empty record in the middle", record(b"\x01") + record(b"")),
    ("a record too long", record(bytes(16385))),
    ("a long record that is only promised", bytes.fromhex("1603014001")),
    ("an alert in the middle", record(message(body())[:9]) + record(b"\x01\x00", kind=21)),
    ("a ServerHello", record(message(body(), kind=2))),
    ("a HelloRequest", record(message(b"", kind=0))),
    ("an empty hello", record(message(b""))),
    ("TLS of another world", record(message(body(version=b"\x04\x00")))),
    ("a random cut short", record(message(b"\x03\x03" + bytes(31)))),
    ("a session too long", record(message(body(session=bytes(33))))),
    ("no cipher suites", record(message(body(suites=b"")))),
    ("half a cipher suite", record(message(body(suites=b"\x13\x01\x13")))),
    ("no compression methods", record(message(body(compressions=b"")))),
    ("a byte behind", record(message(body() + b"\x00"))),
    ("bytes behind the extensions", record(message(body(sni(b"a")) + b"\x00"))),
    ("an extension cut short", record(message(body(b"\x00\x00\x00")))),
    ("an extension that is too long", record(message(body(b"\x00\x00\x00\x09\x00")))),
    ("extensions cut short", record(message(body(sni(b"a"))[:-1]))),
    ("an extension twice", hello(extension(99, b""), extension(99, b""))),
    ("server_name twice", hello(sni(b"a"), sni(b"b"))),
    ("two host names", hello(names((0, b"a"), (0, b"b")))),
    ("two names of another type", hello(names((7, b"a"), (0, b"b"), (7, b"c")))),
    ("an empty server_name", hello(extension(0, b""))),
    ("an empty list of names", hello(extension(0, b"\x00\x00"))),
    ("bytes behind the names", hello(extension(0, b"\x00\x04\x00\x00\x01ab"))),
    ("a name cut short", hello(extension(0, b"\x00\x04\x00\x00\x02a"))),
    ("empty protocols", hello(extension(16, b""))),
    ("no protocol", hello(alpn())),
    ("a protocol without name", hello(alpn(b"h2", b""))),
    ("a protocol cut short", hello(extension(16, b"\x00\x02\x02h"))),
    *(
        (f"the name {name!r}", hello(sni(name)))
        for name in (
            b"",
            b".",
            b"..",
            b".example.org",
            b"example..org",
            b"example.org..",
            b"-a.org",
            b"a-.org",
            b"a b",
            b"a\x00.org",
            b"a\n",
            b"a.org\n",
            b"a/b",
            b"a:443",
            b"*.org",
            b"[::1]",
            b"127.1",
            b"1.2.3.4.5",
            b"b\xc3\xbccher.de",
            b"\xff",
            LABEL + b"a.de",
            b".".join([LABEL] * 3 + [b"b" * 62]),
        )
    ),
]


class HelloReaderTests(SynchronousTestCase):
    """Tests for L{HelloReader}."""

    def test_good(self) -> None:
        """Names and protocols are read, whole and byte by byte."""
        for name, stream, expected in GOOD:
            self.assertEqual(expected, read([stream]), name)
            self.assertEqual(expected, read(bytewise(stream)), name)

    def test_bad(self) -> None:
        """What is no hello, or a malformed one, is refused, whole and byte by byte."""
        for name, stream in BAD:
            whole = self.assertRaises(BadRequest, read, [stream])
            cut = self.assertRaises(BadRequest, read, bytewise(stream))
            self.assertEqual(whole.detail, cut.detail, name)

    def test_truncated(self) -> None:
        """A hello that is not complete is neither read nor refused."""
        for name, stream, _ in GOOD:
            for size in range(len(stream)):
                self.assertIsNone(read([stream[:size]]), name)

    def test_firstByte(self) -> None:
        """The first byte says whether this is TLS at all."""
        for byte in range(256):
            if byte == 22:
                self.assertIsNone(read([bytes([byte])]))
            else:
                self.assertRaises(BadRequest, read, [bytes([byte])])

    def test_records(self) -> None:
        """A hello may be cut into records anywhere."""
        content = message(body(sni(b"example.org"), alpn(b"h2")))
        expected = ClientHello("example.org", ("h2",))
        for size in range(1, len(content)):
            stream = record(content[:size]) + record(content[size:])
            self.assertEqual(expected, read([stream]))
            self.assertIsNone(read([stream[:-1]]))
        single = b"".join(map(record, bytewise(content)))
        self.assertEqual(expected, read([single]))
        self.assertEqual(expected, read(bytewise(single)))

    def test_behind(self) -> None:
        """What follows the hello is kept and not looked at."""
        reader = HelloReader()
        self.assertEqual(ClientHello("a"), reader.feed(hello(sni(b"a")) + b"GET /"))
        self.assertEqual(ClientHello("a"), reader.feed(b"more"))
        self.assertEqual(hello(sni(b"a")) + b"GET /more", reader.data)

    def test_data(self) -> None:
        """All that was fed can be passed on, before the hello is complete as well."""
        reader = HelloReader()
        stream = hello(sni(b"a"))
        for number, piece in enumerate(bytewise(stream), 1):
            reader.feed(piece)
            self.assertEqual(stream[:number], reader.data)

    def test_limit(self) -> None:
        """The records of a hello may take as much as the limit, and not a byte more."""
        stream = hello(sni(b"a"), extension(21, bytes(400)))
        self.assertEqual(ClientHello("a"), read([stream + b"behind"], len(stream)))
        self.assertRaises(BadRequest, read, [stream], len(stream) - 1)
        self.assertRaises(BadRequest, read, [stream[:9]], len(stream) - 1)
        single = b"".join(map(record, bytewise(stream[5:])))
        self.assertEqual(ClientHello("a"), read([single], len(single)))
        self.assertRaises(BadRequest, read, bytewise(single[:-1]), len(single) - 1)

    def test_promise(self) -> None:
        """A length that goes over the limit is refused before it comes."""
        self.assertRaises(BadRequest, read, [record(b"\x01\xff\xff\xff")])
        self.assertRaises(BadRequest, read, [record(b"\x01\x01\x00\x00")])
        self.assertIsNone(read([record(b"\x01\x00\xff\xf0")]))

    def test_big(self) -> None:
        """A hello of many thousand bytes in records of full size is read."""
        content = message(body(extension(51, bytes(40000)), sni(b"big.example")))
        parts = [content[at : at + 16384] for at in range(0, len(content), 16384)]
        stream = b"".join(map(record, parts))
        self.assertEqual(ClientHello("big.example"), read([stream]))
        self.assertEqual(ClientHello("big.example"), read(bytewise(stream)))


class OpenSSLTests(SynchronousTestCase):
    """Tests for L{HelloReader} with what OpenSSL says."""

    def test_hellos(self) -> None:
        """OpenSSL's hellos are read, with and without name and protocols."""
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED):
            for name in (None, "Example.org", "a.b.c.example", "localhost"):
                for protocols in ((), ("h2",), ("http/1.1", "h2", "x" * 255)):
                    stream = realHello(name, protocols, newest)
                    expected = ClientHello(name.lower() if name else None, protocols)
                    self.assertEqual(expected, read([stream]))
                    self.assertEqual(expected, read(bytewise(stream)))

    def test_address(self) -> None:
        """OpenSSL sends no name for an address."""
        self.assertEqual(ClientHello(), read([realHello("192.0.2.1")]))


class HelloReaderStreamTests(SynchronousTestCase):
    """Tests for L{HelloReader} on generated streams."""

    @settings(max_examples=100, deadline=None)
    @given(
        st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z]{1,5}){0,3}", fullmatch=True),
        st.lists(st.binary(min_size=1, max_size=255), max_size=4),
        st.lists(st.integers(1, 60), min_size=1, max_size=5),
        st.lists(st.integers(1, 90), min_size=1, max_size=5),
    )
    def test_valid(
        self, name: str, protocols: list[bytes], records: list[int], sizes: list[int]
    ) -> None:
        """Invariant: what was said is what is read, however it is cut."""
        if name.isdigit():
            name += "x"
        asked = [sni(name.encode()), *([alpn(*protocols)] if protocols else [])]
        content = message(body(*asked))
        stream = b"".join(map(record, cut(content, records)))
        expected = ClientHello(name, tuple(p.decode("latin-1") for p in protocols))
        self.assertEqual(expected, read(cut(stream, sizes)))

    @settings(max_examples=200, deadline=None)
    @given(
        st.integers(0, 400),
        st.integers(0, 255),
        st.binary(max_size=30),
        st.lists(st.integers(1, 90), min_size=1, max_size=5),
    )
    def test_invalid(self, at: int, byte: int, tail: bytes, sizes: list[int]) -> None:
        """Invariant: any bytes are read, waited for or refused, the same however they come."""
        stream = hello(sni(b"example.org"), alpn(b"h2", b"http/1.1"), extension(51, bytes(200)))
        at %= len(stream)
        stream = stream[:at] + bytes([byte]) + stream[at + 1 :] + tail

        def outcome(pieces: list[bytes]) -> ClientHello | str | None:
            try:
                return read(pieces)
            except BadRequest as error:
                return error.detail

        self.assertEqual(outcome([stream]), outcome(cut(stream, sizes)))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200))
    def test_rubbish(self, content: bytes) -> None:
        """Invariant: any message is read or refused, and what is read is a host name."""
        for stream in (record(message(content)), hello(sni(content)), hello(content)):
            try:
                found = read([stream])
            except BadRequest:
                continue
            self.assertIsNotNone(found)
            if found is not None and found.serverName is not None:
                self.assertRegex(found.serverName, r"\A[a-z0-9_.-]{1,253}\Z")
