# -*- test-case-name: tests.l4.test_plans -*-
"""
What a decision to forward needs, looked up once.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from wsrelay.backends.balancers import RoundRobin
from wsrelay.backends.pool import Pool
from wsrelay.errors import PluginFault
from wsrelay.interfaces import IMessageFilter, IRequestFilter, IStreamFilter
from wsrelay.l4.plans import Plans
from wsrelay.model import Direction, Forward, Interest

UP, DOWN = Direction.TO_BACKEND, Direction.TO_CLIENT
POOL = Pool("p", (), RoundRobin())


@implementer(IMessageFilter)
class Reader:
    """A message filter for some directions."""

    def __init__(self, *directions: Direction) -> None:
        self._directions = directions
        self.asked = 0

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Say so."""
        self.asked += 1
        return Interest.MESSAGES if direction in self._directions else Interest.FRAMES

    def attach(self, session: Any, direction: Direction) -> None:
        """Not asked here."""


@implementer(IMessageFilter)
class Broken(Reader):
    """A message filter that does not know what it wants."""

    def interest(self, route: Forward, direction: Direction) -> Interest:
        """Fail."""
        raise RuntimeError("no idea")


@implementer(IRequestFilter, IStreamFilter)
class Both:
    """A filter for requests and for streams."""


class PlansTests(SynchronousTestCase):
    """Plans for decisions."""

    def plans(self, **plugins: Any) -> Plans:
        """One pool, these plugins."""
        return Plans({"p": POOL}, plugins)

    def test_sorted(self) -> None:
        """Filters are sorted by what they are for; towards the client they stand reversed."""
        a, b, up, both = Reader(UP, DOWN), Reader(UP, DOWN), Reader(UP), Both()
        plans = self.plans(a=a, b=b, up=up, both=both)
        plan = plans.plan(Forward("p", ("a", "both", "up", "b")))
        self.assertIs(plan.pool, POOL)
        self.assertEqual(plan.messageFilters[UP], (("a", a), ("up", up), ("b", b)))
        self.assertEqual(plan.messageFilters[DOWN], (("b", b), ("a", a)))
        self.assertEqual(plan.requestFilters, (("both", both),))
        self.assertEqual(plan.streamFilters, (("both", both),))

    def test_levels(self) -> None:
        """Messages are read only in the directions in which a filter wants them."""
        plans = self.plans(up=Reader(UP), none=Reader())
        for filters, levels in [
            ((), (Interest.FRAMES, Interest.FRAMES)),
            (("none",), (Interest.FRAMES, Interest.FRAMES)),
            (("none", "up"), (Interest.MESSAGES, Interest.FRAMES)),
        ]:
            plan = plans.plan(Forward("p", filters))
            self.assertEqual((plan.level(UP), plan.level(DOWN)), levels, filters)

    def test_once(self) -> None:
        """A filter is asked once for a decision, however often it is taken."""
        reader = Reader(UP)
        plans = self.plans(reader=reader)
        first = plans.plan(Forward("p", ("reader",)))
        self.assertIs(plans.plan(Forward("p", ("reader",))), first)
        self.assertEqual(reader.asked, 2)

    def test_bounded(self) -> None:
        """A policy that makes up a decision for every client does not fill the memory."""
        plans = self.plans()
        for number in range(2500):
            plans.plan(Forward("p", route=str(number)))
        self.assertLessEqual(len(plans._plans), 1000)

    def test_wrong(self) -> None:
        """A policy that names what is not there is at fault, and so is a filter that raises."""
        plans = self.plans(broken=Broken())
        for forward, detail in [
            (Forward("q", route="tenants"), "tenants: no pool is named 'q'"),
            (Forward("p", ("f",), "tenants"), "tenants: no plugin is named 'f'"),
            (Forward("p", ("broken",)), "broken: interest: RuntimeError: no idea"),
        ]:
            fault = self.assertRaises(PluginFault, plans.plan, forward)
            self.assertEqual(fault.detail, detail)
