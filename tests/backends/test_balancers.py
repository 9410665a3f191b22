# -*- test-case-name: tests.backends.test_balancers -*-
"""
Which backend the built-in balancers pick.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define
from hypothesis import given, settings, strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from wsrelay.backends.balancers import BALANCERS, LeastConnections, RoundRobin
from wsrelay.config.pools import BALANCERS as CONFIGURABLE
from wsrelay.interfaces import IBalancer
from wsrelay.model import Address, Inbound

INBOUND = Inbound("1", "public", Address("10.0.0.1", 1), Address("10.0.0.2", 80))


@define(eq=False)
class Backend:
    """As much of one as a balancer sees."""

    name: str
    weight: int = 1
    active: int = 0


def picks(balancer: Any, ready: list[Backend], count: int) -> str:
    """The names of the next C{count} picks."""
    return "".join(balancer.choose(ready, INBOUND).name for _ in range(count))


class BalancersTests(SynchronousTestCase):
    """What they have in common."""

    def test_named(self) -> None:
        """What the configuration knows by name is there, and a plugin could be the same."""
        self.assertEqual(tuple(BALANCERS), CONFIGURABLE)
        for make in BALANCERS.values():
            self.assertTrue(verifyObject(IBalancer, make()))

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=5),
        st.lists(st.sets(st.integers(0, 4), min_size=1), max_size=20),
    )
    def test_oneOfThoseReady(self, made: list[tuple[int, int]], turns: list[set[int]]) -> None:
        """Whoever is ready, one of them is picked, whoever was ready before."""
        backends = [Backend(str(n), *each) for n, each in enumerate(made)]
        for make in BALANCERS.values():
            balancer = make()
            for turn in turns:
                ready = [backends[n] for n in turn if n < len(backends)] or backends
                self.assertIn(balancer.choose(ready, INBOUND), ready)


class RoundRobinTests(SynchronousTestCase):
    """One after the other."""

    def test_inTurn(self) -> None:
        """Equals take turns in the order in which they stand."""
        self.assertEqual(picks(RoundRobin(), [*map(Backend, "abc")], 7), "abcabca")

    def test_weights(self) -> None:
        """Five, one and one: the heavy one five times of seven, and not in a row."""
        ready = [Backend("a", 5), Backend("b"), Backend("c")]
        self.assertEqual(picks(RoundRobin(), ready, 14), "aabacaa" * 2)

    def test_oneIsMissing(self) -> None:
        """While one is not ready the others take turns, and it gets no burst afterwards."""
        a, b, c = map(Backend, "abc")
        balancer = RoundRobin()
        self.assertEqual(picks(balancer, [a, b, c], 3), "abc")
        self.assertEqual(Counter(picks(balancer, [a, b], 10)), {"a": 5, "b": 5})
        self.assertEqual(Counter(picks(balancer, [a, b, c], 9)), {"a": 3, "b": 3, "c": 3})


class LeastConnectionsTests(SynchronousTestCase):
    """The least busy one."""

    def test_least(self) -> None:
        """The one with the fewest connections is picked."""
        ready = [Backend("a", active=2), Backend("b", active=1), Backend("c", active=3)]
        self.assertEqual(picks(LeastConnections(), ready, 3), "bbb")

    def test_weights(self) -> None:
        """Four connections on one of weight four are as many as one on one of weight one."""
        ready = [Backend("a", 4, active=3), Backend("b", active=1)]
        self.assertEqual(picks(LeastConnections(), ready, 2), "aa")

    def test_equals(self) -> None:
        """Equals take turns, so that a burst is spread even before anything is counted."""
        self.assertEqual(picks(LeastConnections(), [*map(Backend, "abc")], 6), "abcabc")
