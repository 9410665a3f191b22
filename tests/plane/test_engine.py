# -*- test-case-name: tests.plane.test_engine -*-
"""
The words that engines and owners share.

What an engine does is in L{tests.plane.suite}.
"""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase

from tests.plane.worlds import Recorder
from wsrelay.model import Interest
from wsrelay.plane.engine import ILink, IPlane, Lane, Owner


class LaneTests(SynchronousTestCase):
    """A lane says what to do with one direction."""

    def test_defaults(self) -> None:
        """A lane that says nothing looks at nothing and limits nothing."""
        lane = Lane()
        self.assertEqual((lane.level, lane.hook, lane.rsv), (Interest.BYTES, None, 0))
        self.assertEqual((lane.maxFrame, lane.maxMessage), (None, None))
        self.assertEqual((lane.inflate, lane.deflate), (None, None))


class OwnerTests(SynchronousTestCase):
    """Who hears of a link."""

    def test_recorder(self) -> None:
        """The owner in these tests hears all that an owner can hear, by the same arguments."""
        words = [name for name in vars(Owner) if not name.startswith("_")]
        self.assertEqual(len(words), 6)
        for name in words:
            self.assertEqual(
                list(inspect.signature(getattr(Owner, name)).parameters),
                list(inspect.signature(getattr(Recorder, name)).parameters),
            )


class InterfaceTests(SynchronousTestCase):
    """What an engine promises."""

    def test_documented(self) -> None:
        """Every promise is written down."""
        for interface in (ILink, IPlane):
            for name in interface:
                self.assertTrue(interface[name].__doc__, name)
