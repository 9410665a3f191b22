# -*- test-case-name: tests.test_model -*-
"""
Facts and decisions as values: what can be asked of them, and what they refuse to be.
"""

from __future__ import annotations

from typing import Any

from attrs import has
from attrs.exceptions import FrozenInstanceError
from twisted.trial.unittest import SynchronousTestCase

from wsrelay import model
from wsrelay.model import (
    Address,
    ClientCertificate,
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


# One of everything that does not change, with one attribute to try.
FROZEN: list[tuple[Any, str]] = [
    (Address("192.0.2.1", 80), "host"),
    (ClientCertificate("CN=a", "CN=b", "1f", "00"), "verified"),
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


class RespondTests(SynchronousTestCase):
    """Answering a client instead of forwarding it."""

    def test_finalStatus(self) -> None:
        """Only a final status can be answered with."""
        for status in (200, 401, 599):
            self.assertEqual(Respond(status).status, status)
        for status in (0, 101, 199, 600):
            self.assertRaises(ValueError, Respond, status)

    def test_splitting(self) -> None:
        """No policy can split the response through a header."""
        self.assertRaises(ValueError, Respond, 302, ((b"Location", b"/\r\nX: 1"),))
        self.assertRaises(ValueError, Respond, 302, ((b"Location:", b"/"),))


class MessageTests(SynchronousTestCase):
    """One whole WebSocket message."""

    def test_text(self) -> None:
        """The text of a message is its payload, decoded."""
        self.assertEqual(Message("\xe9\u20ac".encode(), True).text, "\xe9\u20ac")

    def test_noText(self) -> None:
        """A binary message need not be text."""
        self.assertRaises(UnicodeDecodeError, lambda: Message(b"\xff").text)


class ClientCertificateTests(SynchronousTestCase):
    """Who a client is."""

    def test_pem(self) -> None:
        """A certificate can be had as text, in lines of 64 letters; its bytes are not shown."""
        certificate = ClientCertificate("CN=a", "CN=b", "1f", "00", der=bytes(100))
        self.assertEqual(
            certificate.pem.splitlines(),
            [
                "-----BEGIN CERTIFICATE-----",
                *("A" * 64, "A" * 64, "AAAAAA=="),
                "-----END CERTIFICATE-----",
            ],
        )
        self.assertNotIn("x00", repr(certificate))
        self.assertFalse(certificate.verified)


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
