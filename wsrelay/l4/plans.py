# -*- test-case-name: tests.l4.test_plans -*-
"""
A I{plan}: what a decision to forward needs, looked up and adapted once.

Interfaces are asked for here, when a route is first used, and never again while traffic
flows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from attrs import frozen

from wsrelay.backends.pool import Pool
from wsrelay.errors import PluginFault
from wsrelay.interfaces import IMessageFilter, IRequestFilter, IStreamFilter
from wsrelay.model import Direction, Forward, Interest

__all__ = ["Plan", "Plans"]

# A policy may make up decisions without end; a plan that was forgotten is made again.
_MOST_PLANS = 1000


@frozen
class Plan:
    """
    @ivar forward: the decision.
    @ivar pool: where to.
    @ivar requestFilters: with the names of their plugins, in order towards the backend.
    @ivar messageFilters: for each direction those that are interested, in the order in
        which messages of that direction meet them.
    @ivar streamFilters: in order towards the backend.
    @ivar cache: where answers are kept (L7), or C{None}.
    """

    forward: Forward
    pool: Pool
    requestFilters: tuple[tuple[str, IRequestFilter], ...]
    messageFilters: Mapping[Direction, tuple[tuple[str, IMessageFilter], ...]]
    streamFilters: tuple[tuple[str, IStreamFilter], ...]
    cache: Any = None

    @cached_property
    def isEdited(self) -> bool:
        """Whether anybody edits a request, or its answer, on the way (L7)."""
        return bool(self.requestFilters) or self.forward.rules is not None

    def level(self, direction: Direction) -> Interest:
        """How much of a WebSocket's direction is looked at."""
        return Interest.MESSAGES if self.messageFilters[direction] else Interest.FRAMES


class Plans:
    """Makes plans and keeps them."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        plugins: Mapping[str, Any],
        caches: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._pools = pools
        self._caches = caches
        self._plugins = plugins
        self._plans: dict[Forward, Plan] = {}

    def plan(self, forward: Forward) -> Plan:
        """
        The plan of a decision.

        @raise PluginFault: a policy named a pool, filter or cache that is not configured, or a
            filter's C{interest} raised.
        """
        plan = self._plans.get(forward)
        if plan is None:
            plan = self._make(forward)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[forward] = plan
        return plan

    def _make(self, forward: Forward) -> Plan:
        if forward.pool not in self._pools:
            raise PluginFault(forward.route, f"no pool is named {forward.pool!r}")
        if forward.cache and forward.cache not in self._caches:
            raise PluginFault(forward.route, f"no cache is named {forward.cache!r}")
        for name in forward.filters:
            if name not in self._plugins:
                raise PluginFault(forward.route, f"no plugin is named {name!r}")
        filters = [(name, self._plugins[name]) for name in forward.filters]
        messageFilters = [pair for pair in filters if IMessageFilter.providedBy(pair[1])]
        return Plan(
            forward,
            self._pools[forward.pool],
            tuple(pair for pair in filters if IRequestFilter.providedBy(pair[1])),
            {
                Direction.TO_BACKEND: _interested(messageFilters, forward, Direction.TO_BACKEND),
                Direction.TO_CLIENT: _interested(
                    messageFilters[::-1], forward, Direction.TO_CLIENT
                ),
            },
            tuple(pair for pair in filters if IStreamFilter.providedBy(pair[1])),
            self._caches[forward.cache] if forward.cache else None,
        )


def _interested(
    filters: list[tuple[str, Any]], forward: Forward, direction: Direction
) -> tuple[tuple[str, Any], ...]:
    found = []
    for name, messageFilter in filters:
        try:
            interest = messageFilter.interest(forward, direction)
        except Exception as error:
            raise PluginFault(name, f"interest: {type(error).__name__}: {error}") from error
        if interest >= Interest.MESSAGES:
            found.append((name, messageFilter))
    return tuple(found)
