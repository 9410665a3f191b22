# -*- test-case-name: tests.l4.test_proxied -*-
"""
Doors behind a balancer that says whom it speaks for: C{haproxy:} in front of an endpoint.

Twisted has this too, but closes when the header comes in pieces, tells nobody when it has
come, so that a server that speaks first is never reached, and has no half-close. So the leg
reads the header itself, and stays what it is: the protocol of its own transport.

Anybody who can connect here can say to be anybody; see L{wsrelay.wire.proxyproto}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.protocols.haproxy import proxyEndpoint
from zope.interface import implementer

from wsrelay.errors import BadRequest, ClientFault
from wsrelay.l4.forwarders import ArrivalFactory
from wsrelay.l4.sniff import Arrival, Patience
from wsrelay.wire.proxyproto import Proxied, ProxyReader

__all__ = ["Announcement", "ProxiedEndpoint", "endpointFrom"]

_log = Logger()
_PREFIX = "haproxy:"


def endpointFrom(reactor: Any, description: str, timeout: float) -> IStreamServerEndpoint:
    """
    The endpoint of an endpoint string.

    @param timeout: seconds for a balancer to say whom it speaks for.
    @raise Exception: what C{serverFromString} raises.
    """
    if not description.startswith(_PREFIX):
        return serverFromString(reactor, description)  # type: ignore[no-any-return]  # not typed
    inner = serverFromString(reactor, description.removeprefix(_PREFIX))
    return ProxiedEndpoint(inner, reactor, timeout)


class Announcement(Patience):
    """In charge of a leg until the header is complete; what came behind it is held."""

    def __init__(
        self,
        clock: Any,
        leg: Arrival,
        timeout: float,
        read: Callable[[Proxied], None],
        failed: Callable[[ClientFault], None],
    ) -> None:
        """
        @param timeout: seconds for the whole header.
        @param read: called once with what it said; the leg holds still then.
        @param failed: called once instead: no header, malformed, too late, or gone.
        """
        super().__init__(clock, leg, timeout, "PROXY header", failed)
        self._read = read
        self._reader = ProxyReader()
        leg.hand(self)

    def received(self, data: bytes) -> None:
        """More of it."""
        try:
            proxied = self._reader.feed(data)
        except BadRequest as error:
            self.give(error)
            return
        if proxied is not None:
            self.let(self._reader.rest)
            self._read(proxied)


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
        balancer = leg.peer

        def read(proxied: Proxied) -> None:
            leg.proxied = proxied
            leg.resumeProducing()
            arrived(leg)

        def failed(error: ClientFault) -> None:
            _log.warn("{balancer}: {detail}", balancer=str(balancer), detail=error.detail)
            leg.abort()

        Announcement(self._clock, leg, self._timeout, read, failed)
