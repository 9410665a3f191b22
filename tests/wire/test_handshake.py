# -*- test-case-name: tests.wire.test_handshake -*-
"""
Tests for L{wsrelay.wire.handshake}: nothing but a true handshake opens a tunnel.
"""

from __future__ import annotations

import base64
import time

from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.errors import BadHandshake, BadResponse
from wsrelay.model import Headers, Request, Response
from wsrelay.wire.handshake import (
    Accepted,
    Handshake,
    acceptKey,
    checkAccepted,
    readHandshake,
    wantsUpgrade,
)

bounded = settings(max_examples=100, deadline=None)

# RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

REQUEST = {
    "Host": b"a",
    "Upgrade": b"websocket",
    "Connection": b"Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": b"13",
}
RESPONSE = {
    "Upgrade": b"websocket",
    "Connection": b"Upgrade",
    "Sec-WebSocket-Accept": ACCEPT,
}

Change = bytes | list[bytes] | None


def changed(fields: dict[str, bytes], changes: dict[str, Change]) -> Headers:
    """These fields; with C{None} one is left out, with a list it stands there several times."""
    raw: list[tuple[bytes, bytes]] = []
    for name, value in {**fields, **changes}.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        raw += [(name.encode("ascii"), each) for each in values]
    return Headers(raw)


def request(
    changes: dict[str, Change] | None = None, method: str = "GET", version: int = 1
) -> Request:
    """A good handshake, or one with something changed."""
    return Request(method, "/", changed(REQUEST, changes or {}), (1, version))


def response(
    changes: dict[str, Change] | None = None, status: int = 101, version: int = 1
) -> Response:
    """A good answer, or one with something changed."""
    return Response(status, "", changed(RESPONSE, changes or {}), (1, version))


GOOD_OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=10, permessage-deflate",
    'a; b="c"; d , e;f',
    'a;b = "\\c"',
    "x-webkit-deflate-frame",
]

BAD_OFFERS = [
    "", ",", "a,", ",a", "a,,b", "a;", "a;;b", ";a", "a=b", "a; =b", "a; b=", 'a; b="', 'a; b=""',
    'a; b="c d"', 'a; b="c"d', "a b", "a; b c", "a/b", "a; b=c=d", "\xe9", "a\x85b", "a" * 5000,
    ", ".join(["a"] * 33), 'a; b="\\"', "a; b='c'@",
]  # fmt: skip

BAD_KEYS: list[Change] = [
    None,
    b"",
    b"dGhlIHNhbXBsZSBub25jZQ",
    b"dGhlIHNhbXBsZSBub25jZQ=",
    b"dGhlIHNhbXBsZSBub25jZQ===",
    b"dGhlIHNhbXBsZSBub25jZR==",  # bits set that base64 of 16 bytes leaves clear
    b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
    b"dGhlIHNhbXBsZSBub25-ZQ==",
    b"dGhlIHNhbXBsZS Bub25jZQ==",
    base64.b64encode(bytes(15)),
    base64.b64encode(bytes(17)),
    base64.b64encode(bytes(18)),
    [KEY, KEY],
    [KEY, b""],
]

# What makes a request no handshake: changed fields, and the status.
BAD_REQUESTS: list[tuple[dict[str, Change], int]] = [
    *(({"Sec-WebSocket-Key": key}, 400) for key in BAD_KEYS),
    *(({"Sec-WebSocket-Extensions": offer.encode("latin-1")}, 400) for offer in BAD_OFFERS),
    ({"Upgrade": b"websocket, h2c"}, 400),
    ({"Upgrade": b"h2c, websocket"}, 400),
    ({"Upgrade": [b"websocket", b"h2c"]}, 400),
    ({"Upgrade": b"websocket, websocket"}, 400),
    ({"Upgrade": b"websocket/13"}, 400),
    ({"Upgrade": b"h2c"}, 400),
    ({"Upgrade": None}, 400),
    ({"Connection": None}, 400),
    ({"Connection": b"keep-alive"}, 400),
    ({"Connection": b"upgraded"}, 400),
    ({"Connection": b"x upgrade"}, 400),
    ({"Content-Length": b"5"}, 400),
    ({"Content-Length": b"x"}, 400),
    ({"Content-Length": [b"0", b"0"]}, 400),
    ({"Transfer-Encoding": b"chunked"}, 400),
    ({"Transfer-Encoding": b"gzip, chunked"}, 400),
    ({"Transfer-Encoding": b"chunked", "Content-Length": b"0"}, 400),
    ({"Expect": b"100-continue"}, 400),
    ({"Origin": [b"https://a", b"https://b"]}, 400),
    ({"Sec-WebSocket-Protocol": b""}, 400),
    ({"Sec-WebSocket-Protocol": b","}, 400),
    ({"Sec-WebSocket-Protocol": b"a, a"}, 400),
    ({"Sec-WebSocket-Protocol": [b"a", b"b, a"]}, 400),
    ({"Sec-WebSocket-Protocol": b"a b"}, 400),
    ({"Sec-WebSocket-Protocol": b"a/b"}, 400),
    ({"Sec-WebSocket-Protocol": b"\xe9"}, 400),
    ({"Sec-WebSocket-Protocol": b", ".join(b"p%d" % n for n in range(65))}, 400),
    ({"Sec-WebSocket-Version": None}, 426),
    ({"Sec-WebSocket-Version": b""}, 426),
    ({"Sec-WebSocket-Version": b"8"}, 426),
    ({"Sec-WebSocket-Version": b"12"}, 426),
    ({"Sec-WebSocket-Version": b"14"}, 426),
    ({"Sec-WebSocket-Version": b"013"}, 426),
    ({"Sec-WebSocket-Version": b"+13"}, 426),
    ({"Sec-WebSocket-Version": b"13, 8"}, 426),
    ({"Sec-WebSocket-Version": [b"13", b"13"]}, 426),
    # The version is told to those only who would be right with another one.
    ({"Sec-WebSocket-Version": b"12", "Sec-WebSocket-Key": b"x"}, 400),
    ({"Sec-WebSocket-Version": None, "Connection": None}, 400),
]

OFFERED = Handshake(KEY, ("chat", "superchat"), "permessage-deflate; server_max_window_bits, b")

BAD_RESPONSES: list[dict[str, Change]] = [
    {"Upgrade": None},
    {"Upgrade": b"h2c"},
    {"Upgrade": b"websocket, h2c"},
    {"Upgrade": [b"websocket", b"websocket"]},
    {"Connection": None},
    {"Connection": b"close"},
    {"Sec-WebSocket-Accept": None},
    {"Sec-WebSocket-Accept": b""},
    {"Sec-WebSocket-Accept": KEY},
    {"Sec-WebSocket-Accept": ACCEPT.lower()},
    {"Sec-WebSocket-Accept": ACCEPT + b"="},
    {"Sec-WebSocket-Accept": [ACCEPT, ACCEPT]},
    {"Sec-WebSocket-Protocol": b""},
    {"Sec-WebSocket-Protocol": b"Chat"},
    {"Sec-WebSocket-Protocol": b"other"},
    {"Sec-WebSocket-Protocol": b"chat, superchat"},
    {"Sec-WebSocket-Protocol": [b"chat", b"chat"]},
    {"Sec-WebSocket-Extensions": b""},
    {"Sec-WebSocket-Extensions": b"c"},
    {"Sec-WebSocket-Extensions": b"server_max_window_bits"},
    {"Sec-WebSocket-Extensions": b"permessage-deflate, c"},
    {"Sec-WebSocket-Extensions": [b"permessage-deflate", b"c"]},
    {"Sec-WebSocket-Extensions": b"permessage-deflate;"},
    {"Content-Length": b"5"},
    {"Transfer-Encoding": b"chunked"},
]


class WantsUpgradeTests(SynchronousTestCase):
    """Whoever asks for a WebSocket is held to its rules."""

    def test_wants(self) -> None:
        """The token may stand in any case, place and line."""
        for value in (b"websocket", b"WebSocket", b"h2c, WEBSOCKET", [b"h2c", b"a,websocket\t"]):
            self.assertTrue(wantsUpgrade(request({"Upgrade": value})))
        self.assertTrue(wantsUpgrade(request({"Connection": None}, method="POST", version=0)))

    def test_wantsNot(self) -> None:
        """Any other protocol is not ours."""
        for value in (None, b"", b"h2c", b"websocket2", b"web socket", b"websocket/13"):
            self.assertFalse(wantsUpgrade(request({"Upgrade": value})))


class ReadHandshakeTests(SynchronousTestCase):
    """A client's handshake is right, or is answered at once."""

    def test_plain(self) -> None:
        """The least there can be."""
        self.assertEqual(readHandshake(request()), Handshake(KEY, (), "", None))

    def test_full(self) -> None:
        """Everything a browser may offer, over several lines."""
        found = readHandshake(
            request(
                {
                    "Upgrade": b"WebSocket",
                    "Connection": [b"keep-alive,  UPGRADE", b"x"],
                    "Content-Length": b"0",
                    "Origin": b"https://a.example",
                    "Sec-WebSocket-Protocol": [b"chat, superchat", b"CHAT"],
                    "Sec-WebSocket-Extensions": [b"a; b=c", b"d"],
                }
            )
        )
        expected = Handshake(KEY, ("chat", "superchat", "CHAT"), "a; b=c, d", "https://a.example")
        self.assertEqual(found, expected)

    def test_offers(self) -> None:
        """An extension offer is taken as it was written."""
        for offer in GOOD_OFFERS:
            found = readHandshake(request({"Sec-WebSocket-Extensions": offer.encode("ascii")}))
            self.assertEqual(found.extensions, offer)

    def test_bad(self) -> None:
        """Everything else is refused, with the status that says why."""
        for changes, status in BAD_REQUESTS:
            with self.assertRaises(BadHandshake, msg=repr(changes)) as caught:
                readHandshake(request(changes))
            self.assertEqual(caught.exception.status, status, changes)

    def test_otherRequests(self) -> None:
        """Only a GET in HTTP/1.1 is a handshake."""
        for method, version in (("POST", 1), ("HEAD", 1), ("OPTIONS", 1), ("GET", 0)):
            error = self.assertRaises(
                BadHandshake, readHandshake, request(method=method, version=version)
            )
            self.assertEqual(error.status, 400)

    def test_versionIsTold(self) -> None:
        """Whoever has only the version wrong is told the right one."""
        other = request({"Sec-WebSocket-Version": b"12"})
        error = self.assertRaises(BadHandshake, readHandshake, other)
        self.assertIn((b"Sec-WebSocket-Version", b"13"), error.headers)

    def test_linear(self) -> None:
        """A hostile offer costs no more than its length."""
        start = time.process_time()
        for offer in (
            "a;" * 2000 + "@", "a; b=c" * 680 + "@", "a" + " " * 4000 + "@",
            "a, " * 30 + "a" * 3900, 'a; b="' + "c" * 4000, 'a; b="' + "\\c" * 2000,
            "a; b" + " " * 4000 + "=@",
        ):  # fmt: skip
            for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"):
                try:
                    readHandshake(request({name: offer.encode("ascii")}))
                except BadHandshake:
                    continue
        self.assertLess(time.process_time() - start, 2.0)

    @bounded
    @given(
        st.sampled_from(
            [*REQUEST, "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin"]
        ),
        st.lists(st.binary(max_size=30), max_size=3),
    )
    def test_anyField(self, name: str, values: list[bytes]) -> None:
        """Whatever stands in a field, the answer is a handshake or a BadHandshake."""
        try:
            found = readHandshake(request({name: list(values)}))
        except BadHandshake:
            return
        self.assertEqual(len(base64.b64decode(found.key, validate=True)), 16)


class AcceptKeyTests(SynchronousTestCase):
    """The proof that a server speaks WebSocket."""

    def test_example(self) -> None:
        """The example of RFC 6455 section 1.3."""
        self.assertEqual(acceptKey(KEY), ACCEPT)


class CheckAcceptedTests(SynchronousTestCase):
    """A backend's 101 opened what was asked for, or is a bad response."""

    def test_plain(self) -> None:
        """The least there can be: nothing of what was offered."""
        self.assertEqual(checkAccepted(OFFERED, response()), Accepted(None, ""))

    def test_full(self) -> None:
        """One subprotocol and some extensions of those offered."""
        answer = response(
            {
                "Upgrade": b"WEBSOCKET",
                "Connection": b"keep-alive, upgrade",
                "Sec-WebSocket-Protocol": b"superchat",
                "Sec-WebSocket-Extensions": [b"b; x", b"permessage-deflate"],
                "Content-Length": b"0",
            }
        )
        expected = Accepted("superchat", "b; x, permessage-deflate")
        self.assertEqual(checkAccepted(OFFERED, answer), expected)

    def test_bad(self) -> None:
        """What was not offered, or is no proof, opens nothing."""
        for changes in BAD_RESPONSES:
            with self.assertRaises(BadResponse, msg=repr(changes)) as caught:
                checkAccepted(OFFERED, response(changes))
            self.assertEqual(caught.exception.status, 502)

    def test_nothingOffered(self) -> None:
        """Who offered nothing can be given nothing."""
        for name, value in (
            ("Sec-WebSocket-Protocol", b"chat"),
            ("Sec-WebSocket-Extensions", b"permessage-deflate"),
        ):
            answer = response({name: value})
            self.assertRaises(BadResponse, checkAccepted, Handshake(KEY), answer)

    def test_otherAnswers(self) -> None:
        """No other status opens a tunnel, and HTTP/1.0 never does."""
        for status, version in ((100, 1), (200, 1), (426, 1), (101, 0)):
            answer = response(status=status, version=version)
            self.assertRaises(BadResponse, checkAccepted, OFFERED, answer)

    @bounded
    @given(st.binary(min_size=16, max_size=16))
    def test_otherKey(self, nonce: bytes) -> None:
        """The answer to one key is no answer to another."""
        key = base64.b64encode(nonce)
        answer = response({"Sec-WebSocket-Accept": acceptKey(key)})
        self.assertEqual(checkAccepted(Handshake(key), answer), Accepted(None, ""))
        if key != KEY:
            self.assertRaises(BadResponse, checkAccepted, OFFERED, answer)
