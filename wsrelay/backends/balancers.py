# -*- test-case-name: tests.backends.test_balancers -*-
"""
The built-in balancers. Each is an L{IBalancer} like a plugin's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from wsrelay.interfaces import IBackend, IBalancer
from wsrelay.model import Inbound

__all__ = ["BALANCERS", "LeastConnections", "RoundRobin"]


@implementer(IBalancer)
class RoundRobin:
    """
    One after the other, each as often as its weight says and as evenly spread as that
    allows (nginx's smooth weighted round-robin).
    """

    def __init__(self) -> None:
        self._credit: dict[IBackend, int] = {}

    def choose(self, ready: Sequence[IBackend], inbound: Inbound) -> IBackend:
        """The one that has waited longest for its weight."""
        credit = self._credit
        total = 0
        best = ready[0]
        for backend in ready:
            total += backend.weight
            credit[backend] = credit.get(backend, 0) + backend.weight
            if credit[backend] > credit[best]:
                best = backend
        credit[best] -= total
        return best


@implementer(IBalancer)
class LeastConnections:
    """The one with the fewest connections for its weight; among equals, in turn."""

    def __init__(self) -> None:
        self._turn = RoundRobin()

    def choose(self, ready: Sequence[IBackend], inbound: Inbound) -> IBackend:
        """The least busy one."""
        least = min(backend.active / backend.weight for backend in ready)
        idle = [backend for backend in ready if backend.active / backend.weight == least]
        return idle[0] if len(idle) == 1 else self._turn.choose(idle, inbound)


BALANCERS: dict[str, Callable[[], IBalancer]] = {
    "round-robin": RoundRobin,
    "least-connections": LeastConnections,
}
"""The built-in balancers by the name that the configuration writes."""
