# -*- test-case-name: tests.config.test_uses -*-
"""
Whether each plugin can do what the configuration names it for.

What a plugin provides is known only once it was made, so this comes after L{check}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from twisted.web.resource import IResource

from wsrelay.config.listeners import FORWARDERS
from wsrelay.config.pools import BALANCERS
from wsrelay.config.routes import CONDITIONS, Route
from wsrelay.config.schema import Configuration
from wsrelay.interfaces import (
    IBalancer,
    IForwarder,
    IMessageFilter,
    IRequestFilter,
    IRoutingPolicy,
    IStreamFilter,
)

__all__ = ["checkUses"]

_FILTERS = (IRequestFilter, IMessageFilter, IStreamFilter)
_SEE_L4: tuple[Any, ...] = (IStreamFilter,)
_SEE_L7: tuple[Any, ...] = (IRequestFilter, IMessageFilter)
_L7_CONDITIONS = frozenset(CONDITIONS) - {"listener", "network", "serverName", "alpn"}


def checkUses(configuration: Configuration, plugins: Mapping[str, Any]) -> list[str]:
    """Every problem, one sentence each. A plugin that could not be made is no problem here."""
    return [
        *_checkRoutes(configuration, plugins),
        *_checkListeners(configuration, plugins),
        *_checkPools(configuration, plugins),
    ]


def _checkRoutes(configuration: Configuration, plugins: Mapping[str, Any]) -> Iterator[str]:
    for number, route in enumerate(configuration.route, 1):
        where = f'route[{number} "{route.name}"]' if route.name else f"route[{number}]"
        for name in route.filters:
            plugin = plugins.get(name)
            problems = list(_mustBe(f"{where}.filters", name, plugin, _FILTERS))
            if plugin is not None and not problems:
                problems += _mustSee(f"{where}.filters", name, plugin, route, configuration)
            yield from problems
        if route.serve is not None:
            yield from _mustBe(
                f"{where}.serve", route.serve, plugins.get(route.serve), (IResource,)
            )


def _checkListeners(configuration: Configuration, plugins: Mapping[str, Any]) -> Iterator[str]:
    for name, listener in configuration.listener.items():
        for policy in listener.policies or ():
            where = f"listener.{name}.policies"
            yield from _mustBe(where, policy, plugins.get(policy), (IRoutingPolicy,))
        if listener.forwarder not in FORWARDERS:
            plugin = plugins.get(listener.forwarder)
            where = f"listener.{name}.forwarder"
            yield from _mustBe(where, listener.forwarder, plugin, (IForwarder,))


def _checkPools(configuration: Configuration, plugins: Mapping[str, Any]) -> Iterator[str]:
    for name, pool in configuration.pool.items():
        if pool.balancer not in BALANCERS:
            plugin = plugins.get(pool.balancer)
            yield from _mustBe(f"pool.{name}.balancer", pool.balancer, plugin, (IBalancer,))


def _mustBe(where: str, name: str, plugin: Any, wanted: Iterable[Any]) -> Iterator[str]:
    wanted = tuple(wanted)
    if plugin is None or any(each.providedBy(plugin) for each in wanted):
        return
    names = " or ".join(each.__name__ for each in wanted)
    yield f'{where}: the plugin "{name}" does not provide {names}'


def _mustSee(
    where: str, name: str, plugin: Any, route: Route, configuration: Configuration
) -> Iterator[str]:
    """A filter that would be passed by, unnoticed, is worse than none."""
    for listener, table in configuration.listener.items():
        if route.listener and listener not in route.listener:
            continue
        if table.forwarder == "http":
            layer, wanted = 7, _SEE_L7
        elif table.forwarder in FORWARDERS and not any(
            getattr(route, key) for key in _L7_CONDITIONS
        ):
            layer, wanted = 4, _SEE_L4
        else:
            continue
        if not any(each.providedBy(plugin) for each in wanted):
            names = " or ".join(each.__name__ for each in wanted)
            yield (
                f'{where}: the plugin "{name}" would see nothing on the listener '
                f'"{listener}": at layer {layer} it would have to provide {names}'
            )
