# -*- test-case-name: tests.l7.test_pace -*-
"""
How slow a client may be.
"""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from wsrelay.l7.pace import Pace, Paced, takenBy

PATIENCE, RATE = 20.0, 500.0

#: What happens, how often, and when the client is late in the end, in seconds. In a step,
#: C{"wait"} and a number lets so many seconds go by, C{"move"} and a number moves bytes.
Step = tuple[str, float]
ROWS: tuple[tuple[str, float, list[Step], int, float | None], ...] = (
    ("silent from the beginning", RATE, [("wait", 60)], 1, 20),
    ("a byte a second", RATE, [("wait", 1), ("move", 1)], 60, 20.04),
    ("half the rate", RATE, [("wait", 1), ("move", 250)], 120, 40),
    ("just the rate", RATE, [("wait", 1), ("move", 500)], 200, None),
    ("in bursts at the rate", RATE, [("move", 7500), ("wait", 15)], 20, None),
    ("fast, then silent: speed is not saved up", RATE, [("move", 10**9), ("wait", 60)], 1, 20),
    ("without a rate, a byte now and then", 0, [("wait", 19), ("move", 1)], 20, None),
    ("without a rate, silent", 0, [("wait", 60)], 1, 20),
    ("the other is waited for", RATE, [("pause", 0), ("wait", 600), ("resume", 0)], 3, None),
    (
        "paused again and again, but silent in between",
        RATE,
        [("wait", 1), ("pause", 0), ("wait", 9), ("resume", 0)],
        30,
        191,
    ),
    (
        "paused for short, and at the rate in between",
        RATE,
        [("move", 500), ("wait", 1), ("pause", 0), ("wait", 0.5), ("resume", 0)],
        100,
        None,
    ),
    ("over", RATE, [("stop", 0), ("wait", 60), ("pause", 0), ("resume", 0)], 2, None),
)


class World:
    """A pace, its clock, and when it called."""

    def __init__(self, rate: float, taken: Any = None) -> None:
        self.clock = Clock()
        self.late: list[float] = []
        self.pace = Pace(self.clock, PATIENCE, rate, self._late, taken)
        self.pace.resume()

    def _late(self) -> None:
        self.late.append(self.clock.seconds())

    def do(self, what: str, much: float) -> None:
        """One step; time goes by in small ones."""
        if what == "wait":
            self.clock.pump([0.5] * int(much / 0.5))
        elif what == "move":
            self.pace.moved += int(much)
        else:
            getattr(self.pace, what)()


class PaceTests(SynchronousTestCase):
    """Patience."""

    def test_rows(self) -> None:
        """Who is slower than the rate is late once, a quarter of the patience late at most."""
        for name, rate, steps, times, due in ROWS:
            world = World(rate)
            for what, much in steps * times:
                world.do(what, much)
            if due is None:
                self.assertEqual(world.late, [], name)
            else:
                (late,) = world.late
                self.assertLessEqual(due, late + 0.5, name)
                # While it is paused time goes by that does not count.
                slack = PATIENCE / 4 * (10 if ("pause", 0) in steps else 1)
                self.assertLessEqual(late, due + slack + 0.5, name)

    def test_noTimerLeft(self) -> None:
        """A pace that is stopped, was late or is paused for long leaves no timer behind."""
        for steps in (
            [("stop", 0.0)],
            [("wait", 60.0)],
            [("pause", 0.0), ("wait", 6.0)],
            [("wait", 7.0), ("stop", 0.0), ("stop", 0.0)],
        ):
            world = World(RATE)
            for what, much in steps:
                world.do(what, much)
            self.assertEqual(world.clock.getDelayedCalls(), [], steps)

    def test_notBegun(self) -> None:
        """Before it is resumed for the first time nobody is late."""
        clock = Clock()
        Pace(clock, PATIENCE, RATE, lambda: self.fail("late"))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_taken(self) -> None:
        """Where bytes are not counted by whoever moves them, the pace asks."""
        for perSecond, isLate in ((100, True), (600, False)):
            clock = Clock()
            late: list[float] = []
            pace = Pace(
                clock,
                PATIENCE,
                RATE,
                lambda: late.append(1),  # noqa: B023  # called in this round
                lambda: 10**6 + int(clock.seconds() * perSecond),  # noqa: B023  # likewise
            )
            pace.resume()
            clock.pump([1.0] * 120)
            self.assertEqual(bool(late), isLate, perSecond)
            pace.stop()

    def test_unknown(self) -> None:
        """Where nobody can tell how much was taken, nobody is late."""
        world = World(RATE, lambda: None)
        world.do("wait", 600)
        self.assertEqual(world.late, [])


class PacedTests(SynchronousTestCase):
    """A producer in between."""

    def test_paced(self) -> None:
        """The pace hears of each pause, the source does what it is told."""
        heard: list[str] = []
        source = SimpleNamespace(
            pauseProducing=lambda: heard.append("source pauses"),
            resumeProducing=lambda: heard.append("source resumes"),
            stopProducing=lambda: heard.append("source stops"),
        )
        paced = Paced(source, lambda: heard.append("paused"), lambda: heard.append("resumed"))
        self.assertTrue(verifyObject(IPushProducer, paced))
        paced.pauseProducing()
        paced.resumeProducing()
        paced.stopProducing()
        self.assertEqual(
            heard, ["paused", "source pauses", "resumed", "source resumes", "source stops"]
        )


def legOf(peer: Any) -> Any:
    """As much of a leg as is asked for."""
    return SimpleNamespace(isLost=False, transport=peer)


class TakenTests(SynchronousTestCase):
    """What the kernel says about the peer."""

    def test_tcp(self) -> None:
        """What the peer has taken counts, what only waits to be sent does not."""
        if sys.platform != "linux":
            raise SkipTest("only Linux tells what a peer has taken")
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ours = socket.create_connection(server.getsockname())
            peer, _ = server.accept()
        with ours, peer:
            before = takenBy(legOf(ours))
            assert before is not None
            ours.sendall(b"x" * 1000)
            self.assertEqual(len(peer.recv(1000, socket.MSG_WAITALL)), 1000)
            # The acknowledgement is on its way.
            for _ in range(1000):
                taken = takenBy(legOf(ours))
                if taken == before + 1000:
                    break
            self.assertEqual(taken, before + 1000)
            ours.setblocking(False)
            sent = 0
            try:
                while True:
                    sent += ours.send(bytes(65536))
            except BlockingIOError:
                pass
            taken = takenBy(legOf(ours))
            assert taken is not None
            self.assertLess(taken, before + 1000 + sent)
            # The descriptor is still its owner's.
            self.assertGreaterEqual(ours.fileno(), 0)
            ours.getpeername()

    def test_unknown(self) -> None:
        """A UNIX socket, a lost connection and a transport without descriptor do not tell."""
        one, other = socket.socketpair()
        with one, other:
            self.assertIsNone(takenBy(legOf(one)))
        self.assertIsNone(takenBy(legOf(one)))
        self.assertIsNone(takenBy(legOf(object())))
        self.assertIsNone(takenBy(SimpleNamespace(isLost=True)))  # type: ignore[arg-type]  # lost
