# -*- test-case-name: tests.endtoend.test_soak -*-
"""
Mixed traffic for some seconds: everything right, and nothing left behind.

The same as C{python -m benchmarks.soak}, which runs for half an hour; here without its rule
about memory, since what an allocator keeps at the beginning says nothing about a leak. The
seed is another one each time: a failure says it, and C{WSRELAY_SEED} repeats it.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from twisted.trial.unittest import SkipTest

from benchmarks.soak.__main__ import report
from benchmarks.soak.drive import Soak, soak
from benchmarks.soak.watch import MARGIN, Checkpoint, Journalled, Log, Tail, growth
from tests.endtoend.support import EndToEnd

_SECONDS = 7.0


class SoakTests(EndToEnd):
    """Clients and backends that behave, break off, stall and cheat, all at once."""

    def setUp(self) -> None:
        """A folder for what the relay writes."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def test_mixedTraffic(self) -> None:
        """Every byte is right, every conversation ends, and no descriptor or session stays."""
        if not Path("/proc/self/smaps_rollup").exists():
            raise SkipTest("no /proc to count descriptors in")
        seed = int(os.environ.get("WSRELAY_SEED") or random.randrange(10**6))
        plane = os.environ.get("WSRELAY_PLANE", "auto")
        result = self.go(soak(Soak(seed, _SECONDS, _SECONDS / 2, plane, self.folder)))
        if result.wrong:
            self.fail("\n".join([f"seed {seed}", *report(result)]))

    def _journalled(self, *lines: dict[str, str]) -> Journalled:
        path = self.folder / "journal"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        journal = Journalled(Tail(path))
        self.addCleanup(journal.tail.close)
        journal.read()
        return journal

    def test_neverClosed(self) -> None:
        """The soak notices a session that is never closed."""
        opened = [{"opened": name, "kind": "session"} for name in "ab"]
        closed = {"closed": "a", "kind": "session", "reason": "client/relay: closed: 1000"}
        journal = self._journalled(*opened, closed)
        self.assertEqual((journal.open, journal.wrong), ({"b": "session"}, []))

    def test_closedTwice(self) -> None:
        """The soak notices a session that is closed twice."""
        closed = {"closed": "a", "kind": "session", "reason": "client/relay: closed: 1000"}
        journal = self._journalled({"opened": "a", "kind": "exchange"}, closed, closed)
        self.assertEqual(len(journal.wrong), 1)

    def test_unexpected(self) -> None:
        """The soak notices a traceback that no filter was asked for, and what no log wrote."""
        path = self.folder / "log"
        time = "2026-01-01T00:00:00.000Z"
        gone = "1: tcp:127.0.0.1:2 cannot be reached: Connection refused, 0 left to try"
        path.write_text(
            f"{time} listener main: tcp 127.0.0.1:1\n"
            f"{time} warn: {gone}\n"
            f"{time} critical: 2: message hook failed\n    Traceback\n    a.SoakFault: asked for\n"
            f"{time} critical: 3: internal error\n    Traceback\n    builtins.AssertionError\n"
            "Exception ignored in: <function f>\n"
        )
        log = Log(path)
        log.close()
        first = [entry.splitlines()[0] for entry in log.unexpected]
        self.assertEqual(
            first, [f"{time} critical: 3: internal error", "Exception ignored in: <function f>"]
        )
        self.assertEqual(log.faults, 1)

    def test_growth(self) -> None:
        """The soak notices memory that grows, and not what the beginning takes."""

        def grown(*sizes: int) -> int | None:
            return growth([Checkpoint(0.0, 0, 0, 0, size, 0.0, 0.0) for size in sizes])

        self.assertIsNone(grown(*range(7)))
        self.assertEqual(grown(1, 2, 5, 5, 5, 5, 5, 5), 0)
        leaking = grown(*(MARGIN * each for each in range(16)))
        self.assertEqual(leaking, MARGIN * 8)
