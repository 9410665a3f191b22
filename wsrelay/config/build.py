# -*- test-case-name: tests.config.test_build -*-
"""
Builds what a configuration describes: plugins, pools, listeners.

Building opens nothing and connects nowhere. It goes on after an error, so that all of them
are reported at once; only what stands on something broken is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import define
from OpenSSL import SSL, crypto
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.resource import IResource

from wsrelay.backends.backend import Backend
from wsrelay.backends.balancers import BALANCERS
from wsrelay.backends.pool import Pool
from wsrelay.config import schema
from wsrelay.config.load import optionsProblems
from wsrelay.config.makers import PROVIDABLE, findMaker, installedMakers
from wsrelay.config.problems import nearest
from wsrelay.errors import ConfigurationError
from wsrelay.interfaces import (
    IBalancer,
    IForwarder,
    IMessageFilter,
    IObserver,
    IRequestFilter,
    IRoutingPolicy,
    IStreamFilter,
)
from wsrelay.l4.forwarders import TCPForwarder, TLSPassthroughForwarder
from wsrelay.l4.listener import Listener, ListenerSettings
from wsrelay.l4.plans import Plans
from wsrelay.l4.proxied import endpointFrom
from wsrelay.l7.forwarder import HTTPForwarder
from wsrelay.model import Decision, Forward, Refuse, Serve
from wsrelay.plane.choice import makePlane
from wsrelay.plane.engine import IPlane
from wsrelay.plane.portable import PortablePlane
from wsrelay.plane.verdicts import isLater
from wsrelay.routing.table import Rule, Table
from wsrelay.tls import BackendTLS

__all__ = ["Built", "build", "observersOf"]

_FORWARDERS: dict[str, Any] = {
    "http": HTTPForwarder,
    "tcp": TCPForwarder,
    "tls-passthrough": TLSPassthroughForwarder,
}

_SEE_L4: tuple[Any, ...] = (IStreamFilter,)
_SEE_L7: tuple[Any, ...] = (IRequestFilter, IMessageFilter)
_L7_CONDITIONS = frozenset(schema.CONDITIONS) - {"listener", "network", "serverName", "alpn"}


@define
class Built:
    """
    What a configuration describes, ready to listen.

    @ivar plugins: by the name of their table.
    """

    plane: IPlane
    listeners: list[Listener]
    pools: dict[str, Pool]
    plugins: dict[str, Any]


async def build(configuration: schema.Configuration, relay: Any) -> Built:
    """
    Build everything.

    @param relay: the L{IRelay} that plugins and listeners are given.
    @raise ConfigurationError: with every problem that was found.
    """
    builder = _Builder(configuration, relay)
    built = await builder.build()
    if builder.problems:
        raise ConfigurationError(builder.problems)
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
        self._checkUses()
        plans = Plans(self._pools, self._plugins)
        routes = Table([self._rule(n, route) for n, route in enumerate(configuration.route, 1)])
        listeners = [
            made
            for name, listener in configuration.listener.items()
            if (made := self._listener(name, listener, plans, plane, routes)) is not None
        ]
        return Built(plane, listeners, self._pools, self._plugins)

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
            what = f"{type(error).__name__}: {error}"
            self.problems.append(f"plugin.{name}: {table.use} could not be made: {what}")
            return
        if not any(each.providedBy(plugin) for each in PROVIDABLE):
            names = ", ".join(each.__name__ for each in PROVIDABLE)
            self.problems.append(
                f"plugin.{name}: {table.use} made {plugin!r:.80}, which provides none of {names}"
            )
            return
        self._plugins[name] = plugin

    def _checkUses(self) -> None:
        """Each plugin must be able to do what it is named for."""
        filters = (IRequestFilter, IMessageFilter, IStreamFilter)
        for number, route in enumerate(self._configuration.route, 1):
            where = _routePath(number, route)
            for name in route.filters:
                if self._mustBe(f"{where}.filters", name, filters):
                    self._mustSee(f"{where}.filters", name, route)
            if route.serve is not None:
                self._mustBe(f"{where}.serve", route.serve, (IResource,))
        for name, listener in self._configuration.listener.items():
            for policy in listener.policies or ():
                self._mustBe(f"listener.{name}.policies", policy, (IRoutingPolicy,))
            if listener.forwarder not in _FORWARDERS:
                self._mustBe(f"listener.{name}.forwarder", listener.forwarder, (IForwarder,))
        for name, pool in self._configuration.pool.items():
            if pool.balancer not in BALANCERS:
                self._mustBe(f"pool.{name}.balancer", pool.balancer, (IBalancer,))

    def _mustBe(self, where: str, name: str, interfaces: Iterable[Any]) -> bool:
        plugin = self._plugins.get(name)
        wanted = tuple(interfaces)
        if plugin is None or any(each.providedBy(plugin) for each in wanted):
            return True
        names = " or ".join(each.__name__ for each in wanted)
        self.problems.append(f'{where}: the plugin "{name}" does not provide {names}')
        return False

    def _mustSee(self, where: str, name: str, route: schema.Route) -> None:
        """A filter that would be passed by, unnoticed, is worse than none."""
        plugin = self._plugins.get(name)
        if plugin is None:
            return
        for listener, table in self._configuration.listener.items():
            if route.listener and listener not in route.listener:
                continue
            if table.forwarder == "http":
                layer, wanted = 7, _SEE_L7
            elif table.forwarder in _FORWARDERS and not any(
                getattr(route, key) for key in _L7_CONDITIONS
            ):
                layer, wanted = 4, _SEE_L4
            else:
                continue
            if not any(each.providedBy(plugin) for each in wanted):
                names = " or ".join(each.__name__ for each in wanted)
                self.problems.append(
                    f'{where}: the plugin "{name}" would see nothing on the listener '
                    f'"{listener}": at layer {layer} it would have to provide {names}'
                )

    # -- pools, routes, listeners

    def _pool(self, name: str, table: schema.Pool, plane: IPlane) -> None:
        try:
            tls = BackendTLS(Path(table.ca) if table.ca else None, table.verify)
        except OSError as error:
            self.problems.append(f"pool.{name}.ca: {error.filename}: {error.strerror}")
            return
        except ValueError as error:
            self.problems.append(f"pool.{name}.ca: {error}")
            return
        make = BALANCERS.get(table.balancer)
        balancer = make() if make else self._plugins.get(table.balancer)
        if balancer is None:
            return
        backends = [
            Backend(
                each.destination(),
                self._relay.reactor,
                tls,
                each.weight,
                clock=self._relay.clock,
                plane=plane,
            )
            for each in table.backends
        ]
        self._pools[name] = Pool(name, backends, balancer)

    def _rule(self, number: int, route: schema.Route) -> Rule:
        name = route.name or f"route {number}"
        return Rule(route.matchers(), self._decision(name, route), name)

    def _decision(self, name: str, route: schema.Route) -> Decision:
        if route.pool is not None:
            return Forward(route.pool, tuple(route.filters), name, route.settings())
        if route.respond is not None:
            return route.respond.decision()
        if route.serve is not None:
            return Serve(self._plugins.get(route.serve))
        return Refuse(route.refuse or "")

    def _listener(
        self, name: str, table: schema.Listener, plans: Plans, plane: IPlane, routes: Table
    ) -> Listener | None:
        endpoints = []
        for endpoint in table.endpoint:
            try:
                endpoints.append(endpointFrom(self._relay.reactor, endpoint, table.headTimeout))
            except Exception as error:
                why = _endpointProblem(endpoint, error)
                self.problems.append(f'listener.{name}.endpoint: "{endpoint}": {why}')
        make = _FORWARDERS.get(table.forwarder)
        forwarder = make() if make else self._plugins.get(table.forwarder)
        if forwarder is None or self.problems:
            return None
        if table.policies is None:
            asked = [n for n, each in self._plugins.items() if IRoutingPolicy.providedBy(each)]
        else:
            asked = list(table.policies)
        policies = [(each, self._plugins[each]) for each in asked]
        settings = ListenerSettings(
            table.headTimeout, table.keepAliveTimeout, table.maxHead, table.maxHeaders
        )
        otherwise = Forward(table.pool, route=f"listener {name}") if table.pool else None
        try:
            return Listener(
                name,
                endpoints,
                forwarder,
                [*policies, ("route", routes)],
                self._relay,
                plans,
                plane,
                settings,
                otherwise,
            )
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            self.problems.append(f"listener.{name}.forwarder: {table.forwarder} failed: {what}")
            return None


_ENDPOINTS = ("haproxy", "ssl", "stdio", "systemd", "tcp", "tcp6", "tls", "unix")


def _endpointProblem(endpoint: str, error: Exception) -> str:
    """What Twisted has against an endpoint string, in words for whoever wrote it."""
    text = str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, (SSL.Error, crypto.Error)):
        return "its file holds no key and certificate that can be read"
    if isinstance(error, LookupError) and endpoint.startswith("systemd:"):
        return "systemd has passed no such socket"
    if "unexpected keyword argument" in text:
        return f"there is no parameter {text.rpartition(' ')[2]}"
    if "positional argument" in text:
        return "there are too few or too many parameters"
    if text.startswith("invalid literal for int()"):
        return f"{text.rpartition(' ')[2]} is not a number"
    if text.startswith("Unknown endpoint type"):
        kind = text.rpartition(" ")[2].strip("'")
        known = ", ".join(_ENDPOINTS)
        return f"there is no endpoint type {kind!r}{nearest(kind, _ENDPOINTS)} (types: {known})"
    return text


def _routePath(number: int, route: schema.Route) -> str:
    return f'route[{number} "{route.name}"]' if route.name else f"route[{number}]"


def observersOf(plugins: dict[str, Any]) -> list[Any]:
    """Every plugin that observes."""
    return [plugin for plugin in plugins.values() if IObserver.providedBy(plugin)]
