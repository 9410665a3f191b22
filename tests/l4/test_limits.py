# -*- test-case-name: tests.l4.test_limits -*-
"""
How many clients a listener takes, and how fast they may come.
"""

from __future__ import annotations

import resource
import sys
from types import SimpleNamespace
from typing import Any

from hypothesis import given, strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from wsrelay.l4 import limits as module
from wsrelay.l4.limits import Admission, Limits, Rate, Refusal, reservedFrom
from wsrelay.l4.sniff import Arrival
from wsrelay.model import Address
from wsrelay.testing import pair, settle

A, B = Address("192.0.2.1", 5000), Address("192.0.2.2", 5000)


class World:
    """A listener's admission, and its clock."""

    def __init__(self, reservedFrom: int = sys.maxsize, **limits: Any) -> None:
        self.clock = Clock()
        self.admission = Admission("public", Limits(**limits), self.clock, reservedFrom)

    def admit(self, client: Address = A, descriptor: int = 10) -> Refusal | None:
        """Somebody comes."""
        return self.admission.admit(client, descriptor)


#: Two clients, a limit, and whether the second may come when the first is at the limit.
CLIENTS = (
    ("192.0.2.1", "192.0.2.1", {}, False),
    ("192.0.2.1", "192.0.2.2", {}, True),
    ("192.0.2.1", "192.0.2.254", {"prefix4": 24}, False),
    ("192.0.2.1", "192.0.3.1", {"prefix4": 24}, True),
    ("192.0.2.1", "203.0.113.1", {"prefix4": 0}, False),
    ("192.0.2.1", "::ffff:192.0.2.1", {}, False),
    ("2001:db8::1", "2001:db8::2", {}, False),
    ("2001:db8::1", "2001:db8:0:0:ffff::", {}, False),
    ("2001:db8::1", "2001:db8:0:1::1", {}, True),
    ("2001:db8::1", "2001:db8:0:1::1", {"prefix6": 48}, False),
    ("2001:db8::1", "2001:db8::2", {"prefix6": 128}, True),
    ("fe80::1%eth0", "fe80::2%eth1", {}, False),
    ("unix:", "unix:/run/x.sock", {}, False),
    ("unix:", "192.0.2.1", {}, True),
    # Neither number of the same value, nor everybody, is the same for both kinds.
    ("0.0.0.0", "::", {"prefix4": 0, "prefix6": 0}, True),  # no address to listen on
    ("192.0.2.1", "192.0.2.1", {"exempt": ["192.0.2.0/24"]}, True),
    ("192.0.2.1", "192.0.2.1", {"exempt": ["2001:db8::/32", "192.0.2.1"]}, True),
    ("2001:db8::1", "2001:db8::2", {"exempt": ["2001:db8::2"]}, True),
    ("192.0.2.1", "192.0.2.1", {"exempt": ["198.51.100.0/24", "::/0"]}, False),
)


class ConnectionsTests(SynchronousTestCase):
    """How many."""

    def test_clients(self) -> None:
        """A client is a network, as wide as the configuration says."""
        for one, other, more, mayCome in CLIENTS:
            world = World(connectionsPerClient=1, **more)
            self.assertIsNone(world.admit(Address(one, 1)))
            refusal = world.admit(Address(other, 2))
            self.assertEqual(refusal is None, mayCome, (one, other, more))
            if refusal is not None:
                self.assertEqual(
                    (refusal.status, refusal.detail), (429, "connectionsPerClient = 1")
                )

    def test_everybody(self) -> None:
        """When the listener is full nobody comes, exempt or not, until somebody leaves."""
        world = World(connections=2, exempt=["192.0.2.2"])
        self.assertEqual([world.admit(A), world.admit(B)], [None, None])
        for client in (A, B):
            self.assertEqual(world.admit(client), Refusal(503, "connections = 2"))
        self.assertEqual(world.admission.open, 2)
        world.admission.left(B)
        self.assertIsNone(world.admit(A))

    def test_ownFirst(self) -> None:
        """Who is over the own limit hears so, also when the listener is full."""
        world = World(connections=1, connectionsPerClient=1)
        world.admit(A)
        self.assertEqual([world.admit(A).status, world.admit(B).status], [429, 503])  # type: ignore[union-attr]  # both refused

    def test_left(self) -> None:
        """Nothing is kept of clients that have left."""
        world = World(connectionsPerClient=3)
        for number in range(1000):
            world.admit(Address(f"10.0.{number // 250}.{number % 250}"))
        for number in range(1000):
            world.admission.left(Address(f"10.0.{number // 250}.{number % 250}"))
        self.assertEqual((world.admission.open, world.admission._clients), (0, {}))

    def test_none(self) -> None:
        """Without a limit nothing is counted, and everybody comes."""
        world = World()
        self.assertFalse(world.admission.isCounting)
        self.assertEqual({world.admit() for _ in range(100)}, {None})
        self.assertEqual({world.admission.handshake(A) for _ in range(100)}, {None})
        world.admission.left(A)
        self.assertEqual(world.admission.open, 0)


class ReceiveTests(SynchronousTestCase):
    """Legs."""

    def test_receive(self) -> None:
        """A connection counts until it is gone; who is refused is somebody else's business."""
        clock = Clock()
        admission = Admission("public", Limits(connections=1), clock)
        refused: list[Any] = []
        legs = [pair(clock, leg=Arrival())[0] for _ in range(3)]

        def receive(leg: Any) -> bool:
            return admission.receive(leg, lambda *what: refused.append(what))

        self.assertTrue(receive(legs[0]))
        self.assertFalse(receive(legs[1]))
        self.assertEqual(refused, [(legs[1], Refusal(503, "connections = 1"))])
        for leg in (legs[1], legs[0]):
            leg.abort()
            settle(clock)
        self.assertEqual(admission.open, 0)
        self.assertTrue(receive(legs[2]))

    def test_descriptor(self) -> None:
        """Its number is that of the socket."""
        leg = Arrival()
        leg.transport = SimpleNamespace(
            fileno=lambda: 100, getPeer=lambda: IPv4Address("TCP", "192.0.2.1", 5)
        )
        refused: list[Any] = []
        for first, isAdmitted in ((100, False), (101, True)):
            admission = Admission("public", Limits(), Clock(), first)
            answer = admission.receive(leg, lambda _, refusal: refused.append(refusal.detail))
            self.assertEqual(answer, isAdmitted)
        self.assertEqual(refused, ["reserve"])


class RateTests(SynchronousTestCase):
    """How fast."""

    def test_burst(self) -> None:
        """Some seconds' worth may come at once, then one after the other; time restores it."""
        # A rate, the burst, how many come at once, and how long the next one has to wait.
        for rate, burst, atOnce, wait in (
            (10, 5, 50, 1),
            (10, 0.1, 1, 1),
            (0.5, 4, 2, 2),
            (0.5, 1, 1, 2),
            (0.1, 5, 1, 10),
            (1000, 1, 1000, 1),
        ):
            world = World(ratePerClient=rate, burst=burst)
            came = [world.admit() for _ in range(atOnce + 1)]
            self.assertEqual(came[:-1], [None] * atOnce, rate)
            late = Refusal(429, f"ratePerClient = {rate}", wait)
            self.assertEqual(came[-1], late)
            # Another client is another matter, and to be refused costs nothing.
            self.assertIsNone(world.admit(B))
            world.clock.advance(1 / rate)
            self.assertEqual([world.admit(), world.admit() is None], [None, False], rate)
            world.clock.advance(burst + 1 / rate)
            self.assertEqual([world.admit() for _ in range(atOnce)], [None] * atOnce)

    def test_flood(self) -> None:
        """A client over its own rate takes nothing from the listener's."""
        world = World(rate=4, ratePerClient=1, burst=1)
        self.assertEqual([world.admit(A) is None for _ in range(100)], [True] + [False] * 99)
        others = [Address(f"198.51.100.{number}") for number in range(4)]
        answers = [world.admit(client) for client in others]
        self.assertEqual(answers[:3], [None] * 3)
        self.assertEqual(answers[3], Refusal(503, "rate = 4", 1))

    def test_handshakes(self) -> None:
        """WebSocket handshakes have rates of their own, apart from those of connections."""
        world = World(handshakesPerClient=2, handshakes=3, burst=1, rate=100)
        asked = [world.admission.handshake(client) for client in (A, A, A, B, B)]
        self.assertEqual(
            [each and (each.status, each.detail) for each in asked],
            [
                None,
                None,
                (429, "handshakesPerClient = 2"),
                None,
                (503, "handshakes = 3"),
            ],
        )
        self.assertIsNone(world.admit())

    def test_memory(self) -> None:
        """A flood from everywhere is remembered as far as there is room, the latest first."""
        self.patch(module, "_MOST_NETWORKS", 100)
        rate = Rate(1, 1)
        for number in range(1000):
            rate.take(b"%d" % number, 0.0)
        self.assertEqual(len(rate), 100)
        self.assertGreater(rate.wait(b"999", 0.0), 0)
        self.assertLessEqual(rate.wait(b"0", 0.0), 0)

    @given(
        st.floats(0.1, 100),
        st.floats(0.1, 10),
        st.lists(st.floats(0, 3), min_size=1, max_size=100),
    )
    def test_bound(self, perSecond: float, burst: float, gaps: list[float]) -> None:
        """However they come, no more than the rate and one burst are let in."""
        rate, now, came = Rate(perSecond, burst), 0.0, 0
        for gap in gaps:
            now += gap
            if rate.wait(b"", now) <= 0:
                rate.take(b"", now)
                came += 1
        self.assertLessEqual(came, max(1.0, burst * perSecond) + now * perSecond + 1e-3)


class ReserveTests(SynchronousTestCase):
    """Descriptors."""

    def test_reserve(self) -> None:
        """A connection among the last descriptors is refused, and only while it is."""
        for more in ({}, {"connections": 5}):
            world = World(100, **more)
            self.assertEqual(world.admit(A, 100), Refusal(503, "reserve"))
            self.assertIsNone(world.admit(A, 99))
            # What has no descriptor cannot be judged.
            self.assertIsNone(world.admit(A, -1))

    def test_reservedFrom(self) -> None:
        """One in eight is held back, 128 at most, or what is asked for, half at most."""
        for most, reserve, expected in (
            (1024, None, 896),
            (256, None, 224),
            (10**6, None, 10**6 - 128),
            (1024, 100, 924),
            (1024, 0, 1024),
            (100, 1000, 50),
            (resource.RLIM_INFINITY, None, sys.maxsize),
        ):
            self.patch(resource, "getrlimit", lambda _, most=most: (most, most))
            self.assertEqual(reservedFrom(reserve), expected, (most, reserve))

    def test_elsewhere(self) -> None:
        """Where there is no such limit nothing is held back."""
        self.addCleanup(sys.modules.__setitem__, "resource", resource)
        sys.modules["resource"] = None  # type: ignore[assignment]  # so that it cannot be imported
        self.assertEqual(reservedFrom(), sys.maxsize)


class LogTests(SynchronousTestCase):
    """What the log says."""

    def test_flood(self) -> None:
        """The first refusal is told at once, the rest once a second, with counts."""
        with capturedLogs() as captured:
            world = World(9, connectionsPerClient=1)
            world.admit(B, 1)
            world.admit(B, 1)
            for _ in range(500):
                world.admit(A, 9)
            world.admit(B, 1)
            world.clock.advance(1)
            world.admit(A, 9)
            for _ in range(5):
                world.clock.advance(1)
        self.assertEqual(
            [formatEvent(each) for each in captured],
            [
                "listener public: refused 192.0.2.2:5000: connectionsPerClient = 1",
                "listener public: refused 501 more: 500 for reserve, 1 for "
                "connectionsPerClient = 1",
                "listener public: refused 1 more: 1 for reserve",
            ],
        )
        self.assertEqual(world.admission.refused.total(), 503)
        self.assertEqual(world.clock.getDelayedCalls(), [])
