# -*- test-case-name: tests.tls.test_watch -*-
"""
Noticing that files have changed.
"""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.shaking import folder
from wsrelay.tls.watch import FileWatch


class FileWatchTests(SynchronousTestCase):
    """Files on a clock."""

    def setUp(self) -> None:
        """Watch two files, one of which is there."""
        self.clock = Clock()
        self.path = folder(self)
        self.one, self.other = self.path / "one", self.path / "other"
        self.one.write_text("1")
        self.calls = 0
        self.watch = FileWatch([self.one, self.other, self.one], self.changed)
        self.watch.start(self.clock, 3)

    def changed(self) -> None:
        """Called."""
        self.calls += 1

    def assertTold(self, expected: int) -> None:
        """The next look tells of so many changes, all in all; the ones after it of no more."""
        for _ in range(3):
            self.clock.advance(3)
            self.assertEqual(self.calls, expected)

    def test_quiet(self) -> None:
        """As long as nothing changes nothing is called."""
        self.assertTold(0)

    def test_changes(self) -> None:
        """Every way to change a file is noticed, once."""
        new = self.path / "new"

        def touch() -> None:
            # Same size, same file: only its time tells.
            os.utime(self.one, ns=(1, 1))

        def replace() -> None:
            new.write_text("2")
            os.utime(new, ns=(1, 1))
            new.rename(self.one)

        def link() -> None:
            target = self.path / "target"
            target.write_text("3")
            self.one.unlink()
            self.one.symlink_to(target)

        changes = [
            lambda: self.one.write_text("11"),
            touch,
            replace,
            link,
            lambda: (self.path / "target").write_text("4 5"),
            self.one.unlink,
            lambda: self.one.write_text("1"),
            lambda: self.other.write_text("1"),
        ]
        for number, change in enumerate(changes, 1):
            change()
            self.assertTold(number)

    def test_beforeTheStart(self) -> None:
        """What changed before the first look is noticed by it."""
        watch = FileWatch([self.one], self.changed)
        self.one.write_text("22")
        watch.look()
        self.assertEqual(self.calls, 1)

    def test_interval(self) -> None:
        """Files are looked at no more often than asked for."""
        self.one.write_text("111")
        self.clock.advance(2.9)
        self.assertEqual(self.calls, 0)
        self.clock.advance(0.1)
        self.assertEqual(self.calls, 1)

    def test_stop(self) -> None:
        """Stopped it leaves nothing behind."""
        self.watch.stop()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
