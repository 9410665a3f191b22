# -*- test-case-name: tests.l4.test_proxied -*-
"""
Doors behind a balancer that says whom it speaks for: C{haproxy:} in front of an endpoint.

Twisted has this too, but closes when the header comes in pieces, tells nobody when it has
come, so that a server that speaks first is never reached, and has no half-close. So the leg
reads the header itself, and stays what it is: the protocol of its own transport.

Anybody who can connect here can say to be anybody. Where balancers have addresses, a listener
names their networks instead; see L{wsrelay.l4.announcing}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.protocols.haproxy import proxyEndpoint
from zope.interface import implementer

from wsrelay.l4.announcing import Balancers, announce
from wsrelay.l4.reception import ArrivalFactory
from wsrelay.l4.sniff import Arrival

__all__ = ["ProxiedEndpoint", "endpointFrom"]

_PREFIX = "haproxy:"
_EVERYBODY = Balancers()
_QUEUED = frozenset({"tcp", "tcp6", "ssl", "unix"})
_BACKLOG = 1024


def endpointFrom(reactor: Any, description: str, timeout: float) -> IStreamServerEndpoint:
    """
    The endpoint of an endpoint string.

    @param timeout: seconds for a balancer to say whom it speaks for.
    @raise Exception: what C{serverFromString} raises.
    """
    if not description.startswith(_PREFIX):
        return _endpoint(reactor, description)
    inner = _endpoint(reactor, description.removeprefix(_PREFIX))
    return ProxiedEndpoint(inner, reactor, timeout)


def _endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """
    Twisted's, with a longer queue: of fifty that connect at once, its default, the kernel turns
    away the fifty-first. It has a limit of its own (C{net.core.somaxconn}).
    """
    if description.partition(":")[0] in _QUEUED and "backlog" not in description:
        try:
            longer = f"{description}:backlog={_BACKLOG}"
            return serverFromString(reactor, longer)  # type: ignore[no-any-return]  # not typed
        except Exception:
            pass  # what is wrong is said about what was written
    return serverFromString(reactor, description)  # type: ignore[no-any-return]  # not typed


@implementer(IStreamServerEndpoint)
class ProxiedEndpoint:
    """Listens where a balancer connects."""

    def __init__(self, endpoint: IStreamServerEndpoint, clock: Any, timeout: float) -> None:
        """@param timeout: seconds for the whole header."""
        self._endpoint = endpoint
        self._clock = clock
        self._timeout = timeout

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen. A factory that does not make legs gets Twisted's own wrapper."""
        if not isinstance(protocolFactory, ArrivalFactory):
            return proxyEndpoint(self._endpoint).listen(protocolFactory)  # type: ignore[no-any-return]  # not typed
        arrived = partial(self._arrived, protocolFactory.arrived)
        factory = ArrivalFactory(arrived, protocolFactory.protocols)
        return self._endpoint.listen(factory)

    def _arrived(self, arrived: Callable[[Arrival], None], leg: Arrival) -> None:
        announce(leg, _EVERYBODY, self._clock, self._timeout, arrived)
