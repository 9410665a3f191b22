# -*- test-case-name: tests.l4.test_life -*-
"""
What everything that is relayed has in common: it opens once and closes once.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback import Recorder
from wsrelay.l4.hub import Hub
from wsrelay.l4.life import Life
from wsrelay.model import (
    Address,
    Closed,
    CloseReason,
    Connected,
    Counts,
    Decided,
    Direction,
    Established,
    Forward,
    Inbound,
    Interest,
    Kind,
    Opened,
    Party,
    Phase,
)

INBOUND = Inbound("7", "public", Address("10.0.0.1", 1), Address("10.0.0.2", 80))
LEVELS = dict.fromkeys(Direction, Interest.BYTES)


@define
class Leg:
    """As much of a leg as is told."""

    peer: Address


class LifeTests(SynchronousTestCase):
    """A life, told to observers."""

    def setUp(self) -> None:
        """It begins at 100 s."""
        self.clock = Clock()
        self.clock.advance(100)
        self.recorder = Recorder()
        self.relay = Hub(self.clock, [self.recorder])
        self.life: Any = Life(self, Kind.TUNNEL, INBOUND)  # type: ignore[arg-type]  # has a relay

    def test_whole(self) -> None:
        """From beginning to end, with the time of each event and the phase it had come to."""
        forward = Forward("chat", route="rooms")
        self.assertIs(self.life.phase, Phase.DECIDE)
        self.clock.advance(1)
        self.life.decided(forward)
        self.assertIs(self.life.phase, Phase.DIAL)
        self.clock.advance(1)
        self.life.connected("ws://a", Leg(Address("10.0.0.3", 9)))
        self.assertIs(self.life.phase, Phase.ANSWER)
        self.clock.advance(1)
        self.life.established(Kind.SESSION, LEVELS, "chat.v1", "permessage-deflate")
        self.assertIs(self.life.phase, Phase.RELAY)
        self.life.status = 101
        self.life.codes[Party.CLIENT] = 1000
        self.clock.advance(1)
        self.life.end(Party.CLIENT, "closed: 1000")
        counts = {Direction.TO_BACKEND: Counts(5, 1, 1)}
        self.life.close(counts)
        reason = CloseReason(Party.CLIENT, Phase.RELAY, "closed: 1000")
        self.assertEqual(
            self.recorder.heard,
            [
                Opened("7", 100, Kind.TUNNEL, INBOUND),
                Decided("7", 101, forward),
                Connected("7", 102, "chat", "ws://a", Address("10.0.0.3", 9)),
                Established("7", 103, Kind.SESSION, LEVELS, "chat.v1", "permessage-deflate"),
                Closed(
                    "7",
                    104,
                    Kind.SESSION,
                    INBOUND,
                    reason,
                    "rooms",
                    "chat",
                    "ws://a",
                    101,
                    4,
                    counts,
                    {Party.CLIENT: 1000},
                ),
            ],
        )

    def test_firstReason(self) -> None:
        """The first reason is the one that counts."""
        self.life.end(Party.BACKEND, "went away")
        self.life.decided(None)
        self.life.end(Party.CLIENT, "closed its connection")
        self.life.close()
        expected = CloseReason(Party.BACKEND, Phase.DECIDE, "went away")
        self.assertEqual(self.recorder.heard[-1].reason, expected)  # type: ignore[attr-defined]

    def test_closesOnce(self) -> None:
        """It closes once, and never without a reason."""
        self.life.close()
        self.life.close()
        self.assertEqual(self.recorder.kinds, ["Opened", "Closed"])
        self.assertEqual(
            self.recorder.heard[-1].reason,  # type: ignore[attr-defined]
            CloseReason(Party.RELAY, Phase.DECIDE, "ended"),
        )

    def test_whenClosed(self) -> None:
        """Whoever asked is told at the end, once; whoever asks later, at once."""
        told: list[tuple[str, CloseReason]] = []
        self.life.whenClosed(lambda reason: told.append(("first", reason)))
        self.life.end(Party.CLIENT, "left")
        self.assertEqual(told, [])
        self.life.close()
        self.life.whenClosed(lambda reason: told.append(("late", reason)))
        self.life.close()
        reason = CloseReason(Party.CLIENT, Phase.DECIDE, "left")
        self.assertEqual(told, [("first", reason), ("late", reason)])

    def test_whenClosedFails(self) -> None:
        """A plugin that fails when it is told does not keep others from being told."""
        told: list[CloseReason] = []

        def fail(reason: CloseReason) -> None:
            raise RuntimeError("not now")

        self.life.whenClosed(fail)
        self.life.whenClosed(told.append)
        self.life.close()
        self.assertEqual(len(told), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
