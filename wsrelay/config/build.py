# -*- test-case-name: tests.config.test_build -*-
"""
Builds what a configuration describes: plugins, pools, listeners.

Building opens nothing and connects nowhere. It goes on after an error, so that all of them
are reported at once; only what stands on something broken is left out.
"""

from __future__ import annotations

import time
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred

from wsrelay.backends.pool import Pool
from wsrelay.config import listeners, pools, routes, schema
from wsrelay.config.listening import makeEndpoints, makeListener
from wsrelay.config.load import optionsProblems
from wsrelay.config.makers import PROVIDABLE, findMaker, installedMakers
from wsrelay.config.pooling import makePool
from wsrelay.config.uses import checkUses
from wsrelay.errors import ConfigurationError
from wsrelay.interfaces import IObserver, IRoutingPolicy
from wsrelay.l4.listener import Listener
from wsrelay.l4.plans import Plans
from wsrelay.l7.cache import Cache
from wsrelay.model import Decision, Forward, Refuse, Serve
from wsrelay.plane.choice import makePlane
from wsrelay.plane.engine import IPlane
from wsrelay.plane.portable import PortablePlane
from wsrelay.plane.verdicts import isLater
from wsrelay.routing.redirect import Redirect
from wsrelay.routing.table import Rule, Table

__all__ = ["Built", "build", "observersOf"]


@define
class Built:
    """
    What a configuration describes, ready to listen.

    @ivar plugins: by the name of their table.
    """

    plane: IPlane
    listeners: list[Listener]
    pools: dict[str, Pool]
    caches: dict[str, Cache]
    plugins: dict[str, Any]


async def build(configuration: schema.Configuration, relay: Any) -> Built:
    """
    Build everything.

    @param relay: the L{Hub<wsrelay.l4.hub.Hub>} that plugins and listeners are given. Its
        caches become those that were made, if nothing is wrong.
    @raise ConfigurationError: with every problem that was found.
    """
    builder = _Builder(configuration, relay)
    built = await builder.build()
    if builder.problems:
        raise ConfigurationError(builder.problems)
    relay.caches = built.caches
    return built


class _Builder:
    """One run of L{build}."""

    def __init__(self, configuration: schema.Configuration, relay: Any) -> None:
        self.problems: list[str] = []
        self._configuration = configuration
        self._relay = relay
        self._plugins: dict[str, Any] = {}
        self._pools: dict[str, Pool] = {}

    async def build(self) -> Built:
        configuration = self._configuration
        try:
            plane = makePlane(configuration.relay.plane, self._relay.reactor)
        except ConfigurationError as error:
            self.problems += error.problems
            plane = PortablePlane(self._relay.reactor)
        installed = installedMakers() if configuration.plugin else {}
        for name, table in configuration.plugin.items():
            await self._plugin(name, table, installed)
        for name, pool in configuration.pool.items():
            self._pool(name, pool, plane)
        self.problems += checkUses(configuration, self._plugins)
        caches = {
            name: Cache(table.settings(), self._relay.clock, time.monotonic)
            for name, table in configuration.cache.items()
        }
        plans = Plans(self._pools, self._plugins, caches)
        rules = Table([self._rule(n, route) for n, route in enumerate(configuration.route, 1)])
        listeners = [
            made
            for name, listener in configuration.listener.items()
            if (made := self._listener(name, listener, plans, plane, rules)) is not None
        ]
        return Built(plane, listeners, self._pools, caches, self._plugins)

    # -- plugins

    async def _plugin(self, name: str, table: schema.Plugin, installed: dict[str, Any]) -> None:
        try:
            maker = findMaker(table.use, installed)
        except LookupError as error:
            self.problems.append(f"plugin.{name}.use: {error}")
            return
        options, problems = optionsProblems(name, maker.options, table.options)
        if problems:
            self.problems += problems
            return
        try:
            plugin = maker.make(options, self._relay)
            if isLater(plugin):
                plugin = await (
                    plugin if isinstance(plugin, Deferred) else Deferred.fromCoroutine(plugin)
                )
        except CancelledError:
            # The relay is stopped before it has started.
            raise
        except Exception as error:
            isSaid = isinstance(error, ValueError) and str(error)
            what = str(error) if isSaid else f"{type(error).__name__}: {error}"
            self.problems.append(f"plugin.{name}: {table.use} could not be made: {what}")
            return
        if not any(each.providedBy(plugin) for each in PROVIDABLE):
            names = ", ".join(each.__name__ for each in PROVIDABLE)
            self.problems.append(
                f"plugin.{name}: {table.use} made {plugin!r:.80}, which provides none of {names}"
            )
            return
        self._plugins[name] = plugin

    # -- pools, routes, listeners

    def _pool(self, name: str, table: pools.Pool, plane: IPlane) -> None:
        try:
            made = makePool(name, table, self._plugins, self._relay, plane)
        except ConfigurationError as error:
            self.problems += error.problems
            return
        if made is not None:
            self._pools[name] = made

    def _rule(self, number: int, route: routes.Route) -> Rule:
        name = route.name or f"route {number}"
        return Rule(route.matchers(), self._decision(name, route), name)

    def _decision(self, name: str, route: routes.Route) -> Decision | Redirect:
        if route.pool is not None:
            return Forward(
                route.pool,
                tuple(route.filters),
                name,
                route.settings(),
                route.rules(name),
                route.cache or "",
            )
        if route.respond is not None:
            return route.respond.decision()
        if route.redirect is not None:
            return route.redirect.decision(name)
        if route.serve is not None:
            return Serve(self._plugins.get(route.serve))
        return Refuse(route.refuse or "")

    def _listener(
        self, name: str, table: listeners.Listener, plans: Plans, plane: IPlane, rules: Table
    ) -> Listener | None:
        if self.problems:
            # What a listener stands on may be broken; its endpoints may be, too.
            try:
                makeEndpoints(name, table, self._relay.reactor)
            except ConfigurationError as error:
                self.problems += error.problems
            return None
        if table.policies is None:
            asked = [n for n, each in self._plugins.items() if IRoutingPolicy.providedBy(each)]
        else:
            asked = list(table.policies)
        policies = [*((each, self._plugins[each]) for each in asked), ("route", rules)]
        try:
            return makeListener(name, table, self._plugins, policies, self._relay, plans, plane)
        except ConfigurationError as error:
            self.problems += error.problems
            return None


def observersOf(plugins: dict[str, Any]) -> list[Any]:
    """Every plugin that observes."""
    return [plugin for plugin in plugins.values() if IObserver.providedBy(plugin)]
