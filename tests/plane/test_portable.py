# -*- test-case-name: tests.plane.test_portable -*-
"""
The portable engine: the suite of all engines in every world, and what it does besides.
"""

from __future__ import annotations

import gc
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.plane.suite import engineTests
from tests.plane.worlds import DOWN, UP, Recorder
from wsrelay.model import Direction, Interest
from wsrelay.plane.engine import ILink, IPlane, Lane
from wsrelay.plane.portable import PortableLink, PortablePlane
from wsrelay.testing import Peer, pair, settle

globals().update(engineTests("Portable", PortablePlane))


class PortableLinkTests(SynchronousTestCase):
    """What can be seen of a link from the outside."""

    def setUp(self) -> None:
        """Begin at no particular time."""
        self.clock = Clock()

    def link(self, up: Lane, down: Lane) -> tuple[PortableLink, Peer, Peer]:
        """A link that was started, and its peers."""
        client, atClient = pair(self.clock)
        backend, atBackend = pair(self.clock)
        lanes = {UP: up, DOWN: down}
        link = PortablePlane(self.clock).link(client, backend, lanes, Recorder())
        link.start()
        settle(self.clock)
        return link, atClient, atBackend

    def test_interfaces(self) -> None:
        """Plane and link provide what the house asks of an engine."""
        verifyObject(IPlane, PortablePlane(self.clock))
        verifyObject(ILink, self.link(Lane(), Lane())[0])
        self.assertEqual(PortablePlane(self.clock).name, "portable")

    def test_idleFor(self) -> None:
        """Idle is a link since a byte came from either side, or since it was made."""
        self.clock.advance(1000)
        for level in (Interest.BYTES, Interest.FRAMES, Interest.MESSAGES):
            link, client, backend = self.link(Lane(level), Lane(level))
            self.assertEqual(link.idleFor(), 0)
            self.clock.advance(5)
            self.assertEqual(link.idleFor(), 5)
            for peer in (client, backend):
                peer.say(b"\x82")
                settle(self.clock)
                self.assertEqual(link.idleFor(), 0)
                self.clock.advance(3)
                self.assertEqual(link.idleFor(), 3)
            link.abort()
            settle(self.clock)

    def test_levelsByDirection(self) -> None:
        """Each direction has a level of its own."""
        link, client, backend = self.link(Lane(Interest.BYTES), Lane(Interest.FRAMES))
        client.say(b"\x00 this is no frame")
        backend.say(b"\x82\x01x")
        settle(self.clock)
        self.assertEqual(backend.take(), b"\x00 this is no frame")
        self.assertEqual(client.take(), b"\x82\x01x")
        self.assertEqual({way: link.counts()[way].frames for way in Direction}, {UP: 0, DOWN: 1})

    def test_noTimers(self) -> None:
        """A link leaves no timer running, while it lives or after."""
        link, client, _ = self.link(Lane(), Lane())
        client.say(b"x")
        settle(self.clock)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        link.abort()
        settle(self.clock)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_legsAreLetGo(self) -> None:
        """Once both are lost, legs do not keep the flows of their link alive."""
        client, _ = pair(self.clock)
        backend, _ = pair(self.clock)
        link = PortablePlane(self.clock).link(
            client, backend, {UP: Lane(), DOWN: Lane()}, Recorder()
        )
        link.start()
        link.abort()
        settle(self.clock)
        gone = weakref.ref(link)
        del link
        gc.collect()
        self.assertIsNone(gone())
