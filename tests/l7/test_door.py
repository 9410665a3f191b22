"""Tests for the client's side of exchanges: what every door has."""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase

from wsrelay.l7.connection import Connection
from wsrelay.l7.door import Door
from wsrelay.l7.resource import _ResourceDoor


class DoorTests(SynchronousTestCase):
    """A connection of the relay's own, and a request of C{twisted.web}."""

    def test_doors(self) -> None:
        """Both take every call that an exchange makes, with the same arguments."""
        calls = {
            name: inspect.signature(each)
            for name, each in vars(Door).items()
            if inspect.isfunction(each) and not name.startswith("_")
        }
        self.assertIn("head", calls)
        for door in (Connection, _ResourceDoor):
            for name, signature in calls.items():
                found = inspect.signature(getattr(door, name))
                self.assertEqual([*found.parameters], [*signature.parameters], (door, name))
