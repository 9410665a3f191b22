# -*- test-case-name: tests.l4.test_hub -*-
"""
What the parts of one relay share.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from wsrelay.interfaces import IRelay
from wsrelay.l4.hub import Hub
from wsrelay.model import Event


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def observe(self, event: Event) -> None:
        """Remember it."""
        self.heard.append(event)


class Broken:
    """An observer that fails."""

    def observe(self, event: Event) -> None:
        """Fail."""
        raise RuntimeError("observer trouble")


class HubTests(SynchronousTestCase):
    """Ids, observers, and what is open."""

    def test_interface(self) -> None:
        """Plugins are given what L{IRelay} promises."""
        self.assertTrue(verifyObject(IRelay, Hub(Clock())))

    def test_idsAreUnique(self) -> None:
        """No two connections have the same id."""
        hub = Hub(Clock())
        ids = [hub.newId() for _ in range(1000)]
        self.assertEqual(len(set(ids)), 1000)

    def test_everyObserverHears(self) -> None:
        """An observer that fails is logged, and those after it hear all the same."""
        first, last = Recorder(), Recorder()
        hub = Hub(Clock(), [first, Broken(), last])
        event = Event("1", 0.0)
        hub.observe(event)
        self.assertEqual([first.heard, last.heard], [[event], [event]])
        (error,) = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(str(error.value), "observer trouble")

    def test_leaveAll(self) -> None:
        """Everything that is open is asked to end, once it has ended no more."""
        hub = Hub(Clock())
        left: list[Any] = []
        hub.opened("a", lambda: left.append("a"))
        hub.opened("b", lambda: (left.append("b"), hub.closed("b")))
        hub.opened("c", lambda: left.append("c"))
        hub.closed("c")
        self.assertEqual(hub.openCount, 2)
        hub.leaveAll()
        self.assertEqual(left, ["a", "b"])
        self.assertEqual(hub.openCount, 1)
        hub.closed("never-opened")
