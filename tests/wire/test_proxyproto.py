# -*- test-case-name: tests.wire.test_proxyproto -*-
"""
Whom a balancer in front speaks for.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadRequest
from wsrelay.model import Address
from wsrelay.wire.proxyproto import Proxied, ProxyReader

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
