# -*- test-case-name: tests.l4.test_forwarders -*-
"""
The forwarders of layer 4, C{tcp} and C{tls-passthrough}: what third parties' TCP forwarding
factories look like from the inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.interfaces import IProtocolNegotiationFactory
from zope.interface import alsoProvides, implementer

from wsrelay.errors import ClientFault
from wsrelay.interfaces import IForwarder
from wsrelay.l4.life import Life
from wsrelay.l4.listener import Listener, tlsFacts
from wsrelay.l4.sniff import Arrival, Shake, Sniffer
from wsrelay.l4.tunnel import Tunnel
from wsrelay.model import Inbound, Kind, Party, Phase
from wsrelay.plane.legs import Leg, LegFactory
from wsrelay.tls.alpn import mendALPN
from wsrelay.wire.clienthello import ClientHello

__all__ = ["ArrivalFactory", "TCPForwarder", "TLSPassthroughForwarder"]


class ArrivalFactory(LegFactory):
    """
    Accepts connections as legs. Where TLS ends at the listener, a client that offers
    protocols (ALPN) gets one that is spoken here, or is refused; where none has a name, as
    with opaque bytes, what it offers is passed over.

    @ivar arrived: called with each L{Leg}, as soon as its connection is there.
    @ivar protocols: names for ALPN, the best liked first.
    """

    def __init__(self, arrived: Callable[[Any], None], protocols: Sequence[bytes] = ()) -> None:
        """
        @param arrived: called with each L{Leg}, as soon as its connection is there.
        @param protocols: names for ALPN, the best liked first.
        """
        super().__init__(partial(Arrival, arrived))
        self.arrived = arrived
        self.protocols = tuple(protocols)
        mendALPN()
        if protocols:
            alsoProvides(self, IProtocolNegotiationFactory)

    def acceptableProtocols(self) -> list[bytes]:
        """See C{IProtocolNegotiationFactory}."""
        return list(self.protocols)


def _turnAway(listener: Listener, leg: Leg, inbound: Inbound, error: ClientFault) -> None:
    """It has not even said what it wants."""
    life = Life(listener, Kind.TUNNEL, inbound)
    life.phase = Phase.ACCEPT
    life.end(Party.CLIENT, error.detail)
    leg.abort()
    life.close()


@implementer(IForwarder)
class TCPForwarder:
    """
    C{forwarder = "tcp"}: opaque bytes, any protocol. Where the listener ends TLS, the
    handshake comes first, so that policies know its server name and no backend is dialled
    for nobody.
    """

    def forwardingFactory(self, listener: Any) -> ArrivalFactory:
        """See L{IForwarder.forwardingFactory}."""
        return ArrivalFactory(partial(_shaken, listener))


def _shaken(listener: Listener, leg: Arrival) -> None:
    inbound = listener.inbound(leg)
    if not leg.isTLS:
        leg.pauseProducing()
        Tunnel(listener, leg, inbound).begin()
        return

    def done() -> None:
        serverName, alpn = tlsFacts(leg.transport)
        known = evolve(inbound, serverName=serverName, alpn=alpn)
        Tunnel(listener, leg, known).begin()

    failed = partial(_turnAway, listener, leg, inbound)
    Shake(listener.relay.clock, leg, listener.settings.headTimeout, done, failed)


@implementer(IForwarder)
class TLSPassthroughForwarder:
    """
    C{forwarder = "tls-passthrough"}: routed by what the ClientHello says, TLS untouched.
    """

    def forwardingFactory(self, listener: Any) -> ArrivalFactory:
        """See L{IForwarder.forwardingFactory}."""
        return ArrivalFactory(partial(_sniffed, listener))


def _sniffed(listener: Listener, leg: Leg) -> None:
    # Addresses are asked for now: a client that is gone has none.
    inbound = listener.inbound(leg)

    def read(hello: ClientHello) -> None:
        known = evolve(inbound, serverName=hello.serverName, alpn=hello.alpn)
        Tunnel(listener, leg, known).begin()

    failed = partial(_turnAway, listener, leg, inbound)
    Sniffer(listener.relay.clock, leg, listener.settings.headTimeout, read, failed)
