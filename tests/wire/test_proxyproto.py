# -*- test-case-name: tests.wire.test_proxyproto -*-
"""
Whom a balancer in front speaks for, and how the relay says for whom it speaks.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
import struct
from collections.abc import Sequence

from attrs import evolve
from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest
from wsrelay.model import Address, ClientCertificate, Headers, Inbound, Request
from wsrelay.wire.proxyproto import (
    Proxied,
    ProxiedTLS,
    ProxyReader,
    proxiedOf,
    writeProxy1,
    writeProxy2,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
CLIENT, LOCAL = Address("192.0.2.7", 5555), Address("192.0.2.1", 443)
CLIENT6, LOCAL6 = Address("2001:db8::7", 5555), Address("2001:db8::1", 443)


def version2(family: int, block: bytes, command: int = 0x21) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


def numbers(family: int, source: Address, destination: Address) -> bytes:
    """Its block for TCP."""
    hosts = [socket.inet_pton(family, each.host) for each in (source, destination)]
    return b"".join(hosts) + struct.pack("!HH", source.port, destination.port)


TCP4 = numbers(socket.AF_INET, CLIENT, LOCAL)
TCP6 = numbers(socket.AF_INET6, CLIENT6, LOCAL6)
UNIX = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")


def field(kind: int, content: bytes = b"") -> bytes:
    """A field behind the addresses."""
    return struct.pack("!BH", kind, len(content)) + content


def tlsField(flags: int, verify: int, *fields: bytes) -> bytes:
    """The field about the client's TLS."""
    return field(0x20, struct.pack("!BI", flags, verify) + b"".join(fields))


def summed(block: bytes) -> bytes:
    """A header of version 2 with the checksum behind all else, reckoned bit by bit."""
    header = bytearray(version2(0x11, block + field(3, bytes(4))))
    rest = 0xFFFFFFFF
    for byte in header:
        for bit in range(8):
            low = (rest ^ byte >> bit) & 1
            rest = rest >> 1 ^ 0x82F63B78 * low
    header[-4:] = struct.pack("!I", rest ^ 0xFFFFFFFF)
    return bytes(header)


#: What HAProxy 2.6 says about a client with a certificate.
SHAKEN = ProxiedTLS("TLSv1.3", "TLS_AES_256_GCM_SHA384", True, True, "alice")
SHAKEN_FIELD = tlsField(
    7, 0, field(0x21, b"TLSv1.3"), field(0x22, b"alice"), field(0x23, b"TLS_AES_256_GCM_SHA384")
)

#: Fields behind the addresses, and what they add to them.
FIELDS: Sequence[tuple[str, bytes, Proxied]] = [
    ("a protocol", field(1, b"h2"), Proxied(CLIENT, LOCAL, protocol="h2")),
    ("a protocol that is no text", field(1, b"\xff"), Proxied(CLIENT, LOCAL, protocol="\xff")),
    ("an empty protocol", field(1), Proxied(CLIENT, LOCAL)),
    ("a host", field(2, b"Chat.example.ORG."), Proxied(CLIENT, LOCAL, "chat.example.org")),
    ("an address for a host", field(2, b"192.0.2.1"), Proxied(CLIENT, LOCAL)),
    ("an id", field(5, b"\0" * 128), Proxied(CLIENT, LOCAL, uniqueId=b"\0" * 128)),
    ("padding, twice", field(4, b"abc") * 2, Proxied(CLIENT, LOCAL)),
    ("a namespace, twice", field(0x30, b"blue") * 2, Proxied(CLIENT, LOCAL)),
    ("what somebody made up", field(0xEA, b"\1vpce-1"), Proxied(CLIENT, LOCAL)),
    ("TLS with a certificate", SHAKEN_FIELD, Proxied(CLIENT, LOCAL, tls=SHAKEN)),
    ("TLS and no more", tlsField(1, 1), Proxied(CLIENT, LOCAL, tls=ProxiedTLS())),
    (
        "a certificate that was not good",
        tlsField(3, 18),
        Proxied(CLIENT, LOCAL, tls=ProxiedTLS(hasCertificate=True)),
    ),
    (
        "a certificate of the session",
        tlsField(5, 0),
        Proxied(CLIENT, LOCAL, tls=ProxiedTLS(hasCertificate=True, isVerified=True)),
    ),
    ("nothing to verify", tlsField(1, 0), Proxied(CLIENT, LOCAL, tls=ProxiedTLS())),
    ("no TLS", tlsField(0, 0), Proxied(CLIENT, LOCAL)),
    (
        "all of it",
        field(2, b"a.b") + field(1, b"http/1.1") + SHAKEN_FIELD + field(5, b"x"),
        Proxied(CLIENT, LOCAL, "a.b", "http/1.1", SHAKEN, b"x"),
    ),
]

BAD_FIELDS: Sequence[tuple[str, bytes]] = [
    ("a byte", b"\4"),
    ("half a length", b"\4\0"),
    ("a length too big", b"\4\0\4abc"),
    ("a length far too big", b"\x04\xff\xff"),
    ("two protocols", field(1, b"h2") * 2),
    ("two hosts", field(2, b"a") + field(4) + field(2, b"b")),
    ("TLS twice", SHAKEN_FIELD * 2),
    ("two checksums", field(3, bytes(4)) * 2),
    ("an empty host", field(2)),
    ("a host that is none", field(2, b"a b")),
    ("a host that is not ASCII", field(2, b"b\xc3\xbccher.de")),
    ("a long id", field(5, bytes(129))),
    ("a wrong checksum", field(3, b"\1\2\3\4")),
    ("a short checksum", field(3, b"\1\2\3")),
    ("an empty checksum", field(3)),
    ("TLS cut short", field(0x20, b"\1\0\0\0")),
    ("a field of TLS cut short", tlsField(1, 0, b"\x21\0\3ab")),
    ("a field of TLS twice", tlsField(1, 0, field(0x22, b"a"), field(0x22, b"b"))),
    ("a name that is no text", tlsField(7, 0, field(0x22, b"\xff"))),
    ("a name that would write to the log", tlsField(7, 0, field(0x22, b"a\nb"))),
]

GOOD: Sequence[tuple[bytes, Proxied]] = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n", Proxied(CLIENT, LOCAL)),
    (b"PROXY TCP6 2001:db8::7 2001:DB8:0::1 5555 443\r\n", Proxied(CLIENT6, LOCAL6)),
    (
        b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
        Proxied(Address("0.0.0.0", 0), Address("255.255.255.255", 65535)),
    ),
    (b"PROXY UNKNOWN\r\n", Proxied()),
    (b"PROXY UNKNOWN whatever stands here\r\n", Proxied()),
    (version2(0x11, TCP4), Proxied(CLIENT, LOCAL)),
    (version2(0x21, TCP6), Proxied(CLIENT6, LOCAL6)),
    (version2(0x31, UNIX), Proxied(Address("unix:/run/a"), Address("unix:/run/b"))),
    # TLVs behind the addresses; a health check; what is not a stream; nothing at all.
    (version2(0x11, TCP4 + b"\x04\x00\x03abc"), Proxied(CLIENT, LOCAL)),
    (version2(0x11, TCP4, 0x20), Proxied()),
    (version2(0x12, TCP4), Proxied()),
    (version2(0x00, b""), Proxied()),
    (version2(0x00, bytes(4096)), Proxied()),
]

BAD: Sequence[bytes] = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"proxy TCP4",
    b"PROXYTCP4",
    b"\r\n\r\n\x00\r\nQUIT\r",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 5555\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443 1\r\n",
    b"PROXY TCP4  192.0.2.7 192.0.2.1 5555 443\r\n",
    b"PROXY UDP4 192.0.2.7 192.0.2.1 5555 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 5555 443\r\n",
    b"PROXY TCP6 192.0.2.7 192.0.2.1 5555 443\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 5555 443\r\n",
    b"PROXY TCP4 192.0.2.07 192.0.2.1 5555 443\r\n",
    b"PROXY TCP4 a 192.0.2.1 5555 443\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 443\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 +555 443\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 0555 443\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 \r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\n" + b" " * 107,
    b"PROXY " + b"x" * 101,
    version2(0x11, TCP4[:-1]),
    version2(0x21, TCP4),
    version2(0x31, UNIX[:-1]),
    version2(0x11, TCP4, 0x22),
    version2(0x11, TCP4, 0x11),
    version2(0x00, bytes(4097)),
]


class ProxyReaderTests(SynchronousTestCase):
    """Headers, whole and in pieces."""

    def test_whole(self) -> None:
        """What a header says is told, and what comes behind it is kept apart."""
        for header, expected in GOOD:
            for behind in (b"", b"behind \r\n it"):
                reader = ProxyReader()
                self.assertEqual(reader.feed(header + behind), expected, header)
                self.assertEqual(reader.rest, behind)

    def test_byteByByte(self) -> None:
        """It is complete with its last byte, and not before."""
        for header, expected in GOOD:
            reader = ProxyReader()
            for position in range(len(header) - 1):
                self.assertIsNone(reader.feed(header[position : position + 1]), header)
            self.assertEqual(reader.feed(header[-1:]), expected)
            self.assertEqual(reader.rest, b"")

    def test_fields(self) -> None:
        """What stands behind the addresses is told, in all families, with and without a sum."""
        for name, block, expected in FIELDS:
            self.assertEqual(ProxyReader().feed(version2(0x11, TCP4 + block)), expected, name)
            self.assertEqual(ProxyReader().feed(summed(TCP4 + block)), expected, name)
            for family, addresses in ((0x21, TCP6), (0x31, UNIX)):
                found = ProxyReader().feed(version2(family, addresses + block))
                assert found is not None
                self.assertEqual(
                    evolve(found, source=CLIENT, destination=LOCAL), expected, (name, family)
                )

    def test_badFields(self) -> None:
        """A field that is malformed is no reason to guess."""
        for name, block in BAD_FIELDS:
            for family, addresses in ((0x11, TCP4), (0x21, TCP6), (0x31, UNIX)):
                with self.assertRaises(BadRequest, msg=name):
                    ProxyReader().feed(version2(family, addresses + block))

    def test_checksum(self) -> None:
        """With a checksum, no bit of the header may be another."""
        header = summed(TCP4 + field(2, b"a.b"))
        for position in range(16, len(header)):
            broken = bytearray(header)
            broken[position] ^= 1
            with self.assertRaises(BadRequest):
                # Where a length has become longer, it waits for more that never fits.
                if ProxyReader().feed(bytes(broken)) is None:
                    raise BadRequest("waits")

    def test_ignored(self) -> None:
        """Where nobody is spoken for nothing is read, whatever stands there."""
        for command, family in ((0x20, 0x11), (0x21, 0x00), (0x21, 0x12)):
            for _, block in BAD_FIELDS:
                header = version2(family, TCP4 + block, command)
                self.assertEqual(ProxyReader().feed(header), Proxied())

    def test_bad(self) -> None:
        """What is no header is refused, whole or in pieces."""
        for header in BAD:
            self.assertRaises(BadRequest, ProxyReader().feed, header)
            reader = ProxyReader()
            with self.assertRaises(BadRequest, msg=header):
                for byte in header:
                    self.assertIsNone(reader.feed(bytes([byte])))

    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from(
            [b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c"]
        ),
        st.binary(max_size=40),
        st.integers(0, 60),
    )
    def test_anything(self, start: bytes, more: bytes, cut: int) -> None:
        """Whatever comes, in whatever pieces, is read alike, or refused alike."""
        data = start + more

        def read(*pieces: bytes) -> object:
            reader = ProxyReader()
            try:
                for position, piece in enumerate(pieces):
                    found = reader.feed(piece)
                    if found is not None:
                        return found, reader.rest + b"".join(pieces[position + 1 :])
            except BadRequest:
                return "refused"
            return None

        self.assertEqual(read(data), read(data[:cut], data[cut:]))


# Written this way or that, depending on the version of Python.
MAPPED = Address(str(ipaddress.ip_address("::ffff:192.0.2.7")), 5555)
HERE, THERE = Address("unix:/run/a"), Address("unix:/run/b")
NAMELESS = Address("unix:")

#: What is to be said, the line of version 1, and how version 2 reads when it comes back.
WRITTEN: Sequence[tuple[Proxied, bytes, Proxied]] = [
    (
        Proxied(CLIENT, LOCAL),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n",
        Proxied(CLIENT, LOCAL),
    ),
    (
        Proxied(CLIENT6, LOCAL6),
        b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n",
        Proxied(CLIENT6, LOCAL6),
    ),
    # An IPv6 socket that IPv4 came through; one end of each; a scope, which means nothing there.
    (
        Proxied(MAPPED, LOCAL),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n",
        Proxied(CLIENT, LOCAL),
    ),
    (
        Proxied(CLIENT, LOCAL6),
        f"PROXY TCP6 {MAPPED.host} 2001:db8::1 5555 443\r\n".encode(),
        Proxied(MAPPED, LOCAL6),
    ),
    (
        Proxied(Address("fe80::1%eth0", 1), LOCAL6),
        b"PROXY TCP6 fe80::1 2001:db8::1 1 443\r\n",
        Proxied(Address("fe80::1", 1), LOCAL6),
    ),
    (Proxied(HERE, THERE), b"PROXY UNKNOWN\r\n", Proxied(HERE, THERE)),
    (Proxied(NAMELESS, HERE), b"PROXY UNKNOWN\r\n", Proxied(NAMELESS, HERE)),
    (Proxied(HERE, LOCAL, "a.b"), b"PROXY UNKNOWN\r\n", Proxied()),
    (Proxied(), b"PROXY UNKNOWN\r\n", Proxied()),
    *(
        (each, b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 443\r\n", each)
        for _, _, each in FIELDS
        if each != Proxied(CLIENT, LOCAL)
    ),
]


class WriteTests(SynchronousTestCase):
    """What the relay says to a backend."""

    def test_version1(self) -> None:
        """Version 1 has addresses and nothing else."""
        for proxied, line, _ in WRITTEN:
            self.assertEqual(writeProxy1(proxied), line)

    def test_version2(self) -> None:
        """Version 2 says everything that is known."""
        for proxied, _, expected in WRITTEN:
            reader = ProxyReader()
            self.assertEqual(reader.feed(writeProxy2(proxied)), expected, proxied)
            self.assertEqual(reader.rest, b"")

    def test_bytes(self) -> None:
        """The bytes of version 2 are those of the specification."""
        proxied = Proxied(CLIENT, LOCAL, "a.b", "h2", SHAKEN)
        self.assertEqual(
            writeProxy2(proxied),
            version2(0x11, TCP4 + field(1, b"h2") + field(2, b"a.b") + SHAKEN_FIELD),
        )
        self.assertEqual(writeProxy2(Proxied(CLIENT6, LOCAL6)), version2(0x21, TCP6))
        self.assertEqual(writeProxy2(Proxied(HERE, THERE)), version2(0x31, UNIX))

    def test_local(self) -> None:
        """A connection without a client is the relay's own, and says so."""
        self.assertEqual(writeProxy2(proxiedOf(None)), version2(0x00, b"", 0x20))
        self.assertEqual(writeProxy1(proxiedOf(None)), b"PROXY UNKNOWN\r\n")

    def test_client(self) -> None:
        """What is known of a client is said; what it only asked for is not said to be so."""

        def said(**facts: object) -> Proxied:
            return proxiedOf(Inbound("1", "l", CLIENT, LOCAL, **facts))  # type: ignore[arg-type]

        def request(host: str) -> Request:
            return Request("GET", "/", Headers([(b"Host", host.encode("latin-1"))]))

        self.assertEqual(said(), Proxied(CLIENT, LOCAL))
        self.assertEqual(
            said(secure=True, serverName="a.b", alpn=("http/1.1",)),
            Proxied(CLIENT, LOCAL, "a.b", "http/1.1", ProxiedTLS()),
        )
        self.assertIsNone(said(serverName="a.b", alpn=("h2", "http/1.1")).protocol)
        for subject, verified, name in (
            ("CN=alice,O=Example", True, "alice"),
            ("O=Example+CN=alice", False, "alice"),
            ("CN=Alice\\, of B\\2C C,CN=other", True, "Alice, of B, C"),
            ("O=a\\,CN=mallory,CN=alice", True, "alice"),
            ("O=a\\\\,CN=alice", True, "alice"),
            ("O=Example", True, ""),
            ("", True, ""),
            ("CN=a\nb", True, ""),
        ):
            certificate = ClientCertificate(subject, "CN=ca", "1", "00", verified)
            self.assertEqual(
                said(secure=True, certificate=certificate).tls,
                ProxiedTLS("", "", True, verified, name),
            )
        for host, expected in (
            ("Chat.example.org:8080", "chat.example.org"),
            ("192.0.2.1:80", None),
            ("[::1]:80", None),
            ("\xe4", None),
            ("", None),
        ):
            self.assertEqual(said(request=request(host)).authority, expected)
        self.assertEqual(said(request=request("b.c"), serverName="a.b").authority, "a.b")

    @settings(max_examples=100, deadline=None)
    @given(
        st.builds(
            Proxied,
            st.builds(Address, st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
            st.builds(Address, st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
            st.none() | st.from_regex(r"[a-z]{1,20}(\.[a-z]{1,20}){0,3}", fullmatch=True),
            st.none() | st.text(st.characters(max_codepoint=255), min_size=1, max_size=40),
            st.none()
            | st.builds(
                lambda version, name, isGood: ProxiedTLS(version, "", isGood, isGood, name),
                st.sampled_from(["", "TLSv1.2"]),
                st.text(st.characters(categories=["L", "N"]), max_size=40),
                st.booleans(),
            ),
            st.binary(max_size=128),
        ),
        st.binary(max_size=20),
        st.lists(st.integers(0, 400), max_size=4),
    )
    def test_anything(self, proxied: Proxied, behind: bytes, cuts: list[int]) -> None:
        """Whatever is written is read as it was meant, wherever it is cut."""
        stream = writeProxy2(proxied) + behind
        borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        reader, found, rest = ProxyReader(), None, b""
        for start, end in itertools.pairwise(borders):
            if found is None:
                found = reader.feed(stream[start:end])
                rest = reader.rest
            else:
                rest += stream[start:end]
        self.assertEqual((found, rest), (proxied, behind))
