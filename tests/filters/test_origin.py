# -*- test-case-name: tests.filters.test_origin -*-
"""
Which pages may open WebSockets.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from tests.filters.support import HANDSHAKE, FilterTestCase, exchangeOf
from wsrelay.filters.origin import Origin, OriginFilter, OriginOptions

#: What Origin says, the Host, whether it is TLS, whether it is the same origin.
SAME = [
    ("http://a.example", "a.example", False, True),
    ("http://A.Example", "a.EXAMPLE", False, True),
    ("HTTP://a.example", "a.example", False, True),
    ("http://a.example:80", "a.example", False, True),
    ("http://a.example", "a.example:80", False, True),
    ("http://a.example:8080", "a.example:8080", False, True),
    ("https://a.example", "a.example:443", True, True),
    ("https://[2001:DB8:0::1]", "[2001:db8::1]", True, True),
    ("https://192.0.2.1:8443", "192.0.2.1:8443", True, True),
    ("http://a.example", "a.example", True, False),
    ("https://a.example", "a.example", False, False),
    ("http://a.example:8080", "a.example", False, False),
    ("http://a.example", "a.example:8080", False, False),
    ("http://b.example", "a.example", False, False),
    ("http://sub.a.example", "a.example", False, False),
    ("http://a.example.", "a.example", False, False),
    ("http://a.example.evil.example", "a.example", False, False),
    ("null", "a.example", False, False),
    ("NULL", "null", False, False),
    ("", "a.example", False, False),
    ("http://a.example/", "a.example", False, False),
    ("http://a.example http://a.example", "a.example", False, False),
    ("http://a.example, http://b.example", "a.example", False, False),
    ("http://user@a.example", "a.example", False, False),
    ("//a.example", "a.example", False, False),
    ("a.example", "a.example", False, False),
    ("http://a.example:", "a.example", False, False),
    ("http://a.example:0", "a.example", False, False),
    ("http://a.example:65616", "a.example", False, False),
    ("http://a.example?x", "a.example", False, False),
    ("http://[::1", "a.example", False, False),
    ("http://[:::]", "a.example", False, False),
    ("http://\xe4.example", "a.example", False, False),
    ("javascript:alert(1)", "a.example", False, False),
]

#: The list, what Origin says, whether it may.
LISTED = [
    (["https://app.example"], "https://app.example", True),
    (["https://APP.example:443"], "https://app.example", True),
    (["https://app.example"], "https://app.example:8443", False),
    (["https://app.example"], "http://app.example", False),
    (["https://app.example"], "https://x.app.example", False),
    (["https://*.app.example"], "https://x.app.example", True),
    (["https://*.app.example"], "https://y.x.app.example", True),
    (["https://*.app.example"], "https://app.example", False),
    (["https://*.app.example"], "https://xapp.example", False),
    (["https://*.app.example"], "https://.app.example.evil", False),
    (["https://*.app.example:8443"], "https://x.app.example:8443", True),
    (["https://*.app.example:8443"], "https://x.app.example", False),
    (["https://bücher.example"], "https://xn--bcher-kva.example", True),
    (["https://*.BÜCHER.example:444"], "https://a.xn--bcher-kva.example:444", True),
    (["chrome-extension://abcdef"], "chrome-extension://abcdef", True),
    (["chrome-extension://abcdef"], "chrome-extension://abcdeg", False),
    (["https://a.example", "https://b.example"], "https://b.example", True),
    (["https://a.example"], "null", False),
]

WRONG = (
    "*",
    "a.example",
    "https://",
    "https://a.example/x",
    "https://*",
    "null",
    "https://a.*.example",
    "https://a.example:x",
    "https://b\u0308\u0000.example",
)


class OriginTests(SynchronousTestCase):
    """The rules."""

    def passes(self, made: OriginFilter, *origins: str, **how: Any) -> bool:
        """Whether a request with these origins does."""
        fields = [b"Origin: " + each.encode("latin-1") for each in origins]
        respond = made.requestReceived(exchangeOf(*fields, **{"upgrade": True, **how}))
        self.assertIn(respond.status if respond else 0, (0, 403))
        return respond is None

    def test_same(self) -> None:
        """The same scheme, host and port, however they are written, and nothing else."""
        made = OriginFilter(OriginOptions())
        for origin, host, secure, isSame in SAME:
            found = self.passes(made, origin, host=host.encode(), secure=secure)
            self.assertIs(found, isSame, (origin, host, secure))

    def test_listed(self) -> None:
        """Origins of the list, and names below one where it says so."""
        for allow, origin, may in LISTED:
            made = OriginFilter(OriginOptions(sameOrigin=False, allow=allow))
            self.assertIs(self.passes(made, origin), may, (allow, origin))

    def test_options(self) -> None:
        """What is looked at, and what a missing Origin means, is the configuration's to say."""
        here, there = "http://a.example", "http://b.example"
        for options, origins, how, may in [
            ({}, [], {}, True),
            ({"missing": "refuse"}, [], {}, False),
            ({"missing": "refuse"}, [here], {}, True),
            ({"sameOrigin": False}, [here], {}, False),
            ({}, [here, here], {}, False),
            ({}, [there], {"upgrade": False}, True),
            ({}, [there], {"upgrade": False, "method": b"POST"}, True),
            ({"unsafeRequests": True}, [there], {"upgrade": False, "method": b"POST"}, False),
            ({"unsafeRequests": True}, [here], {"upgrade": False, "method": b"POST"}, True),
            ({"unsafeRequests": True}, [there], {"upgrade": False, "method": b"HEAD"}, True),
            ({"unsafeRequests": True}, [there], {"upgrade": False, "method": b"BREW"}, False),
        ]:
            made = OriginFilter(OriginOptions(**options))
            self.assertIs(self.passes(made, *origins, **how), may, (options, origins, how))

    def test_believed(self) -> None:
        """Forwarding fields are believed by the listener or not at all, never here."""
        made = OriginFilter(OriginOptions())
        forged = (b"X-Forwarded-Proto: https", b"X-Forwarded-Host: b.example")
        for origin in (b"https://a.example", b"http://b.example", b"https://b.example"):
            exchange = exchangeOf(b"Origin: " + origin, *forged, upgrade=True)
            for name in ("X-Forwarded-Proto", "X-Forwarded-Host"):
                exchange.outbound.headers.set(name, exchange.inbound.request.headers.get(name))
            self.assertIsNotNone(made.requestReceived(exchange), origin)

    def test_wrong(self) -> None:
        """What cannot be an origin is no part of the list."""
        for wrong in WRONG:
            error = self.assertRaises(ValidationError, OriginOptions, allow=[wrong])
            self.assertIn("expected an origin", str(error))

    def test_port(self) -> None:
        """A scheme without a port of its own has none."""
        self.assertEqual(Origin.parse("app://x"), Origin("app", "x", 0))


class RelayTests(FilterTestCase):
    """Inside a relay."""

    async def test_hijack(self) -> None:
        """A WebSocket that another page opens gets 403 before any 101, and the backend nothing."""
        port, backend = await self.relay('use = "origin"')
        heard = await self.refusedRaw(port, HANDSHAKE + b"Origin: https://evil.example\r\n\r\n")
        self.assertTrue(heard.startswith(b"HTTP/1.1 403 Forbidden\r\n"), heard)
        self.assertEqual(backend.count, 0)

    async def test_own(self) -> None:
        """One that the own page opens reaches the backend."""
        port, backend = await self.relay('use = "origin"')
        client = await self.dial(port)
        client.send(HANDSHAKE + b"Origin: http://a.example\r\n\r\n")
        peer = await backend.peers.get()
        head = await peer.when(lambda got: b"\r\n\r\n" in got)
        self.assertIn(b"Origin: http://a.example\r\n", head)
        await self.hangUp(client)
        await peer.lost
