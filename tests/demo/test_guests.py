# -*- test-case-name: tests.demo.test_guests -*-
"""
Who is let in to the demo, and what happens to who does not read.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.demo.visitor import Visitor
from wsrelay.demo.guests import GuestFactory
from wsrelay.wire.frames import CLOSE, parseClose


class GuestTests(SynchronousTestCase):
    """One guest."""

    def setUp(self) -> None:
        self.factory = GuestFactory(Clock())

    def test_origins(self) -> None:
        """A page of this machine gets in, and so does what is no browser; no other page does."""
        for origin, status in (
            ("", 101),
            ("http://127.0.0.1:8080", 101),
            ("http://localhost:9000", 101),
            ("https://example.org", 400),
            ("http://localhost.example.org:8080", 400),
            ("http://127.0.0.1.example.org", 400),
            ("null", 400),
        ):
            self.assertEqual(Visitor(self.factory, "/", origin).status, status, origin)

    def test_tooLong(self) -> None:
        """Nobody can make the demo keep a long message."""
        visitor = Visitor(self.factory, "/")
        visitor.say("x" * (GuestFactory.maxMessage + 1))
        self.assertTrue(visitor.transport.disconnecting or visitor.transport.disconnected)

    def test_behind(self) -> None:
        """Who does not read is not read from, until it reads again."""
        visitor = Visitor(self.factory, "/")
        visitor.stall()
        self.assertEqual(visitor.transport.producerState, "paused")
        self.assertTrue(visitor.transport.producer.isBehind)
        visitor.resume()
        self.assertEqual(visitor.transport.producerState, "producing")
        self.assertFalse(visitor.transport.producer.isBehind)

    def test_closeCode(self) -> None:
        """A client's own close code comes back to it, so that both ends have seen it."""
        visitor = Visitor(self.factory, "/")
        visitor.close(4001)
        (frame,) = visitor.received()
        self.assertEqual((frame.opcode, parseClose(frame.payload)[0]), (CLOSE, 4001))
