# -*- test-case-name: tests.l7.test_refusals -*-
"""
What a client hears that is not admitted.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.l4.limits import Refusal
from wsrelay.l7.refusals import Refusals
from wsrelay.plane.legs import Leg
from wsrelay.testing import Peer, pair, settle
from wsrelay.wire.heads import parseResponse

FULL = Refusal(503, "reserve")

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 24\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    b"503 Service Unavailable\n"
)
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 22\r\nRetry-After: 7\r\nConnection: close\r\n\r\n"
    b"429 Too Many Requests\n"
)


class RefusalsTests(SynchronousTestCase):
    """Refused at the door."""

    def setUp(self) -> None:
        """Nobody has been refused yet."""
        self.clock = Clock()
        self.refusals = Refusals(self.clock)

        self.legs: list[Leg] = []

    def refuse(self, refusal: Refusal = FULL, isTLS: bool = False) -> Peer:
        """A client comes and is refused."""
        leg, peer = pair(self.clock, isTLS)
        self.legs.append(leg)
        self.refusals.answer(leg, refusal)
        settle(self.clock)
        return peer

    def assertNobodyLeft(self) -> None:
        """All connections are gone, and no timer waits for them."""
        self.assertTrue(all(leg.isLost for leg in self.legs))
        self.assertEqual((self.refusals.waiting, self.clock.getDelayedCalls()), (0, []))

    def test_answer(self) -> None:
        """A whole answer, which says when to come again, and the end."""
        for refusal, answer in (
            (FULL, BUSY),
            (Refusal(429, "ratePerClient = 1", 7), TOO_MANY),
        ):
            peer = self.refuse(refusal)
            self.assertEqual(peer.take(), answer)
            head, _, _ = answer.partition(b"\r\n\r\n")
            self.assertEqual(parseResponse(head + b"\r\n\r\n").status, refusal.status)
            peer.say(b"GET / HTTP/1.1\r\n\r\n")
            peer.finish()
            settle(self.clock)
        self.assertNobodyLeft()

    def test_stays(self) -> None:
        """A client that does not leave is closed after a moment."""
        peer = self.refuse()
        peer.say(b"x" * 1000)
        settle(self.clock)
        self.assertEqual(self.refusals.waiting, 1)
        self.clock.advance(5)
        settle(self.clock)
        self.assertNobodyLeft()

    def test_flood(self) -> None:
        """Only a few have a moment; the others hear the same and are closed at once."""
        peers = [self.refuse() for _ in range(50)]
        self.assertEqual({peer.take() for peer in peers}, {BUSY})
        self.assertEqual([leg.isLost for leg in self.legs], [False] * 4 + [True] * 46)
        self.clock.advance(5)
        settle(self.clock)
        self.assertNobodyLeft()

    def test_tls(self) -> None:
        """Where TLS has not begun there is no answer, and nobody waits."""
        peer = self.refuse(isTLS=True)
        self.assertEqual(peer.take(), b"")
        self.assertNobodyLeft()

    def test_gone(self) -> None:
        """A client that has left already is no trouble."""
        leg, peer = pair(self.clock)
        peer.abort()
        settle(self.clock)
        self.refusals.answer(leg, FULL)
        settle(self.clock)
        self.assertNobodyLeft()
