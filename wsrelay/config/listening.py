# -*- test-case-name: tests.config.test_listening -*-
"""
Makes the L{Listener} that a C{[listener.NAME]} table describes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IStreamServerEndpoint

from wsrelay.config import listeners
from wsrelay.config.problems import nearest
from wsrelay.config.terminating import makeTerminator
from wsrelay.errors import ConfigurationError
from wsrelay.interfaces import IRoutingPolicy
from wsrelay.l4.announcing import Balancers, announcing
from wsrelay.l4.detect import DetectForwarder
from wsrelay.l4.forwarders import TCPForwarder, TLSPassthroughForwarder
from wsrelay.l4.limits import NO_LIMITS
from wsrelay.l4.listener import Listener, ListenerSettings
from wsrelay.l4.plans import Plans
from wsrelay.l4.proxied import endpointFrom
from wsrelay.l4.reception import Step
from wsrelay.l7.connection import Connection
from wsrelay.l7.forwarded import Trust
from wsrelay.l7.forwarder import HTTPForwarder
from wsrelay.l7.pages import Pages
from wsrelay.model import Forward
from wsrelay.plane.engine import IPlane

__all__ = ["makeEndpoints", "makeListener"]


def _detect(table: listeners.Listener) -> DetectForwarder:
    return DetectForwarder(Connection, table.passthrough or (), table.detectTimeout)


_FORWARDERS: dict[str, Any] = {
    "detect": _detect,
    "http": lambda table: HTTPForwarder(),
    "tcp": lambda table: TCPForwarder(),
    "tls-passthrough": lambda table: TLSPassthroughForwarder(),
    "tls-terminate": lambda table: TCPForwarder(),
}


def makeListener(
    name: str,
    table: listeners.Listener,
    plugins: dict[str, Any],
    policies: Sequence[tuple[str, IRoutingPolicy]],
    relay: Any,
    plans: Plans,
    plane: IPlane,
) -> Listener | None:
    """
    The listener of a table, not yet listening; C{None} if its forwarder is a plugin that
    could not be made.

    @param plugins: by name, for a forwarder of its own.
    @param policies: with their names, in the order in which they are asked.
    @raise ConfigurationError: an endpoint string is none, a file of its TLS is not what it
        should be, or the forwarder failed.
    """
    endpoints = makeEndpoints(name, table, relay.reactor)
    tls = makeTerminator(name, table.tls) if table.tls else None
    make = _FORWARDERS.get(table.forwarder)
    forwarder = make(table) if make else plugins.get(table.forwarder)
    if forwarder is None:
        return None
    settings = ListenerSettings(
        table.headTimeout,
        table.keepAliveTimeout,
        table.maxHead,
        table.maxHeaders,
        table.bodyTimeout,
        table.readTimeout,
        table.minRate,
        table.limits.settings() if table.limits else NO_LIMITS,
        Trust(table.trusted, table.trustedFields) if table.trusted else None,
        table.forwarded,
        Pages(table.errorPages, f"listener.{name}.errorPages") if table.errorPages else None,
    )
    otherwise = Forward(table.pool, route=f"listener {name}") if table.pool else None
    announced: Step | None = None
    if table.proxyProtocol:
        balancers = Balancers(table.proxyProtocol)
        announced = announcing(balancers, relay.clock, table.headTimeout, name)
    try:
        return Listener(
            name,
            endpoints,
            forwarder,
            policies,
            relay,
            plans,
            plane,
            settings,
            otherwise,
            tls,
            announced=announced,
        )
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            [f"listener.{name}.forwarder: {table.forwarder} failed: {what}"]
        ) from error


def makeEndpoints(
    name: str, table: listeners.Listener, reactor: Any
) -> list[IStreamServerEndpoint]:
    """
    What a listener listens on.

    @raise ConfigurationError: an endpoint string is none.
    """
    endpoints, problems = [], []
    for endpoint in table.endpoint:
        try:
            endpoints.append(endpointFrom(reactor, endpoint, table.headTimeout))
        except Exception as error:
            why = _endpointProblem(endpoint, error)
            problems.append(f'listener.{name}.endpoint: "{endpoint}": {why}')
    if problems:
        raise ConfigurationError(problems)
    return endpoints


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
