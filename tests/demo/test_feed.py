# -*- test-case-name: tests.demo.test_feed -*-
"""
How records come to the pages.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.demo.test_records import l4, l7
from tests.demo.visitor import Visitor
from wsrelay.demo.feed import Feed
from wsrelay.demo.watch import ChunkPassed
from wsrelay.model import (
    Closed,
    CloseReason,
    Decided,
    Direction,
    Forward,
    Inbound,
    Kind,
    Opened,
    Party,
    Phase,
)


class FeedTests(SynchronousTestCase):
    """One feed with its viewers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.feed = Feed(self.clock, l4Port=8081)

    def viewer(self, name: str) -> Visitor:
        """Somebody looks."""
        return Visitor(self.feed, f"/feed?viewer={name}", "http://127.0.0.1:8080")

    def told(self, viewer: Visitor) -> list[dict[str, Any]]:
        """The records it has got, after a moment."""
        self.clock.advance(0.1)
        return [record for message in viewer.heard() for record in json.loads(message)]

    def open(self, inbound: Inbound, name: str = "") -> None:
        """Something is opened and forwarded."""
        self.feed.observe(Opened(inbound.id, 1.0, Kind.TUNNEL, inbound))
        self.feed.observe(Decided(inbound.id, 1.0, Forward("both", route=name)))

    def chunk(self, size: int) -> None:
        """Something passes at layer 4."""
        self.feed.observe(ChunkPassed("1", 1.0, Direction.TO_BACKEND, size, size, 1))

    def test_ready(self) -> None:
        """The first record says what the page must know to begin."""
        self.open(l4())
        ada = self.viewer("ada")
        self.assertEqual(self.told(ada), [{"what": "ready", "tunnels": ["1"], "l4Port": 8081}])

    def test_private(self) -> None:
        """What somebody says at layer 7, no other viewer hears; layer 4 is everybody's."""
        ada, bob = self.viewer("ada"), self.viewer("bob")
        self.open(l7("/echo?viewer=ada"))
        self.open(l4())
        self.assertEqual([each.get("layer") for each in self.told(ada)], [None, 7, 4])
        self.assertEqual([each.get("layer") for each in self.told(bob)], [None, 4])

    def test_nobody(self) -> None:
        """A viewer must say who it is."""
        for target in ("/feed", "/feed?viewer=", "/feed?other=1"):
            self.assertEqual(Visitor(self.feed, target).status, 400, target)

    def test_together(self) -> None:
        """What happens at the same time comes in one message."""
        ada = self.viewer("ada")
        self.open(l4())
        self.chunk(3)
        self.clock.advance(0.1)
        self.assertEqual(len(ada.heard()), 1)

    def test_flood(self) -> None:
        """Of more than a page could show some chunks are left out, but not the end."""
        ada = self.viewer("ada")
        self.open(l4())
        for size in range(1000):
            self.chunk(size)
        reason = CloseReason(Party.CLIENT, Phase.RELAY, "closed its connection")
        self.feed.observe(Closed("1", 2.0, Kind.TUNNEL, l4(), reason))
        told = self.told(ada)
        self.assertEqual(len(told), 201)
        self.assertEqual(told[-1]["what"], "closed")

    def test_behind(self) -> None:
        """A viewer that does not read is written nothing; when it reads again, what waited."""
        ada = self.viewer("ada")
        self.told(ada)
        self.open(l4())
        ada.stall()
        self.assertEqual(self.told(ada), [])
        ada.resume()
        self.assertEqual([each["what"] for each in self.told(ada)], ["opened"])

    def test_neverReads(self) -> None:
        """A viewer that never reads is left alone before it costs much memory."""
        ada = self.viewer("ada")
        ada.stall()
        for _ in range(2001):
            self.open(l4())
        self.assertTrue(ada.transport.disconnected)

    def test_silent(self) -> None:
        """A viewer has nothing to say; one that does is not listened to."""
        ada = self.viewer("ada")
        ada.say("x" * 100000)
        self.assertTrue(ada.transport.disconnected)

    def test_left(self) -> None:
        """Nothing is kept for a page that was closed."""
        ada = self.viewer("ada")
        self.told(ada)
        self.open(l4())
        ada.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.chunk(3)
        self.assertEqual(self.told(ada), [])
