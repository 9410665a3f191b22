# -*- test-case-name: tests.l4.test_hub -*-
"""
What the parts of one relay share.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from wsrelay.interfaces import IRelay
from wsrelay.l4.hub import Hub
from wsrelay.l4.limits import reservedFrom
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


class Keeper:
    """A cache that only counts answers."""

    def __init__(self, kept: dict[str, int]) -> None:
        self.kept = kept

    def purge(self, url: str) -> int:
        """Forget them."""
        return self.kept.pop(url, 0)


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

    def test_leavingTogether(self) -> None:
        """What has ended because something else did is not asked any more."""
        hub = Hub(Clock())
        left: list[str] = []
        hub.opened("a", lambda: (left.append("a"), hub.closed("b")))
        hub.opened("b", lambda: left.append("b"))
        hub.leaveAll()
        self.assertEqual(left, ["a"])

    def test_leavingFails(self) -> None:
        """What fails to end does not keep the rest from being asked."""

        def fail() -> None:
            raise RuntimeError("I stay")

        hub = Hub(Clock())
        left: list[str] = []
        hub.opened("a", fail)
        hub.opened("b", lambda: left.append("b"))
        hub.leaveAll()
        self.assertEqual(left, ["b"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_purge(self) -> None:
        """A URL is purged from all caches, and the answers that go are counted together."""
        hub = Hub(Clock())
        self.assertEqual(hub.purge("http://a/"), 0)
        first, second = Keeper({"http://a/": 2, "http://b/": 1}), Keeper({"http://a/": 3})
        hub.caches = {"first": first, "second": second}
        self.assertEqual(hub.purge("http://a/"), 5)
        self.assertEqual([first.kept, second.kept], [{"http://b/": 1}, {}])

    def test_reserve(self) -> None:
        """How many descriptors are held back is known from the beginning."""
        self.assertEqual(Hub(Clock(), reserve=7).reservedFrom, reservedFrom(7))
        self.assertEqual(Hub(Clock()).reservedFrom, reservedFrom())

    def test_cutAll(self) -> None:
        """What is still open can be cut, where it said how."""
        hub = Hub(Clock())
        cut: list[str] = []
        hub.opened("a", lambda: None, lambda: cut.append("a"))
        hub.opened("b", lambda: None)
        hub.opened("c", lambda: None, lambda: cut.append("c"))
        hub.closed("c")
        hub.cutAll()
        self.assertEqual(cut, ["a"])

    def test_whenNoneOpen(self) -> None:
        """It can be waited for that nothing is open; everybody who waits is told."""
        hub = Hub(Clock())
        self.successResultOf(hub.whenNoneOpen())
        hub.opened("a", lambda: None)
        hub.opened("b", lambda: None)
        first, second, third = (hub.whenNoneOpen() for _ in range(3))
        third.cancel()
        self.failureResultOf(third, CancelledError)
        hub.closed("a")
        self.assertNoResult(first)
        hub.closed("b")
        self.successResultOf(first)
        self.successResultOf(second)
