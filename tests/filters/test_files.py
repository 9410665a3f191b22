# -*- test-case-name: tests.filters.test_files -*-
"""
Files that are read again.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.filters.support import GivenRelay
from wsrelay.filters.files import WatchedFile, located


def number(data: bytes) -> int:
    """What these files have in them."""
    try:
        return int(data)
    except ValueError:
        raise ValueError("expected a number") from None


class WatchedFileTests(SynchronousTestCase):
    """One file."""

    def setUp(self) -> None:
        """It says 1."""
        self.path = Path(self.mktemp())
        self.path.write_text("1")
        self.clock = Clock()
        self.file = WatchedFile(self.path, number, self.clock.seconds)

    def change(self, text: str) -> None:
        """Replace it, and let the time come to look again."""
        other = Path(self.mktemp())
        other.write_text(text)
        os.replace(other, self.path)
        self.clock.advance(1)

    def test_changed(self) -> None:
        """A new file counts, a second later at the latest."""
        self.change("22")
        self.assertEqual(self.file.value, 22)
        self.path.write_text("3")
        self.assertEqual(self.file.value, 22, "it was looked at just now")
        self.clock.advance(1)
        self.assertEqual(self.file.value, 3)

    def test_broken(self) -> None:
        """A broken file, or none, leaves what there was; the log says so once."""
        with capturedLogs() as logs:
            self.change("nonsense")
            self.assertEqual(self.file.value, 1)
            self.clock.advance(1)
            self.assertEqual(self.file.value, 1)
        self.assertEqual(
            [formatEvent(each) for each in logs],
            [f"{self.path}: expected a number; what was read before still holds"],
        )
        with capturedLogs() as logs:
            self.path.unlink()
            self.clock.advance(1)
            self.assertEqual(self.file.value, 1)
        self.assertIn("No such file", formatEvent(logs[0]) or "")
        self.change("4")
        self.assertEqual(self.file.value, 4)

    def test_first(self) -> None:
        """At the beginning it must be there, be right, and not be endless."""
        for text, wanted in [("x", "expected a number"), ("1" * (4 << 20) + "1", "longer than")]:
            self.path.write_text(text)
            error = self.assertRaises(
                ValueError, WatchedFile, self.path, number, self.clock.seconds
            )
            self.assertIn(wanted, str(error))
        missing = self.path.with_suffix(".not")
        error = self.assertRaises(ValueError, WatchedFile, missing, number, self.clock.seconds)
        self.assertEqual(str(error), f"{missing}: No such file or directory")


class LocatedTests(SynchronousTestCase):
    """Where a file is."""

    def test_located(self) -> None:
        """A relative name begins where the configuration is, an absolute one nowhere else."""
        relay = GivenRelay()
        path = Path("users")
        self.assertEqual(located(path, relay), path)
        relay.directory = Path("/etc/wsrelay")
        self.assertEqual(located(path, relay), Path("/etc/wsrelay/users"))
        self.assertEqual(located(Path("/run/users"), relay), Path("/run/users"))
