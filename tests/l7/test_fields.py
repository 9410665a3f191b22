# -*- test-case-name: tests.l7.test_fields -*-
"""
Which fields pass from one side to the other, as tables.
"""

from __future__ import annotations

from hypothesis import given, settings, strategies
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.l7.fields import (
    framed,
    mayHaveBody,
    outboundRequest,
    outboundResponse,
    shaken,
)
from wsrelay.l7.forwarded import SAYINGS
from wsrelay.model import Address, Headers, Inbound, MutableHeaders, Request, Response
from wsrelay.wire.bodies import BodyKind, Framing


def fields(text: str) -> list[tuple[bytes, bytes]]:
    """Lines C{Name: value} as fields."""
    lines = [line.strip() for line in text.strip().splitlines()]
    pairs = [line.partition(":") for line in lines if line]
    return [(name.encode(), value.strip().encode()) for name, _, value in pairs]


def inbound(text: str, secure: bool = False, client: str = "10.1.2.3") -> Inbound:
    """A request with these fields."""
    request = Request("GET", "/", Headers(fields(text)))
    local = Address("10.0.0.1", 80)
    return Inbound("1", "public", Address(client, 1234), local, secure, request=request)


class EndToEndTests(SynchronousTestCase):
    """Hop-by-hop fields (RFC 9110 section 7.6.1)."""

    def left(self, pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The fields of a response that pass."""
        return list(outboundResponse(Response(200, "OK", Headers(pairs)), False).headers.raw)

    def test_named(self) -> None:
        """What C{Connection} names stays behind, in any case and over several lines."""
        left = self.left(
            fields(
                """
                Connection: X-One ,close
                X-One: 1
                X-TWO: 2
                CONNECTION: x-two
                X-Three: 3
                """
            )
        )
        self.assertEqual(left, [(b"X-Three", b"3")])

    def test_protected(self) -> None:
        """What authenticates or frames a request cannot be named away (CVE-2022-31813)."""
        kept = fields(
            """
            Authorization: Basic eA==
            Cookie: a=1
            Host: a
            Origin: https://a
            Content-Type: text/plain
            Sec-WebSocket-Protocol: chat
            """
        )
        for name, _ in kept:
            self.assertEqual(self.left([(b"Connection", name), *kept]), kept)

    @settings(max_examples=100, deadline=None)
    @given(strategies.lists(strategies.sampled_from([b"close", b"", b" ", b"x-a", b"host"])))
    def test_anyConnection(self, tokens: list[bytes]) -> None:
        """Whatever stands in C{Connection}, nothing is taken away that it does not name."""
        pairs = [(b"Connection", b",".join(tokens)), (b"X-A", b"1"), (b"Host", b"a")]
        left = [name for name, _ in self.left(pairs)]
        self.assertEqual(left, [b"Host"] if b"x-a" in tokens else [b"X-A", b"Host"])

    def test_manyNames(self) -> None:
        """Names that were never seen before are told apart as well as those that are known."""
        for number in range(3000):
            name = b"X-Own-%d" % number
            self.assertEqual(self.left([(name, b"1"), (b"tE", b"x")]), [(name, b"1")])
        long = b"Te" * 50
        self.assertEqual(self.left([(long, b"1"), (b"TE", b"x")]), [(long, b"1")])


class RequestTests(SynchronousTestCase):
    """What a backend gets."""

    def outbound(self, text: str, isUpgrade: bool = False) -> list[tuple[bytes, bytes]]:
        """The fields that are left of a request, without those that the relay adds."""
        outbound = outboundRequest(inbound(text), isUpgrade, "backend:1")
        return [pair for pair in outbound.headers.raw if not pair[0].startswith(b"X-Forwarded")]

    def test_hopByHop(self) -> None:
        """Nothing of this connection's own affairs reaches the backend."""
        left = self.outbound(
            """
            Host: a
            Connection: keep-alive, Upgrade, HTTP2-Settings
            Keep-Alive: timeout=5
            Proxy-Connection: keep-alive
            Proxy-Authorization: Basic eA==
            TE: trailers
            Trailer: X-End
            Upgrade: h2c
            HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA
            Transfer-Encoding: chunked
            Content-Length: 5
            Accept: */*
            """
        )
        self.assertEqual(left, [(b"Host", b"a"), (b"Accept", b"*/*")])

    def test_trust(self) -> None:
        """What a client says about who it is stays outside, however it is spelled."""
        left = self.outbound(
            """
            Host: a
            X-Forwarded-For: 1.1.1.1
            x-forwarded-proto: https
            X_Forwarded_Host: evil
            X-Forwarded-Client-Cert: Subject=admin
            X-ForwardedFor: 1.1.1.1
            Forwarded: for=1.1.1.1
            X-Real-IP: 1.1.1.1
            X_REAL_IP: 1.1.1.1
            Client-Cert: :MIIB:
            Client-Cert-Chain: :MIIB:
            X-Real: 1
            """
        )
        self.assertEqual(left, [(b"Host", b"a"), (b"X-Real", b"1")])

    def test_forwarding(self) -> None:
        """The relay says where the client comes from, and cannot be made to leave it out."""
        text = "Host: a.example:8080\nConnection: X-Forwarded-For, X-Forwarded-Proto"
        for secure, client, wanted in [
            (False, "10.1.2.3", ["10.1.2.3", "http", "a.example:8080"]),
            (True, "2001:db8::1", ["2001:db8::1", "https", "a.example:8080"]),
            (False, "unix:", ["unknown", "http", "a.example:8080"]),
        ]:
            headers = outboundRequest(inbound(text, secure, client), False, "b").headers
            said = [headers.getAll(f"X-Forwarded-{name}") for name in ("For", "Proto", "Host")]
            self.assertEqual(said, [[each] for each in wanted])

    def test_says(self) -> None:
        """What the backend is told about the client is said as the listener wants it."""
        for word, names in [
            ("x-forwarded", ["Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]),
            ("rfc7239", ["Host", "Forwarded"]),
            ("off", ["Host"]),
        ]:
            asked = inbound("Host: a\nX-Forwarded-For: 1.1.1.1\nForwarded: for=1.1.1.1")
            outbound = outboundRequest(asked, False, "b", SAYINGS[word])
            self.assertEqual([name for name, _ in outbound.headers], names)

    def test_host(self) -> None:
        """A client of HTTP/1.0 that names no host gets the backend's."""
        headers = outboundRequest(inbound("Accept: */*"), False, "backend:1").headers
        self.assertEqual(headers.getAll("Host"), ["backend:1"])

    def test_handshake(self) -> None:
        """The fields of a handshake are the relay's, except the subprotocols."""
        text = """
            Host: a
            Connection: Upgrade
            Upgrade: websocket
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
            Sec-WebSocket-Version: 13
            Sec-WebSocket-Extensions: permessage-deflate
            Sec-WebSocket-Protocol: chat
            """
        kept = [(b"Host", b"a"), (b"Sec-WebSocket-Protocol", b"chat")]
        self.assertEqual(self.outbound(text, isUpgrade=True), kept)

    def test_mayHaveBody(self) -> None:
        """Only a head that says nothing about a body or frames is certainly all there is."""
        for text, expected in [
            ("Host: a", False),
            ("Content-Length: 0", False),
            ("Content-Length: 1", True),
            ("Content-Length: x", True),
            ("Content-Length: 0\nContent-Length: 5", True),
            ("Content-Length:", True),
            ("Transfer-Encoding: chunked", True),
            ("Upgrade: websocket", True),
            ("Transfer-Encoding: x\nContent-Length: 0", True),
        ]:
            request = Request("GET", "/", Headers(fields(text)))
            self.assertEqual(mayHaveBody(request), expected, text)


class ResponseTests(SynchronousTestCase):
    """What a client gets."""

    def test_hopByHop(self) -> None:
        """Nothing of the backend's connection reaches the client."""
        response = Response(
            200,
            "OK",
            Headers(
                fields(
                    """
                    Connection: X-Hop
                    X-Hop: 1
                    Keep-Alive: timeout=5
                    Transfer-Encoding: chunked
                    Content-Length: 5
                    Upgrade: h2c
                    Proxy-Authenticate: Basic
                    Set-Cookie: a=1
                    Set-Cookie: b=2
                    """
                )
            ),
        )
        outbound = outboundResponse(response, False)
        self.assertEqual(
            list(outbound.headers.raw), [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
        )
        self.assertEqual((outbound.status, outbound.reason), (200, "OK"))

    def test_accepted(self) -> None:
        """Of a 101 the subprotocol passes; the rest of the handshake is the relay's."""
        response = Response(
            101,
            "Switching Protocols",
            Headers(
                fields(
                    """
                    Upgrade: websocket
                    Connection: Upgrade
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
                    Sec-WebSocket-Extensions: permessage-deflate
                    Sec-WebSocket-Protocol: chat
                    Server: x
                    """
                )
            ),
        )
        self.assertEqual(
            list(outboundResponse(response, True).headers.raw),
            [(b"Sec-WebSocket-Protocol", b"chat"), (b"Server", b"x")],
        )


class WrittenTests(SynchronousTestCase):
    """Whatever a filter did, framing and handshake are the relay's."""

    EDITED = MutableHeaders(
        fields(
            """
            Content-Length: 99
            Transfer-Encoding: chunked
            Connection: X
            Upgrade: h2c
            Sec-WebSocket-Extensions: x
            Sec-WebSocket-Accept: x
            X-Own: 1
            """
        )
    )

    def test_framed(self) -> None:
        """Each framing is said once."""
        own = fields("Sec-WebSocket-Extensions: x\nSec-WebSocket-Accept: x\nX-Own: 1")
        for kind, said in [
            (BodyKind.NONE, []),
            (BodyKind.CLOSE, []),
            (BodyKind.LENGTH, [(b"Content-Length", b"7")]),
            (BodyKind.CHUNKED, [(b"Transfer-Encoding", b"chunked")]),
        ]:
            extra = ((b"Connection", b"close"),)
            self.assertEqual(framed(self.EDITED, Framing(kind, 7), extra), [*own, *said, *extra])

    def test_shaken(self) -> None:
        """A handshake has the fields it was given, and none of a filter's."""
        handshake = [(b"Upgrade", b"websocket")]
        self.assertEqual(shaken(self.EDITED, handshake), [(b"X-Own", b"1"), *handshake])
